//! Tells whoever started the daemon how it is, as sd_notify(3) has it: one datagram to the socket that
//! `NOTIFY_SOCKET` names, which may be a path or, after `@`, an abstract name.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use protocol::log::LogText;

/// Requests are served.
pub const READY: &str = "READY=1\nSTATUS=Requests are served.";
/// The daemon is about to end.
pub const STOPPING: &str = "STOPPING=1\nSTATUS=Told to end.";
/// The daemon and its broker are at work.
pub const WATCHDOG: &str = "WATCHDOG=1";
/// Everything has ended, and is started again.
pub const RENEWING: &str = "STATUS=The broker has ended. Everything is started anew.";

/// Where to tell it; nobody, when the daemon was not asked to.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// Prepares the way that the value of `NOTIFY_SOCKET` names.
    ///
    /// # Errors
    /// The value is neither an absolute path nor `@` and an abstract name, or too long.
    pub fn open(socket: Option<OsString>) -> io::Result<Self> {
        let Some(socket) = socket.filter(|socket| !socket.is_empty()) else { return Ok(Self::default()) };
        let address = match socket.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            Some((b'/', _)) => SocketAddr::from_pathname(Path::new(&socket))?,
            _ => return Err(io::Error::other("neither an absolute path nor @ and a name")),
        };
        let sender = UnixDatagram::unbound()?;
        sender.set_nonblocking(true)?;
        Ok(Self { to: Some((sender, address)) })
    }

    /// Tells why the daemon is about to end, which the service manager then shows. Best effort: the log has it, too.
    pub fn tell_failure(&self, failure: &str) {
        // Escaped and cut, so that it stays one assignment.
        let _ = self.tell(&format!("STATUS=Failed: {}", LogText::new(failure).as_str()));
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
            let notifier = Notifier::open(Some(name)).unwrap();
            notifier.tell(READY).unwrap();
            let mut buffer = [0; 64];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=Requests are served.");
            // What is told of a failure is one line: no assignment can be in it.
            notifier.tell_failure("a\nREADY=1");
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"STATUS=Failed: a\\nREADY=1");
        }
    }

    #[test]
    fn a_socket_at_which_nobody_listens_is_an_error_of_each_word() {
        let folder = tempfile::tempdir().unwrap();
        for name in [folder.path().join("none").into_os_string(), OsString::from("@qfilexchgd-nobody")] {
            let notifier = Notifier::open(Some(name)).unwrap();
            assert!(notifier.tell(READY).is_err());
            notifier.tell_failure("nobody hears");
        }
    }

    #[test]
    fn without_an_address_nothing_is_told() {
        for socket in [None, Some(OsString::new())] {
            assert!(Notifier::open(socket).unwrap().tell(READY).is_ok());
        }
        for unusable in [
            "x".repeat(200),
            "@".to_owned() + &"x".repeat(200),
            "relative".to_owned(),
            "vsock:2:1".to_owned(),
        ] {
            assert!(Notifier::open(Some(OsString::from(unusable))).is_err());
        }
    }
}
