//! FAT volumes, written in one pass.
