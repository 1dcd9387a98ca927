//! dvm-runner, which runs the toolstack's commands outside of every sandbox. It is started before the supervisor enters
//! its own, since what is started afterwards inherits that.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use protocol::channel::{self, Channel, ChannelError};
use protocol::codec::{self, CodecError};
use protocol::runner::{RunnerNotice, RunnerSettings};
use protocol::settings::LauncherSettings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sys::profile::Namespaces;
use sys::spawn::{Child, Ended, Spawn};

use crate::config::{Config, ConfigError, Disposables};
use crate::memory_file;
use crate::settings::MS_PER_S;

/// Its name, and that of its program.
pub const RUNNER: &str = "dvm-runner";
/// How long it may take to end its commands when the daemon ends, in seconds.
const END_S_MAX: i64 = 2;

/// The running dvm-runner. It ends, and every command with it, when this is dropped.
#[derive(Debug)]
pub struct Runner {
    child: Child,
    /// Where new launchers are announced; `None` only while it ends.
    edge: Option<Channel<RunnerNotice, ()>>,
}

impl Runner {
    /// Starts it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(program: BorrowedFd<'_>, null: BorrowedFd<'_>, settings: &OwnedFd) -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        let spawn = Spawn {
            program,
            argv0: RUNNER,
            args: &[],
            stdio: [null, null, null],
            descriptors: &[theirs.as_fd(), settings.as_fd()],
            account: None,
            namespaces: Namespaces::NONE,
        };
        Ok(Self { child: spawn.start()?, edge: Some(Channel::new(ours)) })
    }

    /// Announces a new dvm-launcher, and gives that one's end of the edge between the two.
    ///
    /// # Errors
    /// dvm-runner is gone.
    pub fn new_launcher(&mut self) -> io::Result<OwnedFd> {
        let (launchers_end, runners_end) = channel::pair()?;
        let edge = self.edge.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let sent = edge.send_with(&RunnerNotice::NewLauncher, runners_end);
        sent.map_err(|error: ChannelError| io::Error::other(error))?;
        Ok(launchers_end)
    }

    /// Becomes readable when it ends.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_wait(&mut self) -> io::Result<Option<Ended>> {
        self.child.try_wait()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // It ends when the edge does. After that time it is killed, whatever its commands do.
        self.edge = None;
        let timeout = Timespec { tv_sec: END_S_MAX, tv_nsec: 0 };
        let pidfd = self.child.pidfd();
        let _ = poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&timeout));
    }
}

/// What dvm-launcher is told, in a memory file.
///
/// # Errors
/// The kernel's.
pub fn launcher_settings(disposables: &Disposables) -> io::Result<OwnedFd> {
    let ms = |seconds: u32| seconds.saturating_mul(MS_PER_S);
    let settings = LauncherSettings {
        has_exists: !disposables.exists.is_empty(),
        has_rebuild: !disposables.rebuild.is_empty(),
        has_free_memory: !disposables.free_memory.is_empty(),
        has_template: disposables.template.is_some(),
        has_base: disposables.base.is_some(),
        memory_mib_min: disposables.memory_mib_min,
        create_ms_max: ms(disposables.create_s_max),
        destroy_ms_max: ms(disposables.destroy_s_max),
        rebuild_ms_max: ms(disposables.rebuild_s_max),
        ask_ms_max: ms(crate::config::ASK_S_MAX),
    };
    sealed("settings of dvm-launcher", codec::encode_settings(&settings))
}

/// What dvm-runner is told, in a memory file.
///
/// # Errors
/// A path is not UTF-8, which one of the configuration always is.
pub fn runner_settings(config: &Config) -> Result<io::Result<OwnedFd>, ConfigError> {
    let disposables = &config.disposables;
    let text = |path: &Option<PathBuf>| match path {
        None => Ok(String::new()),
        Some(path) => {
            let text = path.to_str().map(ToOwned::to_owned);
            text.ok_or_else(|| ConfigError::whole(path, "this path must be UTF-8"))
        }
    };
    let settings = RunnerSettings {
        create: disposables.create.clone(),
        destroy: disposables.destroy.clone(),
        exists: disposables.exists.clone(),
        rebuild: disposables.rebuild.clone(),
        free_memory: disposables.free_memory.clone(),
        template: text(&disposables.template)?,
        base: text(&disposables.base)?,
    };
    Ok(sealed("settings of dvm-runner", codec::encode_settings(&settings)))
}

fn sealed(name: &str, bytes: Result<Vec<u8>, CodecError>) -> io::Result<OwnedFd> {
    memory_file::sealed(name, &bytes.map_err(io::Error::other)?)
}
