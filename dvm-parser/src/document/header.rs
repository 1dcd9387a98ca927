//! The 1024 bytes in front of a document.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | size of the document, unsigned, little-endian |
//! | 8 | 1016 | its name, ended by NUL, the rest zero |

use std::fmt;

/// The header, in bytes.
pub const HEADER_BYTES: usize = 1024;
/// The field of the name, in bytes.
pub const NAME_FIELD_BYTES: usize = 1016;
/// Longest name in bytes: the field less its NUL.
pub const NAME_BYTES_MAX: usize = NAME_FIELD_BYTES - 1;
/// The field of the size, in bytes.
const SIZE_FIELD_BYTES: usize = 8;
/// Where a FAT boot sector has its signature, and what it is.
const FAT_SIGNATURE: (usize, [u8; 2]) = (510, [0x55, 0xAA]);
/// The first byte of a FAT boot sector: one of two jump instructions.
const FAT_JUMPS: [u8; 2] = [0xEB, 0xE9];

/// Why a header is rejected. Holds no byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The device ends within the header.
    #[error("the pendrive holds fewer than {HEADER_BYTES} bytes")]
    TooShort,
    /// The name has no end.
    #[error("the document's name does not end")]
    NameUnterminated,
    /// The name is empty.
    #[error("the document has no name")]
    NameEmpty,
    /// The name is `.` or `..`.
    #[error("the document's name is that of a directory")]
    NameOfDirectory,
    /// The name holds a `/`.
    #[error("the document's name holds a /")]
    NameWithSlash,
    /// The name holds a control character.
    #[error("the document's name holds a control character")]
    NameWithControl,
    /// The name is no text.
    #[error("the document's name is not UTF-8")]
    NameNotUtf8,
    /// Something follows the name.
    #[error("there is something behind the document's name")]
    NotZeroFilled,
    /// The device does not hold that many bytes.
    #[error("the document is said to be larger than the pendrive")]
    LargerThanDevice,
    /// No header, but the boot sector of a FAT file system.
    #[error("the pendrive holds a file system and no document")]
    FileSystem,
}

impl Rejection {
    /// All of them, in the order of their exit codes.
    pub const ALL: [Self; 10] = [
        Self::TooShort,
        Self::NameUnterminated,
        Self::NameEmpty,
        Self::NameOfDirectory,
        Self::NameWithSlash,
        Self::NameWithControl,
        Self::NameNotUtf8,
        Self::NotZeroFilled,
        Self::LargerThanDevice,
        Self::FileSystem,
    ];
}

/// A document's name: one component of a path, 1 to [`NAME_BYTES_MAX`] bytes of UTF-8 without `/` and control
/// characters. It may still be longer than a file system takes, and look misleading: see [`crate::names`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DocumentName {
    /// As in the header: the rest is zero.
    field: [u8; NAME_FIELD_BYTES],
    length: usize,
}

impl DocumentName {
    /// Accepts a name without its NUL.
    ///
    /// # Errors
    /// The rule that it breaks; [`Rejection::NameUnterminated`] when it leaves no room for the NUL.
    pub fn new(untrusted_name: &[u8]) -> Result<Self, Rejection> {
        let text = std::str::from_utf8(untrusted_name).map_err(|_| Rejection::NameNotUtf8)?;
        if text.is_empty() {
            return Err(Rejection::NameEmpty);
        }
        if matches!(text, "." | "..") {
            return Err(Rejection::NameOfDirectory);
        }
        if text.contains('/') {
            return Err(Rejection::NameWithSlash);
        }
        if text.chars().any(char::is_control) {
            return Err(Rejection::NameWithControl);
        }
        if untrusted_name.len() > NAME_BYTES_MAX {
            return Err(Rejection::NameUnterminated);
        }
        let mut field = [0; NAME_FIELD_BYTES];
        for (to, from) in field.iter_mut().zip(untrusted_name) {
            *to = *from;
        }
        Ok(Self { field, length: untrusted_name.len() })
    }

    /// Reads the field: a name, one NUL or more, nothing else.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn from_field(untrusted_field: &[u8; NAME_FIELD_BYTES]) -> Result<Self, Rejection> {
        let end = untrusted_field.iter().position(|&byte| byte == 0).ok_or(Rejection::NameUnterminated)?;
        let (name, rest) = untrusted_field.split_at_checked(end).ok_or(Rejection::NameUnterminated)?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(Rejection::NotZeroFilled);
        }
        Self::new(name)
    }

    /// The field: the name, and zeros up to its end (L11).
    #[must_use]
    pub fn field(&self) -> &[u8; NAME_FIELD_BYTES] {
        &self.field
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let name = self.field.get(..self.length).unwrap_or_default();
        // It was text when it was accepted.
        std::str::from_utf8(name).unwrap_or_default()
    }
}

impl fmt::Debug for DocumentName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DocumentName({:?})", self.as_str())
    }
}

/// What stands in front of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The document's size in bytes.
    pub size_bytes: u64,
    /// Its name.
    pub name: DocumentName,
}

impl Header {
    /// Reads a header from a copy of the device's first bytes (L15). The device holds `device_bytes`, this header
    /// included, which bounds the size (L8).
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn decode(untrusted_bytes: &[u8; HEADER_BYTES], device_bytes: u64) -> Result<Self, Rejection> {
        Self::decode_strictly(untrusted_bytes, device_bytes).map_err(|rejection| {
            if is_boot_sector(untrusted_bytes) { Rejection::FileSystem } else { rejection }
        })
    }

    fn decode_strictly(untrusted_bytes: &[u8; HEADER_BYTES], device_bytes: u64) -> Result<Self, Rejection> {
        let (Some(untrusted_size), Some(untrusted_field)) = (
            untrusted_bytes.first_chunk::<SIZE_FIELD_BYTES>(),
            untrusted_bytes.last_chunk::<NAME_FIELD_BYTES>(),
        ) else {
            return Err(Rejection::TooShort);
        };
        let room_bytes = device_bytes.checked_sub(HEADER_BYTES as u64).ok_or(Rejection::TooShort)?;
        let name = DocumentName::from_field(untrusted_field)?;
        let untrusted_size = u64::from_le_bytes(*untrusted_size);
        if untrusted_size > room_bytes {
            return Err(Rejection::LargerThanDevice);
        }
        Ok(Self { size_bytes: untrusted_size, name })
    }

    /// The header, filled with zeros where nothing stands (L11).
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let size = self.size_bytes.to_le_bytes();
        for (to, from) in bytes.iter_mut().zip(size.iter().chain(self.name.field())) {
            *to = *from;
        }
        bytes
    }
}

fn is_boot_sector(bytes: &[u8; HEADER_BYTES]) -> bool {
    let (at, signature) = FAT_SIGNATURE;
    bytes.first().is_some_and(|first| FAT_JUMPS.contains(first))
        && bytes.get(at..).is_some_and(|rest| rest.starts_with(&signature))
}

#[cfg(test)]
mod tests;
