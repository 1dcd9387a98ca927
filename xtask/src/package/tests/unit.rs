//! The service unit: what it takes away, against what the daemon needs and what docs/systemd.md says is left.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use super::super::list::packaging;
use super::said;
use crate::workspace;

/// What `systemd-analyze security` may find, in tenths; docs/systemd.md gives the same figure.
const EXPOSURE_TENTHS_MAX: u32 = 27;
/// What the first process calls before it enters its own filter, which has none of these.
const BEFORE_THE_SANDBOX: [&str; 22] = [
    "bind",
    "chmod",
    "chown",
    "execve",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "flock",
    "fsync",
    "lchown",
    "listen",
    "memfd_create",
    "mkdir",
    "mkdirat",
    "mknodat",
    "open",
    "rmdir",
    "signalfd4",
    "statfs",
    "umask",
    "unlink",
];

fn unit() -> PathBuf {
    packaging("systemd/qfilexchgd.service")
}

/// The words of every line of the unit that sets this.
fn words(key: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(unit()).unwrap();
    let values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.flat_map(|value| value.split_whitespace().map(str::to_owned)).collect()
}

/// The system calls that the profiles of the first process grant, on any architecture.
fn granted() -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    for entry in std::fs::read_dir(workspace::top().join("sandbox-profiles")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("supervisor.") && name.ends_with(".toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let (_, calls) = text.split_once("\n[syscalls]\n").unwrap();
            let lines =
                calls.lines().filter(|line| line.starts_with(|letter: char| letter.is_ascii_lowercase()));
            granted.extend(lines.filter_map(|line| Some(line.split_once(" =")?.0.to_owned())));
        }
    }
    granted
}

#[test]
fn the_unit_permits_every_call_of_the_first_process_and_what_its_start_needs() {
    let (permitted, granted) = (words("SystemCallFilter"), granted());
    assert!(granted.len() > 80, "{granted:?}");
    let missing: Vec<&String> = granted.difference(&permitted).collect();
    assert!(missing.is_empty(), "add to SystemCallFilter= of the unit: {missing:?}");
    let besides: BTreeSet<&str> = permitted.difference(&granted).map(String::as_str).collect();
    assert_eq!(besides, BTreeSet::from(BEFORE_THE_SANDBOX));
}

#[test]
fn the_unit_leaves_the_capabilities_that_the_first_process_keeps() {
    let permitted = words("CapabilityBoundingSet");
    for kept in ["CAP_SETUID", "CAP_SETGID", "CAP_SETFCAP"] {
        assert!(permitted.contains(kept), "{kept}");
    }
    assert!(!permitted.contains("CAP_SYS_ADMIN"));
}

/// One line of `systemd-analyze security`.
#[derive(Deserialize)]
struct Finding {
    name: String,
    exposure: Option<String>,
}

#[test]
fn systemd_finds_the_unit_as_closed_as_the_document_says_and_no_exposure_is_unexplained() {
    if !testkit::require_tools(&["systemd-analyze"]) {
        return;
    }
    let analyze = || {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager"]);
        command
    };
    // It ends with 1 above the threshold.
    let _ = said(analyze().arg(format!("--threshold={EXPOSURE_TENTHS_MAX}")).arg(unit()));
    let document = std::fs::read_to_string(workspace::top().join("docs/systemd.md")).unwrap();
    let figure = format!("gives it {}.{} ", EXPOSURE_TENTHS_MAX / 10, EXPOSURE_TENTHS_MAX % 10);
    assert!(document.contains(&figure), "docs/systemd.md does not say: {figure}");

    let findings: Vec<Finding> =
        serde_json::from_str(&said(analyze().arg("--json=short").arg(unit()))).unwrap();
    let exposed = findings.iter().filter(|finding| {
        finding
            .exposure
            .as_ref()
            .is_some_and(|exposure| exposure.parse::<f32>().is_ok_and(|exposure| exposure > 0.0))
    });
    let unexplained: Vec<&str> = exposed
        .map(|finding| finding.name.as_str())
        .filter(|name| !document.contains(&format!("`{}`", name.replace('|', "\\|"))))
        .collect();
    assert!(unexplained.is_empty(), "docs/systemd.md does not explain {unexplained:?}");
}
