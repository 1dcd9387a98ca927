//! The packages as an administrator meets them: installed, started, removed, purged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::super::list::{List, Package, Thing};
use super::super::{debs, manual};
use super::root::{Root, text};
use super::{programs, require_programs, said};

/// Both packages of the programs that the test run has built, made once, in a folder beside the programs.
fn packages() -> &'static [PathBuf] {
    static MADE: OnceLock<Vec<PathBuf>> = OnceLock::new();
    MADE.get_or_init(|| {
        let out = programs().join("packages-of-tests");
        std::fs::create_dir_all(&out).unwrap();
        debs(&programs(), &out).unwrap()
    })
}

/// Whether packages can be made here.
fn can_package() -> bool {
    testkit::require_tools(&["dpkg-deb", "dpkg-shlibdeps", "strip", "gzip"]) && require_programs()
}

/// A root with both packages in it, as files.
pub fn root() -> Option<(Root, String, String)> {
    if !can_package() {
        return None;
    }
    let root = Root::new()?;
    let names: Vec<String> = packages()
        .iter()
        .map(|deb| {
            let name = format!("packages/{}", deb.file_name().unwrap().to_str().unwrap());
            root.put(deb, &name);
            format!("/{name}")
        })
        .collect();
    let [dom0, vm] = names.try_into().unwrap();
    Some((root, dom0, vm))
}

/// The files that a package has in that root, by the list.
fn check_contents(root: &Root, package: Package) {
    let list = List::read().unwrap();
    for thing in list.of(package) {
        match thing {
            Thing::Program { name, folder } => {
                let said = root.succeed(&[&format!("{folder}{name}"), "--help"]);
                assert!(said.contains(name), "{name}: {said}");
                root.succeed(&["man", "-w", name]);
                for file in [
                    format!("usr/share/bash-completion/completions/{name}"),
                    format!("usr/share/zsh/vendor-completions/_{name}"),
                    format!("usr/share/fish/vendor_completions.d/{name}.fish"),
                ] {
                    assert!(root.path().join(&file).is_file(), "{file}");
                }
            }
            Thing::Worker { name, .. } => {
                let prefix = if package == Package::Dom0 { "qfilexchgd" } else { "qfilexchg" };
                root.succeed(&["man", "-w", &format!("{prefix}-{name}")]);
                // Nobody starts it by hand: without its descriptors it ends at once, and not by success.
                let ended = root.run(&[&format!("/usr/lib/qfilexchgd/{name}")]);
                assert!(!ended.status.success(), "{name}");
            }
            Thing::Manual(page) => {
                let (name, section) = page.rsplit_once('.').unwrap();
                root.succeed(&["man", "-w", section, name]);
                let shown = root.succeed(&["man", "-P", "cat", section, name]);
                assert!(manual::page(page).is_ok() && shown.contains("DESCRIPTION"), "{page}: {shown}");
            }
            Thing::File { to, .. } => assert!(root.path().join(&to[1..]).is_file(), "{to}"),
        }
    }
    assert_eq!(root.succeed(&["dpkg", "--verify", package.name()]), "", "nothing differs from the package");
    assert_eq!(root.succeed(&["dpkg", "--audit"]), "");
}

/// The accounts that passwd(5) of that root has for the daemon.
fn accounts(root: &Root) -> BTreeSet<String> {
    let passwd = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    passwd
        .lines()
        .filter(|line| line.starts_with("qfx-"))
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_package_for_dom0_can_be_installed_used_removed_and_purged() {
    let Some((root, dom0, vm)) = root() else { return };
    let before = root.files();
    root.succeed(&["dpkg", "--install", &dom0]);
    check_contents(&root, Package::Dom0);
    let made = accounts(&root);
    assert!(made.len() >= 5 && made.contains("qfx-broker"), "{made:?}");

    let said = root.succeed(&["qfilexchgd", "--check"]);
    assert!(said.contains("configuration and policy can be used"), "{said}");
    assert!(
        root.succeed(&["qfilexchgctl", "policy", "check", "a", "b"])
            .starts_with("ask: /etc/qfilexchgd/policy.d/")
    );
    let notices = root.succeed(&["zcat", "/usr/share/doc/qfilexchg-dom0/NOTICES.gz"]);
    assert!(notices.contains("\nits fonts:\n") && notices.contains("bincode 2.0.1"), "{notices}");
    assert_eq!(root.succeed(&["systemctl", "is-enabled", "qfilexchgd"]).trim(), "enabled");
    assert_eq!(root.succeed(&["systemd-analyze", "--man=no", "verify", "qfilexchgd.service"]), "");
    it_says_that_there_is_no_xen(&root);

    // Beside the daemon, the rules for a VM's user would hand out dom0's rights.
    let refused = root.run(&["dpkg", "--install", &vm]);
    assert!(!refused.status.success() && text(&refused).contains("conflicts"), "{}", text(&refused));

    let of_daemon = |files: &BTreeSet<String>| -> BTreeSet<String> {
        files.difference(&before).filter(|file| !file.starts_with("etc/systemd/system/")).cloned().collect()
    };
    root.succeed(&["dpkg", "--remove", "qfilexchg-dom0"]);
    let left = of_daemon(&root.files());
    let is_config = |file: &String| file.starts_with("etc/qfilexchgd/");
    let is_state = |file: &String| {
        file.starts_with("var/lib/qfilexchgd/")
            || file.starts_with("var/lib/systemd/")
            || is_account_file(file)
    };
    assert!(left.iter().all(|file| is_config(file) || is_state(file)), "{left:?}");
    assert!(left.contains("etc/qfilexchgd/qfilexchgd.toml"), "configuration outlives a removal: {left:?}");

    root.succeed(&["dpkg", "--install", &dom0]);
    assert_eq!(root.succeed(&["systemctl", "is-enabled", "qfilexchgd"]).trim(), "enabled");
    root.succeed(&["dpkg", "--purge", "qfilexchg-dom0"]);
    let left: BTreeSet<String> =
        root.files().difference(&before).filter(|file| !is_account_file(file)).cloned().collect();
    assert_eq!(left, BTreeSet::new(), "a purge leaves nothing");
    assert!(!root.path().join("etc/qfilexchgd").exists() && !root.path().join("var/lib/qfilexchgd").exists());
    assert_eq!(accounts(&root), made, "accounts stay, so that their numbers are not given to others");
}

/// systemd-sysusers keeps a copy of what it has changed.
fn is_account_file(file: &str) -> bool {
    ["etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/.pwd.lock"].contains(&file)
}

/// Started where there is no Xen, with the accounts and programs of the package, the daemon says what is missing.
fn it_says_that_there_is_no_xen(root: &Root) {
    let shipped = std::fs::read_to_string(root.path().join("etc/qfilexchgd/qfilexchgd.toml")).unwrap();
    let without_loop_devices = shipped.replace("kind = \"xen\"", "kind = \"simulated\"");
    assert_ne!(shipped, without_loop_devices);
    std::fs::write(root.path().join("tmp/q.toml"), without_loop_devices).unwrap();
    let ended = root.run(&["qfilexchgd", "--config", "/tmp/q.toml", "--dialog", "none"]);
    let said = text(&ended);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.lines().last().unwrap().contains("/run/xenstored/socket: cannot open"), "{said}");
    let images = root.succeed(&["stat", "-c", "%U %a", "/var/lib/qfilexchgd/images"]);
    assert_eq!(images.trim(), "qfx-attacher 700");
}

#[test]
fn the_package_for_vms_can_be_installed_used_removed_and_purged() {
    let Some((root, dom0, vm)) = root() else { return };
    let before = root.files();
    root.succeed(&["dpkg", "--install", &vm]);
    check_contents(&root, Package::Vm);
    assert_eq!(accounts(&root), BTreeSet::new());

    // No Xen here: the tool must say so at once.
    let ended = root.run(&["qvm-copy-to-vm", "vault", "/etc/hostname"]);
    assert_eq!((ended.status.code(), text(&ended).lines().count()), (Some(1), 1), "{}", text(&ended));
    assert_eq!(root.run(&["qubes_penctl", "frob"]).status.code(), Some(2));

    let refused = root.run(&["dpkg", "--install", &dom0]);
    assert!(!refused.status.success() && text(&refused).contains("conflicts"), "{}", text(&refused));

    root.succeed(&["dpkg", "--remove", "qfilexchg-vm"]);
    let left: BTreeSet<String> = root.files().difference(&before).cloned().collect();
    assert!(left.iter().all(|file| file.starts_with("etc/qfilexchg/")), "{left:?}");
    root.succeed(&["dpkg", "--install", &vm]);
    root.succeed(&["dpkg", "--purge", "qfilexchg-vm"]);
    assert_eq!(
        root.files().difference(&before).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "a purge leaves nothing"
    );
}

#[test]
fn the_same_programs_give_the_same_packages() {
    if !can_package() {
        return;
    }
    let first = packages();
    let out = tempfile::tempdir().unwrap();
    let second = debs(&programs(), out.path()).unwrap();
    for (one, other) in first.iter().zip(&second) {
        assert!(std::fs::read(one).unwrap() == std::fs::read(other).unwrap(), "{}", one.display());
    }
    let listed = said(Command::new("dpkg-deb").arg("--contents").arg(&first[0]));
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    let contains_builder = |path: &Path| {
        let inside = tempfile::tempdir().unwrap();
        said(Command::new("dpkg-deb").arg("--extract").arg(path).arg(inside.path()));
        let mut grep = Command::new("grep");
        grep.args(["--recursive", "--files-with-matches", env!("CARGO_MANIFEST_DIR")]).arg(inside.path());
        String::from_utf8(grep.output().unwrap().stdout).unwrap()
    };
    assert_eq!(contains_builder(&first[0]), "", "no file names the builder's folder");
}

#[test]
fn lintian_has_nothing_to_say() {
    if !testkit::require_tools(&["lintian"]) || !can_package() {
        return;
    }
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--display-info", "--fail-on", "error,warning,info"]);
    // Sentences of a program lie one after the other in its memory; which of them do differs from build to build.
    lintian.args(["--suppress-tags", "spelling-error-in-binary"]).args(packages());
    let output = lintian.output().unwrap();
    // Without a locale perl complains about that first.
    let said: Vec<String> =
        text(&output).lines().filter(|line| line.get(1..3) == Some(": ")).map(str::to_owned).collect();
    assert_eq!(said, Vec::<String>::new(), "{}", text(&output));
    assert!(output.status.success(), "{}", text(&output));
}
