//! The settings that the supervisor hands over.

use std::os::fd::OwnedFd;

use protocol::codec::SETTINGS_BYTES_MAX;
use rustix::io::Errno;

/// Reads the sealed memory file of the settings from its start; what is longer than settings may be is cut, and then
/// does not decode.
///
/// # Errors
/// The kernel's.
pub fn read_all(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.len() <= SETTINGS_BYTES_MAX {
        let offset = u64::try_from(bytes.len()).map_err(|_| Errno::OVERFLOW)?;
        match rustix::io::pread(file, &mut buffer, offset) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(bytes)
}
