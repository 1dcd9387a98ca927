//! How the daemon is looked after, with a stand-in for it that is a shell script.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use common::{XEN_SIM, namespaces_are_permitted};

/// Says that it is ready, then does what the rest of the script says.
const READY: &str = "python3 -c 'import os, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b\"READY=1\\n\", os.environ[\"NOTIFY_SOCKET\"])'";

/// A host whose daemon is that script.
struct Supervised {
    dir: tempfile::TempDir,
    up: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Supervised {
    fn start(script: &str, more: &[&str]) -> Option<Self> {
        if !namespaces_are_permitted() {
            testkit::skip("this user may not make namespaces here");
            return None;
        }
        if !testkit::require_tools(&["python3"]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("xen-sim");
        testkit::copy_program(Path::new(XEN_SIM), &program);
        let daemon = dir.path().join("qfilexchgd");
        let here = dir.path().display();
        let script = script.replace("READY", READY).replace("HERE", &here.to_string());
        let text = format!("#!/bin/sh\necho start \"$@\" >> {here}/starts\n{script}\n");
        testkit::write_program(&daemon, &text);
        let mut up = Command::new(&program)
            .args(["up", "--dir"])
            .arg(dir.path().join("host"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(up.stdout.take().unwrap()).lines();
        Some(Self { dir, up, lines })
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn end(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.up);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.up.wait().unwrap().code()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Ok(None) = self.up.try_wait() {
            self.end();
        }
    }
}

#[test]
fn the_host_is_ready_when_the_daemon_says_so_and_ends_it_with_a_signal() {
    let script = "trap 'echo told > HERE/told; exit 0' TERM\nsleep 0.2; READY\nwhile :; do sleep 0.05; done";
    let Some(mut host) = Supervised::start(script, &["--dialog", "none", "--vm", "work"]) else { return };
    assert_eq!(host.line(), "ready");
    let config = host.path("host/qfilexchgd.toml");
    assert_eq!(host.read("starts"), format!("start --config {}\n", config.display()));
    let written = host.read("host/qfilexchgd.toml");
    assert!(written.contains("kind = \"simulated\"") && written.contains("kind = \"none\""), "{written}");
    for there in ["policy.d", "tags", "images", "journal", "boot_id", "xenstored"] {
        assert!(host.path("host").join(there).exists(), "{there}");
    }
    assert_eq!(host.end(), Some(0));
    assert_eq!(host.read("told"), "told\n");
}

#[test]
fn a_daemon_that_ends_is_started_again() {
    let script = "READY\ntest -e HERE/once || { touch HERE/once; exit 3; }\nexec sleep 1000";
    let Some(mut host) = Supervised::start(script, &["--dialog", "none"]) else { return };
    let mut said = [host.line(), host.line()];
    said.sort();
    assert_eq!(said, ["qfilexchgd has ended (exit code 3), it is started again", "ready"]);
    common::eventually("it runs again", || host.read("starts").lines().count() == 2);
    assert_eq!(host.end(), Some(0));
}

#[test]
fn a_daemon_that_always_ends_is_given_up() {
    let Some(mut host) = Supervised::start("exit 1", &["--dialog", "none"]) else { return };
    assert_eq!(host.up.wait().unwrap().code(), Some(1));
    assert_eq!(host.read("starts").lines().count(), 11);
    let said: Vec<String> = host.lines.by_ref().map(Result::unwrap).collect();
    assert!(said.iter().all(|line| line.starts_with("qfilexchgd has ended (exit code 1)")), "{said:?}");
}

#[test]
fn a_configuration_that_cannot_be_used_ends_the_host_at_once() {
    let Some(mut host) = Supervised::start("exit 78", &["--dialog", "none"]) else { return };
    assert_eq!(host.up.wait().unwrap().code(), Some(1));
    assert_eq!(host.read("starts").lines().count(), 1);
}

#[test]
fn a_configuration_that_is_given_is_used_as_it_is() {
    let script = "READY\nexec sleep 1000";
    let given = ["--config", "/some/where.toml", "--dialog", "none"];
    let Some(mut host) = Supervised::start(script, &given) else { return };
    assert_eq!(host.line(), "ready");
    assert_eq!(host.read("starts"), "start --config /some/where.toml --dialog none\n");
    assert!(!Path::new(&host.path("host/qfilexchgd.toml")).exists());
}
