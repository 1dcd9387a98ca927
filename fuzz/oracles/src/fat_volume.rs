//! The reader of FAT volumes, on a volume of any bytes: it ends within its bounds, and what it gives is safe.
//!
//! The input is the volume's size in four bytes, and its first bytes. The rest of the volume is zero, so that a small
//! input can be a large volume.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;

use dvm_parser::fat::{DEPTH_MAX, ENTRIES_MAX, FatError, Modified, Sink, Tally, Volume, WalkError, walk};
use dvm_parser::names::{NAME_BYTES_MAX, SafeName, sanitise};

/// Largest volume, in bytes.
const VOLUME_BYTES_MAX: u64 = 32 << 20;

/// Reads everything.
pub fn run(untrusted: &[u8]) {
    // How it ended is for tests of the seeds.
    let _ended = read(untrusted);
}

/// Reads everything, and says how it ended; `None` for an input that is too short to be a volume.
#[must_use]
pub fn read(untrusted: &[u8]) -> Option<Result<Tally, FatError>> {
    let (size, written) = untrusted.split_first_chunk::<4>()?;
    let bytes = u64::from(u32::from_le_bytes(*size)) % (VOLUME_BYTES_MAX + 1);
    let volume = Beginning { written, bytes, read: Cell::new(0) };
    let mut count = Count::default();
    let ended = match walk(&volume, &mut count) {
        Ok(tally) => {
            assert_eq!((tally.bytes, count.unfinished), (count.bytes, 0));
            assert_eq!(tally.files + tally.directories, count.entries);
            assert_eq!((tally.renamed, count.depth), (count.renamed, 0));
            Ok(tally)
        }
        Err(WalkError::Volume(error)) => Err(error),
        Err(WalkError::Sink(never)) => match never {},
    };
    assert!(volume.read.get() <= bytes, "of {bytes} bytes {} were read", volume.read.get());
    assert!(count.bytes <= bytes, "of {bytes} bytes {} came out", count.bytes);
    Some(ended)
}

/// A volume of which only the beginning is not zero.
pub(crate) struct Beginning<'a> {
    pub(crate) written: &'a [u8],
    pub(crate) bytes: u64,
    /// Bytes that were asked for.
    pub(crate) read: Cell<u64>,
}

impl Volume for Beginning<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let length = buffer.len() as u64;
        let end = offset.checked_add(length).expect("an end that is a number");
        assert!(end <= self.bytes, "a read of {length} bytes at {offset} goes beyond the volume");
        let written = usize::try_from(offset).ok().and_then(|offset| self.written.get(offset..));
        let written = written.unwrap_or_default();
        let count = written.len().min(buffer.len());
        buffer[..count].copy_from_slice(&written[..count]);
        buffer[count..].fill(0);
        self.read.set(self.read.get() + length);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.bytes
    }
}

/// Keeps nothing; checks what comes, and counts.
#[derive(Default)]
struct Count {
    bytes: u64,
    entries: u32,
    renamed: u32,
    depth: usize,
    /// What is still to come of the current file.
    unfinished: u64,
}

impl Count {
    fn entry(&mut self, name: &SafeName) {
        safe(name);
        assert_eq!(self.unfinished, 0, "a file is whole before the next begins");
        self.entries += 1;
        assert!(self.entries <= ENTRIES_MAX);
    }
}

fn safe(name: &SafeName) {
    let text = name.as_str();
    assert!((1..=NAME_BYTES_MAX).contains(&text.len()) && text != "." && text != "..");
    assert!(!text.chars().any(|character| character == '/' || character.is_control()));
    assert_eq!(sanitise(text), (name.clone(), false));
}

impl Sink<Beginning<'_>> for Count {
    type Error = Infallible;

    fn enter_directory(&mut self, name: &SafeName) -> Result<(), Infallible> {
        self.entry(name);
        self.depth += 1;
        assert!(self.depth < DEPTH_MAX);
        Ok(())
    }

    fn leave_directory(&mut self, _: Option<Modified>) -> Result<(), Infallible> {
        self.depth -= 1;
        Ok(())
    }

    fn begin_file(&mut self, name: &SafeName, bytes: u32) -> Result<(), Infallible> {
        self.entry(name);
        self.unfinished = bytes.into();
        Ok(())
    }

    fn contents(
        &mut self,
        volume: &Beginning<'_>,
        offset: u64,
        bytes: u64,
    ) -> Result<(), WalkError<Infallible>> {
        assert!(bytes > 0 && offset.checked_add(bytes).is_some_and(|end| end <= volume.bytes));
        self.unfinished = self.unfinished.checked_sub(bytes).expect("no more than was announced");
        self.bytes += bytes;
        Ok(())
    }

    fn end_file(&mut self, _: Option<Modified>) -> Result<(), Infallible> {
        assert_eq!(self.unfinished, 0, "a file is whole when it ends");
        Ok(())
    }

    fn renamed(&mut self, name: &SafeName) -> Result<(), Infallible> {
        safe(name);
        self.renamed += 1;
        Ok(())
    }
}
