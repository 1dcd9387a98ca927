//! `qfilexchgctl review` on a running daemon, and processes that are not as they should be.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::{Host, Ran, processes, programs};

/// What a daemon is started from, and the review of it.
const PROGRAMS: [&str; 12] = [
    "xen-sim",
    "qfilexchgd",
    "broker",
    "attacher",
    "xs-gate",
    "xs-monitor",
    "dialog",
    "dvm-launcher",
    "dvm-runner",
    "control",
    "notifier",
    "qfilexchgctl",
];

fn review(host: &Host, words: &[&str]) -> Ran {
    let mut command = Command::new(programs().join("qfilexchgctl"));
    command.arg("review").args(words).arg("--socket").arg(host.path().join("qfilexchgd.control"));
    Ran::from(&command.output().unwrap())
}

/// Only root can look into the daemon's processes. Says so otherwise, after a look at the refusal.
fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let host = Host::up_without_dialog(&["work"]);
    let refused = review(&host, &[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (77, ""), "{}", refused.stderr);
    testkit::skip("only root can review the daemon's processes");
    false
}

/// A folder with the daemon's programs, where one is replaced by what does this.
fn with_stand_in(worker: &str, word: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    // Workers of other accounts must get to it.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    for name in PROGRAMS {
        let from = if name == worker { "stand-in" } else { name };
        let (from, to) = (programs().join(from), folder.path().join(name));
        if std::fs::hard_link(&from, &to).is_err() {
            testkit::copy_program(&from, &to);
        }
    }
    std::fs::write(folder.path().join("stand-in"), word).unwrap();
    folder
}

/// The lines of a review that deviate.
fn deviating(review: &Ran) -> Vec<&str> {
    review.stdout.lines().filter(|line| line.contains("DEVIATES")).collect()
}

#[test]
fn a_running_daemon_is_as_its_profiles_say() {
    if !is_root() {
        return;
    }
    let host = Host::up_with_disposables(&["work", "vault"]);
    let plain = review(&host, &[]);
    assert_eq!((plain.code, deviating(&plain)), (0, Vec::new()), "{}{}", plain.stdout, plain.stderr);
    for name in
        ["qfilexchgd", "broker", "attacher", "xs-gate", "xs-monitor", "dialog", "control", "dvm-launcher"]
    {
        assert!(plain.stdout.contains(&format!("{name} (process ")), "{name}: {}", plain.stdout);
    }
    assert!(plain.stdout.ends_with(" values, 0 deviate\n"), "{}", plain.stdout);
    let json = review(&host, &["--json"]);
    assert_eq!(json.code, 0);
    let mut python = Command::new("python3");
    let check = "import json, sys; assert json.loads(sys.argv[1])['deviations'] == 0";
    assert!(python.args(["-c", check]).arg(json.stdout).status().unwrap().success());
    // It still is while it works.
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    let busy = review(&host, &[]);
    assert_eq!((busy.code, deviating(&busy)), (0, Vec::new()));
}

#[test]
fn a_process_without_its_profile_is_noticed() {
    if !is_root() {
        return;
    }
    let folder = with_stand_in("dialog", "unconfined");
    let host = Host::up_from(folder.path(), &["work"]);
    let found = review(&host, &[]);
    assert_eq!(found.code, 1, "{}", found.stdout);
    let all = deviating(&found).join("\n");
    for what in ["filters ", "effective capabilities ", "names in its root directory "] {
        assert!(all.contains(what), "{what}: {all}");
    }
    assert!(found.stderr.contains("deviate from the profiles"), "{}", found.stderr);
}

#[test]
fn a_descriptor_too_many_is_noticed() {
    if !is_root() {
        return;
    }
    let folder = with_stand_in("dialog", "extra");
    let host = Host::up_from(folder.path(), &["work"]);
    let found = review(&host, &[]);
    assert_eq!(found.code, 1, "{}", found.stdout);
    // It has no duplicate of its edge, and nothing else is wrong with it.
    let all = deviating(&found);
    assert!(matches!(all.as_slice(), [only] if only.contains("/etc/passwd")), "{all:?}");
}

#[test]
fn a_process_that_is_missing_or_too_many_is_noticed() {
    if !is_root() {
        return;
    }
    let host = Host::up_without_dialog(&["work"]);
    let daemon = processes(host.pid()).into_iter().find(|process| process.name == "qfilexchgd").unwrap();
    let monitor = processes(daemon.pid).into_iter().find(|process| process.name == "xs-monitor").unwrap();
    assert_eq!(review(&host, &[]).code, 0);
    // Stopped, so that it starts no other one, and cannot even be asked.
    signal(daemon.pid, "STOP");
    signal(monitor.pid, "KILL");
    let found = review(&host, &[]);
    signal(daemon.pid, "CONT");
    assert_eq!(found.code, 1, "{}", found.stdout);
    assert!(deviating(&found).iter().any(|line| line.contains("not running")), "{}", found.stdout);
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(status.unwrap().success());
}

/// One worker that ends as it should not: how the supervisor and the broker tell it.
fn ends(word: &str) -> String {
    let folder = with_stand_in("dialog", word);
    let host = Host::up_from(folder.path(), &["work"]);
    host.wait_for("the broker's line", || host.output().contains("dialog ended with signal"));
    host.output()
}

#[test]
fn a_panic_the_end_of_memory_and_a_stack_overflow_are_reported_and_are_no_violations() {
    for (word, signal) in [("panic", "SIGILL"), ("no-memory", "SIGILL"), ("overflow", "SIGSEGV")] {
        let log = ends(word);
        let line = log.lines().find(|line| line.contains("dialog (process ")).unwrap_or_default();
        assert!(line.contains(&format!("ended: {signal}")), "{word}: {log}");
        assert!(!log.contains("SIGSYS"), "{word}: {log}");
    }
}
