//! The descriptors that a process was started with: exactly those that its profile names, and no other.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::FdFlags;

use crate::profile::{Profile, Rest};

/// The number of the first descriptor after stdin, stdout and stderr.
pub const FIRST_FD: RawFd = 3;

/// Why the descriptors could not be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InheritError {
    /// The process was started without one of its descriptors.
    #[error("descriptor {number} ({name}) is not open: this program is started by qfilexchgd, not by hand")]
    NotOpen {
        /// Its number.
        number: RawFd,
        /// Its name in the profile.
        name: &'static str,
    },
    /// More further descriptors than the profile permits.
    #[error("more than {count_max} descriptors of the kind {name}: raise [rest] count_max in the profile")]
    TooMany {
        /// Their name in the profile.
        name: &'static str,
        /// The permitted number.
        count_max: usize,
    },
    /// The name is not in the profile, or was already taken.
    #[error("no descriptor {0} left to take: it is not in the profile, or it was taken before")]
    Unknown(String),
    /// Descriptors may be taken over once in the life of a process.
    #[error("the descriptors of this process were taken over before")]
    Twice,
    /// The others could not be closed.
    #[error("closing every other descriptor failed: {0}")]
    Close(rustix::io::Errno),
}

/// The descriptors of this process that have not been taken yet, by name.
#[derive(Debug)]
pub struct Inherited {
    named: BTreeMap<&'static str, OwnedFd>,
    rest: Vec<OwnedFd>,
    rest_name: Option<&'static str>,
}

static TAKEN_OVER: AtomicBool = AtomicBool::new(false);

impl Inherited {
    /// Takes over descriptors 3 and up as `profile` lists them, marks them close-on-exec, and closes every other one.
    ///
    /// # Errors
    /// One that the profile lists is not open, there are too many of the rest, or this was called before.
    ///
    /// Call it first in `main`: a descriptor above 2 that the process itself has opened would be taken for an
    /// inherited one, or closed under its owner.
    pub fn take_over(profile: &Profile) -> Result<Self, InheritError> {
        Self::take_over_listed(profile.descriptors, profile.rest)
    }

    /// As [`Inherited::take_over`], for the one process that has no profile: these descriptors and no other.
    ///
    /// # Errors
    /// The same.
    pub fn take_over_named(descriptors: &'static [&'static str]) -> Result<Self, InheritError> {
        Self::take_over_listed(descriptors, None)
    }

    fn take_over_listed(
        descriptors: &'static [&'static str],
        rest_kind: Option<Rest>,
    ) -> Result<Self, InheritError> {
        if TAKEN_OVER.swap(true, Ordering::SeqCst) {
            return Err(InheritError::Twice);
        }
        let mut named = BTreeMap::new();
        let mut number = FIRST_FD;
        for name in descriptors {
            let fd = adopt(number).ok_or(InheritError::NotOpen { number, name })?;
            named.insert(*name, fd);
            number = number.saturating_add(1);
        }
        let mut rest = Vec::new();
        if let Some(kind) = rest_kind {
            while let Some(fd) = adopt(number) {
                if rest.len() >= kind.count_max {
                    return Err(InheritError::TooMany { name: kind.name, count_max: kind.count_max });
                }
                rest.push(fd);
                number = number.saturating_add(1);
            }
        }
        close_from(number).map_err(InheritError::Close)?;
        Ok(Self { named, rest, rest_name: rest_kind.map(|kind| kind.name) })
    }

    /// The descriptor of that name, which is then the caller's.
    ///
    /// # Errors
    /// [`InheritError::Unknown`] when the profile does not list it, or it was taken before.
    pub fn take(&mut self, name: &str) -> Result<OwnedFd, InheritError> {
        self.named.remove(name).ok_or_else(|| InheritError::Unknown(name.to_owned()))
    }

    /// The further descriptors of the kind that the profile's `[rest]` names, in order; empty after the first call.
    pub fn take_rest(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.rest)
    }

    /// A look at the descriptor of that name, or at all of the rest, of which there may be none. `None`: there is no
    /// such name, or its descriptor was taken.
    pub(crate) fn lend(&self, name: &str) -> Option<Vec<BorrowedFd<'_>>> {
        if self.rest_name == Some(name) {
            return Some(self.rest.iter().map(AsFd::as_fd).collect());
        }
        self.named.get(name).map(|fd| vec![fd.as_fd()])
    }
}

/// Takes ownership of a descriptor number if it is open, and marks it close-on-exec.
fn adopt(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the number is not negative. The borrowed value does not outlive this function, and is used for nothing
    // but fcntl, which reports a number that is not open as an error.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC).ok()?;
    // SAFETY: fcntl has just shown that it is open. `TAKEN_OVER` sees to it that this runs once in a process, before
    // it has opened anything, for each number once: nobody else in this process owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from this number on.
fn close_from(number: RawFd) -> Result<(), rustix::io::Errno> {
    // SAFETY: close_range has no memory arguments. What it closes is owned by nobody in this process: see `adopt`.
    let result = unsafe { libc::syscall(libc::SYS_close_range, number, libc::c_uint::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The error of the libc call that has just failed.
pub(crate) fn last_errno() -> rustix::io::Errno {
    let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    rustix::io::Errno::from_raw_os_error(code)
}
