//! The installed daemon at work: its programs, its accounts, the shipped configuration; only Xen is played.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::installed::root;
use super::programs;

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processes below this one: number, name, account number.
fn below(parent: u32) -> Vec<(i32, String, u32)> {
    let mut found = Vec::new();
    let children =
        std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    for pid in children.split_whitespace() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().unwrap_or_default().to_owned()
        };
        if let Ok(uid) = field("Uid:").parse() {
            found.push((pid.parse().unwrap(), field("Name:"), uid));
        }
        found.extend(below(pid.parse().unwrap()));
    }
    found
}

#[test]
fn the_installed_daemon_serves_with_each_worker_under_its_account() {
    let Some((root, dom0, _)) = root() else { return };
    root.succeed(&["dpkg", "--install", &dom0]);
    let host = root.path().join("tmp/host");
    let mut up = Command::new(programs().join("xen-sim"));
    up.args(["up", "--no-daemon", "--vm", "work", "--dir"]).arg(&host).stdin(Stdio::null());
    let mut up = Ended(up.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(up.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready", "the simulated host");

    let shipped = std::fs::read_to_string(root.path().join("etc/qfilexchgd/qfilexchgd.toml")).unwrap();
    let config =
        shipped.replace("\"xen\"", "\"simulated\"").replace("/run/xenstored/socket", "/tmp/host/xenstored");
    std::fs::write(root.path().join("tmp/q.toml"), config).unwrap();
    let mut daemon = root.command(&["qfilexchgd", "--config", "/tmp/q.toml", "--dialog", "none"]);
    let mut daemon = Ended(daemon.stderr(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(daemon.0.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in log.map_while(Result::ok) {
        let is_ready = line.contains("requests are served");
        said.push(line);
        if is_ready {
            break;
        }
    }
    assert!(said.iter().any(|line| line.contains("requests are served")), "{said:#?}");
    assert!(said.iter().any(|line| line.contains("each worker under an account of its own")), "{said:#?}");

    let passwd = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let processes = below(daemon.0.id());
    for (process, account) in [
        ("broker", "qfx-broker"),
        ("xs-monitor", "qfx-monitor"),
        ("xs-gate", "qfx-gate"),
        ("attacher", "qfx-attacher"),
    ] {
        let line = passwd.lines().find(|line| line.starts_with(&format!("{account}:"))).unwrap();
        let uid: u32 = line.split(':').nth(2).unwrap().parse().unwrap();
        assert!(
            processes.iter().any(|(_, name, of)| name == process && *of == uid),
            "{process}: {processes:?}"
        );
    }

    let (first, ..) = processes.iter().find(|(_, name, _)| name == "qfilexchgd").unwrap();
    kill_process(Pid::from_raw(*first).unwrap(), Signal::TERM).unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = daemon.0.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}
