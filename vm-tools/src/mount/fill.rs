//! The files that were found, copied into a mounted pendrive.
//!
//! Each directory is made and each file is opened from the descriptor of the directory above it, as a new one: nothing
//! that is there already is followed, opened or overwritten.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fat::{Entry, Kind, Source, WriteError};
use rustix::fs::{Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, futimens, mkdirat, openat};

use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;
use crate::shown::Line;

/// Read and written at once, in bytes.
const BLOCK_BYTES: usize = fat::BLOCK_BYTES;

/// Copies all entries, which are sorted as [`crate::tree::collect`] sorts them, into an empty directory.
///
/// # Errors
/// A file cannot be read as it was found, the pendrive does not take it, or the person stops the tool.
pub(super) fn fill<S: Source>(
    top: BorrowedFd<'_>,
    entries: &[Entry],
    source: &mut S,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let total_bytes = entries.iter().map(size).sum();
    let mut pass =
        Pass { top, entries, open: Vec::new(), block: vec![0; BLOCK_BYTES], done_bytes: 0, total_bytes };
    for (number, entry) in (0_u32..).zip(entries) {
        interrupt::check("nothing was sent")?;
        pass.ascend(entry.parent)?;
        match entry.kind {
            Kind::Directory => pass.directory(number, entry)?,
            Kind::File { size } => pass.file(number, entry, size, source, progress)?,
        }
    }
    pass.ascend(None)?;
    progress.update(total_bytes, total_bytes);
    Ok(())
}

fn size(entry: &Entry) -> u64 {
    match entry.kind {
        Kind::Directory => 0,
        Kind::File { size } => size,
    }
}

struct Pass<'a> {
    top: BorrowedFd<'a>,
    entries: &'a [Entry],
    /// The directories on the way to the last entry, at most [`fat::DEPTH_MAX`].
    open: Vec<(u32, OwnedFd)>,
    block: Vec<u8>,
    done_bytes: u64,
    total_bytes: u64,
}

impl Pass<'_> {
    /// Closes directories until that one is the last: each is followed by all that is in it, so they are whole.
    fn ascend(&mut self, parent: Option<u32>) -> Result<(), Failure> {
        while let Some((number, directory)) = self.open.last()
            && Some(*number) != parent
        {
            self.set_time(directory, *number);
            self.open.pop();
        }
        if self.open.last().map(|(number, _)| *number) == parent {
            return Ok(());
        }
        Err(Failure::failed("the files are not in the order of their directories"))
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.top, |(_, directory)| directory.as_fd())
    }

    fn directory(&mut self, number: u32, entry: &Entry) -> Result<(), Failure> {
        let name = entry.name.as_slice();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = mkdirat(self.here(), name, Mode::RWXU)
            .and_then(|()| openat(self.here(), name, flags, Mode::empty()));
        let made = made.map_err(|errno| self.not_written(number, &errno.into()))?;
        self.open.push((number, made));
        Ok(())
    }

    fn file<S: Source>(
        &mut self,
        number: u32,
        entry: &Entry,
        size: u64,
        source: &mut S,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let failed = |error: WriteError| Failure::failed(&error.to_string());
        let mut reader = source
            .open(number)
            .map_err(|source| failed(WriteError::Open { path: self.path(number), source }))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(self.here(), entry.name.as_slice(), flags, Mode::RUSR | Mode::WUSR);
        let mut made: File = made.map_err(|errno| self.not_written(number, &errno.into()))?.into();
        let mut found = 0;
        loop {
            interrupt::check("nothing was sent")?;
            let count = read(&mut reader, &mut self.block)
                .map_err(|source| failed(WriteError::Read { path: self.path(number), source }))?;
            let filled = self.block.get(..count).unwrap_or_default();
            found += u64::try_from(count).unwrap_or(u64::MAX);
            let planned = u32::try_from(size).unwrap_or(u32::MAX);
            if found > size {
                return Err(failed(WriteError::Longer { path: self.path(number), planned }));
            }
            if count == 0 && found < size {
                let found = u32::try_from(found).unwrap_or(u32::MAX);
                return Err(failed(WriteError::Shorter { path: self.path(number), planned, found }));
            }
            if count == 0 {
                break;
            }
            made.write_all(filled).map_err(|error| self.not_written(number, &error))?;
            self.done_bytes += u64::try_from(count).unwrap_or(0);
            progress.update(self.done_bytes, self.total_bytes);
        }
        self.set_time(&made, number);
        Ok(())
    }

    /// A wrong time is no reason to send nothing.
    fn set_time(&self, made: impl AsFd, number: u32) {
        let Some(entry) = self.entries.get(number as usize) else { return };
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let last_modification = Timespec { tv_sec: entry.modified_s, tv_nsec: 0 };
        let _ = futimens(made, &Timestamps { last_access, last_modification });
    }

    fn not_written(&self, number: u32, error: &io::Error) -> Failure {
        let mut text = self.path(number);
        text.extend(format!(": cannot be written to the pendrive: {error}").into_bytes());
        Failure::Failed(Line::from_bytes(&text))
    }

    fn path(&self, number: u32) -> Vec<u8> {
        let mut names = Vec::new();
        let mut above = self.entries.get(number as usize);
        // A directory's number is less than those of what it holds, so this ends.
        while let Some(entry) = above {
            names.push(entry.name.as_slice());
            above = entry.parent.and_then(|parent| self.entries.get(parent as usize));
        }
        names.reverse();
        names.join(&b'/')
    }
}

fn read(reader: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
