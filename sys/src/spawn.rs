//! Starting a process in namespaces of its own, with exactly the descriptors that it is to have.
//!
//! Works for root and for ordinary users alike. With a user namespace, the new process is uid and gid 0 in it and has
//! no other id; outside it is the given account, or who the caller is. It has all capabilities over its own
//! namespaces and none outside, which is what it needs to enter its sandbox.

mod child;
mod command;
mod maps;

use std::cmp::Ordering;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::inherit::last_errno;
use crate::profile::Namespaces;

pub use child::Stage;
pub use command::Command;

/// What to start, and how.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The program, opened (`O_PATH` is enough). No interpreter scripts.
    pub program: BorrowedFd<'a>,
    /// The program's name for itself.
    pub argv0: &'a str,
    /// Its further arguments.
    pub args: &'a [&'a OsStr],
    /// Descriptors 0, 1 and 2 of the new process.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Descriptors 3, 4, … of the new process, in this order. Every other one is closed in it.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// The account to run as; only root can give one. `None`: the caller's own.
    pub account: Option<Account>,
    /// The namespaces to make.
    pub namespaces: Namespaces,
}

/// A user and its primary group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Account {
    /// What a process that knows all ids ([`Namespaces::all_ids`]) sees of an id outside of its namespace:
    /// its own is 0, those below are one higher to make room for that, and those above are what they are.
    #[must_use]
    pub fn inside(own: u32, outside: u32) -> u32 {
        match outside.cmp(&own) {
            Ordering::Less => outside.saturating_add(1),
            Ordering::Equal => 0,
            Ordering::Greater => outside,
        }
    }

    /// The id outside of the namespace that such a process sees as `inside`.
    #[must_use]
    pub fn outside(own: u32, inside: u32) -> u32 {
        match inside {
            0 => own,
            lower if lower <= own => lower.saturating_sub(1),
            higher => higher,
        }
    }
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// An argument holds a NUL byte.
    #[error("an argument of {0} holds a NUL byte")]
    Argument(String),
    /// The path of a program does not begin with `/`.
    #[error("{0} is no absolute path")]
    NotAbsolute(String),
    /// The parent's part failed.
    #[error("starting {program}: {tried} failed: {errno}")]
    Parent {
        /// Its name.
        program: String,
        /// What was tried.
        tried: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The new process could not become what it should, and is gone.
    #[error("starting {program}: {stage} failed in the new process: {errno}")]
    Child {
        /// Its name.
        program: String,
        /// How far it came.
        stage: Stage,
        /// The kernel's answer.
        errno: Errno,
    },
}

impl From<SpawnError> for std::io::Error {
    fn from(error: SpawnError) -> Self {
        Self::other(error)
    }
}

/// A running (or ended) process that this one has started. Killed and forgotten when dropped.
#[derive(Debug)]
pub struct Child {
    pidfd: OwnedFd,
    pid: u32,
    ended: Option<Ended>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Spawn<'_> {
    /// Starts it. When this returns, the program runs.
    ///
    /// The environment of the new process is empty, its signal handlers and mask are the default, and it is killed
    /// when the calling thread ends.
    ///
    /// # Errors
    /// Which step failed, here or in the new process; nothing is left running then.
    pub fn start(&self) -> Result<Child, SpawnError> {
        self.start_at(c"", &[])
    }

    /// As [`Spawn::start`], with an environment; a path that is not empty is the program's.
    fn start_at(&self, path: &CStr, environment: &[CString]) -> Result<Child, SpawnError> {
        let argv = self.argv()?;
        let argv_pointers = pointers(&argv);
        let environment_pointers = pointers(environment);
        let (go_read, go_write) = self.pipe()?;
        let (report_read, report_write) = self.pipe()?;
        let mut sources: Vec<RawFd> = self.stdio.iter().map(AsRawFd::as_raw_fd).collect();
        sources.extend(self.descriptors.iter().map(AsRawFd::as_raw_fd));
        let mut plan = child::Plan {
            program: self.program.as_raw_fd(),
            path: path.as_ptr(),
            argv: argv_pointers.as_ptr(),
            environment: environment_pointers.as_ptr(),
            sources: &mut sources,
            go_read: go_read.as_raw_fd(),
            go_write: go_write.as_raw_fd(),
            report: report_write.as_raw_fd(),
            ids: self.ids(),
        };
        let started = child::clone_and_run(maps::clone_flags(self.namespaces), &mut plan)
            .map_err(|errno| self.parent_failed(maps::clone_tried(self.namespaces, errno), errno))?;
        let mut child = Child { pidfd: started.pidfd, pid: started.pid, ended: None };
        drop(go_read);
        drop(report_write);
        // From here on, an error drops `child`, which kills it.
        self.expect_stage(&report_read, &mut child, Some(Stage::Ready))?;
        if self.namespaces.user {
            maps::write(child.pid, self.account, self.namespaces.all_ids)
                .map_err(|(tried, errno)| self.parent_failed(tried, errno))?;
        }
        rustix::io::write(&go_write, b"g")
            .map_err(|errno| self.parent_failed("waking the new process", errno))?;
        self.expect_stage(&report_read, &mut child, None)?;
        Ok(child)
    }

    fn argv(&self) -> Result<Vec<CString>, SpawnError> {
        let all = std::iter::once(OsStr::new(self.argv0)).chain(self.args.iter().copied());
        all.map(|arg| self.c_string(arg)).collect()
    }

    fn c_string(&self, text: &OsStr) -> Result<CString, SpawnError> {
        CString::new(text.as_bytes()).map_err(|_| SpawnError::Argument(self.argv0.to_owned()))
    }

    /// Which ids the new process takes, seen from inside of its namespace.
    fn ids(&self) -> child::Ids {
        let inside = Account { uid: 0, gid: 0 };
        match (self.namespaces.user, self.account) {
            (true, Some(_)) => child::Ids::Take { account: inside, clear_groups: child::ClearGroups::Must },
            (true, None) => child::Ids::Take { account: inside, clear_groups: child::ClearGroups::Try },
            (false, Some(account)) => child::Ids::Take { account, clear_groups: child::ClearGroups::Must },
            (false, None) => child::Ids::Keep,
        }
    }

    /// A pipe that no program inherits, with both ends above the standard descriptors even if those are closed here.
    fn pipe(&self) -> Result<(OwnedFd, OwnedFd), SpawnError> {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| self.parent_failed("pipe2", errno))
    }

    /// Waits for the new process to say that it is at `wanted`, or (`None`) that it has become the program, which
    /// closes the pipe.
    fn expect_stage(
        &self,
        report: &OwnedFd,
        child: &mut Child,
        wanted: Option<Stage>,
    ) -> Result<(), SpawnError> {
        let mut message = [0_u8; child::REPORT_BYTES];
        let count = loop {
            match rustix::io::read(report, &mut message) {
                Err(Errno::INTR) => {}
                other => {
                    break other
                        .map_err(|errno| self.parent_failed("reading from the new process", errno))?;
                }
            }
        };
        if count == 0 && wanted.is_none() {
            return Ok(());
        }
        let (stage, errno) = child::decode_report(message);
        if count == message.len() && stage == wanted && stage.is_some() {
            return Ok(());
        }
        child.kill_and_reap();
        let program = self.argv0.to_owned();
        match stage {
            Some(stage) if count == message.len() => Err(SpawnError::Child { program, stage, errno }),
            _ => Err(self.parent_failed("waiting for the new process", Errno::PIPE)),
        }
    }

    fn parent_failed(&self, tried: &'static str, errno: Errno) -> SpawnError {
        SpawnError::Parent { program: self.argv0.to_owned(), tried, errno }
    }
}

/// What exec takes: the address of each, and a null pointer.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

impl Child {
    /// Its process id, as the caller sees it. Valid until it has been waited for.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A descriptor that becomes readable when it ends.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends SIGKILL; nothing happens to one that has ended.
    ///
    /// # Errors
    /// The kernel's, when the signal may not be sent.
    pub fn kill(&self) -> std::io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends SIGKILL to it and to everything that it has started and that has not left its session; nothing happens
    /// once it was waited for, since its number may then be another's.
    ///
    /// # Errors
    /// The kernel's, when the signal may not be sent.
    pub fn kill_session(&self) -> std::io::Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        // A started process is the leader of its session, and so of its process group.
        let leader = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        match leader.map_or(Err(Errno::SRCH), |pid| rustix::process::kill_process_group(pid, Signal::KILL)) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until it ends. May be called again and gives the same answer.
    ///
    /// # Errors
    /// The kernel's, when it was waited for by other means.
    pub fn wait(&mut self) -> std::io::Result<Ended> {
        loop {
            match self.wait_with(WaitIdOptions::EXITED) {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn try_wait(&mut self) -> std::io::Result<Option<Ended>> {
        Ok(self.wait_with(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?)
    }

    fn wait_with(&mut self, options: WaitIdOptions) -> Result<Option<Ended>, Errno> {
        if self.ended.is_some() {
            return Ok(self.ended);
        }
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options)?;
        self.ended = status.and_then(|status| {
            let by_signal = status.terminating_signal().map(Ended::Signal);
            by_signal.or_else(|| status.exit_status().map(Ended::Code))
        });
        Ok(self.ended)
    }

    fn kill_and_reap(&mut self) {
        if self.ended.is_none() && self.kill().is_ok() {
            // Nobody is left to be told of an error here.
            let _ = self.wait();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}

impl Ended {
    /// Whether it was killed because it tried a system call outside of its profile.
    #[must_use]
    pub fn is_violation(self) -> bool {
        self == Self::Signal(libc::SIGSYS)
    }

    /// Whether it ended because of a mistake in the program: a panic, an abort, or a memory fault.
    #[must_use]
    pub fn is_crash(self) -> bool {
        let crashes = [libc::SIGILL, libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGTRAP];
        matches!(self, Self::Signal(number) if crashes.contains(&number))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Code(code) if code == i32::from(crate::worker::EXIT_SANDBOX) => {
                write!(f, "exit code {code} (it could not enter its sandbox)")
            }
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(libc::SIGSYS) => write!(f, "SIGSYS (a system call outside of its profile)"),
            Self::Signal(libc::SIGILL) => write!(f, "SIGILL (a panic, or no memory left)"),
            Self::Signal(libc::SIGABRT) => write!(f, "SIGABRT (an abort)"),
            Self::Signal(libc::SIGSEGV) => write!(f, "SIGSEGV (a memory fault or stack overflow)"),
            Self::Signal(libc::SIGKILL) => write!(f, "SIGKILL"),
            Self::Signal(number) => write!(f, "signal {number}"),
        }
    }
}

/// Whether this process may start others under other accounts: it is root, in a user namespace that knows all ids.
#[must_use]
pub fn can_switch_accounts() -> bool {
    rustix::process::geteuid().is_root()
        && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps::knows_all_ids(&map))
}

/// The descriptor of a process that this one has just made.
struct Started {
    pidfd: OwnedFd,
    pid: u32,
}

impl Started {
    /// # Safety
    /// `pidfd` must be a descriptor that nobody else owns.
    unsafe fn new(pidfd: RawFd, pid: libc::c_long) -> Result<Self, Errno> {
        // SAFETY: the caller vouches for it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        let pid = u32::try_from(pid).map_err(|_| Errno::INVAL)?;
        Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::INVAL)?).ok_or(Errno::INVAL)?;
        Ok(Self { pidfd, pid })
    }
}

/// Errors of libc calls, for the modules beneath.
fn errno() -> Errno {
    last_errno()
}
