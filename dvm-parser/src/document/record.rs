//! What dvm-parser says about the document that it has copied: a record behind the copy, in the same file, so that it
//! needs no third descriptor.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `QFXDOC`, NUL, and the version of this format, 1 |
//! | 8 | 8 | size of the document before it, unsigned, little-endian |
//! | 16 | 8 | flags, little-endian: 1 if the document is to be looked at only; the others are 0 |
//! | 24 | 1016 | the document's name, as in the header |
//!
//! Whoever reads it presumes dvm-parser hostile: every field is judged again.

use super::header::{DocumentName, NAME_FIELD_BYTES};

/// The record, in bytes.
pub const RECORD_BYTES: usize = 1040;
/// First bytes of the record, the version last.
const MAGIC: [u8; 8] = *b"QFXDOC\0\x01";
/// Flag: to be looked at only.
const FLAG_VIEW_ONLY: u64 = 1;

/// A document that has been copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// It is not to be sent back.
    pub is_view_only: bool,
    /// Its name.
    pub name: DocumentName,
}

/// The record is not one of this version, or contradicts the file that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("dvm-parser has left a record that makes no sense")]
pub struct BadRecord;

impl Record {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let flags = if self.is_view_only { FLAG_VIEW_ONLY } else { 0 };
        let (size, flags) = (self.size_bytes.to_le_bytes(), flags.to_le_bytes());
        let mut bytes = [0; RECORD_BYTES];
        let all = MAGIC.iter().chain(&size).chain(&flags).chain(self.name.field());
        for (to, from) in bytes.iter_mut().zip(all) {
            *to = *from;
        }
        bytes
    }

    /// Reads the last [`RECORD_BYTES`] of a file of `file_bytes`.
    ///
    /// # Errors
    /// [`BadRecord`]: another version, an unknown flag, a name that no document can have, or a size that is not that
    /// of the rest of the file.
    pub fn decode(untrusted_bytes: &[u8; RECORD_BYTES], file_bytes: u64) -> Result<Self, BadRecord> {
        let numbers = untrusted_bytes.first_chunk::<24>().ok_or(BadRecord)?;
        let [magic, size, flags] = match numbers.as_chunks::<8>() {
            ([magic, size, flags], []) => [*magic, *size, *flags],
            _ => return Err(BadRecord),
        };
        let field = untrusted_bytes.last_chunk::<NAME_FIELD_BYTES>().ok_or(BadRecord)?;
        let name = DocumentName::from_field(field).map_err(|_| BadRecord)?;
        let (size_bytes, flags) = (u64::from_le_bytes(size), u64::from_le_bytes(flags));
        let document_bytes = file_bytes.checked_sub(RECORD_BYTES as u64).ok_or(BadRecord)?;
        if magic != MAGIC || flags & !FLAG_VIEW_ONLY != 0 || size_bytes != document_bytes {
            return Err(BadRecord);
        }
        Ok(Self { size_bytes, is_view_only: flags == FLAG_VIEW_ONLY, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record { size_bytes: 5, is_view_only: true, name: DocumentName::new(b"a.txt").unwrap() }
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let bytes = record().encode();
        assert_eq!(&bytes[..32], b"QFXDOC\0\x01\x05\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a.txt\0\0\0");
        assert!(bytes[32..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        for is_view_only in [false, true] {
            let record = Record { is_view_only, ..record() };
            assert_eq!(Record::decode(&record.encode(), 1045), Ok(record));
        }
        let empty = Record { size_bytes: 0, ..record() };
        assert_eq!(Record::decode(&empty.encode(), 1040), Ok(empty));
    }

    #[test]
    fn a_record_that_contradicts_its_file_is_refused() {
        for file_bytes in [0, 1, 1039, 1040, 1044, 1046, u64::MAX] {
            assert_eq!(Record::decode(&record().encode(), file_bytes), Err(BadRecord), "{file_bytes}");
        }
        let largest = Record { size_bytes: u64::MAX, ..record() };
        assert_eq!(Record::decode(&largest.encode(), 1039), Err(BadRecord));
    }

    #[test]
    fn every_changed_byte_of_its_fixed_parts_is_refused() {
        // Magic, version and size; the flags but for their lowest bit; what follows the name.
        for at in (0..16).chain(17..24).chain([29, 30, 31, 500, 1039]) {
            let mut bytes = record().encode();
            // 6 and not 1, so that neither flag nor NUL comes out right.
            bytes[at] ^= 6;
            if at == 29 {
                // The name is one letter longer then, which is allowed unless it is a control character.
                bytes[at] = 1;
            }
            assert_eq!(Record::decode(&bytes, 1045), Err(BadRecord), "{at}");
        }
        let mut bytes = record().encode();
        bytes[16] = 3;
        assert_eq!(Record::decode(&bytes, 1045), Err(BadRecord));
        for name in [&b"../x"[..], b"..", b"a\nb", b""] {
            let mut bytes = record().encode();
            bytes[24..40].fill(0);
            bytes[24..24 + name.len()].copy_from_slice(name);
            assert_eq!(Record::decode(&bytes, 1045), Err(BadRecord), "{name:?}");
        }
    }
}
