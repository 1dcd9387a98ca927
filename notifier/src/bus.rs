//! The conversation with the bus, without its socket: bytes in, bytes out, everything bounded.
//!
//! ```text
//! ->  NUL, AUTH EXTERNAL, DATA      who this is, the kernel has told the bus already: no id is named
//! <-  DATA, OK <id of the bus>
//! ->  BEGIN, Hello, Notify ...
//! <-  answers: their length is read, they are skipped, and the first failure is logged
//! ```

use std::collections::VecDeque;

use protocol::notify::Notice;

use crate::text;
use crate::wire::{self, HEADER_BYTES};

/// Most notices that wait for a bus that does not read; what is more is not shown.
pub const WAITING_NOTICES_MAX: usize = 16;
/// Longest line of the bus during authentication, in bytes, its end included.
pub const LINE_BYTES_MAX: usize = 256;
/// Most bytes that the bus may say between two notices. It has nothing to say but answers.
pub const SAID_BYTES_MAX: usize = 256 * 1024;

/// Without an id, the bus takes the one that the kernel has for the socket (D-Bus Specification, "EXTERNAL").
const AUTHENTICATE: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\n";
const BEGIN: &[u8] = b"BEGIN\r\n";

/// Why this bus is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// It does not want this client.
    #[error("the session bus refuses the daemon's user")]
    Refused,
    /// It says what no bus says.
    #[error("the session bus says what is no message, or too long a one")]
    Garbage,
    /// It says too much.
    #[error("the session bus says more than it was asked")]
    Flood,
}

/// Where the conversation is.
#[derive(Debug)]
enum Talk {
    /// Lines come; so many came whole.
    Lines { line: Vec<u8>, whole: u8 },
    /// The first bytes of a message come.
    Header(Vec<u8>),
    /// So many bytes of a message are left, which nobody looks at.
    Rest(u32),
}

/// What the worker is to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A call failed, for the first time.
    CallFailed,
}

/// One connection.
#[derive(Debug)]
pub struct Bus {
    talk: Talk,
    outgoing: Vec<u8>,
    waiting: VecDeque<Notice>,
    serial: u32,
    said_bytes: usize,
    has_failed: bool,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            talk: Talk::Lines { line: Vec::new(), whole: 0 },
            outgoing: AUTHENTICATE.to_vec(),
            waiting: VecDeque::new(),
            serial: 0,
            said_bytes: 0,
            has_failed: false,
        }
    }
}

impl Bus {
    /// Has a notice shown as soon as the bus takes it. `false`: too many wait, so it will not be shown.
    #[must_use]
    pub fn show(&mut self, notice: Notice) -> bool {
        if self.waiting.len() >= WAITING_NOTICES_MAX {
            return false;
        }
        self.waiting.push_back(notice);
        self.fill();
        true
    }

    /// What the bus is to be sent next.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// The bus took so many bytes of it.
    pub fn sent(&mut self, count: usize) {
        self.outgoing.drain(..count.min(self.outgoing.len()));
        self.fill();
    }

    /// At most one notice is marshalled at a time.
    fn fill(&mut self) {
        if !self.outgoing.is_empty() || matches!(self.talk, Talk::Lines { .. }) {
            return;
        }
        if let Some(notice) = self.waiting.pop_front() {
            self.said_bytes = 0;
            let serial = self.next_serial();
            self.outgoing = wire::notify(serial, text::summary(&notice), &text::body(&notice));
        }
    }

    /// Never 0, which no message may have.
    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        self.serial
    }

    /// The bus said something.
    ///
    /// # Errors
    /// [`BusError`]; the connection is then of no more use.
    pub fn hear(&mut self, untrusted_bytes: &[u8]) -> Result<Option<News>, BusError> {
        self.said_bytes = self.said_bytes.saturating_add(untrusted_bytes.len());
        if self.said_bytes > SAID_BYTES_MAX {
            return Err(BusError::Flood);
        }
        let mut news = None;
        let mut untrusted_rest = untrusted_bytes;
        while let Some((first, after)) = untrusted_rest.split_first() {
            untrusted_rest = after;
            match &mut self.talk {
                Talk::Lines { line, whole } => {
                    line.push(*first);
                    if line.ends_with(b"\r\n") {
                        let (line, whole) = (std::mem::take(line), whole.saturating_add(1));
                        // Nothing may come before the bus was told to begin.
                        self.line(&line, whole, untrusted_rest.is_empty())?;
                    } else if line.len() >= LINE_BYTES_MAX {
                        return Err(BusError::Garbage);
                    }
                }
                Talk::Header(header) => {
                    header.push(*first);
                    if let Ok(header) = <[u8; HEADER_BYTES]>::try_from(header.as_slice()) {
                        let message = wire::incoming(header).ok_or(BusError::Garbage)?;
                        if message.is_error && !std::mem::replace(&mut self.has_failed, true) {
                            news = Some(News::CallFailed);
                        }
                        self.talk = after_rest(message.rest_bytes);
                    }
                }
                Talk::Rest(left) => self.talk = after_rest(left.saturating_sub(1)),
            }
        }
        Ok(news)
    }

    fn line(&mut self, untrusted_line: &[u8], whole: u8, is_last: bool) -> Result<(), BusError> {
        if untrusted_line.starts_with(b"REJECTED") || untrusted_line.starts_with(b"ERROR") {
            return Err(BusError::Refused);
        }
        match whole {
            1 if untrusted_line == b"DATA\r\n" => {
                self.talk = Talk::Lines { line: Vec::new(), whole };
                Ok(())
            }
            2 if untrusted_line.starts_with(b"OK ") && is_last => {
                self.talk = Talk::Header(Vec::new());
                self.outgoing.extend_from_slice(BEGIN);
                let hello = wire::hello(self.next_serial());
                self.outgoing.extend_from_slice(&hello);
                Ok(())
            }
            _ => Err(BusError::Garbage),
        }
    }
}

fn after_rest(left: u32) -> Talk {
    if left == 0 { Talk::Header(Vec::new()) } else { Talk::Rest(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REPLY: &[u8] = b"l\x02\0\x01\x03\0\0\0\x01\0\0\0\0\0\0\0abc";
    const FAILURE: &[u8] = b"l\x03\0\x01\0\0\0\0\x01\0\0\0\0\0\0\0";

    fn take(bus: &mut Bus) -> Vec<u8> {
        let bytes = bus.outgoing().to_vec();
        bus.sent(bytes.len());
        bytes
    }

    fn begun() -> Bus {
        let mut bus = Bus::default();
        assert_eq!(take(&mut bus), AUTHENTICATE);
        bus.hear(b"DATA\r\nOK 0123\r\n").unwrap();
        assert_eq!(take(&mut bus), [BEGIN, &wire::hello(1)].concat());
        bus
    }

    #[test]
    fn a_notice_waits_until_the_bus_has_agreed() {
        let mut bus = Bus::default();
        assert!(bus.show(Notice::TemplateBeingRebuilt));
        assert_eq!(take(&mut bus), AUTHENTICATE);
        assert_eq!(take(&mut bus), b"");
        for byte in b"DATA\r\nOK 0123\r\n" {
            bus.hear(&[*byte]).unwrap();
        }
        assert_eq!(take(&mut bus), [BEGIN, &wire::hello(1)].concat());
        let notice = Notice::TemplateBeingRebuilt;
        assert_eq!(take(&mut bus), wire::notify(2, text::summary(&notice), &text::body(&notice)));
    }

    #[test]
    fn answers_are_skipped_and_the_first_failure_alone_is_news() {
        let mut bus = begun();
        assert_eq!(bus.hear(&[REPLY, REPLY].concat()), Ok(None));
        assert_eq!(bus.hear(&[REPLY, FAILURE, REPLY].concat()), Ok(Some(News::CallFailed)));
        assert_eq!(bus.hear(FAILURE), Ok(None));
        assert!(bus.outgoing().is_empty());
    }

    #[test]
    fn a_bus_that_refuses_or_speaks_another_language_is_left() {
        for (said, error) in [
            (&b"REJECTED EXTERNAL\r\n"[..], BusError::Refused),
            (b"ERROR\r\n", BusError::Refused),
            (b"OK 0123\r\n", BusError::Garbage),
            (b"DATA\r\nDATA\r\n", BusError::Garbage),
            (b"DATA\r\nOK 0123\r\nl", BusError::Garbage),
            (b"HTTP/1.1 400 Bad Request\r\n", BusError::Garbage),
        ] {
            assert_eq!(Bus::default().hear(said), Err(error), "{said:?}");
        }
        assert_eq!(begun().hear(&[b'x'; HEADER_BYTES]), Err(BusError::Garbage));
    }

    #[test]
    fn l19_lines_notices_and_what_the_bus_says_are_bounded() {
        assert_eq!(Bus::default().hear(&[b'x'; LINE_BYTES_MAX - 1]), Ok(None));
        assert_eq!(Bus::default().hear(&[b'x'; LINE_BYTES_MAX]), Err(BusError::Garbage));
        let mut bus = Bus::default();
        for _ in 0..WAITING_NOTICES_MAX {
            assert!(bus.show(Notice::TemplateBeingRebuilt));
        }
        assert!(!bus.show(Notice::TemplateBeingRebuilt));
        let mut bus = begun();
        let said = bus.said_bytes;
        let most = REPLY.repeat((SAID_BYTES_MAX - said) / REPLY.len());
        assert_eq!(bus.hear(&most), Ok(None));
        assert_eq!(bus.hear(REPLY), Err(BusError::Flood));
    }

    proptest! {
        #[test]
        fn nothing_that_a_bus_says_does_more_than_end_the_connection(
            is_begun in any::<bool>(),
            said in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..16),
        ) {
            let mut bus = if is_begun { begun() } else { Bus::default() };
            for bytes in said {
                if bus.hear(&bytes).is_err() {
                    break;
                }
                prop_assert!(bus.outgoing().len() < 1024);
            }
        }
    }
}
