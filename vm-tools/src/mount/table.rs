//! What the kernel says is mounted (`/proc/self/mountinfo`, proc_pid_mountinfo(5)).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{major, minor};

use crate::failure::Failure;

/// Longest table that is read, in bytes: some ten thousand mounts.
const TABLE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A block device's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeviceNumber {
    major: u32,
    minor: u32,
}

impl DeviceNumber {
    pub(super) fn of(raw: u64) -> Self {
        Self { major: major(raw), minor: minor(raw) }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (major, minor) = std::str::from_utf8(text).ok()?.split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// The table, open. Its descriptor polls as exceptional (POLLPRI) after each change since the last poll.
#[derive(Debug)]
pub(super) struct Table(File);

impl Table {
    pub(super) fn open() -> Result<Self, Failure> {
        File::open("/proc/self/mountinfo").map(Self).map_err(|error| unreadable(&error))
    }

    pub(super) fn read(&mut self) -> Result<Vec<u8>, Failure> {
        let mut table = Vec::new();
        let read = self.0.rewind().and_then(|()| (&self.0).take(TABLE_BYTES_MAX).read_to_end(&mut table));
        read.map(|_| table).map_err(|error| unreadable(&error))
    }
}

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::failed(&format!("cannot read /proc/self/mountinfo: {error}"))
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mount<'a> {
    pub(super) number: DeviceNumber,
    /// The mount point, as the kernel writes it: with spaces and the like escaped. The tools' own have none.
    point: &'a [u8],
    options: &'a [u8],
    pub(super) kind: &'a [u8],
}

impl<'a> Mount<'a> {
    /// All of them, a later one over an earlier one.
    pub(super) fn all(table: &'a [u8]) -> impl Iterator<Item = Self> {
        table.split(|&byte| byte == b'\n').filter_map(Self::parse)
    }

    /// What is mounted at that point, and not hidden by another one there.
    pub(super) fn at(table: &'a [u8], point: &Path) -> Option<Self> {
        Self::all(table).filter(|mount| mount.is_at(point)).last()
    }

    /// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - KIND SOURCE OPTIONS`
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let number = DeviceNumber::parse(fields.nth(2)?)?;
        let (point, options) = (fields.nth(1)?, fields.next()?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        Some(Self { number, point, options, kind })
    }

    pub(super) fn is_at(&self, point: &Path) -> bool {
        OsStr::from_bytes(self.point) == point.as_os_str()
    }

    /// Whether it has that flag.
    pub(super) fn has(&self, flag: &str) -> bool {
        self.options.split(|&byte| byte == b',').any(|option| option == flag.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 202:1 / / rw,relatime shared:1 - ext4 /dev/xvda1 rw\n\
        90 22 202:112 / /mnt/incoming ro,nosuid,nodev,noexec,relatime shared:7 master:2 - vfat /dev/xvdh ro,fmask=0077\n\
        91 22 0:45 / /mnt/incoming rw - tmpfs tmpfs rw\n\
        92 22 202:96 / /mnt/with\\040space rw,nosuid - vfat /dev/xvdg rw\n";

    #[test]
    fn a_line_has_its_device_flags_and_file_system() {
        let mounts: Vec<Mount<'_>> = Mount::all(TABLE).collect();
        assert_eq!(mounts.len(), 4);
        let incoming = mounts[1];
        assert_eq!(incoming.number, DeviceNumber { major: 202, minor: 112 });
        assert_eq!(incoming.kind, b"vfat");
        for (flag, is_there) in [("ro", true), ("noexec", true), ("rw", false), ("no", false), ("", false)] {
            assert_eq!(incoming.has(flag), is_there, "{flag}");
        }
    }

    #[test]
    fn the_last_mount_of_a_point_is_the_one_that_is_seen() {
        let seen = Mount::at(TABLE, Path::new("/mnt/incoming")).unwrap();
        assert_eq!(seen.kind, b"tmpfs");
        assert_eq!(Mount::at(TABLE, Path::new("/mnt")), None);
        assert_eq!(Mount::at(b"", Path::new("/")), None);
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        for line in [
            &b""[..],
            b"1 2 3",
            b"1 2 x:y / / rw - ext4 a b",
            b"1 2 8:1 / / rw shared:1",
            b"1 2 8:1 / / rw -",
        ] {
            assert_eq!(Mount::all(line).count(), 0, "{line:?}");
        }
    }

    #[test]
    fn the_kernels_own_table_can_be_read() {
        let mut table = Table::open().unwrap();
        let first = table.read().unwrap();
        assert!(Mount::at(&first, Path::new("/")).is_some());
        assert!(!table.read().unwrap().is_empty());
    }
}
