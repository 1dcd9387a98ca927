//! Who is at the other end of a connection that was accepted on a Unix socket (unix(7)).
//!
//! The kernel notes the ids when the peer connects, so a program that the peer starts later changes nothing. It
//! translates them into the caller's user namespace; an id that is not known there is the overflow id, 65534.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::inherit::last_errno;

/// Most supplementary groups that are looked at.
pub const GROUPS_MAX: usize = 1024;

/// The ids of a peer, as the caller's user namespace has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups; none of a peer that has more than [`GROUPS_MAX`].
    pub groups: Vec<u32>,
}

impl Peer {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The kernel's: not a connected Unix socket.
    pub fn of(socket: impl AsFd) -> Result<Self, Errno> {
        let mut ids = [0_u32; 3];
        if option(&socket, libc::SO_PEERCRED, &mut ids)? < size_of::<libc::ucred>() {
            return Err(Errno::IO);
        }
        // `struct ucred`: pid, uid, gid.
        let [_, uid, gid] = ids;
        let mut groups = vec![0_u32; GROUPS_MAX];
        let count = match option(&socket, libc::SO_PEERGROUPS, &mut groups) {
            Ok(bytes) => bytes / size_of::<u32>(),
            Err(Errno::RANGE | Errno::NODATA) => 0,
            Err(errno) => return Err(errno),
        };
        groups.truncate(count);
        Ok(Self { uid, gid, groups })
    }

    /// Whether this is one of its groups.
    #[must_use]
    pub fn is_in(&self, group: u32) -> bool {
        self.gid == group || self.groups.contains(&group)
    }
}

/// The process that made the other end: for a connection to a listening socket, the one that listens. 0: it is not in the
/// caller's pid namespace.
///
/// # Errors
/// The kernel's: not a connected Unix socket.
pub fn pid_of(socket: impl AsFd) -> Result<u32, Errno> {
    let mut ids = [0_u32; 3];
    if option(&socket, libc::SO_PEERCRED, &mut ids)? < size_of::<libc::ucred>() {
        return Err(Errno::IO);
    }
    let [pid, _, _] = ids;
    Ok(pid)
}

/// Reads an option of the socket's level into these numbers; says how many bytes it has.
fn option(socket: &impl AsFd, name: libc::c_int, numbers: &mut [u32]) -> Result<usize, Errno> {
    let room = std::mem::size_of_val(numbers);
    let mut length = libc::socklen_t::try_from(room).map_err(|_| Errno::INVAL)?;
    // SAFETY: the pointer is valid for `length` bytes, of which the kernel writes no more, and any bytes are numbers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            numbers.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(last_errno());
    }
    usize::try_from(length).ok().filter(|length| *length <= room).ok_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_ids_of_a_peer_are_those_of_the_process_that_connected() {
        let (near, _far) = UnixStream::pair().unwrap();
        let peer = Peer::of(&near).unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        let mut own: Vec<u32> =
            rustix::process::getgroups().unwrap().into_iter().map(rustix::process::Gid::as_raw).collect();
        let mut seen = peer.groups.clone();
        own.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, own);
        assert!(peer.is_in(peer.gid));
        assert!(!peer.is_in(4_000_000_001));
    }

    #[test]
    fn what_is_no_socket_has_no_peer() {
        assert_eq!(Peer::of(std::fs::File::open("/dev/null").unwrap()), Err(Errno::NOTSOCK));
    }
}
