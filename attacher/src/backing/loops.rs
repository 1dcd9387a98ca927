//! Loop devices: bound to one image at a time, opened for each use and never kept open.
//!
//! A loop device is free again only when nobody has it open any more, this process included, and one that was held open
//! while it was unbound can never be bound again. So the attacher is given the directory that holds the nodes of the
//! loop devices that are its own (`loop0`, `loop1`, … and nothing else), and opens one for each use.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

use protocol::attach::AttachFailure;
use protocol::types::ImageId;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::loopdev::{self, LoopSetup};

/// Most loop devices that are looked at.
pub const DEVICES_MAX: usize = 256;

/// Major device number of loop devices (Documentation/admin-guide/devices.txt of Linux).
const LOOP_MAJOR: u32 = 7;
const NODE_PREFIX: &str = "loop";

/// Why there are no loop devices to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoopsError {
    /// The directory was not handed over.
    #[error("no directory of loop devices was handed over")]
    NoDirectory,
    /// The directory holds none.
    #[error("the directory of loop devices holds fewer nodes loopN than the settings say")]
    TooFew,
    /// The kernel refused.
    #[error("the loop devices cannot be read: {0}")]
    Os(#[from] Errno),
}

/// The loop devices of this process.
#[derive(Debug)]
pub struct Loops {
    directory: OwnedFd,
    numbers: BTreeSet<u32>,
    bound: BTreeMap<ImageId, u32>,
}

impl Loops {
    /// Takes over the directory, and finds out which device holds which image.
    ///
    /// # Errors
    /// [`LoopsError`].
    pub fn open(directory: OwnedFd, count: u32) -> Result<Self, LoopsError> {
        let mut numbers = BTreeSet::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            if let Some(number) = number_of(entry?.file_name().to_bytes())
                && numbers.len() < DEVICES_MAX
            {
                numbers.insert(number);
            }
        }
        if numbers.is_empty() || numbers.len() < usize::try_from(count).unwrap_or(usize::MAX) {
            return Err(LoopsError::TooFew);
        }
        let mut loops = Self { directory, numbers, bound: BTreeMap::new() };
        loops.find_bound();
        Ok(loops)
    }

    fn find_bound(&mut self) {
        for number in &self.numbers {
            // A node without a device behind it holds nothing.
            let Ok((device, _)) = self.device(*number, OFlags::RDONLY) else { continue };
            if let Ok(Some(status)) = loopdev::status(&device)
                && let Some(image) = ImageId::from_hex(&status.name)
            {
                self.bound.insert(image, *number);
            }
        }
    }

    /// Images that are bound.
    #[must_use]
    pub fn bound(&self) -> Vec<ImageId> {
        self.bound.keys().copied().collect()
    }

    /// Binds an image to a free device, and gives its number as `major:minor` in hexadecimal.
    ///
    /// A device for reading is opened for reading, and so is its file: nothing on the way to the file can write (L17).
    ///
    /// # Errors
    /// [`AttachFailure::InUse`] when the image is bound already, [`AttachFailure::NoLoopDevice`].
    pub fn bind(&mut self, image: ImageId, file: impl AsFd, writable: bool) -> Result<String, AttachFailure> {
        if self.bound.contains_key(&image) {
            return Err(AttachFailure::InUse);
        }
        let access = if writable { OFlags::RDWR } else { OFlags::RDONLY };
        let name = image.to_string();
        let setup = LoopSetup { name: &name, read_only: !writable, direct_io: false };
        let in_use: BTreeSet<u32> = self.bound.values().copied().collect();
        for number in self.numbers.difference(&in_use) {
            let Ok((device, minor)) = self.device(*number, access) else { continue };
            // Somebody else may have taken it; then the next one will do.
            if loopdev::configure(&device, &file, setup).is_ok() {
                self.bound.insert(image, *number);
                return Ok(format!("{LOOP_MAJOR:x}:{minor:x}"));
            }
        }
        Err(AttachFailure::NoLoopDevice)
    }

    /// Has the kernel unbind the device of an image by itself when the last of its users closes it: some ten milliseconds
    /// in which it waits for its processors (RCU), and in which the rest of a detach can be done. The device stays taken
    /// until [`Loops::release`] has seen that it is free.
    pub fn let_go(&self, image: ImageId) {
        let Some(number) = self.bound.get(&image).copied() else { return };
        if self.holds(number, &image.to_string()) == Ok(true)
            && let Ok((device, _)) = self.device(number, OFlags::RDONLY)
        {
            // Without it the release takes longer.
            let _ = loopdev::clear(device);
        }
    }

    /// Unbinds the device of an image, and says whether it is free now.
    ///
    /// # Errors
    /// [`AttachFailure::Io`].
    pub fn release(&mut self, image: ImageId) -> Result<bool, AttachFailure> {
        let Some(number) = self.bound.get(&image).copied() else { return Ok(true) };
        let name = image.to_string();
        if self.holds(number, &name)? {
            let (device, _) = self.device(number, OFlags::RDONLY).map_err(|_| AttachFailure::Io)?;
            loopdev::clear(device).map_err(|_| AttachFailure::Io)?;
            if self.holds(number, &name)? {
                return Ok(false);
            }
        }
        self.bound.remove(&image);
        Ok(true)
    }

    fn holds(&self, number: u32, name: &str) -> Result<bool, AttachFailure> {
        let (device, _) = self.device(number, OFlags::RDONLY).map_err(|_| AttachFailure::Io)?;
        let status = loopdev::status(&device).map_err(|_| AttachFailure::Io)?;
        Ok(status.is_some_and(|status| status.name == name))
    }

    /// Opens a device, and makes sure that it is one. Gives its minor number too.
    fn device(&self, number: u32, access: OFlags) -> Result<(OwnedFd, u32), Errno> {
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = format!("{NODE_PREFIX}{number}");
        let device = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&device)?;
        let is_block = FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice;
        if is_block && rustix::fs::major(stat.st_rdev) == LOOP_MAJOR {
            Ok((device, rustix::fs::minor(stat.st_rdev)))
        } else {
            Err(Errno::NOTBLK)
        }
    }
}

/// The number in `loopN`; only as the kernel writes it.
fn number_of(entry: &[u8]) -> Option<u32> {
    xenstore::number::decimal_u32(entry.strip_prefix(NODE_PREFIX.as_bytes())?)
}

#[cfg(test)]
mod tests;
