//! A xenstored whose socket has a path too long for a socket's address.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use e2e::{PATIENCE, programs};

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn gate(daemon: &Ended) -> Option<u32> {
    let all = e2e::processes(daemon.0.id());
    all.into_iter().find(|process| process.name == "xs-gate").map(|process| process.pid)
}

fn configuration(host: &Path, xenstored: &Path) -> String {
    let own = host.join("own");
    let own = own.display();
    format!(
        "[host]\nkind = \"simulated\"\nxenstored_socket = \"{}\"\nboot_id_file = \"{}\"\n\n\
         [images]\ndirectory = \"{own}/images\"\n\n[journal]\ndirectory = \"{own}/journal\"\n\n\
         [policy]\ndirectory = \"{own}/policy.d\"\ntags_file = \"{own}/tags\"\n\n\
         [dialog]\nkind = \"none\"\n\n[control]\nsocket = \"{own}/control\"\n",
        xenstored.display(),
        host.join("boot_id").display(),
    )
}

/// The first connection is made before the supervisor enters its profile, every later one within it.
#[test]
fn l19_a_worker_is_started_anew_by_the_confined_supervisor_on_a_path_of_300_bytes() {
    let host = tempfile::Builder::new().prefix("qfx").tempdir().unwrap();
    let mut up = Command::new(programs().join("xen-sim"));
    up.args(["up", "--no-daemon", "--vm", "work", "--dir"]).arg(host.path());
    let mut up = Ended(up.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut said = [0; 5];
    up.0.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"ready");
    let deep = host.path().join("d".repeat(140)).join("e".repeat(140));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::create_dir_all(host.path().join("own/policy.d")).unwrap();
    let socket = deep.join("xenstored");
    std::os::unix::fs::symlink(host.path().join("xenstored"), &socket).unwrap();
    assert!(socket.as_os_str().len() >= 300);
    let config = host.path().join("own/qfilexchgd.toml");
    std::fs::write(&config, configuration(host.path(), &socket)).unwrap();
    let log = std::fs::File::create(host.path().join("own/log")).unwrap();
    let said = || std::fs::read_to_string(host.path().join("own/log")).unwrap();
    let mut daemon = Command::new(programs().join("qfilexchgd"));
    let daemon = Ended(daemon.arg("--config").arg(&config).stderr(log).spawn().unwrap());
    wait_for("the daemon", || said().contains("requests are served"));
    let first = gate(&daemon).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_for("another gate", || gate(&daemon).is_some_and(|now| now != first));
    assert!(!said().contains("SIGSYS"), "{}", said());
}
