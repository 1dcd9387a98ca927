//! Replacing a document: either the old one is there, or the whole new one (L9).
//!
//! The new content is written into a file beside the document, gets what belongs to the document (owner, mode, extended
//! attributes, time of access), is flushed to the disk, and takes its name. The time of the last change is that of the
//! replacement, as of any other change, so that a backup notices it.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags,
    fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, fsync, futimens, openat2, renameat,
    renameat_with, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use crate::failure::Failure;
use crate::inbox::open_beneath;
use crate::session::random_hex;

/// Longest list of the names of extended attributes, and longest value of one, in bytes (`XATTR_LIST_MAX` and
/// `XATTR_SIZE_MAX` in linux/limits.h).
const XATTR_BYTES_MAX: usize = 65_536;
/// Extended attributes that are the document's own: without them it would be another one, or open to more people.
const XATTRS_KEPT: [&[u8]; 2] = [b"user.", b"system.posix_acl_access"];
/// Those that are kept where the system permits it. Not among them are capabilities and signatures: those belong to the
/// content, which another VM wrote.
const XATTRS_KEPT_IF_PERMITTED: [&[u8]; 2] = [b"security.selinux", b"security.SMACK64"];

/// A document that can be replaced.
#[derive(Debug)]
pub struct Target {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
    /// What is there now; nothing if it was removed.
    old: Option<File>,
}

/// The new content, beside the document. Removed when this is dropped.
#[derive(Debug)]
pub struct Replacement<'a> {
    target: &'a Target,
    name: String,
    /// To be filled.
    pub file: File,
    is_temporary: bool,
}

impl Target {
    /// Opens the document's directory, over no link, and the document, if it is there.
    ///
    /// # Errors
    /// The directory is gone, something on the way has become a link, or the document is no regular file.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |what: &str| Failure::failed(&format!("cannot replace {}: {what}", shown(path)));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failed("that is no file"));
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let directory = openat2(CWD, parent, flags, Mode::empty(), resolve)
            .map_err(|errno| failed(&format!("its directory: {errno}")))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let old = match open_beneath(directory.as_fd(), name.as_bytes(), flags, Mode::empty()) {
            Ok(old) => Some(File::from(old)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(failed(&errno.to_string())),
        };
        if let Some(old) = &old {
            let metadata = old.metadata().map_err(|error| failed(&error.to_string()))?;
            if !metadata.is_file() {
                return Err(failed("it is no regular file any more"));
            }
        }
        Ok(Self { directory, name: name.to_owned(), path: path.to_owned(), old })
    }

    /// Its path, for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.path)
    }

    /// When the document was last changed, in seconds and nanoseconds since 1970.
    #[must_use]
    pub fn modified(&self) -> Option<(i64, i64)> {
        let metadata = self.old.as_ref()?.metadata().ok()?;
        Some((metadata.mtime(), metadata.mtime_nsec()))
    }

    /// Makes the file for the new content, which nobody but this user can read.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn begin(&self) -> Result<Replacement<'_>, Failure> {
        let name = format!(".qvm-open-in-dvm-{}", random_hex()?);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = open_beneath(self.directory.as_fd(), name.as_bytes(), flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(made.map_err(|errno| self.failed("make a file beside", errno))?);
        Ok(Replacement { target: self, name, file, is_temporary: true })
    }

    fn failed(&self, what: &str, error: impl std::fmt::Display) -> Failure {
        Failure::failed(&format!("cannot {what} {}: {error}", shown(&self.path)))
    }
}

impl<'a> Replacement<'a> {
    /// What it will replace.
    #[must_use]
    pub fn target(&self) -> &'a Target {
        self.target
    }

    /// Gives the new content what belongs to the document, and flushes it to the disk.
    ///
    /// # Errors
    /// Something that must be kept cannot be, or the disk failed.
    pub fn make_ready(&self) -> Result<(), Failure> {
        if let Some(old) = &self.target.old {
            self.take_over(old).map_err(|errno| self.target.failed("keep what belongs to", errno))?;
        }
        fsync(&self.file).map_err(|errno| self.target.failed("write", errno))
    }

    fn take_over(&self, old: &File) -> Result<(), Errno> {
        let (was, is) = (fstat(old)?, fstat(&self.file)?);
        if (was.st_uid, was.st_gid) != (is.st_uid, is.st_gid) {
            // Only root gives files away, but a group may be one of this user's.
            let (uid, gid) = (Uid::from_raw(was.st_uid), Gid::from_raw(was.st_gid));
            if fchown(&self.file, Some(uid), Some(gid)).is_err() {
                let _ = fchown(&self.file, None, Some(gid));
            }
        }
        // Without set-user-id and the like: the content is another VM's. Before the attributes, since an access list
        // decides about the group's bits.
        let mode = Mode::from_raw_mode(was.st_mode) & (Mode::RWXU | Mode::RWXG | Mode::RWXO);
        let has_group = fstat(&self.file)?.st_gid == was.st_gid;
        fchmod(&self.file, if has_group { mode } else { mode - Mode::RWXG })?;
        copy_attributes(old, &self.file)?;
        let accessed =
            Timespec { tv_sec: was.st_atime, tv_nsec: i64::try_from(was.st_atime_nsec).unwrap_or(0) };
        let unchanged = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        futimens(&self.file, &Timestamps { last_access: accessed, last_modification: unchanged })
    }

    /// Gives the new content the document's name.
    ///
    /// # Errors
    /// That failed: the old document is still there, and the new content beside it, under the name in the text.
    pub fn put_in_place(mut self) -> Result<(), Failure> {
        let target = self.target;
        // From here on it is the only copy that will ever be accepted.
        self.is_temporary = false;
        renameat(&target.directory, self.name.as_str(), &target.directory, target.name.as_os_str())
            .map_err(|errno| target.failed("replace", errno).with_remark(&self.kept_as(&self.name)))?;
        // The name is there; only whether it survives a crash now is not certain then.
        fsync(&target.directory).map_err(|errno| target.failed("flush the directory of", errno))
    }

    /// Gives the new content a name beside the document, which is not touched; says which.
    ///
    /// # Errors
    /// There is such a file, or the name is too long.
    pub fn put_beside(mut self, suffix: &str) -> Result<PathBuf, Failure> {
        let target = self.target;
        self.is_temporary = false;
        let mut name = target.name.clone();
        name.push(suffix);
        let (directory, flags) = (&target.directory, RenameFlags::NOREPLACE);
        renameat_with(directory, self.name.as_str(), directory, name.as_os_str(), flags).map_err(
            |errno| target.failed("put a file beside", errno).with_remark(&self.kept_as(&self.name)),
        )?;
        fsync(directory).map_err(|errno| target.failed("flush the directory of", errno))?;
        Ok(target.path.with_file_name(name))
    }

    fn kept_as(&self, name: &str) -> String {
        format!("what came back is in {}", shown(&self.target.path.with_file_name(name)))
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if self.is_temporary {
            // It has a random name, and says nothing to anybody.
            let _ = unlinkat(&self.target.directory, self.name.as_str(), AtFlags::empty());
        }
    }
}

fn copy_attributes(from: &File, to: &File) -> Result<(), Errno> {
    let mut names = vec![0; XATTR_BYTES_MAX];
    let length = match flistxattr(from, &mut names) {
        Err(Errno::NOTSUP) => return Ok(()),
        other => other?,
    };
    let mut value = vec![0; XATTR_BYTES_MAX];
    for name in names.get(..length).unwrap_or_default().split(|&byte| byte == 0) {
        let is_kept = XATTRS_KEPT.iter().any(|kept| name.starts_with(kept));
        if !is_kept && !XATTRS_KEPT_IF_PERMITTED.contains(&name) {
            continue;
        }
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        let copied = fgetxattr(from, &name, &mut value).and_then(|length| {
            fsetxattr(to, &name, value.get(..length).unwrap_or_default(), XattrFlags::empty())
        });
        if is_kept {
            copied?;
        }
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    fat::Shown(path.as_os_str().as_bytes()).to_string()
}

#[cfg(test)]
mod tests;
