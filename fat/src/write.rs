//! The volume, written from its first byte to the end of its last cluster in use, without ever going back.

use std::io::{self, ErrorKind, Read, Write};

use crate::boot::reserved_area;
use crate::layout::{Places, Plan};
use crate::shown::Shown;
use crate::slots::{Facts, label_slot, put_dots, put_entry};
use crate::stamp::Stamp;
use crate::tree::{ChildKind, Directory};

/// Bytes of each write to the device but the last, which begin at multiples of it.
pub const BLOCK_BYTES: usize = 1 << 20;

const PAGE_BYTES: usize = 4096;

/// Where the contents of files come from.
pub trait Source {
    /// A file's bytes from its first one on.
    type Reader: Read;

    /// Opens the file that has this number in the list of entries. Each file is opened once, also an empty
    /// one, which may not be empty any more; the files of a directory are opened one after the other, and
    /// before those of the directories behind it in the list.
    ///
    /// # Errors
    /// Any error ends the pass.
    fn open(&mut self, entry: u32) -> io::Result<Self::Reader>;
}

/// Why a volume is not complete. There is no use for the part that was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The device did not take the bytes.
    #[error("cannot write to the device behind byte {offset}: {source}")]
    Device {
        /// Bytes that it had taken.
        offset: u64,
        /// What it answered.
        source: io::Error,
    },
    /// A file could not be opened.
    #[error("{}: cannot be opened: {source}", Shown(path))]
    Open {
        /// Its path from the tree's top.
        path: Vec<u8>,
        /// Why not.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("{}: cannot be read: {source}", Shown(path))]
    Read {
        /// Its path from the tree's top.
        path: Vec<u8>,
        /// Why not.
        source: io::Error,
    },
    /// A file ended before its planned size.
    #[error("{}: the file became shorter while it was copied: {found} bytes of {planned}", Shown(path))]
    Shorter {
        /// Its path from the tree's top.
        path: Vec<u8>,
        /// The bytes that it had when the tree was planned.
        planned: u32,
        /// The bytes that it has now.
        found: u32,
    },
    /// A file did not end at its planned size.
    #[error("{}: the file became longer than {planned} bytes while it was copied", Shown(path))]
    Longer {
        /// Its path from the tree's top.
        path: Vec<u8>,
        /// The bytes that it had when the tree was planned.
        planned: u32,
    },
}

/// Writes the planned volume in one pass: boot sectors, both FATs, directories, files. The unused part of the
/// FATs and the rest of each last cluster are written as zeros; what lies behind the last cluster in use is
/// left alone.
///
/// `progress` is called after each block with the bytes written so far, of [`Plan::bytes_total`]. The device
/// is flushed, but not synced.
///
/// # Errors
/// When the device fails, or a file cannot be read as it was planned: never is anything filled in.
pub fn write<W: Write, S: Source>(
    plan: &Plan,
    device: W,
    source: &mut S,
    progress: &mut dyn FnMut(u64),
) -> Result<(), WriteError> {
    let mut pass = Pass { device, block: Block::new(), filled: 0, written: 0, progress };
    let geometry = plan.geometry();
    pass.put(&reserved_area(geometry, plan.label, plan.volume_id, plan.clusters_used))?;
    for fat in 1..=2 {
        for entry in plan.fat_entries() {
            pass.put(&entry.to_le_bytes())?;
        }
        pass.zeros_up_to(geometry.fat_offset() + fat * geometry.fat_bytes())?;
    }
    for (number, (directory, places)) in plan.tree.directories.iter().zip(&plan.places).enumerate() {
        pass.put(&directory_bytes(plan, number, directory, *places))?;
        pass.zeros_up_to_cluster(plan)?;
    }
    for (number, directory) in plan.tree.directories.iter().enumerate() {
        for child in &directory.children {
            if let ChildKind::File { entry, size } = child.kind {
                let path = || plan.tree.path(number, child.name.as_bytes());
                let mut file =
                    source.open(entry).map_err(|source| WriteError::Open { path: path(), source })?;
                pass.copy(&mut file, size, path)?;
                pass.zeros_up_to_cluster(plan)?;
            }
        }
    }
    pass.finish()
}

/// A directory's slots, without what fills its last cluster.
fn directory_bytes(plan: &Plan, number: usize, directory: &Directory, places: Places) -> Vec<u8> {
    let mut bytes = Vec::new();
    if number == 0 {
        bytes.extend(label_slot(plan.label, Stamp::default()));
    } else {
        let own = Facts { directory: true, cluster: places.own, size: 0, stamp: directory.stamp };
        let cluster = if directory.parent == 0 { 0 } else { plan.own_cluster(directory.parent) };
        put_dots(&mut bytes, own, Facts { cluster, ..own });
    }
    let cluster_bytes = plan.geometry().cluster_bytes();
    let mut next = places.files;
    for child in &directory.children {
        let facts = match child.kind {
            ChildKind::Directory { number } => {
                Facts { directory: true, cluster: plan.own_cluster(number), size: 0, stamp: child.stamp }
            }
            ChildKind::File { size, .. } => {
                let cluster = if size == 0 { 0 } else { next };
                next += size.div_ceil(cluster_bytes);
                Facts { directory: false, cluster, size, stamp: child.stamp }
            }
        };
        put_entry(&mut bytes, &child.name, child.short, facts);
    }
    bytes
}

/// The bytes of one write, at an address that the kernel copies from and to quickly.
struct Block {
    memory: Vec<u8>,
    begin: usize,
}

impl Block {
    fn new() -> Self {
        let memory = vec![0; BLOCK_BYTES + PAGE_BYTES];
        // The pointer is only looked at. Where the distance is not known, any place will do.
        let begin = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self { memory, begin }
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.begin..self.begin + BLOCK_BYTES).unwrap_or_default()
    }
}

/// What is on its way to the device.
struct Pass<'a, W> {
    device: W,
    block: Block,
    /// Bytes of the block that are filled: fewer than [`BLOCK_BYTES`], between any two calls.
    filled: usize,
    written: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<W: Write> Pass<'_, W> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let room = self.room(bytes.len());
            let (now, later) = bytes.split_at_checked(room.len()).unwrap_or((bytes, &[]));
            room.copy_from_slice(now);
            self.advance(now.len())?;
            bytes = later;
        }
        Ok(())
    }

    fn zeros_up_to(&mut self, offset: u64) -> Result<(), WriteError> {
        loop {
            let missing = offset.saturating_sub(self.offset());
            if missing == 0 {
                return Ok(());
            }
            let room = self.room(usize::try_from(missing).unwrap_or(usize::MAX));
            room.fill(0);
            let count = room.len();
            self.advance(count)?;
        }
    }

    fn zeros_up_to_cluster(&mut self, plan: &Plan) -> Result<(), WriteError> {
        // The data area begins at a multiple of the cluster's size.
        self.zeros_up_to(self.offset().next_multiple_of(u64::from(plan.geometry().cluster_bytes())))
    }

    /// Copies a file of exactly that size, straight into the block.
    fn copy(
        &mut self,
        file: &mut impl Read,
        size: u32,
        path: impl Fn() -> Vec<u8>,
    ) -> Result<(), WriteError> {
        let mut left = size;
        while left > 0 {
            let room = self.room(left as usize);
            let count = read(file, room).map_err(|source| WriteError::Read { path: path(), source })?;
            if count == 0 {
                return Err(WriteError::Shorter { path: path(), planned: size, found: size - left });
            }
            // No more than the room, which is no more than what is left.
            left -= u32::try_from(count).unwrap_or(left);
            self.advance(count)?;
        }
        match read(file, &mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(WriteError::Longer { path: path(), planned: size }),
            Err(source) => Err(WriteError::Read { path: path(), source }),
        }
    }

    fn finish(mut self) -> Result<(), WriteError> {
        if self.filled > 0 {
            self.write_block()?;
        }
        self.device.flush().map_err(|source| WriteError::Device { offset: self.written, source })
    }

    fn offset(&self) -> u64 {
        self.written + self.filled as u64
    }

    /// The free part of the block, at most `wanted` bytes, at least one where one is wanted.
    fn room(&mut self, wanted: usize) -> &mut [u8] {
        let end = self.filled.saturating_add(wanted).min(BLOCK_BYTES);
        self.block.bytes().get_mut(self.filled..end).unwrap_or_default()
    }

    /// Takes so many bytes of the room for filled.
    fn advance(&mut self, count: usize) -> Result<(), WriteError> {
        self.filled += count;
        if self.filled >= BLOCK_BYTES { self.write_block() } else { Ok(()) }
    }

    fn write_block(&mut self) -> Result<(), WriteError> {
        let bytes = self.block.bytes().get(..self.filled).unwrap_or_default();
        self.device.write_all(bytes).map_err(|source| WriteError::Device { offset: self.written, source })?;
        self.written += bytes.len() as u64;
        self.filled = 0;
        (self.progress)(self.written);
        Ok(())
    }
}

/// Bytes read, at most as many as the buffer has; 0 at the file's end.
fn read(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.map(|count| count.min(buffer.len())),
        }
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
