//! The relay between xs-monitor, which reads what VMs write, and xenstored, where one wrong write is the end.
//!
//! Runs as its own process, xs-gate · Holds an edge to the broker (log lines only), one connection to xenstored, one
//! stream to xs-monitor · May pass on requests that read or watch the few nodes
//! which xs-monitor needs · Must never pass on anything else, nor look at a reply · Trusts xenstored · Ends when any of the three closes or breaks the framing.

mod nodes;
mod outbox;
#[cfg(test)]
mod tests;

use outbox::Outbox;
use protocol::channel::{Channel, ChannelError};
use protocol::log::{Level, LogLine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use sys::sandbox::Sandboxed;
use thiserror::Error;
use xenstore::WATCHES_MAX;
use xenstore::wire::{FRAME_BYTES_MAX, Frame, FrameError, FrameReader, Header, Kind};

/// Most bytes that wait for one side, before the other side is not read any more. One read adds at most
/// [`READ_GROWTH_BYTES_MAX`] to that.
pub const OUTBOX_BYTES_MAX: usize = 16 * FRAME_BYTES_MAX;
/// Most bytes that one read of [`FRAME_BYTES_MAX`] bytes adds to an outbox: a message that it completes, and for each
/// header of 16 bytes in it a refusal of 23.
pub const READ_GROWTH_BYTES_MAX: usize = 3 * FRAME_BYTES_MAX;

/// Everything that xs-monitor may ask for; none of it changes a node.
pub const RELAYED: [Kind; 6] =
    [Kind::Read, Kind::Directory, Kind::DirectoryPart, Kind::Watch, Kind::Unwatch, Kind::ResetWatches];

/// Longest payload of a request to set or remove a watch; those of xs-monitor have some 50 bytes.
pub const WATCH_BYTES_MAX: usize = 256;

/// The reply to everything else.
const REFUSAL: &[u8] = b"EACCES\0";

/// The edge to the broker: it says nothing, so whatever arrives there is an error.
pub type Edge = Channel<LogLine, ()>;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to xenstored as it is.
    Relay,
    /// It is answered here.
    Refuse,
}

/// The watches that were passed on, so that they can be counted: domain 0 has no quota in xenstored.
///
/// The payload of a request to set a watch is kept as it is, and that of one to remove it is the same.
#[derive(Debug, Default)]
pub struct Watches {
    payloads: BTreeSet<Vec<u8>>,
}

impl Watches {
    /// Counts a request that [`verdict`] lets pass, and refuses a watch beyond [`WATCHES_MAX`].
    pub fn count(&mut self, frame: &Frame) -> Verdict {
        let kind = Kind::of_number(frame.header.kind);
        if kind == Some(Kind::Watch) {
            let too_many =
                self.payloads.len() >= WATCHES_MAX && !self.payloads.contains(frame.payload.as_slice());
            if too_many || frame.payload.len() > WATCH_BYTES_MAX {
                return Verdict::Refuse;
            }
            self.payloads.insert(frame.payload.clone());
        } else if kind == Some(Kind::Unwatch) {
            self.payloads.remove(frame.payload.as_slice());
        } else if kind == Some(Kind::ResetWatches) {
            self.payloads.clear();
        }
        Verdict::Relay
    }
}

/// Decides by the type of a request, and by the node that it is about.
#[must_use]
pub fn verdict(frame: &Frame) -> Verdict {
    let outside_transactions = frame.header.transaction_id == 0;
    let kind = Kind::of_number(frame.header.kind).filter(|kind| RELAYED.contains(kind));
    let is_needed = kind.is_some_and(|kind| nodes::permits(kind, &frame.payload));
    if outside_transactions && is_needed { Verdict::Relay } else { Verdict::Refuse }
}

/// Why the relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Ended {
    /// The broker is gone, or says something on an edge where it has nothing to say.
    #[error("the edge to the broker has ended")]
    Broker,
    /// xs-monitor is gone.
    #[error("xs-monitor has closed its stream")]
    MonitorClosed,
    /// xs-monitor sends what cannot be cut into messages.
    #[error("xs-monitor breaks the framing of xenstore")]
    MonitorBroken,
    /// xenstored is gone.
    #[error("xenstored has closed the connection")]
    XenstoredClosed,
    /// xenstored sends what cannot be cut into messages.
    #[error("xenstored breaks the framing of xenstore")]
    XenstoredBroken,
    /// A system call failed.
    #[error("a system call of the relay failed: {0}")]
    Os(#[from] Errno),
}

/// The three descriptors and what is on its way between them.
#[derive(Debug)]
pub struct Relay {
    edge: Edge,
    xenstored: OwnedFd,
    monitor: OwnedFd,
    from_xenstored: FrameReader,
    from_monitor: FrameReader,
    to_xenstored: Outbox,
    to_monitor: Outbox,
    watches: Watches,
    refused_before: bool,
}

impl Relay {
    /// Takes the three descriptors and makes the two streams non-blocking.
    ///
    /// # Errors
    /// What fcntl(2) says.
    pub fn new(edge: OwnedFd, xenstored: OwnedFd, monitor: OwnedFd) -> Result<Self, Errno> {
        for stream in [&xenstored, &monitor] {
            rustix::fs::fcntl_setfl(stream, rustix::fs::OFlags::NONBLOCK)?;
        }
        Ok(Self {
            edge: Channel::new(edge),
            xenstored,
            monitor,
            from_xenstored: FrameReader::default(),
            from_monitor: FrameReader::default(),
            to_xenstored: Outbox::default(),
            to_monitor: Outbox::default(),
            watches: Watches::default(),
            refused_before: false,
        })
    }

    /// Waits until one of the three has something to do, and does that much.
    ///
    /// # Errors
    /// [`Ended`] when the relay has come to its end.
    pub fn turn(&mut self, timeout: Option<&Timespec>) -> Result<(), Ended> {
        let monitor_has_room = self.to_monitor.bytes() < OUTBOX_BYTES_MAX;
        // A request may go on to xenstored or be answered with a refusal.
        let both_have_room = monitor_has_room && self.to_xenstored.bytes() < OUTBOX_BYTES_MAX;
        let mut fds = [
            PollFd::from_borrowed_fd(self.edge.as_fd(), interest(true, self.edge.wants_write())),
            PollFd::new(&self.xenstored, interest(monitor_has_room, !self.to_xenstored.is_empty())),
            PollFd::new(&self.monitor, interest(both_have_room, !self.to_monitor.is_empty())),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        let [edge, xenstored, monitor] = fds.map(|fd| fd.revents());
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        if !edge.is_empty() {
            self.attend_broker()?;
        }
        if xenstored.contains(PollFlags::IN) {
            self.relay_replies()?;
        } else if xenstored.intersects(gone) {
            return Err(Ended::XenstoredClosed);
        }
        if monitor.contains(PollFlags::IN) {
            self.relay_requests()?;
        } else if monitor.intersects(gone) {
            return Err(Ended::MonitorClosed);
        }
        self.to_xenstored.flush(&self.xenstored, Ended::XenstoredClosed)?;
        self.to_monitor.flush(&self.monitor, Ended::MonitorClosed)
    }

    /// Says why the relay ended, if the broker is there to hear it.
    pub fn report(&mut self, ended: Ended) {
        // Nothing is left to do when even this fails: the process ends right after it.
        drop(self.edge.send(&LogLine::new(Level::Warning, &ended.to_string())));
    }

    fn attend_broker(&mut self) -> Result<(), Ended> {
        let spoken = self.edge.flush().and_then(|()| self.edge.receive());
        match spoken {
            Ok(None) => Ok(()),
            Ok(Some(())) | Err(_) => Err(Ended::Broker),
        }
    }

    fn relay_replies(&mut self) -> Result<(), Ended> {
        receive(&self.xenstored, &mut self.from_xenstored, Ended::XenstoredClosed)?;
        while let Some(frame) = next(&mut self.from_xenstored, Ended::XenstoredBroken)? {
            self.to_monitor.push(frame.encode());
        }
        Ok(())
    }

    fn relay_requests(&mut self) -> Result<(), Ended> {
        receive(&self.monitor, &mut self.from_monitor, Ended::MonitorClosed)?;
        while let Some(frame) = next(&mut self.from_monitor, Ended::MonitorBroken)? {
            let verdict = match verdict(&frame) {
                Verdict::Relay => self.watches.count(&frame),
                Verdict::Refuse => Verdict::Refuse,
            };
            match verdict {
                Verdict::Relay => self.to_xenstored.push(frame.encode()),
                Verdict::Refuse => self.refuse(frame.header)?,
            }
        }
        Ok(())
    }

    fn refuse(&mut self, header: Header) -> Result<(), Ended> {
        if !self.refused_before {
            self.refused_before = true;
            let text = "xs-monitor asked for something that it must not ask for, and was refused";
            match self.edge.send(&LogLine::new(Level::Error, text)) {
                // One line more or less is no reason to end.
                Ok(()) | Err(ChannelError::Overflow) => {}
                Err(
                    ChannelError::Closed
                    | ChannelError::Codec(_)
                    | ChannelError::Truncated
                    | ChannelError::Descriptors
                    | ChannelError::Os(_),
                ) => return Err(Ended::Broker),
            }
        }
        let kind = Kind::Error.number();
        let reply = Frame::new(kind, header.request_id, header.transaction_id, REFUSAL.to_vec());
        self.to_monitor.push(reply.map_err(|FrameError::TooLong| Ended::MonitorBroken)?.encode());
        Ok(())
    }
}

/// The relay's loop; returns why it ended.
pub fn run(relay: &mut Relay, _sandboxed: &Sandboxed) -> Ended {
    loop {
        if let Err(ended) = relay.turn(None) {
            return ended;
        }
    }
}

fn interest(reading: bool, writing: bool) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, reading);
    flags.set(PollFlags::OUT, writing);
    flags
}

fn receive(stream: &OwnedFd, reader: &mut FrameReader, closed: Ended) -> Result<(), Ended> {
    let mut buffer = [0; FRAME_BYTES_MAX];
    match rustix::io::read(stream, &mut buffer) {
        Ok(0) | Err(Errno::CONNRESET) => Err(closed),
        Ok(received) => {
            reader.push(buffer.get(..received).unwrap_or_default());
            Ok(())
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn next(reader: &mut FrameReader, broken: Ended) -> Result<Option<Frame>, Ended> {
    reader.next_frame().map_err(|FrameError::TooLong| broken)
}
