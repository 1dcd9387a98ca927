//! `~/QubesIncoming/SOURCE/`: each transfer becomes a new directory there, under its final name only when it is whole.
//!
//! Every step is taken from the descriptor of the directory above and follows no link (L12), so nothing that another
//! program of this user does meanwhile leads outside. Nothing that is there is ever overwritten (L24).

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use protocol::types::VmName;
use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, ResolveFlags, fstat, fsync, mkdirat, openat, openat2,
    renameat_with, syncfs, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::failure::Failure;
use crate::session::random_hex;
use crate::stamp;

/// The directory in the home directory.
pub const INCOMING: &str = "QubesIncoming";
/// Most directories of one time stamp.
pub const SAME_STAMP_MAX: u32 = 1000;
/// How deep a partial tree may be nested that is removed again; what fat-reader makes is less deep.
pub const DEPTH_MAX: usize = 1024;

/// `~/QubesIncoming/SOURCE`, open.
#[derive(Debug)]
pub struct Inbox {
    directory: OwnedFd,
    shown: String,
}

/// A directory that is being filled, under a hidden name.
#[derive(Debug)]
pub struct Arriving<'a> {
    inbox: &'a Inbox,
    name: String,
    directory: OwnedFd,
}

impl Inbox {
    /// Opens it, making what is missing. Both directories must belong to the caller alone, or be made now.
    ///
    /// # Errors
    /// One of them cannot be made, is a link, or is somebody else's.
    pub fn open(home: &Path, source: &VmName) -> Result<Self, Failure> {
        let failed = |what: &str, errno: Errno| Failure::failed(&format!("cannot open {what}: {errno}"));
        // The home directory's own path may lead over links, as where /home is one.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top =
            openat(CWD, home, flags, Mode::empty()).map_err(|errno| failed("the home directory", errno))?;
        check_owner(&top, "the home directory")?;
        let incoming =
            open_or_make(top.as_fd(), INCOMING).map_err(|errno| failed("~/QubesIncoming", errno))?;
        check_owner(&incoming, "~/QubesIncoming")?;
        let shown = format!("{}/{INCOMING}/{source}", home.display());
        let directory =
            open_or_make(incoming.as_fd(), source.as_str()).map_err(|errno| failed(&shown, errno))?;
        check_owner(&directory, &shown)?;
        Ok(Self { directory, shown })
    }

    /// Begins a transfer: makes its hidden directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn begin(&self) -> Result<Arriving<'_>, Failure> {
        let name = format!(".incoming-{}", random_hex()?);
        let failed =
            |errno: Errno| Failure::failed(&format!("cannot make a directory in {}: {errno}", self.shown));
        mkdirat(&self.directory, name.as_str(), Mode::RWXU).map_err(failed)?;
        let directory = open_directory(self.directory.as_fd(), name.as_bytes()).map_err(failed)?;
        Ok(Arriving { inbox: self, name, directory })
    }
}

impl Arriving<'_> {
    /// Where fat-reader writes.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Gives the whole tree its final name, after everything in it is on the disk; tells that name. After an error it
    /// still has its hidden name.
    ///
    /// # Errors
    /// The disk failed, or there are too many of that time.
    pub fn finish(&self, stamp: &str) -> Result<String, Failure> {
        let failed = |errno: Errno| Failure::failed(&format!("cannot finish {}: {errno}", self.inbox.shown));
        // All files at once: dom0 destroys the pendrive after this, and a tree may have very many of them.
        syncfs(&self.directory).map_err(failed)?;
        for number in 1..=SAME_STAMP_MAX {
            let name = if number == 1 { stamp.to_owned() } else { format!("{stamp}-{number}") };
            let directory = &self.inbox.directory;
            match renameat_with(
                directory,
                self.name.as_str(),
                directory,
                name.as_str(),
                RenameFlags::NOREPLACE,
            ) {
                Ok(()) => {
                    fsync(directory).map_err(failed)?;
                    return Ok(format!("{}/{name}", self.inbox.shown));
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Err(failed(Errno::EXIST))
    }

    /// Removes what has been written.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn discard(self) -> Result<(), Failure> {
        remove_children(self.directory.as_fd())
            .and_then(|()| {
                unlinkat(&self.inbox.directory, self.name.as_str(), AtFlags::REMOVEDIR).map_err(Into::into)
            })
            .map_err(|error: std::io::Error| {
                Failure::failed(&format!("cannot remove {}/{}: {error}", self.inbox.shown, self.name))
            })
    }
}

/// The name of a transfer that ends now.
#[must_use]
pub fn stamp_now() -> String {
    stamp::now()
}

pub(crate) fn open_or_make(above: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    match open_directory(above, name.as_bytes()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    match mkdirat(above, name, Mode::RWXU) {
        // Another tool may have been faster; what it made is checked like any other.
        Ok(()) | Err(Errno::EXIST) => open_directory(above, name.as_bytes()),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn open_directory(above: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open_beneath(above, name, flags, Mode::empty())
}

/// Opens what is in that directory, by no link and not outside of it (L12).
pub(crate) fn open_beneath(
    above: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(above, name, flags, mode, resolve)
}

/// The directory must belong to this user, and not be everybody's to write.
pub(crate) fn check_owner(directory: &OwnedFd, shown: &str) -> Result<(), Failure> {
    let stat =
        fstat(directory).map_err(|errno| Failure::failed(&format!("cannot look at {shown}: {errno}")))?;
    if stat.st_uid != geteuid().as_raw() {
        return Err(Failure::failed(&format!("{shown} belongs to another user")));
    }
    // Many users have a group of their own that may write; nobody has everybody.
    if Mode::from_raw_mode(stat.st_mode).contains(Mode::WOTH) {
        return Err(Failure::failed(&format!("{shown} can be written to by everybody")));
    }
    Ok(())
}

/// Empties a directory, whatever is in it, without following links and without leaving it.
pub(crate) fn remove_children(top: BorrowedFd<'_>) -> std::io::Result<()> {
    // Directories that still have to be emptied: each with the names in it that are not removed yet. Removing the last
    // name of one leads back to the one above, which then removes it.
    let mut open: Vec<(OwnedFd, VecDeque<Vec<u8>>)> = vec![(top.try_clone_to_owned()?, names(top)?)];
    while let Some((directory, rest)) = open.last_mut() {
        let Some(name) = rest.front() else {
            open.pop();
            // Emptied: now it can go.
            if let Some((above, rest)) = open.last_mut()
                && let Some(name) = rest.pop_front()
            {
                unlinkat(&above, name.as_slice(), AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        match unlinkat(&*directory, name.as_slice(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => drop(rest.pop_front()),
            Err(Errno::ISDIR | Errno::PERM) => {
                let inner = open_directory(directory.as_fd(), name)?;
                let inner_names = names(inner.as_fd())?;
                if open.len() >= DEPTH_MAX {
                    return Err(Errno::LOOP.into());
                }
                open.push((inner, inner_names));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn names(directory: BorrowedFd<'_>) -> Result<VecDeque<Vec<u8>>, Errno> {
    let mut names = VecDeque::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push_back(name.to_vec());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn vm(name: &str) -> VmName {
        VmName::new(name.as_bytes()).unwrap()
    }

    fn entries(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn l24_each_transfer_lands_in_its_own_new_directory() {
        let home = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(home.path(), &vm("work")).unwrap();
        let place = home.path().join("QubesIncoming/work");
        for (number, expected) in [(1, "2026-01-02_03-04-05"), (2, "2026-01-02_03-04-05-2")] {
            let arriving = inbox.begin().unwrap();
            let content = openat(
                arriving.directory(),
                "file",
                OFlags::CREATE | OFlags::WRONLY,
                Mode::RUSR | Mode::WUSR,
            );
            assert!(content.is_ok());
            assert_eq!(entries(&place).iter().filter(|name| name.starts_with(".incoming-")).count(), 1);
            let shown = arriving.finish("2026-01-02_03-04-05").unwrap();
            assert!(shown.ends_with(expected), "{number}: {shown}");
            assert_eq!(entries(&place.join(expected)), ["file"]);
        }
        assert_eq!(entries(&place).len(), 2);
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn l12_a_link_in_place_of_a_directory_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), home.path().join("QubesIncoming")).unwrap();
        assert!(Inbox::open(home.path(), &vm("work")).is_err());
        fs::remove_file(home.path().join("QubesIncoming")).unwrap();
        fs::create_dir(home.path().join("QubesIncoming")).unwrap();
        symlink(elsewhere.path(), home.path().join("QubesIncoming/work")).unwrap();
        assert!(Inbox::open(home.path(), &vm("work")).is_err());
        assert!(Inbox::open(home.path(), &vm("vault")).is_ok());
        assert!(entries(elsewhere.path()).is_empty());
    }

    #[test]
    fn a_directory_that_everybody_can_write_to_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("QubesIncoming");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Inbox::open(home.path(), &vm("work")).unwrap_err();
        assert_eq!(error.to_string(), "~/QubesIncoming can be written to by everybody");
    }

    #[test]
    fn a_partial_tree_is_removed_without_following_links() {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("keep"), "x").unwrap();
        let inbox = Inbox::open(home.path(), &vm("work")).unwrap();
        let arriving = inbox.begin().unwrap();
        let partial = home.path().join("QubesIncoming/work").join(&arriving.name);
        fs::create_dir_all(partial.join("a/b/c/d/e/f")).unwrap();
        fs::write(partial.join("a/b/file"), "x").unwrap();
        fs::write(partial.join("a/b/c/file"), "x").unwrap();
        symlink(&outside, partial.join("a/link")).unwrap();
        symlink("/", partial.join("root")).unwrap();
        arriving.discard().unwrap();
        assert!(entries(&home.path().join("QubesIncoming/work")).is_empty());
        assert_eq!(entries(&outside), ["keep"]);
    }
}
