//! A reader of FAT12, FAT16 and FAT32 volumes that another VM wrote.
//!
//! ```text
//! boot.rs       the boot sector, copied once and validated whole -> Geometry
//! table.rs      the allocation table, read lazily through a bounded cache
//! chain.rs      cluster chains as runs of neighbours; every cluster is used at most once
//! record.rs     one 32-byte directory record: short name, start, size, time
//! longname.rs   the records before it that make up its long name
//! walk.rs       the tree: directories, files, bounds, what is told to the sink
//! ```
//!
//! The format is that of Microsoft's *FAT: General Overview of On-Disk Format*, version 1.03, with the two
//! deviations that `mkfs.vfat` and Linux share (see [`boot`]).
//!
//! # Why it always ends, and what it can cost
//!
//! - A bitmap holds one bit for each cluster. A chain that comes to a cluster that any chain has used before
//!   (a loop, a cross-link, a directory within itself) is [`Damage::ClusterUsedTwice`]. So each cluster is
//!   read at most once, and **the sink is never given more bytes than the volume has**.
//! - The volume may change while it is read (lesson 15): each directory record is copied before it is
//!   judged, and the table's values are only ever used as bounded numbers. An inconsistent volume
//!   gives wrong bytes of its own, nothing else.
//! - Memory: the bitmap (a bit for each cluster, 32 MiB for the largest volume there can be), the
//!   table's cache ([`TABLE_PAGE_BYTES`] x [`TABLE_PAGES_MAX`]), one directory ([`DIRECTORY_BYTES_MAX`] and
//!   its names), and the directories still to be visited ([`PENDING_DIRECTORIES_MAX`] names). The contents of
//!   files need none: the sink is told where they lie.

pub mod boot;
mod chain;
mod longname;
mod record;
mod table;
#[cfg(test)]
mod tests;
mod walk;

use std::io;

pub use boot::{FatType, Geometry};
pub use record::Modified;
pub use walk::{Tally, WalkError, walk};

/// Sector sizes that the format knows, in bytes.
pub const SECTOR_BYTES_MIN: u32 = 512;
/// See [`SECTOR_BYTES_MIN`].
pub const SECTOR_BYTES_MAX: u32 = 4096;
/// Sectors in a cluster, at most.
pub const CLUSTER_SECTORS_MAX: u32 = 128;
/// The largest directory, in bytes: 65 536 records, which the format's own text sets as the limit.
pub const DIRECTORY_BYTES_MAX: u32 = 65_536 * RECORD_BYTES;
/// Files and directories in all.
pub const ENTRIES_MAX: u32 = 1_000_000;
/// Directories found and not yet visited, in all levels together.
pub const PENDING_DIRECTORIES_MAX: u32 = 100_000;
/// How deep directories may be nested: entries of the root directory are at depth 1.
pub const DEPTH_MAX: usize = 100;
/// The longest path beneath the root directory, in bytes of UTF-8. It leaves half a kibibyte of Linux's
/// 4 096 for the directory that the tree is put into, so that every program can name every file.
pub const PATH_BYTES_MAX: usize = 3_584;
/// The allocation table is read in pages of so many bytes.
pub const TABLE_PAGE_BYTES: usize = 64 * 1024;
/// So many pages are kept: 16 MiB, which is the whole table of a volume of 16 GiB with 4 KiB clusters.
pub const TABLE_PAGES_MAX: usize = 256;

/// A directory record, in bytes.
pub(crate) const RECORD_BYTES: u32 = 32;

/// What is read: a block device, an image file, or a test's memory.
pub trait Volume {
    /// Fills the whole buffer from that offset, or fails.
    ///
    /// # Errors
    /// Whatever the device reports; [`io::ErrorKind::UnexpectedEof`] when it ends within the buffer.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The volume's size in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where the tree goes. The walk calls it in order; each call of `enter_directory` and `begin_file` has its
/// `leave_directory` and `end_file` unless an error ends the walk.
pub trait Sink<V: Volume> {
    /// Why the sink gave up; it ends the walk.
    type Error;

    /// A new directory within the current one, which becomes the current one.
    ///
    /// # Errors
    /// Any error ends the walk, here and in the other calls.
    fn enter_directory(&mut self, name: &crate::names::SafeName) -> Result<(), Self::Error>;
    /// The current directory is complete; its parent is the current one again.
    ///
    /// # Errors
    /// Ends the walk.
    fn leave_directory(&mut self, modified: Option<Modified>) -> Result<(), Self::Error>;
    /// A new file in the current directory. Exactly `bytes` bytes of contents follow.
    ///
    /// # Errors
    /// Ends the walk.
    fn begin_file(&mut self, name: &crate::names::SafeName, bytes: u32) -> Result<(), Self::Error>;
    /// The next bytes of the file: so many, at least one, from that offset of the volume, within the volume.
    ///
    /// # Errors
    /// Ends the walk.
    fn contents(&mut self, volume: &V, offset: u64, bytes: u64) -> Result<(), WalkError<Self::Error>>;
    /// The file is complete.
    ///
    /// # Errors
    /// Ends the walk.
    fn end_file(&mut self, modified: Option<Modified>) -> Result<(), Self::Error>;
    /// A name is not the one that the volume has. Called for every such name, directly before the file
    /// begins, or when its directory is found.
    ///
    /// # Errors
    /// Ends the walk.
    fn renamed(&mut self, name: &crate::names::SafeName) -> Result<(), Self::Error>;
}

/// Why a volume was not read to its end. Holds nothing that the volume chose but numbers' kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FatError {
    /// Reading failed.
    #[error("the device could not be read")]
    Read,
    /// The volume holds no FAT boot sector.
    #[error("the device holds no FAT file system: {0}")]
    NotFat(Boot),
    /// A disk with partitions; pendrives have none.
    #[error("the device has a partition table; the file system must begin at the device's first byte")]
    PartitionTable,
    /// The file system is inconsistent.
    #[error("the file system is damaged: {0}")]
    Damaged(Damage),
    /// The file system is larger than this program is willing to read.
    #[error("the file system exceeds a limit: {0}")]
    Limit(Limit),
}

/// What is wrong with a boot sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Boot {
    /// Shorter than a boot sector.
    #[error("it is shorter than a boot sector")]
    TooShort,
    /// The two signature bytes at its end.
    #[error("its boot signature is missing")]
    Signature,
    /// No jump instruction at its beginning.
    #[error("its boot sector does not begin with a jump")]
    Jump,
    /// Not 512, 1024, 2048 or 4096.
    #[error("its sector size is not one of the format")]
    SectorBytes,
    /// Not a power of two from 1 to 128.
    #[error("its cluster size is not one of the format")]
    ClusterSectors,
    /// No reserved sector.
    #[error("its boot sector is not reserved")]
    ReservedSectors,
    /// Neither one nor two tables.
    #[error("it has neither one nor two allocation tables")]
    TableCount,
    /// Size of the tables, or which of them is in use.
    #[error("the size of its allocation table makes no sense")]
    TableSize,
    /// A root directory where there must be none, or none where one must be.
    #[error("the size of its root directory makes no sense")]
    RootEntries,
    /// Not one of the format's media bytes.
    #[error("its media byte is not one of the format")]
    Media,
    /// Version other than 0.0.
    #[error("its version of FAT32 is unknown")]
    Version,
    /// The number of sectors is zero or ambiguous.
    #[error("its number of sectors makes no sense")]
    TotalSectors,
    /// No room for a single cluster, or more clusters than the type allows.
    #[error("its number of clusters makes no sense")]
    ClusterCount,
    /// The file system says that it is larger than the device.
    #[error("the file system is larger than the device")]
    LargerThanDevice,
}

/// How a file system contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A file or directory begins at a cluster that does not exist.
    #[error("a file or directory begins outside the volume")]
    StartCluster,
    /// A chain leads to a cluster that is free, bad, reserved or does not exist.
    #[error("a chain of clusters leads to no cluster")]
    Link,
    /// A loop, a cross-link, or a directory within itself.
    #[error("a cluster belongs to two files, or twice to one")]
    ClusterUsedTwice,
    /// A file's size needs more clusters than its chain has.
    #[error("a file has fewer clusters than its size needs")]
    ChainTooShort,
    /// A file's size is more than all clusters hold.
    #[error("a file is larger than the volume")]
    FileLargerThanVolume,
}

/// Which limit of this program was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// [`ENTRIES_MAX`].
    #[error("more than {ENTRIES_MAX} files and directories")]
    Entries,
    /// [`PENDING_DIRECTORIES_MAX`].
    #[error("more than {PENDING_DIRECTORIES_MAX} directories side by side")]
    PendingDirectories,
    /// [`DIRECTORY_BYTES_MAX`].
    #[error("a directory of more than {DIRECTORY_BYTES_MAX} bytes")]
    DirectoryBytes,
    /// [`DEPTH_MAX`].
    #[error("directories nested deeper than {DEPTH_MAX}")]
    Depth,
    /// [`PATH_BYTES_MAX`].
    #[error("a path of more than {PATH_BYTES_MAX} bytes")]
    PathBytes,
}

impl From<Damage> for FatError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<Limit> for FatError {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

/// Little-endian numbers at fixed places.
#[expect(clippy::indexing_slicing, reason = "that the places lie within the array is checked when compiling")]
pub(crate) mod le {
    /// The byte at `AT`.
    pub(crate) fn byte<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u8 {
        const { assert!(AT < N) }
        bytes[AT]
    }

    /// The 16-bit number at `AT`.
    pub(crate) fn half<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u16 {
        const { assert!(AT + 1 < N) }
        u16::from_le_bytes([bytes[AT], bytes[AT + 1]])
    }

    /// The 32-bit number at `AT`.
    pub(crate) fn word<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u32 {
        const { assert!(AT + 3 < N) }
        u32::from_le_bytes([bytes[AT], bytes[AT + 1], bytes[AT + 2], bytes[AT + 3]])
    }
}
