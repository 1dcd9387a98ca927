//! Opens a connection; for programs inside a VM and for developers' tools. Workers are given theirs.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// Names the socket of xenstored, as for libxenstore.
pub const XENSTORED_PATH_ENV: &str = "XENSTORED_PATH";
/// Where the socket is without it.
pub const SOCKET_PATHS: [&str; 2] = ["/run/xenstored/socket", "/var/run/xenstored/socket"];
/// The kernel's device, which speaks the same protocol inside a VM.
pub const DEVICE_PATH: &str = "/dev/xen/xenbus";

/// Connects to the socket that `XENSTORED_PATH` names; without that to the first of [`SOCKET_PATHS`] and
/// [`DEVICE_PATH`] that works.
///
/// # Errors
/// What the last try said.
pub fn connect() -> Result<OwnedFd, Errno> {
    connect_as(std::env::var_os(XENSTORED_PATH_ENV))
}

fn connect_as(configured: Option<OsString>) -> Result<OwnedFd, Errno> {
    if let Some(path) = configured {
        return connect_socket(path.as_bytes());
    }
    for path in SOCKET_PATHS {
        if let Ok(fd) = connect_socket(path.as_bytes()) {
            return Ok(fd);
        }
    }
    rustix::fs::open(DEVICE_PATH, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Connects to the Unix socket at this path.
///
/// # Errors
/// What socket(2) or connect(2) say.
pub fn connect_socket(path: &[u8]) -> Result<OwnedFd, Errno> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_socket_that_is_not_there_is_not_replaced_by_another() {
        let missing = OsString::from("/nonexistent/xenstored/socket");
        assert_eq!(connect_as(Some(missing)).map(drop), Err(Errno::NOENT));
    }
}
