//! One document on a raw device: the format of a DisposableVM transaction (docs/contract.md, "What is on a pendrive").
//!
//! ```text
//! header.rs     the 1024 bytes before the document, both ways; whoever reads them rejects what the contract rejects
//! record.rs     what the confined reader says about a document, behind its copy
//! transfer.rs   device -> file: the whole work of dvm-parser
//! ```
//!
//! Nothing here uses the heap, so that dvm-parser needs no system call for memory.

pub mod header;
pub mod record;
pub mod transfer;

/// **ext** What directly follows a document that is to be looked at only: it is never sent back. Tools that do not know
/// it read no further than the document's last byte.
pub const VIEW_ONLY_MARK: [u8; MARK_BYTES] = *b"\0QFX:VIEW-ONLY\0\0";
/// Length of [`VIEW_ONLY_MARK`] in bytes. A sender writes so many bytes behind every document: the mark, or zeros.
pub const MARK_BYTES: usize = 16;
