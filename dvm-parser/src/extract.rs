//! Puts a tree into a directory that is known by its descriptor only.
//!
//! Every object is made by its single name in its directory's descriptor. `openat2` resolves it beneath that
//! directory, without symbolic links, mount points or magic links, and a file must be new: a link that somebody
//! puts in the way is an error and is never followed (L12), and nothing is ever overwritten (L24). Directories
//! are held by descriptors that can neither list nor read (`O_PATH`), at most [`crate::fat::DEPTH_MAX`] at once.
//!
//! Files get mode 0600 and directories 0700: FAT has no owners, and what came from another VM is for the person
//! who received it, who can open it up. The time of the last change is the volume's where it is a real one.
//!
//! The contents of files go from the device to the file within the kernel (`sendfile`): this process never holds
//! them, and it costs what `cp` costs.
//!
//! Nothing is flushed to the disk: whoever gives the tree its final name does that, once, for the whole tree.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use protocol::unpack::{PROGRESS_BYTES, UnpackProgress};
use rustix::fs::{Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::fat::{FatError, Modified, Sink, Volume, WalkError};
use crate::names::SafeName;

/// Mode of files, before the process's umask.
pub const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Mode of directories, before the process's umask.
pub const DIRECTORY_MODE: Mode = Mode::RWXU;

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Who is told how it goes.
pub trait Audience {
    /// Now and then, when so much has been written.
    ///
    /// # Errors
    /// [`Gone`] ends the work.
    fn progress(&mut self, progress: UnpackProgress) -> Result<(), Gone>;

    /// A name is not the volume's.
    ///
    /// # Errors
    /// [`Gone`] ends the work.
    fn renamed(&mut self, name: &SafeName) -> Result<(), Gone>;
}

/// Nobody listens any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Why a tree could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// Whoever wanted the tree is gone.
    #[error("nobody waits for the files any longer")]
    Gone,
    /// The kernel refused.
    #[error("the files cannot be written: {0}")]
    Output(Errno),
}

impl From<Errno> for ExtractError {
    fn from(errno: Errno) -> Self {
        Self::Output(errno)
    }
}

impl From<Gone> for ExtractError {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

/// A block device or an image file, read at given places.
#[derive(Debug)]
pub struct Device {
    descriptor: OwnedFd,
    bytes: u64,
}

impl Device {
    /// Takes a descriptor that can be read and sought.
    ///
    /// # Errors
    /// When its size cannot be found.
    pub fn new(descriptor: OwnedFd) -> Result<Self, Errno> {
        let bytes = rustix::fs::seek(&descriptor, rustix::fs::SeekFrom::End(0))?;
        Ok(Self { descriptor, bytes })
    }
}

impl Device {
    /// Whose fault is it that bytes could not be sent from here to a file?
    fn blame(&self, offset: u64, errno: Errno) -> WalkError<ExtractError> {
        if errno == Errno::IO && self.read_at(offset, &mut [0]).is_err() {
            return FatError::Read.into();
        }
        WalkError::Sink(errno.into())
    }
}

impl Volume for Device {
    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> std::io::Result<()> {
        while !buffer.is_empty() {
            let count = match rustix::io::pread(&self.descriptor, &mut *buffer, offset) {
                Err(Errno::INTR) => continue,
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                other => other?,
            };
            offset = offset.saturating_add(count as u64);
            buffer = buffer.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.bytes
    }
}

/// Writes what a walk gives into a directory.
#[derive(Debug)]
pub struct Extractor<A> {
    top: OwnedFd,
    /// The directories from below the top to the current one.
    open: Vec<OwnedFd>,
    /// The current file.
    file: Option<OwnedFd>,
    audience: A,
    progress: UnpackProgress,
    told: UnpackProgress,
}

impl<A: Audience> Extractor<A> {
    /// Writes beneath that directory.
    pub fn new(top: OwnedFd, audience: A) -> Self {
        let progress = UnpackProgress::default();
        Self { top, open: Vec::new(), file: None, audience, progress, told: progress }
    }

    fn current(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.top.as_fd(), AsFd::as_fd)
    }

    fn tell(&mut self) -> Result<(), Gone> {
        if self.progress.is_step_after(self.told) {
            self.told = self.progress;
            self.audience.progress(self.progress)?;
        }
        Ok(())
    }
}

impl<A: Audience> Sink<Device> for Extractor<A> {
    type Error = ExtractError;

    fn enter_directory(&mut self, name: &SafeName) -> Result<(), ExtractError> {
        let parent = self.current();
        rustix::fs::mkdirat(parent, name.as_str(), DIRECTORY_MODE)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat2(parent, name.as_str(), flags, Mode::empty(), RESOLVE)?;
        self.open.push(directory);
        self.progress.directories = self.progress.directories.saturating_add(1);
        Ok(self.tell()?)
    }

    fn leave_directory(&mut self, modified: Option<Modified>) -> Result<(), ExtractError> {
        // Its time is not kept: a directory is held without the right to change it, and a call that takes a name
        // could reach beyond the output directory.
        let _ = (self.open.pop(), modified);
        Ok(())
    }

    fn begin_file(&mut self, name: &SafeName, _bytes: u32) -> Result<(), ExtractError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.file = Some(rustix::fs::openat2(self.current(), name.as_str(), flags, FILE_MODE, RESOLVE)?);
        self.progress.files = self.progress.files.saturating_add(1);
        Ok(())
    }

    fn contents(
        &mut self,
        device: &Device,
        mut offset: u64,
        mut bytes: u64,
    ) -> Result<(), WalkError<ExtractError>> {
        while bytes > 0 {
            let file = self.file.as_ref().ok_or(WalkError::Sink(Errno::BADF.into()))?;
            let wanted = usize::try_from(bytes.min(PROGRESS_BYTES)).unwrap_or(usize::MAX);
            let sent = match rustix::fs::sendfile(file, &device.descriptor, Some(&mut offset), wanted) {
                Err(Errno::INTR) => continue,
                // The device has become shorter.
                Ok(0) => return Err(FatError::Read.into()),
                Ok(sent) => sent as u64,
                Err(errno) => return Err(device.blame(offset, errno)),
            };
            bytes = bytes.saturating_sub(sent);
            self.progress.bytes = self.progress.bytes.saturating_add(sent);
            self.tell().map_err(|gone| WalkError::Sink(gone.into()))?;
        }
        Ok(())
    }

    fn end_file(&mut self, modified: Option<Modified>) -> Result<(), ExtractError> {
        let file = self.file.take().ok_or(Errno::BADF)?;
        if let Some(modified) = modified {
            rustix::fs::futimens(&file, &times(modified))?;
        }
        Ok(self.tell()?)
    }

    fn renamed(&mut self, name: &SafeName) -> Result<(), ExtractError> {
        Ok(self.audience.renamed(name)?)
    }
}

fn times(modified: Modified) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.unix_s, tv_nsec: 0 },
    }
}
