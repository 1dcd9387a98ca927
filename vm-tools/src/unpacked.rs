//! Whether fat-reader has left what it says: the tree is counted again, and every name in it judged.
//!
//! One that was taken over can write other files than the volume has, since writing files is its work. But a person is
//! told what it wrote, and a script reads the names: so neither a number that is false nor a name or a kind of file
//! that an honest one never makes is passed on. It has ended by now, and had no call to leave anybody else behind.

use std::os::fd::BorrowedFd;

use dvm_parser::fat::DEPTH_MAX;
use protocol::unpack::{ShownName, UnpackSummary};
use rustix::fs::{AtFlags, Dir, FileType, Mode, statat};
use rustix::io::Errno;

use crate::inbox::open_directory;

/// What no file of another VM may be: set-user-id, set-group-id, sticky.
const SPECIAL: Mode = Mode::SUID.union(Mode::SGID).union(Mode::SVTX);

/// Why a tree is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTree {
    /// Other numbers of files, directories or bytes, or a tree that is too deep.
    #[error("fat-reader has not written what it says that it has written")]
    OtherThanSaid,
    /// A name that is not safe to show.
    #[error("fat-reader has left a name that no file may have")]
    Name,
    /// Neither a directory nor a file without special rights.
    #[error("fat-reader has left something that is no plain file")]
    Kind,
    /// It cannot be read back.
    #[error("cannot look through the files that have arrived: {0}")]
    Look(#[from] Errno),
}

/// Counts what lies in `output`, which was empty before. No more is looked at than `said` has.
///
/// # Errors
/// The tree is another one, or not one that fat-reader makes.
pub fn check(output: BorrowedFd<'_>, said: &UnpackSummary) -> Result<(), BadTree> {
    let (mut files, mut directories, mut bytes) = (0_u32, 0_u32, 0_u64);
    let mut levels = vec![Dir::read_from(output)?];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.read() else {
            levels.pop();
            continue;
        };
        let entry = entry?;
        let untrusted_name = entry.file_name();
        if untrusted_name == c"." || untrusted_name == c".." {
            continue;
        }
        if untrusted_name.to_str().ok().and_then(ShownName::new).is_none() {
            return Err(BadTree::Name);
        }
        let above = level.fd()?;
        let stat = statat(above, untrusted_name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            directories = directories.saturating_add(1);
            let inner = Dir::new(open_directory(above, untrusted_name.to_bytes())?)?;
            levels.push(inner);
        } else if kind == FileType::RegularFile && !Mode::from_raw_mode(stat.st_mode).intersects(SPECIAL) {
            files = files.saturating_add(1);
            bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(u64::MAX));
        } else {
            return Err(BadTree::Kind);
        }
        // The top is a level as well.
        if files > said.files || directories > said.directories || levels.len() > DEPTH_MAX + 1 {
            return Err(BadTree::OtherThanSaid);
        }
    }
    let is_as_said = (files, directories, bytes) == (said.files, said.directories, said.bytes);
    if is_as_said { Ok(()) } else { Err(BadTree::OtherThanSaid) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn said(files: u32, directories: u32, bytes: u64) -> UnpackSummary {
        UnpackSummary { files, directories, bytes, ..UnpackSummary::default() }
    }

    fn judged(path: &Path, said: &UnpackSummary) -> Result<(), BadTree> {
        check(File::open(path).unwrap().as_fd(), said)
    }

    #[test]
    fn a_tree_is_believed_if_every_number_of_it_is_right() {
        let top = tempfile::tempdir().unwrap();
        assert_eq!(judged(top.path(), &said(0, 0, 0)), Ok(()));
        fs::create_dir_all(top.path().join("a/b")).unwrap();
        for (name, content) in [("one", "1"), ("a/two", "22"), ("a/b/ünï", "333"), ("a/b/empty", "")] {
            fs::write(top.path().join(name), content).unwrap();
        }
        assert_eq!(judged(top.path(), &said(4, 2, 6)), Ok(()));
        for wrong in [(3, 2, 6), (5, 2, 6), (4, 1, 6), (4, 3, 6), (4, 2, 5), (4, 2, 7), (0, 0, 0)] {
            let wrong = said(wrong.0, wrong.1, wrong.2);
            assert_eq!(judged(top.path(), &wrong), Err(BadTree::OtherThanSaid), "{wrong:?}");
        }
    }

    #[test]
    fn l7_a_name_that_must_not_be_shown_is_refused() {
        for name in
            [&b"a\nb"[..], b"\x1b[2J", b"\xff", "a\u{202e}b".as_bytes(), b"\x7f", "\u{fffd}".as_bytes()]
        {
            let top = tempfile::tempdir().unwrap();
            fs::write(top.path().join(OsStr::from_bytes(name)), "").unwrap();
            assert_eq!(judged(top.path(), &said(1, 0, 0)), Err(BadTree::Name), "{name:?}");
            let beneath = tempfile::tempdir().unwrap();
            fs::create_dir_all(beneath.path().join("a").join(OsStr::from_bytes(name))).unwrap();
            assert_eq!(judged(beneath.path(), &said(0, 2, 0)), Err(BadTree::Name), "{name:?}");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("file");
        for mode in [0o4600, 0o2600, 0o1600] {
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(judged(top.path(), &said(1, 0, 0)), Err(BadTree::Kind), "{mode:o}");
            fs::remove_file(&path).unwrap();
        }
        symlink("/", &path).unwrap();
        assert_eq!(judged(top.path(), &said(1, 0, 0)), Err(BadTree::Kind));
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(judged(top.path(), &said(1, 0, 0)), Err(BadTree::Kind));
    }

    #[test]
    fn l19_a_tree_may_be_100_directories_deep_and_not_101() {
        for (depth, judgement) in [(DEPTH_MAX, Ok(())), (DEPTH_MAX + 1, Err(BadTree::OtherThanSaid))] {
            let top = tempfile::tempdir().unwrap();
            fs::create_dir_all(top.path().join("d/".repeat(depth))).unwrap();
            let all = u32::try_from(depth).unwrap();
            assert_eq!(judged(top.path(), &said(0, all, 0)), judgement, "{depth}");
        }
    }
}
