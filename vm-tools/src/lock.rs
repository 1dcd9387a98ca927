//! Locks between the tools of this project in one VM.
//!
//! Each VM has one key for its requests and one for the replies, and xenstore keeps only the newest value of either. So
//! a tool that asks holds [`REQUEST`] until dom0 has taken notice, and a tool that uses the outgoing pendrive holds
//! [`OUTGOING`] from `new` to the end of `send`.
//!
//! The tools run as different users (udev's as root), so the files are common to all: in `/run/lock` where whoever
//! comes first may make them, else in `/tmp`. flock(2) needs no right to write.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat};
use rustix::io::Errno;

use crate::failure::Failure;
use crate::interrupt;

/// Held while a request is written and until dom0's first reply to it.
pub const REQUEST: &str = "qfilexchg-request.lock";
/// Held while the outgoing pendrive is made, written and sent.
pub const OUTGOING: &str = "qfilexchg-outgoing.lock";
/// Held while the incoming pendrive is read.
pub const INCOMING: &str = "qfilexchg-incoming.lock";

/// Where the files may be, the first possible place first.
const DIRECTORIES: [&str; 2] = ["/run/lock", "/tmp"];
/// Between two tries, in milliseconds.
const RETRY_MS: u64 = 50;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: OwnedFd,
}

/// Where the locks of this VM are.
#[derive(Debug, Clone)]
pub struct LockPlace {
    directories: Vec<PathBuf>,
}

impl Default for LockPlace {
    fn default() -> Self {
        Self { directories: DIRECTORIES.iter().map(PathBuf::from).collect() }
    }
}

impl LockPlace {
    /// Another place, for tests.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self { directories: vec![directory.to_owned()] }
    }

    /// Takes a lock, or says at once that another tool holds it.
    ///
    /// # Errors
    /// [`Failure::Busy`] with `busy_line`; [`Failure::Failed`] where no lock can be made.
    pub fn try_take(&self, name: &str, busy_line: &str) -> Result<Lock, Failure> {
        self.take(name, Duration::ZERO, busy_line)
    }

    /// Takes a lock, waiting for it at most this long.
    ///
    /// # Errors
    /// As [`LockPlace::try_take`].
    pub fn take(&self, name: &str, wait_max: Duration, busy_line: &str) -> Result<Lock, Failure> {
        let file = self.open(name)?;
        let deadline = Instant::now() + wait_max;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() >= deadline => {
                    return Err(Failure::Busy(crate::shown::Line::new(busy_line)));
                }
                Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(RETRY_MS)),
                Err(errno) => return Err(Failure::failed(&format!("cannot lock {name}: {errno}"))),
            }
            interrupt::check("nothing was asked of dom0")?;
        }
    }

    fn open(&self, name: &str) -> Result<OwnedFd, Failure> {
        let mut last = Errno::NOENT;
        for directory in &self.directories {
            match open_or_make(&directory.join(name)) {
                Ok(file) => return Ok(file),
                Err(errno) => last = errno,
            }
        }
        Err(Failure::failed(&format!("cannot make the lock {name} in /run/lock or /tmp: {last}")))
    }
}

/// Opens the file, making it if it is missing. Opened first without `O_CREAT`: the kernel refuses that flag for
/// somebody else's file in a directory like `/tmp` (`fs.protected_regular`).
fn open_or_make(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let made = flags | OFlags::CREATE | OFlags::EXCL;
    for _ in 0..2 {
        match openat(CWD, path, flags, Mode::empty()) {
            Ok(file) if FileType::from_raw_mode(fstat(&file)?.st_mode).is_file() => return Ok(file),
            Ok(_) => return Err(Errno::INVAL),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        match openat(CWD, path, made, Mode::RUSR | Mode::RGRP | Mode::ROTH) {
            Ok(file) => return Ok(file),
            // Another tool was faster.
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn a_lock_has_one_holder_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let place = LockPlace::at(directory.path());
        let first = place.try_take(OUTGOING, "in use").unwrap();
        let other = place.try_take(REQUEST, "in use");
        assert!(other.is_ok());
        let second = place.take(OUTGOING, Duration::from_millis(120), "in use").unwrap_err();
        assert_eq!((second.exit_code(), second.to_string().as_str()), (exit::BUSY, "in use"));
        drop(first);
        // Not at once: a program that another test starts at this moment has the lock's file until it runs.
        assert!(place.take(OUTGOING, Duration::from_secs(30), "in use").is_ok());
    }

    #[test]
    fn a_link_in_place_of_a_lock_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        std::os::unix::fs::symlink(&victim, directory.path().join(OUTGOING)).unwrap();
        assert!(LockPlace::at(directory.path()).try_take(OUTGOING, "in use").is_err());
        assert!(!victim.exists());
    }

    #[test]
    fn the_second_place_serves_where_the_first_does_not_exist() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let place = LockPlace { directories: vec![missing, directory.path().to_owned()] };
        assert!(place.try_take(REQUEST, "in use").is_ok());
        assert!(directory.path().join(REQUEST).exists());
    }
}
