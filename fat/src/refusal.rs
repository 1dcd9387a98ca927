//! What a tree was refused for, entry by entry.

use std::fmt::{self, Display, Formatter};

use crate::name::NameFault;
use crate::shown::Shown;
use crate::tree::{DEPTH_MAX, DIRECTORY_SLOTS_MAX, FILE_BYTES_MAX, PATH_BYTES_MAX};

/// Offenders that are listed; the others are only counted.
pub const REFUSALS_LISTED_MAX: usize = 100;

/// Why an entry cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// FAT cannot hold its name.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// Another entry of its directory has the same name but for case.
    #[error(
        "the name differs from {} in upper and lower case alone, which FAT does not tell apart",
        Shown(other)
    )]
    SameName {
        /// The other entry's name.
        other: Vec<u8>,
    },
    /// A file of more than [`FILE_BYTES_MAX`].
    #[error("a file of {bytes} bytes is too large for FAT, which holds {FILE_BYTES_MAX}")]
    FileTooLarge {
        /// Its size in bytes.
        bytes: u64,
    },
    /// A directory that needs more than [`DIRECTORY_SLOTS_MAX`] slots.
    #[error("the directory has too many entries, or too long names: {slots} slots of {DIRECTORY_SLOTS_MAX}")]
    DirectoryTooLarge {
        /// The slots that it needs.
        slots: u64,
    },
    /// Deeper than [`DEPTH_MAX`].
    #[error("directories are nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// A path of more than [`PATH_BYTES_MAX`].
    #[error("the path is longer than {PATH_BYTES_MAX} bytes")]
    PathTooLong,
}

/// An entry that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its path from the tree's top, as raw bytes; empty for the top itself.
    pub path: Vec<u8>,
    /// What is wrong with it.
    pub reason: Reason,
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.path.as_slice() {
            [] => write!(f, "the tree's top: {}", self.reason),
            path => write!(f, "{}: {}", Shown(path), self.reason),
        }
    }
}

/// All entries that cannot be written: the first [`REFUSALS_LISTED_MAX`] of them, and how many more there
/// are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// The first ones, in the order in which they were found.
    pub listed: Vec<Refusal>,
    /// How many more there are.
    pub more: u64,
}

impl Refusals {
    pub(crate) fn add(&mut self, path: impl FnOnce() -> Vec<u8>, reason: Reason) {
        if self.listed.len() < REFUSALS_LISTED_MAX {
            self.listed.push(Refusal { path: path(), reason });
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}

impl Display for Refusals {
    /// One line for each, without a line break at the end.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (number, refusal) in self.listed.iter().enumerate() {
            write!(f, "{}{refusal}", if number == 0 { "" } else { "\n" })?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}
