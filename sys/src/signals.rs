//! Signals as something to wait for together with everything else, instead of an interruption anywhere.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Signal;

use crate::inherit::last_errno;

/// Size of `struct signalfd_siginfo` in `linux/signalfd.h`, whose first field is the signal's number.
const SIGINFO_BYTES: usize = 128;

/// A descriptor from which blocked signals are read. Processes started by [`crate::spawn`] begin with none blocked.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks these signals in the calling thread, and makes them readable instead. To be called while there is only
    /// one thread.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take(signals: &[Signal]) -> std::io::Result<Self> {
        // SAFETY: sigset_t is an array of integers, for which zero is a value.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is valid.
        unsafe { libc::sigemptyset(&raw mut set) };
        for signal in signals {
            // SAFETY: the pointer is valid; a number that is no signal is refused.
            if unsafe { libc::sigaddset(&raw mut set, signal.as_raw()) } != 0 {
                return Err(last_errno().into());
            }
        }
        // SAFETY: the pointer is valid, and the third argument may be null.
        let blocked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if blocked != 0 {
            return Err(Errno::from_raw_os_error(blocked).into());
        }
        // SAFETY: the pointer is valid.
        let raw = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if raw < 0 {
            return Err(last_errno().into());
        }
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(raw) } })
    }

    /// The number of the next signal that has arrived, if there is one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next(&self) -> std::io::Result<Option<i32>> {
        let mut info = [0_u8; SIGINFO_BYTES];
        loop {
            match rustix::io::read(&self.fd, &mut info) {
                Ok(SIGINFO_BYTES) => break,
                Ok(_) => return Err(Errno::IO.into()),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let [s0, s1, s2, s3, ..] = info;
        Ok(i32::try_from(u32::from_ne_bytes([s0, s1, s2, s3])).ok())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_and_interrupts_nothing() {
        let signals = Signals::take(&[Signal::USR1]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        // To this thread alone: the others of the test runner have not blocked it.
        // SAFETY: it has no preconditions.
        let this_thread = unsafe { libc::pthread_self() };
        // SAFETY: the thread lives, and the number is a signal's.
        assert_eq!(unsafe { libc::pthread_kill(this_thread, libc::SIGUSR1) }, 0);
        assert_eq!(signals.next().unwrap(), Some(libc::SIGUSR1));
        assert_eq!(signals.next().unwrap(), None);
    }
}
