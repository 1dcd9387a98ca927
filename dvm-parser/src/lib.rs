//! Parsers of hostile bytes: the file systems and the documents that another VM sent.
//!
//! Everything here is written for the worst case that a virtual block device can hold. No input makes it
//! panic, loop, read outside the volume or use more memory than the named limits; see [`fat`] for the file
//! systems, [`names`] for what becomes of a file's name, [`extract`] for how a tree gets onto a disk, and [`document`]
//! for the single document of a DisposableVM transaction. The programs around them are `fat-reader` and `dvm-parser`.

pub mod document;
pub mod extract;
pub mod fat;
pub mod names;
