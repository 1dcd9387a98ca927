//! The files that were found, opened once more to be copied.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};

/// What tells a file or directory from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// A file or directory as it was found.
#[derive(Debug)]
pub(super) struct Node {
    /// The number of the directory that holds it; `None` for an argument.
    pub(super) parent: Option<u32>,
    /// For an argument, the directory that holds it: a path that the person named, so its links are followed.
    pub(super) argument_of: Option<PathBuf>,
    pub(super) name: OsString,
    pub(super) identity: Identity,
    /// 0 for a directory.
    pub(super) size: u64,
}

type Open = fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<OwnedFd>;

/// The files that were found, as the source of [`fat::write`].
///
/// Directories on the way to the last file stay open (at most [`fat::DEPTH_MAX`] of them): the next file is
/// most often beside it.
#[derive(Debug)]
pub struct Files {
    nodes: Vec<Node>,
    open: Vec<(u32, OwnedFd)>,
}

impl Files {
    pub(super) fn new(nodes: Vec<Node>) -> Self {
        Self { nodes, open: Vec::new() }
    }

    fn node(&self, number: u32) -> io::Result<&Node> {
        self.nodes.get(number as usize).ok_or_else(|| io::Error::other("no such file was found"))
    }

    /// Opens what is in the directory that the node was found in.
    fn open_beside(&self, node: &Node, open: Open) -> io::Result<(OwnedFd, Stat)> {
        let opened = match (&node.argument_of, self.open.last()) {
            (Some(directory), _) => {
                let directory = open_named_directory(directory)?;
                open(directory.as_fd(), &node.name)?
            }
            (None, Some((_, directory))) => open(directory.as_fd(), &node.name)?,
            (None, None) => return Err(io::Error::other("its directory was not opened")),
        };
        let stat = fstat(&opened)?;
        if Identity::of(&stat) != node.identity {
            return Err(io::Error::other("it, or a directory above it, was replaced since it was found"));
        }
        Ok((opened, stat))
    }

    /// Opens the directories down to this one, those that are not open already.
    fn descend(&mut self, directory: Option<u32>) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut above = directory;
        // A directory's number is greater than its parent's, so this ends.
        let common = loop {
            let Some(number) = above else { break 0 };
            if let Some(position) = self.open.iter().position(|(open, _)| *open == number) {
                break position + 1;
            }
            missing.push(number);
            above = self.node(number)?.parent;
        };
        self.open.truncate(common);
        for number in missing.into_iter().rev() {
            let (opened, _) = self.open_beside(self.node(number)?, open_directory)?;
            self.open.push((number, opened));
        }
        Ok(())
    }
}

impl fat::Source for Files {
    type Reader = File;

    fn open(&mut self, entry: u32) -> io::Result<File> {
        self.descend(self.node(entry)?.parent)?;
        let node = self.node(entry)?;
        let (opened, stat) = self.open_beside(node, open)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no longer a file"));
        }
        if u64::try_from(stat.st_size) != Ok(node.size) {
            let text =
                format!("its size changed from {} to {} bytes since it was found", node.size, stat.st_size);
            return Err(io::Error::other(text));
        }
        Ok(File::from(opened))
    }
}

/// Opens a file to read it; not through a link, and without waiting for the other end of a pipe that took its
/// place.
pub(super) fn open(directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

/// Opens a directory to read it, not through a link.
pub(super) fn open_directory(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

/// Opens the directory of an argument, by the path that the person named. It need not be readable.
pub(super) fn open_named_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
