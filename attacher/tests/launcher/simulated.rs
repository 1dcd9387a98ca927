//! The simulated host as the toolstack: domains really begin and end.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use protocol::launch::{LaunchFailure, LaunchOutcome};

use crate::rig::{Configured, Rig, failed};

/// A host without a daemon.
struct Host {
    program: PathBuf,
    folder: tempfile::TempDir,
    up: Child,
}

impl Host {
    fn start() -> Option<Self> {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_dvm-runner")).with_file_name("xen-sim");
        if !program.is_file() {
            testkit::skip("xen-sim is not built: cargo build --package simulator");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(&program);
        command.args(["up", "--no-daemon", "--dir"]).arg(folder.path());
        let mut up = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Some(Self { program, folder, up })
    }

    fn words(&self, verb: &str) -> Vec<String> {
        let (program, folder) = (self.program.to_str().unwrap(), self.folder.path().to_str().unwrap());
        [program, verb, "--dir", folder, "{name}"].map(str::to_owned).to_vec()
    }

    fn list(&self) -> String {
        let output = Command::new(&self.program).args(["ls", "--dir"]).arg(self.folder.path()).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.up);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.up.wait();
    }
}

#[test]
fn domains_of_the_simulated_host_begin_and_end_by_the_launchers_orders() {
    let Some(host) = Host::start() else { return };
    let mut rig = Rig::start(&Configured {
        create_words: host.words("start-disposable"),
        destroy_words: host.words("destroy"),
        exists_words: host.words("domid"),
        ..Configured::default()
    });
    let first = rig.create(1);
    assert_eq!(rig.answer(first), LaunchOutcome::Done);
    assert_eq!(host.list(), "disp1 1 running -\n");
    // One that runs already cannot be made.
    let again = rig.create(1);
    assert_eq!(rig.answer(again), failed(LaunchFailure::CommandFailed));
    let second = rig.create(2);
    assert_eq!(rig.answer(second), LaunchOutcome::Done);
    assert_eq!(host.list(), "disp1 1 running -\ndisp2 2 running -\n");
    for number in [1, 1, 2, 3] {
        let id = rig.destroy(number);
        assert_eq!(rig.answer(id), LaunchOutcome::Done, "{number}: {:?}", rig.logged);
    }
    assert_eq!(host.list(), "");
}
