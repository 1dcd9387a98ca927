//! Parsers of hostile bytes: the file systems (and, later, the headers) that another VM sent.
//!
//! Everything here is written for the worst case that a virtual block device can hold. No input makes it
//! panic, loop, read outside the volume or use more memory than the named limits; see [`fat`] for the file
//! systems, [`names`] for what becomes of a file's name, and [`extract`] for how a tree gets onto a disk. The program
//! around them is `fat-reader`.

pub mod extract;
pub mod fat;
pub mod names;
