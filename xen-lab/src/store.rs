//! What the lab's agents say to xenstored, and hear from it: one message after the other (xen/io/xs_wire.h).

use std::io::{self, Read, Write};

/// Message types.
pub const READ: u32 = 2;
/// Sets a watch.
pub const WATCH: u32 = 4;
/// Sets a value.
pub const WRITE: u32 = 11;
/// A watch has fired.
pub const WATCH_EVENT: u32 = 15;
/// A request is refused.
pub const ERROR: u32 = 16;

/// A connection: the socket in dom0, the device in a guest.
pub struct Store<S>(pub S);

impl<S: Read + Write> Store<S> {
    /// Sends a request, in one write, as the device wants it.
    ///
    /// # Errors
    /// The connection's.
    pub fn send(&mut self, kind: u32, payload: &[u8]) -> io::Result<()> {
        let mut message = Vec::new();
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        for word in [kind, 1, 0, length] {
            message.extend(word.to_ne_bytes());
        }
        message.extend(payload);
        self.0.write_all(&message)
    }

    /// The next message: its type and its payload.
    ///
    /// # Errors
    /// The connection's.
    pub fn receive(&mut self) -> io::Result<(u32, Vec<u8>)> {
        let mut header = [0; 16];
        self.0.read_exact(&mut header)?;
        let word = |at: usize| {
            let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_ne_bytes).unwrap_or_default()
        };
        let mut payload = vec![0; usize::try_from(word(12)).unwrap_or_default()];
        self.0.read_exact(&mut payload)?;
        Ok((word(0), payload))
    }
}
