//! Copies the document on a device into a file, and says in a record behind it what it is.
//!
//! The header is copied once and judged by the copy (L15). The document's bytes go from the device to the file within
//! the kernel (`sendfile`): this process never holds them.

use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, seek, sendfile};
use rustix::io::{Errno, pread, pwrite};

use super::header::{HEADER_BYTES, Header, Rejection};
use super::record::Record;
use super::{MARK_BYTES, VIEW_ONLY_MARK};

/// Most bytes of one call, so that a signal or a growing file is noticed now and then.
const STEP_BYTES: u64 = 4 << 20;

/// Why there is no copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The header is none.
    #[error("{0}")]
    Rejected(Rejection),
    /// The device could not be read, or ended early.
    #[error("the pendrive could not be read")]
    DeviceUnreadable,
    /// The file system of the copy is full.
    #[error("there is no space left for the document")]
    NoSpace,
    /// The copy could not be written.
    #[error("the document could not be written")]
    OutputFailed,
    /// It was started without its descriptors.
    #[error("dvm-parser was started wrongly")]
    NoDescriptors,
}

impl From<Rejection> for Trouble {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// Exit code of the first rejection; the others follow in their order.
const CODE_REJECTED: u8 = 10;
/// Exit codes of the other troubles.
const CODES: [(u8, Trouble); 4] = [
    (1, Trouble::NoDescriptors),
    (2, Trouble::DeviceUnreadable),
    (3, Trouble::NoSpace),
    (4, Trouble::OutputFailed),
];

impl Trouble {
    /// dvm-parser's exit code. 0 is none of them: that is a whole copy.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        let listed = CODES.into_iter().find(|(_, trouble)| *trouble == self).map(|(code, _)| code);
        listed.unwrap_or_else(|| {
            let rejections = (CODE_REJECTED..).zip(Rejection::ALL);
            let mut codes = rejections.filter(|(_, rejection)| self == Self::Rejected(*rejection));
            codes.next().map_or(1, |(code, _)| code)
        })
    }

    /// What an exit code says; `None` for one that dvm-parser does not have.
    #[must_use]
    pub fn from_exit_code(code: i32) -> Option<Self> {
        let listed = CODES.into_iter();
        let rejected = (CODE_REJECTED..).zip(Rejection::ALL.map(Self::Rejected));
        listed.chain(rejected).find(|(known, _)| i32::from(*known) == code).map(|(_, trouble)| trouble)
    }
}

/// Copies the document. `output` is empty, and its position is at its beginning.
///
/// # Errors
/// Why there is no copy. What is in `output` then means nothing.
pub fn transfer(device: BorrowedFd<'_>, output: BorrowedFd<'_>) -> Result<(), Trouble> {
    let device_bytes = seek(device, SeekFrom::End(0)).map_err(|_| Trouble::DeviceUnreadable)?;
    if device_bytes < HEADER_BYTES as u64 {
        return Err(Rejection::TooShort.into());
    }
    let mut untrusted_header = [0; HEADER_BYTES];
    read_whole(device, &mut untrusted_header, 0)?;
    let Header { size_bytes, name } = Header::decode(&untrusted_header, device_bytes)?;
    let mut offset = HEADER_BYTES as u64;
    let end = offset.saturating_add(size_bytes);
    while offset < end {
        let wanted = usize::try_from(end.saturating_sub(offset).min(STEP_BYTES)).unwrap_or(usize::MAX);
        // The kernel moves the offset along.
        match sendfile(output, device, Some(&mut offset), wanted) {
            Ok(0) => return Err(Trouble::DeviceUnreadable),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(blame(device, offset, errno)),
        }
    }
    let is_view_only = device_bytes.saturating_sub(end) >= MARK_BYTES as u64 && {
        let mut mark = [0; MARK_BYTES];
        read_whole(device, &mut mark, end)?;
        mark == VIEW_ONLY_MARK
    };
    write_whole(output, &Record { size_bytes, is_view_only, name }.encode(), size_bytes)
}

fn read_whole(device: BorrowedFd<'_>, mut buffer: &mut [u8], mut offset: u64) -> Result<(), Trouble> {
    while !buffer.is_empty() {
        match pread(device, &mut *buffer, offset) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return Err(Trouble::DeviceUnreadable),
            Ok(count) => {
                offset = offset.saturating_add(count as u64);
                buffer = buffer.get_mut(count..).unwrap_or_default();
            }
        }
    }
    Ok(())
}

fn write_whole(output: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<(), Trouble> {
    while !bytes.is_empty() {
        match pwrite(output, bytes, offset) {
            Err(Errno::INTR) => {}
            Ok(0) => return Err(Trouble::OutputFailed),
            Err(errno) => return Err(of_output(errno)),
            Ok(count) => {
                offset = offset.saturating_add(count as u64);
                bytes = bytes.get(count..).unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// Whose fault is it that bytes could not be sent from the device to the file?
fn blame(device: BorrowedFd<'_>, offset: u64, errno: Errno) -> Trouble {
    if errno == Errno::IO && read_whole(device, &mut [0], offset).is_err() {
        return Trouble::DeviceUnreadable;
    }
    of_output(errno)
}

fn of_output(errno: Errno) -> Trouble {
    match errno {
        Errno::NOSPC | Errno::DQUOT => Trouble::NoSpace,
        _ => Trouble::OutputFailed,
    }
}

#[cfg(test)]
mod tests;
