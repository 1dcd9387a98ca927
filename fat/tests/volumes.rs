//! Whole volumes, read back by others: fsck.vfat, mtools, the fatfs crate, the receiver's reader, and a
//! strict one of the tests' own.

#[cfg(test)]
#[path = "volumes/support.rs"]
mod support;

#[cfg(test)]
#[path = "volumes/strict.rs"]
mod strict;

#[cfg(test)]
#[path = "volumes/receiver.rs"]
mod receiver;

#[cfg(test)]
#[path = "volumes/formatted.rs"]
mod formatted;

#[cfg(test)]
#[path = "volumes/written.rs"]
mod written;

#[cfg(test)]
#[path = "volumes/random.rs"]
mod random;
