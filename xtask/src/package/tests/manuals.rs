//! The manual pages: correct, and about the programs as they are.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use super::super::list::{List, Package, Thing, manual_of, packaging};
use super::super::manual;
use super::{commands, files_below, options_of, require_programs};

#[test]
fn every_manual_is_without_a_warning() {
    if !testkit::require_tools(&["mandoc"]) {
        return;
    }
    let pages = files_below(&packaging("man"));
    assert!(pages.len() >= 10);
    for name in pages {
        let text = manual::page(&name).unwrap();
        let mut command = Command::new("mandoc");
        command.args(["-T", "lint", "-W", "warning"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut mandoc = command.stderr(Stdio::piped()).spawn().unwrap();
        mandoc.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = mandoc.wait_with_output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    }
}

/// The options that a page names: `Fl Fl NAME`.
fn options_in_page(page: &str) -> BTreeSet<String> {
    let words: Vec<&str> = page.split_whitespace().collect();
    let names = words.windows(3).filter(|three| three[..2] == ["Fl", "Fl"]).map(|three| three[2]);
    names.map(|name| format!("--{name}")).collect()
}

#[test]
fn a_manual_names_the_options_that_the_program_has_and_no_others() {
    if !require_programs() {
        return;
    }
    for program in commands() {
        let page = manual::page(&manual_of(&program).unwrap()).unwrap();
        assert_eq!(options_in_page(&page), options_of(&program), "{program}: its manual, and its --help");
    }
}

#[test]
fn a_manual_says_how_the_program_ends_and_which_files_it_knows() {
    for program in commands() {
        let page = manual::page(&manual_of(&program).unwrap()).unwrap();
        for section in ["EXIT STATUS", "FILES", "EXAMPLES", "SEE ALSO"] {
            assert!(page.contains(&format!("\n.Sh {section}\n")), "{program}: {section}");
        }
    }
}

#[test]
fn every_worker_is_in_the_manual_that_the_list_names() {
    let list = List::read().unwrap();
    for thing in Package::ALL.into_iter().flat_map(|package| list.of(package)) {
        if let Thing::Worker { name, manual } = thing {
            let page = manual::page(manual).unwrap();
            let (names, body) = page.split_once(".Sh DESCRIPTION").unwrap();
            assert!(names.lines().any(|line| line.trim_end_matches(" ,") == format!(".Nm {name}")), "{name}");
            assert!(body.contains(&format!("\n.It Nm {name}\n")), "{name}");
        }
    }
}

#[test]
fn what_a_manual_refers_to_is_there() {
    let ours = files_below(&packaging("man"));
    let list = List::read().unwrap();
    let workers: Vec<&str> = Package::ALL.into_iter().flat_map(|package| list.programs(package)).collect();
    for name in &ours {
        for line in manual::page(name).unwrap().lines() {
            let Some(reference) = line.strip_prefix(".Xr ") else { continue };
            let words: Vec<&str> = reference.split_whitespace().collect();
            let is_ours = words[0].starts_with('q');
            let exists = ours.contains(&format!("{}.{}", words[0], words[1]))
                || workers.iter().any(|worker| {
                    words[0] == format!("qfilexchgd-{worker}") || words[0] == format!("qfilexchg-{worker}")
                });
            assert!(!is_ours || exists, "{name}: {reference}");
        }
    }
}
