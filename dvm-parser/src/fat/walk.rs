//! The tree: each directory is read whole, its files are given to the sink, then its directories are visited.

use super::boot::{Geometry, Root};
use super::chain::{Chain, Used};
use super::longname::Collector;
use super::record::{Entry, Modified, Record, parse};
use super::table::Table;
use super::{
    DEPTH_MAX, DIRECTORY_BYTES_MAX, Damage, ENTRIES_MAX, FatError, FatType, Limit, PATH_BYTES_MAX,
    PENDING_DIRECTORIES_MAX, RECORD_BYTES, Sink, Volume,
};
use crate::names::{SafeName, Siblings, sanitise};

/// What a walk has given to its sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files.
    pub files: u32,
    /// Directories without the root.
    pub directories: u32,
    /// Bytes of all files, at most the volume's length.
    pub bytes: u64,
    /// Names that are not the volume's: sanitised, cut, made unique, or short in place of a broken long one.
    pub renamed: u32,
    /// Files that own more clusters than their size needs; what lies behind their size was not read.
    pub overlong: u32,
}

/// Why a walk ended early.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError<E> {
    /// The volume's fault.
    #[error(transparent)]
    Volume(FatError),
    /// The sink's own error.
    #[error("the files could not be written")]
    Sink(E),
}

impl<E, F: Into<FatError>> From<F> for WalkError<E> {
    fn from(error: F) -> Self {
        Self::Volume(error.into())
    }
}

/// Reads the whole volume into the sink.
///
/// # Errors
/// The first fault of the volume, a limit of this program, or the sink's error. What the sink has received
/// until then is not the whole tree and must be thrown away.
pub fn walk<V: Volume, S: Sink<V>>(volume: &V, sink: &mut S) -> Result<Tally, WalkError<S::Error>> {
    let geometry = Geometry::read(volume)?;
    let mut walk = Walk {
        volume,
        geometry,
        table: Table::new(),
        used: Used::new(&geometry),
        tally: Tally::default(),
        pending: 0,
    };
    walk.tree(sink)?;
    Ok(walk.tally)
}

/// A directory that is still to be visited.
struct Directory {
    name: SafeName,
    start: u32,
    /// Bytes of its path beneath the root.
    path_bytes: usize,
    modified: Option<Modified>,
}

/// A directory whose files are done.
struct Level {
    directories: std::vec::IntoIter<Directory>,
    modified: Option<Modified>,
}

struct Walk<'a, V> {
    volume: &'a V,
    geometry: Geometry,
    table: Table,
    used: Used,
    tally: Tally,
    /// Directories in all levels that are still to be visited.
    pending: u32,
}

impl<V: Volume> Walk<'_, V> {
    fn tree<S: Sink<V>>(&mut self, sink: &mut S) -> Result<(), WalkError<S::Error>> {
        let root = match self.geometry.root {
            Root::Region { offset, bytes } => self.region(offset, bytes)?,
            Root::Chain { start } => self.directory(start)?,
        };
        let mut levels = vec![self.level(root, 0, None, sink)?];
        while let Some(level) = levels.last_mut() {
            let Some(next) = level.directories.next() else {
                let done = levels.pop();
                if !levels.is_empty() {
                    sink.leave_directory(done.and_then(|done| done.modified)).map_err(WalkError::Sink)?;
                }
                continue;
            };
            self.pending = self.pending.saturating_sub(1);
            if levels.len() >= DEPTH_MAX {
                return Err(Limit::Depth.into());
            }
            sink.enter_directory(&next.name).map_err(WalkError::Sink)?;
            let entries = self.directory(next.start)?;
            levels.push(self.level(entries, next.path_bytes, next.modified, sink)?);
        }
        Ok(())
    }

    /// Names the entries of a directory, gives its files to the sink and returns its directories.
    fn level<S: Sink<V>>(
        &mut self,
        entries: Vec<Entry>,
        path_bytes: usize,
        modified: Option<Modified>,
        sink: &mut S,
    ) -> Result<Level, WalkError<S::Error>> {
        let mut siblings = Siblings::new();
        let mut directories = Vec::new();
        for entry in entries {
            if self.tally.files + self.tally.directories >= ENTRIES_MAX {
                return Err(Limit::Entries.into());
            }
            let (name, sanitised) = sanitise(&entry.untrusted_name);
            let (name, doubled) = siblings.take(name);
            let path_bytes = path_bytes + usize::from(path_bytes > 0) + name.as_str().len();
            if path_bytes > PATH_BYTES_MAX {
                return Err(Limit::PathBytes.into());
            }
            if sanitised || doubled || entry.name_broken {
                self.tally.renamed += 1;
                sink.renamed(&name).map_err(WalkError::Sink)?;
            }
            if entry.directory {
                if self.pending >= PENDING_DIRECTORIES_MAX {
                    return Err(Limit::PendingDirectories.into());
                }
                self.pending += 1;
                self.tally.directories += 1;
                let (start, modified) = (entry.untrusted_start, entry.modified);
                directories.push(Directory { name, start, path_bytes, modified });
            } else {
                self.tally.files += 1;
                self.file(&name, &entry, sink)?;
            }
        }
        Ok(Level { directories: directories.into_iter(), modified })
    }

    fn file<S: Sink<V>>(
        &mut self,
        name: &SafeName,
        entry: &Entry,
        sink: &mut S,
    ) -> Result<(), WalkError<S::Error>> {
        let bytes = entry.untrusted_bytes;
        let clusters = bytes.div_ceil(self.geometry.cluster_bytes);
        if clusters > self.geometry.cluster_count {
            return Err(Damage::FileLargerThanVolume.into());
        }
        if clusters == 0 {
            self.tally.overlong += u32::from(entry.untrusted_start != 0);
            sink.begin_file(name, 0).map_err(WalkError::Sink)?;
            return sink.end_file(entry.modified).map_err(WalkError::Sink);
        }
        let mut chain = Chain::from(&self.geometry, entry.untrusted_start)?;
        sink.begin_file(name, bytes).map_err(WalkError::Sink)?;
        self.contents(&mut chain, bytes, clusters, sink)?;
        self.tally.overlong += u32::from(!chain.is_at_end());
        self.tally.bytes += u64::from(bytes);
        sink.end_file(entry.modified).map_err(WalkError::Sink)
    }

    /// Tells the sink where `bytes` bytes, which fill `clusters` clusters, lie: neighbours in one call.
    fn contents<S: Sink<V>>(
        &mut self,
        chain: &mut Chain,
        bytes: u32,
        mut clusters: u32,
        sink: &mut S,
    ) -> Result<(), WalkError<S::Error>> {
        let mut rest = u64::from(bytes);
        while clusters > 0 {
            let run = chain
                .run(self.volume, &self.geometry, &mut self.table, &mut self.used, clusters)?
                .ok_or(Damage::ChainTooShort)?;
            let offset = self.geometry.cluster_offset(run.first).ok_or(Damage::Link)?;
            let run_bytes = rest.min(u64::from(run.clusters) * u64::from(self.geometry.cluster_bytes));
            clusters -= run.clusters;
            rest -= run_bytes;
            sink.contents(self.volume, offset, run_bytes)?;
        }
        Ok(())
    }

    /// The entries of the root directory of FAT12 and FAT16.
    fn region(&self, offset: u64, bytes: u32) -> Result<Vec<Entry>, FatError> {
        let mut scan = Scan::new(self.geometry.fat_type);
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
        self.volume.read_at(offset, &mut buffer).map_err(|_| FatError::Read)?;
        scan.records(&buffer)?;
        Ok(scan.entries)
    }

    /// The entries of any other directory. Its chain is followed as far as it has entries.
    fn directory(&mut self, untrusted_start: u32) -> Result<Vec<Entry>, FatError> {
        let mut scan = Scan::new(self.geometry.fat_type);
        let mut chain = Chain::from(&self.geometry, untrusted_start)?;
        let mut buffer = Vec::new();
        while !scan.ended {
            let Some(run) = chain.run(self.volume, &self.geometry, &mut self.table, &mut self.used, 1)?
            else {
                break;
            };
            let offset = self.geometry.cluster_offset(run.first).ok_or(Damage::Link)?;
            buffer.resize(usize::try_from(self.geometry.cluster_bytes).unwrap_or(0), 0);
            self.volume.read_at(offset, &mut buffer).map_err(|_| FatError::Read)?;
            scan.records(&buffer)?;
        }
        Ok(scan.entries)
    }
}

/// Reads the records of one directory.
struct Scan {
    entries: Vec<Entry>,
    long: Collector,
    wide: bool,
    bytes: u32,
    ended: bool,
}

impl Scan {
    fn new(fat_type: FatType) -> Self {
        let wide = fat_type == FatType::Fat32;
        Self { entries: Vec::new(), long: Collector::new(), wide, bytes: 0, ended: false }
    }

    fn records(&mut self, bytes: &[u8]) -> Result<(), Limit> {
        let (records, _) = bytes.as_chunks::<{ RECORD_BYTES as usize }>();
        for record in records {
            if self.bytes >= DIRECTORY_BYTES_MAX {
                return Err(Limit::DirectoryBytes);
            }
            self.bytes += RECORD_BYTES;
            match parse(record, &mut self.long, self.wide) {
                Record::End => {
                    self.ended = true;
                    return Ok(());
                }
                Record::Skip => {}
                Record::Entry(entry) => self.entries.push(entry),
            }
        }
        Ok(())
    }
}
