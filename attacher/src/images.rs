//! The image directory: every pendrive is a fresh file, and the space of a destroyed one is released (L3, L4).
//!
//! A file gets the name of an image only when it is complete, so whatever a crash leaves behind is a spare, and spares
//! are removed at start.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use fat::{Piece, VolumeLabel, VolumeSize};
use protocol::attach::{AttachFailure, IMAGES_MAX};
use protocol::types::{ImageId, SizeMib};
use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::name::FileName;

/// Most bytes released at once: what one piece of background work may take.
pub const PIECE_BYTES_MAX: u64 = 64 << 20;
/// Most entries of the image directory, ours or not.
pub const ENTRIES_MAX: usize = 4096;

/// Bytes of a block as `stat` counts them.
const STAT_BLOCK_BYTES: u64 = 512;
const MIB: u64 = 1 << 20;

/// Why the image directory cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImagesError {
    /// More entries than are looked at.
    #[error("the image directory has more than {ENTRIES_MAX} entries, or more than {IMAGES_MAX} images")]
    TooMany,
    /// The kernel refused.
    #[error("the image directory cannot be read: {0}")]
    Os(#[from] Errno),
}

/// What the directory holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The images and their sizes in MiB, rounded up.
    pub images: Vec<(ImageId, u64)>,
    /// Spares, whole or half-made.
    pub spares: Vec<FileName>,
    /// How many entries are not ours.
    pub foreign: usize,
}

/// The image directory.
#[derive(Debug)]
pub struct Images {
    directory: OwnedFd,
    spare_size: SizeMib,
    free_bytes_min: u64,
    spare: Option<FileName>,
    next_spare: u128,
    /// Nominal sizes in bytes of all images.
    sizes: BTreeMap<ImageId, u64>,
    /// Images whose space is being released: how far that is.
    releasing: BTreeMap<ImageId, (OwnedFd, u64)>,
}

impl Images {
    /// Takes over the directory: lists it, and removes the spares of an earlier life.
    ///
    /// # Errors
    /// [`ImagesError`].
    pub fn open(
        directory: OwnedFd,
        spare_size: SizeMib,
        free_mib_min: u32,
    ) -> Result<(Self, Listing), ImagesError> {
        let listing = list(&directory)?;
        for spare in &listing.spares {
            rustix::fs::unlinkat(&directory, spare.text(), AtFlags::empty())?;
        }
        let sizes = listing.images.iter().map(|(image, mib)| (*image, mib.saturating_mul(MIB))).collect();
        let images = Self {
            directory,
            spare_size,
            free_bytes_min: u64::from(free_mib_min).saturating_mul(MIB),
            spare: None,
            next_spare: 0,
            sizes,
            releasing: BTreeMap::new(),
        };
        Ok((images, listing))
    }

    /// Whether a spare is ready.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        self.spare.is_some()
    }

    /// Makes a spare, if there is none.
    ///
    /// # Errors
    /// [`AttachFailure::Io`], [`AttachFailure::NoSpace`].
    pub fn make_spare(&mut self) -> Result<(), AttachFailure> {
        if self.spare.is_none() {
            self.spare = Some(self.make(volume_size(self.spare_size)?, VolumeLabel::from_name(""), 0)?);
        }
        Ok(())
    }

    /// Makes an image, from the spare where its size fits.
    ///
    /// # Errors
    /// [`AttachFailure::NoSpace`] when less than the reserve would be left once every image was written full, or the
    /// size is no volume's; [`AttachFailure::InUse`] when the image exists; [`AttachFailure::Io`].
    pub fn create(&mut self, image: ImageId, size: SizeMib, label: &str) -> Result<(), AttachFailure> {
        let volume = volume_size(size)?;
        let promised = self.promised_bytes()?;
        if !leaves_reserve(self.free_bytes()?, promised, size.bytes(), self.free_bytes_min) {
            return Err(AttachFailure::NoSpace);
        }
        let label = VolumeLabel::from_name(label);
        let id = volume_id(image);
        let fresh = match self.spare.take_if(|_| size == self.spare_size) {
            Some(spare) => self.relabel(spare, volume, label, id).map(|()| spare),
            None => self.make(volume, label, id),
        }?;
        let named = rustix::fs::renameat_with(
            &self.directory,
            fresh.text(),
            &self.directory,
            FileName::Image(image).text(),
            RenameFlags::NOREPLACE,
        );
        if let Err(errno) = named {
            self.unlink(fresh);
            return Err(if errno == Errno::EXIST { AttachFailure::InUse } else { AttachFailure::Io });
        }
        self.sizes.insert(image, size.bytes());
        Ok(())
    }

    /// Opens an image, for writing only where that is wanted: a read-only descriptor stays read-only whatever the
    /// back end does with it (L17).
    ///
    /// # Errors
    /// [`AttachFailure::NoSuchImage`], [`AttachFailure::Io`].
    pub fn open_image(&self, image: ImageId, writable: bool) -> Result<OwnedFd, AttachFailure> {
        let access = if writable { OFlags::RDWR } else { OFlags::RDONLY };
        self.open_file(FileName::Image(image), access).map_err(|errno| match errno {
            Errno::NOENT => AttachFailure::NoSuchImage,
            _ => AttachFailure::Io,
        })
    }

    /// How many MiB an image occupies, rounded up.
    ///
    /// # Errors
    /// [`AttachFailure::NoSuchImage`], [`AttachFailure::Io`].
    pub fn used_mib(&self, image: ImageId) -> Result<u32, AttachFailure> {
        let name = FileName::Image(image).text();
        match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(u32::try_from(allocated_bytes(&stat).div_ceil(MIB)).unwrap_or(u32::MAX)),
            Err(Errno::NOENT) => Err(AttachFailure::NoSuchImage),
            Err(_) => Err(AttachFailure::Io),
        }
    }

    /// Releases the next piece of an image, and removes the file with the last one. Says whether there is more.
    ///
    /// The space is released first, so that it is free even if somebody still holds the file.
    ///
    /// # Errors
    /// [`AttachFailure::Io`]; the file is then still there.
    pub fn release_piece(&mut self, image: ImageId) -> Result<bool, AttachFailure> {
        let name = FileName::Image(image);
        let (file, offset) = match self.releasing.remove(&image) {
            Some(begun) => begun,
            None => match self.open_file(name, OFlags::RDWR) {
                Ok(file) => (file, 0),
                Err(Errno::NOENT) => {
                    self.sizes.remove(&image);
                    return Ok(false);
                }
                Err(_) => return Err(AttachFailure::Io),
            },
        };
        let size = size_bytes(&rustix::fs::fstat(&file).map_err(io)?);
        let length = PIECE_BYTES_MAX.min(size.saturating_sub(offset));
        if length > 0 {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match rustix::fs::fallocate(&file, punch, offset, length) {
                // A file system that cannot do it releases the space with the file.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(_) => return Err(AttachFailure::Io),
            }
        }
        let end = offset.saturating_add(length);
        if end < size {
            self.releasing.insert(image, (file, end));
            return Ok(true);
        }
        rustix::fs::unlinkat(&self.directory, name.text(), AtFlags::empty()).map_err(io)?;
        self.sizes.remove(&image);
        Ok(false)
    }

    /// Makes a complete volume under the name of a spare.
    fn make(&mut self, size: VolumeSize, label: VolumeLabel, id: u32) -> Result<FileName, AttachFailure> {
        let name = FileName::Spare(self.next_spare);
        self.next_spare = self.next_spare.wrapping_add(1);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name.text(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(no_space)?;
        let written = rustix::fs::ftruncate(&file, size.bytes())
            .and_then(|()| write_pieces(&file, fat::format(size, label, id)));
        if let Err(errno) = written {
            self.unlink(name);
            return Err(no_space(errno));
        }
        Ok(name)
    }

    fn relabel(
        &self,
        spare: FileName,
        size: VolumeSize,
        label: VolumeLabel,
        id: u32,
    ) -> Result<(), AttachFailure> {
        let written = self
            .open_file(spare, OFlags::RDWR)
            .and_then(|file| write_pieces(&file, fat::relabel(size, label, id)));
        written.map_err(|errno| {
            self.unlink(spare);
            no_space(errno)
        })
    }

    fn open_file(&self, name: FileName, access: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(
            &self.directory,
            name.text(),
            access | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    fn unlink(&self, name: FileName) {
        // What cannot be removed now is removed at the next start.
        let _ = rustix::fs::unlinkat(&self.directory, name.text(), AtFlags::empty());
    }

    fn free_bytes(&self) -> Result<u64, AttachFailure> {
        let system = rustix::fs::fstatvfs(&self.directory).map_err(io)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }

    /// Bytes that the images may still take: they are sparse, and their VMs may fill them.
    fn promised_bytes(&self) -> Result<u64, AttachFailure> {
        let mut promised: u64 = 0;
        for (image, size) in &self.sizes {
            let name = FileName::Image(*image).text();
            match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    promised = promised.saturating_add(size.saturating_sub(allocated_bytes(&stat)));
                }
                Err(Errno::NOENT) => {}
                Err(_) => return Err(AttachFailure::Io),
            }
        }
        Ok(promised)
    }
}

/// Whether the reserve stays free when every image, the new one among them, is written full.
fn leaves_reserve(free: u64, promised: u64, new: u64, reserve: u64) -> bool {
    free >= promised.saturating_add(new).saturating_add(reserve)
}

/// Differs from image to image, and needs no further randomness: the image's identity is random.
fn volume_id(image: ImageId) -> u32 {
    let (words, _) = image.0.as_chunks::<4>();
    words.iter().fold(0, |id, word| id ^ u32::from_le_bytes(*word))
}

fn volume_size(size: SizeMib) -> Result<VolumeSize, AttachFailure> {
    VolumeSize::from_mib(size.mib()).map_err(|_| AttachFailure::NoSpace)
}

fn write_pieces(file: &OwnedFd, pieces: Vec<Piece>) -> Result<(), Errno> {
    for (mut offset, bytes) in pieces {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match rustix::io::pwrite(file, rest, offset) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    offset = offset.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

fn list(directory: impl AsFd) -> Result<Listing, ImagesError> {
    let mut listing = Listing::default();
    let mut entries = 0_usize;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        entries = entries.saturating_add(1);
        if entries > ENTRIES_MAX {
            return Err(ImagesError::TooMany);
        }
        let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        match FileName::parse(name.to_bytes()).filter(|_| is_file) {
            Some(FileName::Image(image)) => listing.images.push((image, size_bytes(&stat).div_ceil(MIB))),
            Some(spare @ FileName::Spare(_)) => listing.spares.push(spare),
            None => listing.foreign = listing.foreign.saturating_add(1),
        }
    }
    if listing.images.len() > IMAGES_MAX { Err(ImagesError::TooMany) } else { Ok(listing) }
}

fn size_bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn allocated_bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(STAT_BLOCK_BYTES)
}

fn io(_: Errno) -> AttachFailure {
    AttachFailure::Io
}

fn no_space(errno: Errno) -> AttachFailure {
    match errno {
        Errno::NOSPC | Errno::DQUOT => AttachFailure::NoSpace,
        _ => AttachFailure::Io,
    }
}

#[cfg(test)]
mod tests;
