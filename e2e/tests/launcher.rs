//! The launcher of DisposableVMs and what runs the toolstack for it, within the whole daemon.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use e2e::{Host, Process, processes};

fn process(host: &Host, name: &str) -> Option<Process> {
    processes(host.pid()).into_iter().find(|process| process.name == name)
}

fn pid(host: &Host, name: &str) -> u32 {
    process(host, name).unwrap_or_else(|| panic!("no process {name}")).pid
}

#[test]
fn a_host_that_makes_no_disposables_has_neither_process() {
    let host = Host::up(&["work"]);
    assert!(process(&host, "dvm-launcher").is_none() && process(&host, "dvm-runner").is_none());
}

#[test]
fn the_launcher_is_confined_and_the_runner_is_not() {
    let host = Host::up_with_disposables(&["work"]);
    let launcher = process(&host, "dvm-launcher").unwrap();
    let field = |process: &Process, name: &str| process.status.get(name).cloned().unwrap_or_default();
    assert_eq!(field(&launcher, "Seccomp"), "2");
    assert_eq!(field(&launcher, "NoNewPrivs"), "1");
    assert_eq!(field(&launcher, "CapEff"), "0000000000000000");
    // It has the rights of whoever starts the daemon, or no toolstack would work.
    let runner = process(&host, "dvm-runner").unwrap();
    assert_eq!(field(&runner, "Seccomp"), field(&process_of_up(&host), "Seccomp"));
    assert_eq!(field(&runner, "NoNewPrivs"), field(&process_of_up(&host), "NoNewPrivs"));
    assert_eq!(field(&runner, "CapEff"), field(&process_of_up(&host), "CapEff"));
}

fn process_of_up(host: &Host) -> Process {
    let text = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let status = fields.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect();
    Process { pid: host.pid(), name: "xen-sim".to_owned(), status }
}

#[test]
fn a_launcher_that_is_killed_is_started_alone() {
    let host = Host::up_with_disposables(&["work"]);
    let before = ["broker", "attacher", "xs-monitor", "dvm-runner"].map(|name| (name, pid(&host, name)));
    let launcher = pid(&host, "dvm-launcher");
    host.kill("dvm-launcher");
    host.wait_for("another launcher", || {
        process(&host, "dvm-launcher").is_some_and(|now| now.pid != launcher)
    });
    for (name, number) in before {
        assert_eq!(pid(&host, name), number, "{name}");
    }
}

#[test]
fn without_its_runner_the_daemon_says_so_and_is_started_anew() {
    let host = Host::up_with_disposables(&["work"]);
    let broker = pid(&host, "broker");
    host.kill("dvm-runner");
    host.wait_for("another daemon", || process(&host, "broker").is_some_and(|now| now.pid != broker));
    assert!(host.output().contains("dvm-runner ended (SIGKILL)"), "{}", host.output());
    host.wait_for("another runner", || process(&host, "dvm-runner").is_some());
}
