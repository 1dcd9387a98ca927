//! FAT32 volumes, written and never read.
//!
//! Two programs use this crate:
//!
//! - the attacher in dom0 makes the empty pendrive of a VM: [`format()`] names the few byte ranges of a fresh,
//!   sparse image that are not zero, and [`relabel`] those that change when a spare image gets its owner;
//! - `qvm-copy-to-vm` in a VM writes a whole tree of files onto its pendrive: [`Tree::check`] refuses what FAT
//!   cannot hold before a byte is written, [`Tree::layout`] gives every directory and file its place, and
//!   [`write()`](fn@write) makes the volume in one sequential pass.
//!
//! Nothing here opens a file, parses a volume or knows a device. The layout follows Microsoft's *FAT32 File
//! System Specification* 1.03 (6 December 2000), the names of structures and the long names included.
//!
//! ```
//! use fat::{Entry, Kind, Tree, VolumeLabel, VolumeSize};
//!
//! struct Greeting;
//! impl fat::Source for Greeting {
//!     type Reader = &'static [u8];
//!     fn open(&mut self, _entry: u32) -> std::io::Result<Self::Reader> {
//!         Ok(b"hello")
//!     }
//! }
//!
//! let file = Entry { parent: None, name: b"greeting.txt".to_vec(), kind: Kind::File { size: 5 }, modified_s: 0 };
//! let tree = Tree::check(vec![file])?;
//! let size = VolumeSize::from_mib(tree.size_needed_mib()?)?;
//! let plan = tree.layout(size, VolumeLabel::from_name("work"), 0x1234_5678)?;
//! let mut volume = Vec::new();
//! fat::write(&plan, &mut volume, &mut Greeting, &mut |_bytes| {})?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod boot;
mod format;
mod geometry;
mod label;
mod layout;
mod name;
mod refusal;
mod short;
mod shown;
mod slots;
mod stamp;
mod tree;
mod write;

pub use format::{Piece, format, relabel};
pub use geometry::{Geometry, SizeError, VOLUME_BYTES_MAX, VOLUME_MIB_MAX, VOLUME_MIB_MIN, VolumeSize};
pub use label::{LABEL_BYTES, VolumeLabel};
pub use layout::{LayoutError, Plan};
pub use name::{NAME_UNITS_MAX, NameFault};
pub use refusal::{REFUSALS_LISTED_MAX, Reason, Refusal, Refusals};
pub use shown::Shown;
pub use tree::{
    DEPTH_MAX, DIRECTORIES_MAX, DIRECTORY_SLOTS_MAX, ENTRIES_MAX, Entry, FILE_BYTES_MAX, Kind,
    PATH_BYTES_MAX, Tree, TreeError,
};
pub use write::{BLOCK_BYTES, Source, WriteError, write};

/// Bytes of a sector. Every virtual pendrive has this size, and old kernels know no other.
pub const SECTOR_BYTES: u32 = 512;
