//! The RPM spec: it parses, it builds from the programs that are built already, and it holds what the list says.

use std::process::Command;

use super::super::list::{List, Package, Thing, packaging};
use super::super::rpm_trees;
use super::{programs, require_programs, said};

fn spec() -> std::path::PathBuf {
    packaging("rpm/qfilexchg.spec")
}

#[test]
fn the_spec_parses_and_is_of_this_version() {
    if !testkit::require_tools(&["rpmspec"]) || !require_programs() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    rpm_trees(&programs(), &folder.path().join("root"), &lists(folder.path())).unwrap();
    let mut command = Command::new("rpmspec");
    command.args(["--query", "--queryformat", "%{NAME} %{VERSION} %{LICENSE}\n", "--define"]);
    command.arg(format!("_builddir {}", folder.path().display())).arg(spec());
    let names = said(&mut command);
    for package in Package::ALL {
        let line = format!("{} {} {}", package.name(), env!("CARGO_PKG_VERSION"), "GPL-3.0-only");
        assert!(names.lines().any(|found| found == line), "{names}");
    }
}

fn lists(folder: &std::path::Path) -> std::path::PathBuf {
    let lists = folder.join("rpm-lists");
    std::fs::create_dir_all(&lists).unwrap();
    lists
}

#[test]
fn an_rpm_holds_what_the_list_says() {
    if !testkit::require_tools(&["rpmbuild", "rpm", "strip"]) || !require_programs() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let prepared = folder.path().join("root");
    rpm_trees(&programs(), &prepared, &lists(folder.path())).unwrap();
    let mut command = Command::new("rpmbuild");
    command.args(["-bb", "--quiet", "--nodeps"]);
    for definition in [
        format!("_builddir {}", folder.path().display()),
        format!("_topdir {}", folder.path().join("top").display()),
        format!("_rpmdir {}", folder.path().join("rpms").display()),
        format!("_dbpath {}", folder.path().join("db").display()),
        "_binary_payload w1.gzdio".to_owned(),
        format!("prepared {}", prepared.display()),
    ] {
        command.args(["--define", &definition]);
    }
    said(command.arg(spec()).env("HOME", folder.path()));
    let list = List::read().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for package in Package::ALL {
        let file = folder.path().join(format!("rpms/x86_64/{}-{version}-1.x86_64.rpm", package.name()));
        let query = |what: &str| said(Command::new("rpm").args(["--query", what, "--package"]).arg(&file));
        let (files, configs) = (query("--list"), query("--configfiles"));
        for thing in list.of(package) {
            match thing {
                Thing::Program { name, folder } => {
                    assert!(files.contains(&format!("{folder}{name}\n")), "{name}")
                }
                Thing::Worker { name, .. } => {
                    assert!(files.contains(&format!("/usr/lib/qfilexchgd/{name}\n")), "{name}");
                }
                Thing::Manual(page) => assert!(files.contains(&format!("/{page}.gz\n")), "{page}"),
                Thing::File { to, is_config, .. } => {
                    assert!(files.lines().any(|line| line == to), "{to}");
                    assert_eq!(configs.lines().any(|line| line == to), *is_config, "{to}");
                }
            }
        }
    }
}
