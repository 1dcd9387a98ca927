//! Tells whoever started the daemon how it is, as sd_notify(3) has it: one datagram to the socket that
//! `NOTIFY_SOCKET` names, which may be a path or, after `@`, an abstract name.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Requests are served.
pub const READY: &str = "READY=1";
/// The daemon is about to end.
pub const STOPPING: &str = "STOPPING=1";

/// Where to tell it; nobody, when the daemon was not asked to.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// Prepares the way that the value of `NOTIFY_SOCKET` names.
    ///
    /// # Errors
    /// The value is no address of a socket.
    pub fn open(socket: Option<OsString>) -> io::Result<Self> {
        let Some(socket) = socket.filter(|socket| !socket.is_empty()) else { return Ok(Self::default()) };
        let address = match socket.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(Path::new(&socket))?,
        };
        let sender = UnixDatagram::unbound()?;
        sender.set_nonblocking(true)?;
        Ok(Self { to: Some((sender, address)) })
    }

    /// Tells it.
    ///
    /// # Errors
    /// The datagram could not be sent.
    pub fn tell(&self, state: &str) -> io::Result<()> {
        match &self.to {
            Some((sender, address)) => sender.send_to_addr(state.as_bytes(), address).map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_arrives_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let abstract_name = format!("@qfilexchgd-test-{}", std::process::id());
        let receivers = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&abstract_name[1..]).unwrap())
                    .unwrap(),
                OsString::from(abstract_name),
            ),
        ];
        for (receiver, name) in receivers {
            Notifier::open(Some(name)).unwrap().tell(READY).unwrap();
            let mut buffer = [0; 64];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
        }
    }

    #[test]
    fn without_an_address_nothing_is_told() {
        for socket in [None, Some(OsString::new())] {
            assert!(Notifier::open(socket).unwrap().tell(READY).is_ok());
        }
        assert!(Notifier::open(Some(OsString::from("x".repeat(200)))).is_err());
    }
}
