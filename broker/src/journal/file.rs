//! The two files of the journal.

use std::os::fd::OwnedFd;

use protocol::codec;
use rustix::fs::{fdatasync, ftruncate};
use rustix::io::{Errno, pread, pwrite};

use super::Record;

/// A journal that grew beyond this many bytes is replaced by a checkpoint.
pub const JOURNAL_BYTES_MAX: u64 = 1024 * 1024;
/// Most bytes that are read back from a file: one checkpoint of the largest state, and what came after it.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
const MAGIC: [u8; 8] = *b"qfxjrnl1";
const HEADER_BYTES: u64 = 16;
const FRAME_BYTES: usize = 8;

/// Why the journal cannot be kept. There is no going on without it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The kernel refused.
    #[error("the journal cannot be read or written: {0}; is the disk full or damaged?")]
    Os(#[from] Errno),
    /// A record does not fit its frame.
    #[error("a record is too long for the journal")]
    TooLong,
}

/// The journal: appends records, reads back those of an earlier process.
#[derive(Debug)]
pub struct Journal {
    files: [OwnedFd; 2],
    active: usize,
    generation: u64,
    end: u64,
    unsynced: bool,
}

impl Journal {
    /// Takes both files and reads the newer whole one. Nothing is changed on disk before the first
    /// [`Journal::checkpoint`].
    ///
    /// # Errors
    /// [`JournalError::Os`].
    pub fn open(files: [OwnedFd; 2]) -> Result<(Self, Vec<Record>), JournalError> {
        let [first, second] = &files;
        let first = read_file(first)?;
        let second = read_file(second)?;
        let second_is_newer = second.generation > first.generation;
        let (active, content) = if second_is_newer { (1, second) } else { (0, first) };
        let journal =
            Self { files, active, generation: content.generation, end: content.end, unsynced: false };
        Ok((journal, content.records))
    }

    fn file(&self, index: usize) -> &OwnedFd {
        let [first, second] = &self.files;
        if index == 0 { first } else { second }
    }

    /// Appends a record; it is on disk only after [`Journal::sync`].
    ///
    /// # Errors
    /// [`JournalError`]; nothing may be acted on then.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let frame = frame(record)?;
        write_all(self.file(self.active), &frame, self.end)?;
        self.end = self.end.saturating_add(length(&frame));
        self.unsynced |= record.must_be_durable();
        Ok(())
    }

    /// Brings to disk what must be there before anything is acted on.
    ///
    /// # Errors
    /// [`JournalError::Os`].
    pub fn sync(&mut self) -> Result<(), JournalError> {
        if self.unsynced {
            fdatasync(self.file(self.active))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Whether a checkpoint is due.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.end > JOURNAL_BYTES_MAX
    }

    /// Starts anew with these records, which say everything that holds.
    ///
    /// # Errors
    /// [`JournalError`]; the old journal is whole then.
    pub fn checkpoint(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let idle = 1_usize.saturating_sub(self.active);
        let generation = self.generation.saturating_add(1);
        let mut body = Vec::new();
        for record in records {
            body.extend(frame(record)?);
        }
        let target = self.file(idle);
        ftruncate(target, 0)?;
        write_all(target, &body, HEADER_BYTES)?;
        fdatasync(target)?;
        // The header makes the file count, so it comes last.
        let mut header = MAGIC.to_vec();
        header.extend(generation.to_le_bytes());
        write_all(target, &header, 0)?;
        fdatasync(target)?;
        ftruncate(self.file(self.active), 0)?;
        self.active = idle;
        self.generation = generation;
        self.end = HEADER_BYTES.saturating_add(length(&body));
        self.unsynced = false;
        Ok(())
    }
}

struct Content {
    generation: u64,
    end: u64,
    records: Vec<Record>,
}

fn read_file(file: &OwnedFd) -> Result<Content, JournalError> {
    let bytes = read_all(file)?;
    let empty = Content { generation: 0, end: HEADER_BYTES, records: Vec::new() };
    let Some((header, mut rest)) = bytes.split_at_checked(16) else { return Ok(empty) };
    let (magic, generation) = header.split_at(8);
    let Ok(generation) = <[u8; 8]>::try_from(generation) else { return Ok(empty) };
    if magic != MAGIC {
        return Ok(empty);
    }
    let mut content = Content { generation: u64::from_le_bytes(generation), ..empty };
    while let Some((record, frame_bytes)) = next_record(rest) {
        content.records.push(record);
        content.end = content.end.saturating_add(u64::try_from(frame_bytes).unwrap_or(u64::MAX));
        rest = rest.get(frame_bytes..).unwrap_or_default();
    }
    Ok(content)
}

fn next_record(bytes: &[u8]) -> Option<(Record, usize)> {
    let (frame, rest) = bytes.split_at_checked(FRAME_BYTES)?;
    let (size, sum) = frame.split_at(4);
    let size = usize::try_from(u32::from_le_bytes(size.try_into().ok()?)).ok()?;
    let sum = u32::from_le_bytes(sum.try_into().ok()?);
    let payload = rest.get(..size)?;
    if crc32(payload) != sum {
        return None;
    }
    let record = codec::decode(payload).ok()?;
    Some((record, FRAME_BYTES.checked_add(size)?))
}

fn frame(record: &Record) -> Result<Vec<u8>, JournalError> {
    let payload = codec::encode(record).map_err(|_| JournalError::TooLong)?;
    let size = u32::try_from(payload.len()).map_err(|_| JournalError::TooLong)?;
    let mut frame = size.to_le_bytes().to_vec();
    frame.extend(crc32(&payload).to_le_bytes());
    frame.extend(payload);
    Ok(frame)
}

/// CRC-32 as in ISO 3309 (reflected, polynomial 0xEDB88320), bit by bit: records are short.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn read_all(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    while length(&bytes) < FILE_BYTES_MAX {
        match pread(file, &mut chunk, length(&bytes)) {
            Ok(0) => break,
            Ok(count) => bytes.extend(chunk.get(..count).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(bytes)
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset = offset.saturating_add(u64::try_from(count).unwrap_or_default());
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
