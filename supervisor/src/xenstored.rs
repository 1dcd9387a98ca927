//! A connection to xenstored for a worker. Each start of a worker gets a new one: what the one before has asked
//! for, and not read, must not reach the next.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

/// Longest path in the address of a Unix socket, in bytes (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Connects to the socket at this path, however long the path is.
///
/// # Errors
/// The kernel's.
pub fn connect(socket: &Path) -> io::Result<OwnedFd> {
    if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return UnixStream::connect(socket).map(OwnedFd::from);
    }
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // openat(2): the supervisor does this within its sandbox too, whose profile has no open(2).
    let directory = File::from(rustix::fs::openat(CWD, directory, flags, Mode::empty())?);
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    UnixStream::connect(short).map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn l19_a_socket_is_reached_by_a_path_of_any_length() {
        let above = tempfile::tempdir().unwrap();
        for length in [107, 108, 300] {
            let rest = length - above.path().as_os_str().len() - "//s".len();
            let directory =
                above.path().join("d".repeat(rest.min(200))).join("e".repeat(rest.saturating_sub(201)));
            std::fs::create_dir_all(&directory).unwrap();
            let directory_fd = File::open(&directory).unwrap();
            let _listener =
                UnixListener::bind(format!("/proc/self/fd/{}/s", directory_fd.as_raw_fd())).unwrap();
            let socket = directory.join("s");
            assert!(connect(&socket).is_ok(), "{} bytes", socket.as_os_str().len());
            std::fs::remove_file(&socket).unwrap();
            assert!(connect(&socket).is_err());
        }
    }
}
