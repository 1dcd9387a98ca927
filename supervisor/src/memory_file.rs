//! Files in memory that nobody can change any more: how a worker is given its settings.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;

/// Makes a file of these bytes, sealed against every change, and marked as not executable where the kernel
/// knows that (Linux 6.3).
///
/// # Errors
/// The kernel's.
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        other => other?,
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).ok_or(Errno::IO)?;
    }
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    rewind(&file)?;
    Ok(file)
}

/// Puts a file back to its beginning, which its next reader shares with the one before.
///
/// # Errors
/// The kernel's.
pub fn rewind(file: &OwnedFd) -> io::Result<()> {
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_was_written_can_be_read_and_never_changed() {
        for bytes in [Vec::new(), b"settings".to_vec(), vec![7; 300_000]] {
            let sealed = sealed("test", &bytes).unwrap();
            for _ in 0..2 {
                rewind(&sealed).unwrap();
                let mut file = File::from(sealed.try_clone().unwrap());
                let mut read = Vec::new();
                file.read_to_end(&mut read).unwrap();
                assert_eq!(read, bytes);
                assert!(file.write_all(b"x").is_err());
                assert!(file.set_len(1_000_000).is_err());
            }
        }
    }
}
