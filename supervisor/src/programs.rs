//! The programs of the workers, opened once and found in one folder.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use protocol::supervise::Role;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::config::DialogKind;
use crate::runner::RUNNER;

/// Where packages put them.
pub const PROGRAMS_DIRECTORY: &str = "/usr/lib/qfilexchgd";

/// The program of the dialog with a window; its process is called as that of the other.
const DIALOG_WINDOW: &str = "dialog-window";

/// The opened programs.
#[derive(Debug)]
pub struct Programs {
    opened: BTreeMap<Role, OwnedFd>,
    runner: OwnedFd,
}

impl Programs {
    /// Opens all of them beside the running program, or, unless all of them are there, in
    /// [`PROGRAMS_DIRECTORY`]. One alone beside it is not believed: `/usr/bin/dialog` is somebody else's.
    ///
    /// # Errors
    /// The first one that is in neither place.
    pub fn open(dialog: DialogKind) -> Result<Self, (PathBuf, Errno)> {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(|directory| Self::open_in(directory, dialog));
        match beside {
            Some(Ok(programs)) => Ok(programs),
            Some(Err(_)) | None => Self::open_in(Path::new(PROGRAMS_DIRECTORY), dialog),
        }
    }

    fn open_in(directory: &Path, dialog: DialogKind) -> Result<Self, (PathBuf, Errno)> {
        let mut opened = BTreeMap::new();
        let open = |name| {
            let path = directory.join(name);
            rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| (path, errno))
        };
        for role in Role::ALL {
            opened.insert(role, open(program(role, dialog))?);
        }
        Ok(Self { opened, runner: open(RUNNER)? })
    }

    /// The program of dvm-runner.
    #[must_use]
    pub fn runner(&self) -> BorrowedFd<'_> {
        self.runner.as_fd()
    }

    /// The program of a worker.
    #[must_use]
    pub fn of(&self, role: Role) -> Option<BorrowedFd<'_>> {
        self.opened.get(&role).map(AsFd::as_fd)
    }
}

/// The name of a worker's program.
#[must_use]
pub fn program(role: Role, dialog: DialogKind) -> &'static str {
    if role == Role::Dialog && dialog == DialogKind::Window { DIALOG_WINDOW } else { role.process() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_taken_from_one_folder_or_not_at_all() {
        for dialog in [DialogKind::Terminal, DialogKind::Window] {
            let directory = tempfile::tempdir().unwrap();
            for name in Role::ALL.map(|role| program(role, dialog)).into_iter().chain([RUNNER]) {
                let missing = Programs::open_in(directory.path(), dialog).unwrap_err();
                assert_eq!(missing.0, directory.path().join(name));
                std::fs::write(directory.path().join(name), "").unwrap();
            }
            let programs = Programs::open_in(directory.path(), dialog).unwrap();
            assert!(Role::ALL.into_iter().all(|role| programs.of(role).is_some()));
        }
    }
}
