//! The walk over what the arguments name.

use std::collections::{BTreeMap, btree_map};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use fat::{DEPTH_MAX, ENTRIES_MAX, Entry, Kind};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, fstat, statat};

use super::files::{Files, Identity, Node, open, open_directory, open_named_directory};
use super::{CollectError, Found, SkipReason, Skipped};

/// Finds all that the arguments name, at most [`ENTRIES_MAX`] files and directories and whatever is skipped.
/// Directories deeper than [`DEPTH_MAX`] are entries, which [`fat::Tree::check`] refuses by name, but not
/// looked into.
///
/// # Errors
/// When an argument is not there or has no name, two of them have the same name, or nothing is left to send.
pub fn collect(arguments: &[OsString]) -> Result<Found, CollectError> {
    collect_within(ENTRIES_MAX, arguments)
}

pub(super) fn collect_within(entries_max: usize, arguments: &[OsString]) -> Result<Found, CollectError> {
    if arguments.is_empty() {
        return Err(CollectError::NoArguments);
    }
    if arguments.len() > entries_max {
        return Err(CollectError::TooManyEntries);
    }
    let (entries, skipped, nodes) = (Vec::new(), Vec::new(), Vec::new());
    let mut walk = Walk { entries, skipped, nodes, seen: arguments.len(), entries_max };
    for argument in named_apart(arguments)? {
        walk.top(argument)?;
    }
    if walk.entries.is_empty() {
        return Err(CollectError::NothingLeft(walk.skipped));
    }
    Ok(Found { entries: walk.entries, skipped: walk.skipped, files: Files::new(walk.nodes) })
}

/// The arguments by their last parts, in the order of these, and no two alike.
fn named_apart(arguments: &[OsString]) -> Result<Vec<Argument>, CollectError> {
    let mut named: BTreeMap<OsString, Argument> = BTreeMap::new();
    for path in arguments.iter().map(PathBuf::from) {
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return Err(CollectError::NoName(path));
        };
        let directory = match path.parent() {
            None => PathBuf::from("."),
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
        };
        match named.entry(name.clone()) {
            btree_map::Entry::Vacant(place) => _ = place.insert(Argument { path, directory, name }),
            btree_map::Entry::Occupied(other) => {
                return Err(CollectError::SameName { first: other.remove().path, second: path });
            }
        }
    }
    Ok(named.into_values().collect())
}

struct Argument {
    /// As the person wrote it.
    path: PathBuf,
    /// Where it is.
    directory: PathBuf,
    name: OsString,
}

struct Walk {
    entries: Vec<Entry>,
    skipped: Vec<Skipped>,
    /// Names that were read, each of which becomes an entry or is skipped.
    seen: usize,
    /// The most of them.
    entries_max: usize,
    /// One for each entry.
    nodes: Vec<Node>,
}

/// A directory that is being walked.
struct Level {
    directory: OwnedFd,
    number: u32,
    path: PathBuf,
    names: std::vec::IntoIter<(OsString, FileType)>,
}

/// Where an entry was found.
struct Place<'a> {
    directory: BorrowedFd<'a>,
    /// The directory's number; `None` for an argument.
    parent: Option<u32>,
    /// The directory's path, where the place is not an argument's.
    path: &'a Path,
    depth: usize,
}

impl Walk {
    fn top(&mut self, argument: Argument) -> Result<(), CollectError> {
        let Argument { path, directory, name } = argument;
        let missing =
            |error: rustix::io::Errno| CollectError::NotFound { path: path.clone(), source: error.into() };
        let parent = open_named_directory(&directory).map_err(missing)?;
        statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(missing)?;
        // The path that is shown ends with the name, so the directory's is what stands in front of it.
        let shown = path.parent().unwrap_or(Path::new(""));
        let place = Place { directory: parent.as_fd(), parent: None, path: shown, depth: 1 };
        let mut levels: Vec<Level> = Vec::new();
        levels.extend(self.entry(place, name, FileType::Unknown, Some(directory))?);
        loop {
            let depth = levels.len() + 1;
            let Some(level) = levels.last_mut() else { return Ok(()) };
            let below = match level.names.next() {
                Some((name, kind)) => {
                    let parent = Some(level.number);
                    let place =
                        Place { directory: level.directory.as_fd(), parent, path: &level.path, depth };
                    self.entry(place, name, kind, None)?
                }
                None => {
                    levels.pop();
                    None
                }
            };
            levels.extend(below);
        }
    }

    /// Takes one entry; gives a directory that is to be walked next.
    fn entry(
        &mut self,
        place: Place<'_>,
        name: OsString,
        kind: FileType,
        argument_of: Option<PathBuf>,
    ) -> Result<Option<Level>, CollectError> {
        let path = place.path.join(&name);
        let level = match self.take(&place, &name, kind, argument_of) {
            Ok(Some(directory)) if place.depth <= DEPTH_MAX => Some(self.level(directory, path)?),
            Ok(_) => None,
            Err(reason) => {
                self.skipped.push(Skipped { path, reason });
                None
            }
        };
        Ok(level)
    }

    /// Makes an entry of a file or directory that can be opened; gives the descriptor of a directory.
    fn take(
        &mut self,
        place: &Place<'_>,
        name: &OsStr,
        kind: FileType,
        argument_of: Option<PathBuf>,
    ) -> Result<Option<OwnedFd>, SkipReason> {
        let unreadable = |error: rustix::io::Errno| SkipReason::Unreadable(error.into());
        let kind = if kind == FileType::Unknown {
            let stat = statat(place.directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable)?;
            FileType::from_raw_mode(stat.st_mode)
        } else {
            kind
        };
        let opened = match kind {
            FileType::Directory => open_directory(place.directory, name),
            FileType::RegularFile => open(place.directory, name),
            FileType::Symlink => return Err(SkipReason::SymbolicLink),
            FileType::CharacterDevice | FileType::BlockDevice => return Err(SkipReason::Device),
            FileType::Socket => return Err(SkipReason::Socket),
            FileType::Fifo => return Err(SkipReason::NamedPipe),
            FileType::Unknown => {
                return Err(SkipReason::Unreadable(io::Error::other("of a kind that is not known")));
            }
        };
        let opened = opened.map_err(unreadable)?;
        let stat = fstat(&opened).map_err(unreadable)?;
        // What was opened may have come there since its kind was asked for.
        if FileType::from_raw_mode(stat.st_mode) != kind {
            return Err(SkipReason::Unreadable(io::Error::other("it was replaced while it was looked at")));
        }
        let is_directory = kind == FileType::Directory;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let kind = if is_directory { Kind::Directory } else { Kind::File { size } };
        let entry_name = name.as_bytes().to_vec();
        self.entries.push(Entry { parent: place.parent, name: entry_name, kind, modified_s: stat.st_mtime });
        self.nodes.push(Node {
            parent: place.parent,
            argument_of,
            name: name.to_owned(),
            identity: Identity::of(&stat),
            size,
        });
        Ok(is_directory.then_some(opened))
    }

    /// The names in the directory that has just become the last entry, sorted.
    fn level(&mut self, directory: OwnedFd, path: PathBuf) -> Result<Level, CollectError> {
        // ENTRIES_MAX is far below what the number can hold.
        let number = u32::try_from(self.nodes.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let mut names = Vec::new();
        if let Err(error) = self.read_names(&directory, &mut names) {
            // What could be read of it is sent; that something is missing is said.
            self.skipped.push(Skipped { path: path.clone(), reason: SkipReason::Unreadable(error.into()) });
        }
        if self.seen > self.entries_max {
            return Err(CollectError::TooManyEntries);
        }
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Level { directory, number, path, names: names.into_iter() })
    }

    /// Reads names until there are no more, or too many.
    fn read_names(
        &mut self,
        directory: &OwnedFd,
        names: &mut Vec<(OsString, FileType)>,
    ) -> rustix::io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.seen += 1;
            if self.seen > self.entries_max {
                break;
            }
            names.push((OsString::from_vec(name.to_vec()), entry.file_type()));
        }
        Ok(())
    }
}
