//! The files that go out: found without following a symbolic link, and opened again the same way.
//!
//! ```text
//! walk.rs    arguments -> entries of the volume, and what is skipped
//! files.rs   an entry's number -> the file, if it is still the one that was found
//! ```
//!
//! Between the two the person sees what will be sent, dom0 is asked, and the volume is planned. Whatever
//! happens to the tree meanwhile (a directory becomes a link to somewhere else, a file grows), nothing is
//! sent that was not found here.

mod files;
mod walk;

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use fat::Shown;

pub use files::Files;
pub use walk::collect;

/// All that goes out.
#[derive(Debug)]
pub struct Found {
    /// Files and directories, sorted by name within each directory, each directory in front of what it holds.
    pub entries: Vec<fat::Entry>,
    /// What stays behind, for each a line to show; the tool's exit code says that there was any.
    pub skipped: Vec<Skipped>,
    /// Opens the files for [`fat::write`].
    pub files: Files,
}

/// Something that stays behind, with all that is in it.
#[derive(Debug)]
pub struct Skipped {
    /// Its path, beginning with the argument that it was found in.
    pub path: PathBuf,
    /// Why.
    pub reason: SkipReason,
}

/// Why something stays behind.
#[derive(Debug, thiserror::Error)]
pub enum SkipReason {
    /// A symbolic link: never followed, because what it points to is not what was named.
    #[error("a symbolic link")]
    SymbolicLink,
    /// A character or block device.
    #[error("a device")]
    Device,
    /// A socket.
    #[error("a socket")]
    Socket,
    /// A named pipe.
    #[error("a named pipe")]
    NamedPipe,
    /// It could not be opened, or is gone.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
}

impl fmt::Display for Skipped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: skipped: {}", Shown(self.path.as_os_str().as_bytes()), self.reason)
    }
}

/// Why there is no tree to send.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// No arguments.
    #[error("no file or directory is named")]
    NoArguments,
    /// An argument that has no name of its own: `/`, `..`, or an empty one.
    #[error("{}: name a file or directory by its name", Shown(.0.as_os_str().as_bytes()))]
    NoName(PathBuf),
    /// An argument that is not there.
    #[error("{}: {source}", Shown(path.as_os_str().as_bytes()))]
    NotFound {
        /// The argument.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Two arguments that would have the same name at the receiver (L24).
    #[error(
        "{} and {} have the same name: send them one after the other, or rename one",
        Shown(first.as_os_str().as_bytes()),
        Shown(second.as_os_str().as_bytes())
    )]
    SameName {
        /// The argument that came first.
        first: PathBuf,
        /// The one that came later.
        second: PathBuf,
    },
    /// More than a volume is allowed to hold, skipped ones included.
    #[error("more than {} files and directories", fat::ENTRIES_MAX)]
    TooManyEntries,
    /// Everything was skipped.
    #[error("there is nothing to send")]
    NothingLeft(Vec<Skipped>),
}

#[cfg(test)]
mod tests;
