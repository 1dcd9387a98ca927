//! Messages that wait until a stream takes them.

use super::Ended;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// Whole messages in order. Each is written by itself, since `/dev/xen/xenbus` takes no two in one write.
#[derive(Debug, Default)]
pub struct Outbox {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Outbox {
    /// How much waits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Appends a message.
    pub fn push(&mut self, message: Vec<u8>) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// Writes as much as the stream takes now.
    ///
    /// # Errors
    /// `closed` when the other side is gone, [`Ended::Os`] otherwise.
    pub fn flush(&mut self, stream: &OwnedFd, closed: Ended) -> Result<(), Ended> {
        while let Some(message) = self.messages.front_mut() {
            match rustix::io::write(stream, message) {
                Ok(written) if written >= message.len() => {
                    self.bytes -= written;
                    self.messages.pop_front();
                }
                Ok(written) => {
                    self.bytes -= written;
                    message.drain(..written);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(closed),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}
