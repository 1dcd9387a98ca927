//! Both processes, started as the supervisor starts them, and a directory in which scripts leave traces.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use protocol::channel::{self, Channel};
use protocol::codec;
use protocol::launch::{
    DisposableNumber, LaunchFailure, LaunchId, LaunchOrder, LaunchOutcome, LaunchReply, LaunchRequest,
};
use protocol::runner::{RunReply, RunRequest, RunnerNotice, RunnerSettings};
use protocol::settings::LauncherSettings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use sys::profile::Namespaces;
use sys::spawn::{Child, Ended, Spawn};

pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// What is configured. A command is a script of the shell, with the name of the VM as `$1`.
#[derive(Default)]
pub struct Configured {
    pub create: &'static str,
    pub destroy: &'static str,
    pub exists: &'static str,
    pub rebuild: &'static str,
    pub free_memory: &'static str,
    pub template: bool,
    pub base: bool,
    /// Instead of the scripts of these names.
    pub create_words: Vec<String>,
    pub destroy_words: Vec<String>,
    pub exists_words: Vec<String>,
    pub create_ms_max: Option<u32>,
}

pub struct Rig {
    pub directory: tempfile::TempDir,
    pub runner: Option<Child>,
    supervisor: Option<Channel<RunnerNotice, ()>>,
    launcher_settings: LauncherSettings,
    pub launcher: Option<Child>,
    edge: Option<Channel<LaunchRequest, LaunchReply>>,
    pub logged: Vec<String>,
    next: u64,
}

impl Rig {
    /// Both run.
    pub fn start(configured: &Configured) -> Self {
        let mut rig = Self::without_launcher(configured);
        rig.start_launcher();
        rig
    }

    pub fn without_launcher(configured: &Configured) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = runner_settings(configured, &directory);
        let limit = configured.create_ms_max.unwrap_or(20_000);
        let launcher_settings = LauncherSettings {
            has_exists: !settings.exists.is_empty(),
            has_rebuild: !settings.rebuild.is_empty(),
            has_free_memory: !settings.free_memory.is_empty(),
            has_template: configured.template,
            has_base: configured.base,
            memory_mib_min: 100,
            create_ms_max: limit,
            destroy_ms_max: limit,
            rebuild_ms_max: limit,
            ask_ms_max: 20_000,
        };
        let (ours, theirs) = channel::pair().unwrap();
        let sealed = sealed(&codec::encode_settings(&settings).unwrap());
        let program = File::open(env!("CARGO_BIN_EXE_dvm-runner")).unwrap();
        let null = null();
        let spawn = Spawn {
            program: program.as_fd(),
            argv0: "dvm-runner",
            args: &[],
            stdio: [null.as_fd(), null.as_fd(), null.as_fd()],
            descriptors: &[theirs.as_fd(), sealed.as_fd()],
            account: None,
            namespaces: Namespaces::NONE,
        };
        Self {
            directory,
            runner: Some(spawn.start().unwrap()),
            supervisor: Some(Channel::new(ours)),
            launcher_settings,
            launcher: None,
            edge: None,
            logged: Vec::new(),
            next: 1,
        }
    }

    /// A new launcher, as after a restart.
    pub fn start_launcher(&mut self) {
        let runner = self.announce();
        let profile = &sandbox_profiles::DVM_LAUNCHER;
        let program = File::open(env!("CARGO_BIN_EXE_dvm-launcher")).unwrap();
        let null = null();
        let (theirs, ours) = channel::pair().unwrap();
        let settings = sealed(&codec::encode_settings(&self.launcher_settings).unwrap());
        let descriptors: [BorrowedFd<'_>; 3] = [theirs.as_fd(), settings.as_fd(), runner.as_fd()];
        let spawn = Spawn {
            program: program.as_fd(),
            argv0: profile.process,
            args: &[],
            stdio: [null.as_fd(), null.as_fd(), null.as_fd()],
            descriptors: &descriptors,
            account: None,
            namespaces: profile.namespaces,
        };
        self.launcher = Some(spawn.start().unwrap());
        self.edge = Some(Channel::new(ours));
    }

    /// The end of a new launcher's edge to the runner.
    pub fn announce(&mut self) -> OwnedFd {
        let (launchers_end, runners_end) = channel::pair().unwrap();
        let supervisor = self.supervisor.as_mut().unwrap();
        supervisor.send_with(&RunnerNotice::NewLauncher, runners_end).unwrap();
        launchers_end
    }

    /// The supervisor is gone.
    pub fn lose_supervisor(&mut self) {
        self.supervisor = None;
    }

    pub fn order(&mut self, order: LaunchOrder) -> LaunchId {
        let id = LaunchId(self.next);
        self.next += 1;
        self.edge.as_mut().unwrap().send(&LaunchRequest { id, order }).unwrap();
        id
    }

    pub fn create(&mut self, of: u32) -> LaunchId {
        self.order(LaunchOrder::Create { number: number(of) })
    }

    pub fn destroy(&mut self, of: u32) -> LaunchId {
        self.order(LaunchOrder::Destroy { number: number(of) })
    }

    /// The next message that is no line of the log, or `None` when the launcher has gone.
    pub fn next(&mut self) -> Option<LaunchReply> {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            let edge = self.edge.as_mut().unwrap();
            match edge.receive() {
                Ok(Some(LaunchReply::Log(line))) => self.logged.push(line.text.as_str().to_owned()),
                Ok(Some(reply)) => return Some(reply),
                Ok(None) => wait(edge, deadline),
                Err(_) => return None,
            }
        }
    }

    /// How an order ends, the next one that does.
    pub fn answer(&mut self, wanted: LaunchId) -> LaunchOutcome {
        match self.next() {
            Some(LaunchReply::Finished { id, outcome }) if id == wanted => outcome,
            other => panic!("{other:?} instead of the answer to {wanted:?}; log: {:?}", self.logged),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a script has left in a file, once it is there and ends in a newline.
    pub fn trace(&self, name: &str) -> String {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            if text.ends_with('\n') {
                return text.trim_end().to_owned();
            }
            assert!(Instant::now() < deadline, "no {name}; log: {:?}", self.logged);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the process whose number a script has left is gone.
    pub fn expect_gone(&self, name: &str) {
        let process = PathBuf::from(format!("/proc/{}", self.trace(name)));
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        while process.exists() {
            assert!(Instant::now() < deadline, "{} lives on", process.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // In this order, so that the runner ends what its commands have started before it ends itself.
        self.supervisor = None;
        if let Some(runner) = &mut self.runner {
            let _ = runner.wait();
        }
    }
}

pub fn number(number: u32) -> DisposableNumber {
    DisposableNumber::new(number).unwrap()
}

pub fn failed(failure: LaunchFailure) -> LaunchOutcome {
    LaunchOutcome::Failed(failure)
}

/// An edge to the runner without a launcher behind it.
pub fn raw_edge(socket: OwnedFd) -> Channel<RunRequest, RunReply> {
    Channel::new(socket)
}

pub fn wait(fd: &impl AsFd, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    assert!(!left.is_zero(), "no answer");
    let timeout = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap() + 1, tv_nsec: 0 };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap();
}

pub fn wait_for_end(child: &mut Child) -> Ended {
    child.wait().unwrap()
}

fn runner_settings(configured: &Configured, directory: &tempfile::TempDir) -> RunnerSettings {
    let script = |text: &str| {
        if text.is_empty() {
            return Vec::new();
        }
        let text = format!("cd '{}'; {text}", directory.path().display());
        ["/bin/sh", "-c", text.as_str(), "sh", "{name}"].map(str::to_owned).to_vec()
    };
    let file = |wanted: bool, name: &str| {
        if wanted { directory.path().join(name).to_str().unwrap().to_owned() } else { String::new() }
    };
    let either = |text: &str, words: &[String]| if words.is_empty() { script(text) } else { words.to_vec() };
    RunnerSettings {
        create: either(configured.create, &configured.create_words),
        destroy: either(configured.destroy, &configured.destroy_words),
        exists: either(configured.exists, &configured.exists_words),
        rebuild: script(configured.rebuild),
        free_memory: script(configured.free_memory),
        template: file(configured.template, "template"),
        base: file(configured.base, "base"),
    }
}

fn null() -> File {
    File::options().read(true).write(true).open("/dev/null").unwrap()
}

/// A file in memory that nobody can change any more.
fn sealed(bytes: &[u8]) -> OwnedFd {
    let file = rustix::fs::memfd_create("settings", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    assert_eq!(rustix::io::write(&file, bytes).unwrap(), bytes.len());
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW).unwrap();
    file
}
