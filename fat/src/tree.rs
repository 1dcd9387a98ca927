//! A tree of files, checked for all that a FAT volume cannot hold before anything is written.

use std::collections::{BTreeMap, btree_map};

use crate::name;
use crate::refusal::{Reason, Refusals};
use crate::short::{ShortName, ShortNames};
use crate::slots::slots_of;
use crate::stamp::Stamp;

/// Files and directories in all.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Directories in all, the top included: what a careful reader is sure to accept.
pub const DIRECTORIES_MAX: usize = 100_000;
/// How deep directories may be nested: an entry of the top is at depth 1.
pub const DEPTH_MAX: usize = 100;
/// Bytes of the longest path from the top, with its slashes. It leaves half a KiB of Linux's 4 KiB to the
/// directory that receives the tree.
pub const PATH_BYTES_MAX: usize = 3_584;
/// Bytes of the largest file: a size has 32 bits.
///
/// fsck.vfat 4.2 and older count a file's bytes in 32 bits and so take one of the last 4 KiB to 32 KiB of this range,
/// whose clusters are 4 GiB, for broken (dosfstools' issue 208, mended since). Every other reader takes it as it is.
pub const FILE_BYTES_MAX: u64 = u32::MAX as u64;
/// Slots of 32 bytes in a directory, which ends at 2 MiB. An entry takes one for itself and one for each 13
/// UTF-16 units of its name; the top takes one for the volume's label, other directories take two for `.` and
/// `..`.
pub const DIRECTORY_SLOTS_MAX: u32 = 65_535;

/// A file or directory to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number, in the list of entries, of the directory that holds it, which must come earlier; `None`
    /// for the top.
    pub parent: Option<u32>,
    /// Its name, without a path.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// When its content last changed, in seconds since 1970 (UTC). Times outside 1980 to 2107 become the
    /// nearest inside.
    pub modified_s: i64,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file of this many bytes.
    File {
        /// At most [`FILE_BYTES_MAX`].
        size: u64,
    },
}

/// Why a list of entries is no tree that a volume can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Entries that FAT cannot hold.
    #[error("{0}")]
    Refused(Refusals),
    /// More than [`ENTRIES_MAX`].
    #[error("more than {ENTRIES_MAX} files and directories")]
    TooManyEntries,
    /// More than [`DIRECTORIES_MAX`].
    #[error("more than {DIRECTORIES_MAX} directories")]
    TooManyDirectories,
    /// An entry's parent is not an earlier directory: a mistake of the program that made the list.
    #[error("the parent of entry {entry} is not a directory that comes before it")]
    NoSuchParent {
        /// The entry's number.
        entry: u32,
    },
}

/// A tree that a FAT volume can hold, if it is large enough.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The top is the first; the others follow in the order of the entries.
    pub(crate) directories: Vec<Directory>,
}

#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) name: Vec<u8>,
    /// Number of the directory that holds it; the top's own for the top.
    pub(crate) parent: usize,
    pub(crate) stamp: Stamp,
    pub(crate) slots: u32,
    pub(crate) children: Vec<Child>,
    depth: usize,
    path_bytes: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) name: String,
    pub(crate) short: ShortName,
    pub(crate) stamp: Stamp,
    pub(crate) kind: ChildKind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ChildKind {
    Directory { number: usize },
    File { entry: u32, size: u32 },
}

impl Tree {
    /// Takes the entries apart into directories, and gives each its short name.
    ///
    /// # Errors
    /// When there are too many entries, or when some cannot be written: all of these are named.
    pub fn check(entries: Vec<Entry>) -> Result<Self, TreeError> {
        if entries.len() > ENTRIES_MAX {
            return Err(TreeError::TooManyEntries);
        }
        let mut tree = Self { directories: vec![Directory::top()] };
        let mut refusals = Refusals::default();
        let mut numbers = Vec::with_capacity(entries.len());
        for (number, entry) in (0_u32..).zip(entries) {
            let parent = match entry.parent {
                None => 0,
                Some(parent) => numbers
                    .get(parent as usize)
                    .copied()
                    .flatten()
                    .ok_or(TreeError::NoSuchParent { entry: number })?,
            };
            numbers.push(tree.add(parent, number, entry, &mut refusals)?);
        }
        for number in 0..tree.directories.len() {
            tree.complete(number, &mut refusals);
        }
        if refusals.is_empty() { Ok(tree) } else { Err(TreeError::Refused(refusals)) }
    }

    /// Adds an entry; gives the number of a directory. What is refused is added as far as its own entries
    /// need it.
    fn add(
        &mut self,
        parent: usize,
        entry_number: u32,
        entry: Entry,
        refusals: &mut Refusals,
    ) -> Result<Option<usize>, TreeError> {
        let Entry { name, kind, modified_s, .. } = entry;
        let stamp = Stamp::from_unix(modified_s);
        let above = self.directory(parent);
        let depth = above.depth + 1;
        let path_bytes = above.path_bytes + usize::from(parent != 0) + name.len();
        let path = || self.path(parent, &name);
        // Each entry is refused for one reason alone; what lies too deep is not named again and again below.
        let too_deep = depth == DEPTH_MAX + 1;
        let too_long = path_bytes > PATH_BYTES_MAX && above.path_bytes <= PATH_BYTES_MAX;
        let checked = match (name::check(&name), kind) {
            (Err(fault), _) => Err(Reason::Name(fault)),
            (Ok(_), _) if too_deep => Err(Reason::TooDeep),
            (Ok(_), _) if too_long => Err(Reason::PathTooLong),
            (Ok(name), Kind::Directory) => {
                Ok((name, ChildKind::Directory { number: self.directories.len() }))
            }
            (Ok(name), Kind::File { size }) => u32::try_from(size)
                .map(|size| (name, ChildKind::File { entry: entry_number, size }))
                .map_err(|_| Reason::FileTooLarge { bytes: size }),
        };
        let child = match checked {
            Ok((name, kind)) => {
                Some(Child { name: name.to_owned(), short: ShortName::default(), stamp, kind })
            }
            Err(reason) => {
                refusals.add(path, reason);
                None
            }
        };
        self.directory_mut(parent).children.extend(child);
        match kind {
            Kind::File { .. } => Ok(None),
            Kind::Directory if self.directories.len() >= DIRECTORIES_MAX => {
                Err(TreeError::TooManyDirectories)
            }
            Kind::Directory => {
                self.directories.push(Directory {
                    name,
                    parent,
                    stamp,
                    slots: 0,
                    children: Vec::new(),
                    depth,
                    path_bytes,
                });
                Ok(Some(self.directories.len() - 1))
            }
        }
    }

    /// What can be said of a directory when all its entries are known: their short names, its size, and which
    /// of them FAT would take for one.
    fn complete(&mut self, number: usize, refusals: &mut Refusals) {
        let mut found: Vec<(Vec<u8>, Reason)> = Vec::new();
        let directory = self.directory_mut(number);
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for child in &directory.children {
            match seen.entry(name::folded(&child.name)) {
                btree_map::Entry::Vacant(place) => _ = place.insert(&child.name),
                btree_map::Entry::Occupied(other) => {
                    let reason = Reason::SameName { other: other.get().as_bytes().to_vec() };
                    found.push((child.name.clone().into_bytes(), reason));
                }
            }
        }
        drop(seen);
        let own: u32 = if number == 0 { 1 } else { 2 };
        let slots = directory.children.iter().map(|child| u64::from(slots_of(&child.name))).sum::<u64>()
            + u64::from(own);
        let within = u32::try_from(slots).ok().filter(|slots| *slots <= DIRECTORY_SLOTS_MAX);
        match within {
            Some(slots) => {
                directory.slots = slots;
                give_short_names(&mut directory.children);
            }
            None => refusals.add(|| self.directory_path(number), Reason::DirectoryTooLarge { slots }),
        }
        for (name, reason) in found {
            refusals.add(|| self.path(number, &name), reason);
        }
    }

    /// The path of an entry of that directory, from the top.
    pub(crate) fn path(&self, parent: usize, name: &[u8]) -> Vec<u8> {
        let mut path = self.directory_path(parent);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(name);
        path
    }

    fn directory_path(&self, mut number: usize) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        while number != 0 {
            let directory = self.directory(number);
            names.push(&directory.name);
            number = directory.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "directories are only numbered when they exist, and none is removed"
    )]
    pub(crate) fn directory(&self, number: usize) -> &Directory {
        &self.directories[number]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "directories are only numbered when they exist, and none is removed"
    )]
    fn directory_mut(&mut self, number: usize) -> &mut Directory {
        &mut self.directories[number]
    }
}

impl Directory {
    fn top() -> Self {
        let stamp = Stamp::default();
        Self { name: Vec::new(), parent: 0, stamp, slots: 0, children: Vec::new(), depth: 0, path_bytes: 0 }
    }
}

/// Names that are their own short name come first, so that no other entry gets it.
fn give_short_names(children: &mut [Child]) {
    let mut names = ShortNames::default();
    let mut others = Vec::new();
    for child in children {
        match names.reserve(&child.name) {
            Some(short) => child.short = short,
            None => others.push(child),
        }
    }
    for child in others {
        // There are a million numbers for each stem, and a directory has room for 32 767 entries.
        child.short = names.make(&child.name).unwrap_or_default();
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
