//! The log of the daemon's first process: stderr, and where that is the journal, journald's own socket, which takes
//! fields. It is opened before the sandbox, and handed to the broker.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use protocol::journald::{self, Note};
use protocol::log::Level;

/// Where lines go. Nothing can be done about a log that cannot be written.
#[derive(Debug, Default)]
pub struct Log {
    journald: Option<OwnedFd>,
}

impl Log {
    /// A log on stderr; beside it the socket of journald, if `journal_stream`, the value of `JOURNAL_STREAM`, says that
    /// stderr is the journal (systemd.exec(5)), and somebody listens at `socket`.
    #[must_use]
    pub fn open(journal_stream: Option<&OsStr>, socket: &Path) -> Self {
        let is_journal = journal_stream.is_some_and(|stream| is_stream(io::stderr().as_fd(), stream));
        Self { journald: is_journal.then(|| connect(socket).ok()).flatten() }
    }

    /// Writes a line.
    pub fn line(&self, level: Level, note: &Note) {
        if let Some(journald) = &self.journald {
            let entry = journald::entry(level, note);
            if rustix::io::write(journald, &entry).is_ok_and(|written| written == entry.len()) {
                return;
            }
        }
        // In one piece, so that lines of other processes do not come between.
        let _ = io::stderr().write_all(format!("qfilexchgd: {}\n", note.text).as_bytes());
    }

    /// The socket of journald, for the broker.
    #[must_use]
    pub fn journald(&self) -> Option<BorrowedFd<'_>> {
        self.journald.as_ref().map(AsFd::as_fd)
    }
}

/// Whether a descriptor is what `DEVICE:INODE` names.
fn is_stream(descriptor: BorrowedFd<'_>, stream: &OsStr) -> bool {
    let Ok(found) = rustix::fs::fstat(descriptor) else { return false };
    stream == OsString::from(format!("{}:{}", found.st_dev, found.st_ino))
}

/// A socket that journald hears, and that never waits for it.
fn connect(socket: &Path) -> io::Result<OwnedFd> {
    let ours = UnixDatagram::unbound()?;
    ours.connect(socket)?;
    ours.set_nonblocking(true)?;
    Ok(ours.into())
}

#[cfg(test)]
mod tests {
    use protocol::journald::Event;

    use super::*;

    #[test]
    fn only_the_stream_that_is_named_is_the_journal() {
        let (one, other) = UnixDatagram::pair().unwrap();
        let found = rustix::fs::fstat(&one).unwrap();
        let name = OsString::from(format!("{}:{}", found.st_dev, found.st_ino));
        assert!(is_stream(one.as_fd(), &name));
        assert!(!is_stream(other.as_fd(), &name));
        for name in ["", ":", "8", "8:1:2", "x"] {
            assert!(!is_stream(one.as_fd(), OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn without_a_journal_or_with_nobody_at_its_socket_lines_go_to_stderr() {
        let folder = tempfile::tempdir().unwrap();
        let found = rustix::fs::fstat(io::stderr()).unwrap();
        let stderr = OsString::from(format!("{}:{}", found.st_dev, found.st_ino));
        let socket = folder.path().join("socket");
        assert!(Log::open(Some(&stderr), &socket).journald().is_none(), "nobody listens");
        let receiver = UnixDatagram::bind(&socket).unwrap();
        assert!(Log::open(None, &socket).journald().is_none(), "not started by systemd");
        assert!(Log::open(Some(OsStr::new("1:1")), &socket).journald().is_none(), "stderr is something else");

        let log = Log::open(Some(&stderr), &socket);
        let note = Note::new(Event::Serving, "served".to_owned());
        log.line(Level::Info, &note);
        let mut buffer = [0; 400];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], journald::entry(Level::Info, &note));
        drop(receiver);
        log.line(Level::Info, &note);
    }
}
