//! Parsers of hostile bytes: the file systems (and, later, the headers) that another VM sent.
//!
//! Everything here is written for the worst case that a virtual block device can hold. No input makes it
//! panic, loop, read outside the volume or use more memory than the named limits; see [`fat`] for the file
//! systems and [`names`] for what becomes of a file's name. The program around it is `fat-reader`.

pub mod fat;
pub mod names;
