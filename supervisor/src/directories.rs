//! The directories that the daemon keeps: made when they are missing, for their owner alone.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use sys::spawn::Account;

/// For its owner alone.
const MODE_DIRECTORY: u32 = 0o700;
/// Read and search for the group.
const MODE_LOOPS: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP);
/// The two files of the journal, used in turn.
pub const JOURNAL_FILES: [&str; 2] = ["journal.a", "journal.b"];
/// Major device number of loop devices (Documentation/admin-guide/devices.txt of Linux).
const LOOP_MAJOR: u32 = 7;
/// Where the nodes of our own loop devices are: on devtmpfs, the only place where nodes always work.
const LOOPS_DIRECTORY: &str = "/dev/qfilexchgd";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be made or opened.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not ours.
    #[error("belongs to uid {0}, which is neither who runs the daemon nor its attacher")]
    Foreign(u32),
    /// Another daemon uses it.
    #[error("another qfilexchgd uses this directory: end it first")]
    InUse,
}

impl From<rustix::io::Errno> for DirectoryError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Opens a directory that belongs to `owner`, or to whoever runs the daemon; makes it with mode 0700 if it is
/// missing, and takes away what others may do there.
///
/// # Errors
/// [`DirectoryError`].
pub fn own(path: &Path, owner: Option<Account>) -> Result<File, DirectoryError> {
    DirBuilder::new().recursive(true).mode(MODE_DIRECTORY).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = directory.metadata()?;
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me && owner.is_none_or(|owner| owner.uid != found.uid()) {
        return Err(DirectoryError::Foreign(found.uid()));
    }
    if let Some(owner) = owner {
        fchown(&directory, Some(owner.uid), Some(owner.gid))?;
    }
    directory.set_permissions(Permissions::from_mode(MODE_DIRECTORY))?;
    Ok(directory)
}

/// The journal's directory, locked for as long as it is open, and its two files.
#[derive(Debug)]
pub struct JournalFiles {
    /// The files, in the order of their names.
    pub files: [OwnedFd; 2],
    _locked: File,
}

/// Opens the journal for this daemon alone.
///
/// # Errors
/// [`DirectoryError::InUse`] when another daemon has it.
pub fn journal(path: &Path) -> Result<JournalFiles, DirectoryError> {
    let directory = own(path, None)?;
    directory.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => DirectoryError::InUse,
        TryLockError::Error(error) => DirectoryError::Io(error),
    })?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |name| rustix::fs::openat(&directory, name, flags, Mode::RUSR | Mode::WUSR);
    let [a, b] = JOURNAL_FILES;
    Ok(JournalFiles { files: [open(a)?, open(b)?], _locked: directory })
}

/// Makes our own loop devices and a directory with a node for each of them. A node that is held open would never
/// be released, so the attacher opens one for each use: the nodes belong to it, and it may list the directory.
///
/// # Errors
/// The kernel's; only root can do it.
pub fn loops(first: u32, count: u32, owner: Option<Account>) -> Result<OwnedFd, DirectoryError> {
    loops_in(Path::new(LOOPS_DIRECTORY), first, count, owner)
}

fn loops_in(path: &Path, first: u32, count: u32, owner: Option<Account>) -> Result<OwnedFd, DirectoryError> {
    // What an earlier run left may be of other numbers, or of another account.
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    DirBuilder::new().mode(MODE_DIRECTORY).create(path)?;
    let control = rustix::fs::open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    for number in (first..).take(usize::try_from(count).unwrap_or(usize::MAX)) {
        sys::loopdev::add(std::os::fd::AsFd::as_fd(&control), number)?;
        let name = format!("loop{number}");
        let device = rustix::fs::makedev(LOOP_MAJOR, number);
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(&directory, &name, FileType::BlockDevice, mode, device)?;
        if let Some(owner) = owner {
            std::os::unix::fs::lchown(path.join(&name), Some(owner.uid), Some(owner.gid))?;
        }
    }
    if let Some(owner) = owner {
        fchown(&directory, None, Some(owner.gid))?;
        rustix::fs::fchmod(&directory, MODE_LOOPS)?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_made_for_its_owner_alone() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("a/b");
        for _ in 0..2 {
            let mode = own(&path, None).unwrap().metadata().unwrap().mode();
            assert_eq!(mode & 0o7777, MODE_DIRECTORY);
            std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(above.path().join("file"), "").unwrap();
        assert!(matches!(own(&above.path().join("file"), None), Err(DirectoryError::Io(_))));
    }

    #[test]
    fn two_daemons_never_share_a_journal() {
        let above = tempfile::tempdir().unwrap();
        let first = journal(above.path()).unwrap();
        assert!(matches!(journal(above.path()), Err(DirectoryError::InUse)));
        drop(first);
        let again = journal(above.path()).unwrap();
        for (file, name) in again.files.iter().zip(JOURNAL_FILES) {
            let meta = std::fs::metadata(above.path().join(name)).unwrap();
            assert_eq!(meta.mode() & 0o777, 0o600);
            assert_eq!(rustix::fs::fstat(file).unwrap().st_ino, meta.ino());
        }
    }

    #[test]
    fn a_journal_that_is_a_link_is_refused() {
        let above = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", above.path().join("journal.b")).unwrap();
        assert!(matches!(journal(above.path()), Err(DirectoryError::Io(_))));
    }

    #[test]
    fn the_nodes_of_loop_devices_belong_to_the_attacher_and_the_directory_does_not() {
        let Ok(above) = tempfile::tempdir_in("/dev") else {
            return testkit::skip("nodes of devices need root");
        };
        let path = above.path().join("nodes");
        let attacher = Account { uid: 77, gid: 78 };
        // Twice: what an earlier run has left is replaced.
        for (first, count) in [(0, 3), (0, 2)] {
            let made = loops_in(&path, first, count, Some(attacher));
            if matches!(&made, Err(DirectoryError::Io(_))) {
                return testkit::skip("there are no loop devices here");
            }
            made.unwrap();
        }
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
        let directory = std::fs::metadata(&path).unwrap();
        assert_eq!((directory.uid(), directory.gid(), directory.mode() & 0o777), (0, 78, 0o750));
        let node = std::fs::metadata(path.join("loop1")).unwrap();
        assert_eq!((node.uid(), node.gid(), node.mode() & 0o777), (77, 78, 0o600));
        assert_eq!(node.rdev(), rustix::fs::makedev(LOOP_MAJOR, 1));
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        if !rustix::process::geteuid().is_root() {
            assert!(matches!(own(Path::new("/"), None), Err(DirectoryError::Foreign(0))));
            return;
        }
        let above = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(above.path(), Some(77), None).unwrap();
        assert!(matches!(own(above.path(), None), Err(DirectoryError::Foreign(77))));
        let attacher = Account { uid: 77, gid: 78 };
        let opened = own(above.path(), Some(attacher)).unwrap();
        assert_eq!(opened.metadata().unwrap().gid(), 78);
    }
}
