//! Files in memory.

use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::io::{pread, pwrite};

/// A file with these bytes, whose position is at its beginning.
pub(crate) fn memory_file(mut bytes: &[u8]) -> OwnedFd {
    let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a file in memory");
    let mut offset = 0;
    while !bytes.is_empty() {
        let count = pwrite(&file, bytes, offset).expect("writing to memory");
        (offset, bytes) = (offset + count as u64, &bytes[count..]);
    }
    file
}

/// All its bytes.
pub(crate) fn whole(file: &OwnedFd) -> Vec<u8> {
    let length = seek(file, SeekFrom::End(0)).expect("a file in memory has a length");
    let mut bytes = vec![0; usize::try_from(length).expect("it fits into memory")];
    let mut read = 0;
    while read < bytes.len() {
        let count = pread(file, &mut bytes[read..], read as u64).expect("reading from memory");
        assert_ne!(count, 0, "the file ends early");
        read += count;
    }
    bytes
}
