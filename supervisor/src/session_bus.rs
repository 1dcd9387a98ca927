//! The person's session bus, for the notifier. Each start of it gets a new connection; without one it is not started, and
//! that is tried again from time to time.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// The bus.
#[derive(Debug)]
pub struct SessionBus {
    socket: PathBuf,
    /// Whether the log says that it is missing.
    is_missed: bool,
}

impl SessionBus {
    /// The bus at a socket, which need not be there yet.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), is_missed: false }
    }

    /// Connects to it, as the owner of the folder that it is in: nobody else may enter `/run/user/1000`, not even this
    /// process in its sandbox, and a bus takes its owner for a client. The owner can lead this process only to where
    /// the owner could go.
    ///
    /// # Errors
    /// The kernel's. The bus may come later.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        let folder = std::fs::metadata(self.socket.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        let (owner, group) = (Uid::from_raw(folder.uid()), Gid::from_raw(folder.gid()));
        let (own, own_group) = (geteuid(), getegid());
        if !own.is_root() || owner == own {
            return self.connect_now();
        }
        // For good: root's further groups are of no use to this process, and might open to it what the owner cannot.
        set_thread_groups(&[])?;
        set_thread_res_gid(None, group, None)?;
        let attempt =
            set_thread_res_uid(None, owner, None).map_err(io::Error::from).and_then(|()| self.connect_now());
        // The real ids are still root's, so this is permitted. If it were not, no worker could be started any more.
        set_thread_res_uid(None, own, None)?;
        set_thread_res_gid(None, own_group, None)?;
        attempt
    }

    fn connect_now(&self) -> io::Result<OwnedFd> {
        // A bus that does not take connections must not stop the daemon: this fails instead of waiting.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(&self.socket)?)?;
        Ok(socket)
    }

    /// What to say in the log about this attempt: something only when the bus has gone or come.
    pub fn news(&mut self, attempt: &io::Result<OwnedFd>) -> Option<String> {
        let was_missed = std::mem::replace(&mut self.is_missed, attempt.is_err());
        let socket = self.socket.display();
        match attempt {
            Err(error) if !was_missed => {
                Some(format!("no session bus at {socket}: {error}; no notifications until there is one"))
            }
            Ok(_) if was_missed => {
                Some(format!("there is a session bus at {socket}: notifications are shown"))
            }
            Ok(_) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_bus_that_is_missing_is_told_once_and_so_is_its_return() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bus");
        let mut bus = SessionBus::at(&socket);
        let missing = bus.connect();
        assert!(bus.news(&missing).unwrap().contains("no notifications until"));
        assert_eq!(bus.news(&missing), None);
        let _listener = UnixListener::bind(&socket).unwrap();
        let there = bus.connect();
        assert!(there.is_ok(), "{there:?}");
        assert!(bus.news(&there).unwrap().contains("are shown"));
        assert_eq!(bus.news(&there), None);
    }

    #[test]
    fn root_connects_as_the_owner_of_the_folder_and_is_root_again() {
        if !geteuid().is_root() {
            return testkit::skip("only root can connect as somebody else");
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let inner = folder.path().join("1000");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o700)).unwrap();
        let listener = UnixListener::bind(inner.join("bus")).unwrap();
        for path in [&inner, &inner.join("bus")] {
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        }
        let before = getegid();
        let _ours = SessionBus::at(&inner.join("bus")).connect().unwrap();
        let (its, _) = listener.accept().unwrap();
        let peer = rustix::net::sockopt::socket_peercred(&its).unwrap();
        assert_eq!((peer.uid.as_raw(), peer.gid.as_raw()), (65_534, 65_534));
        assert!(geteuid().is_root());
        assert_eq!(getegid(), before);
    }

    #[test]
    fn the_owner_of_the_folder_cannot_lead_root_to_a_socket_that_only_root_and_its_group_may_use() {
        if !geteuid().is_root() {
            return testkit::skip("only root can connect as somebody else");
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let roots = folder.path().join("roots");
        let _listener = UnixListener::bind(&roots).unwrap();
        std::fs::set_permissions(&roots, std::fs::Permissions::from_mode(0o660)).unwrap();
        let inner = folder.path().join("1000");
        std::fs::create_dir(&inner).unwrap();
        std::os::unix::fs::symlink(&roots, inner.join("bus")).unwrap();
        std::os::unix::fs::chown(&inner, Some(65_534), Some(65_534)).unwrap();
        let refused = SessionBus::at(&inner.join("bus")).connect().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(geteuid().is_root());
    }
}
