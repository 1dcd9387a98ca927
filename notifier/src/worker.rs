//! The loop: waits for the broker and the bus, and for neither longer than for the other.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

use protocol::channel::{Channel, ChannelError};
use protocol::log::{Level, LogLine};
use protocol::notify::Notice;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg};
use sys::sandbox::Sandboxed;

use crate::bus::{Bus, BusError, News, WAITING_NOTICES_MAX};

/// Most bytes that are read from the bus before the broker has its turn.
const READ_BYTES_MAX: usize = 4096;

/// Why the notifier cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The broker is gone, or sends what it must not.
    #[error("the broker's edge: {0}")]
    Edge(#[from] ChannelError),
    /// The bus is of no use.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The bus is gone.
    #[error("the session bus closed the connection")]
    BusClosed,
    /// The socket of the bus failed.
    #[error("the session bus: {0}")]
    BusSocket(Errno),
    /// The kernel refused to wait.
    #[error("poll failed: {0}")]
    Poll(Errno),
}

/// The notifier at work.
#[derive(Debug)]
pub struct Worker {
    edge: Channel<LogLine, Notice>,
    socket: OwnedFd,
    bus: Bus,
    has_dropped: bool,
}

impl Worker {
    /// Takes the edge to the broker and the connected socket of the bus.
    #[must_use]
    pub fn new(edge: OwnedFd, socket: OwnedFd) -> Self {
        Self { edge: Channel::new(edge), socket, bus: Bus::default(), has_dropped: false }
    }

    /// Shows notices until the broker or the bus goes away, and tells the broker if it is the bus. Returns why it cannot
    /// go on; [`ChannelError::Closed`] is the usual end.
    pub fn run(&mut self, _sandboxed: &Sandboxed) -> WorkerError {
        loop {
            if let Err(error) = self.turn() {
                if !matches!(error, WorkerError::Edge(_)) {
                    // If the broker does not take it there is nobody else to tell.
                    let _ = self.log(&error.to_string());
                }
                return error;
            }
        }
    }

    fn turn(&mut self) -> Result<(), WorkerError> {
        let (bus_speaks, bus_takes) = self.wait()?;
        self.edge.flush()?;
        // No more than can wait: the rest has its turn when the bus had its own.
        for _ in 0..WAITING_NOTICES_MAX {
            let Some(notice) = self.edge.receive()? else { break };
            if !self.bus.show(notice) && !std::mem::replace(&mut self.has_dropped, true) {
                self.log("the session bus does not read, so notifications are left out")?;
            }
        }
        if bus_speaks {
            self.hear()?;
        }
        if bus_takes {
            self.say()?;
        }
        Ok(())
    }

    fn wait(&self) -> Result<(bool, bool), WorkerError> {
        let flags = |wants_write| if wants_write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds = [
            PollFd::new(&self.edge, flags(self.edge.wants_write())),
            PollFd::new(&self.socket, flags(!self.bus.outgoing().is_empty())),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(WorkerError::Poll(errno)),
        }
        let [_, bus] = &fds;
        let ended = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let speaks = bus.revents().intersects(PollFlags::IN | ended);
        Ok((speaks, bus.revents().contains(PollFlags::OUT)))
    }

    fn hear(&mut self) -> Result<(), WorkerError> {
        let mut buffer = [0; READ_BYTES_MAX];
        // Without room for descriptors the kernel drops any that come.
        let mut no_descriptors = RecvAncillaryBuffer::default();
        let mut into = [IoSliceMut::new(&mut buffer)];
        let count = match recvmsg(&self.socket, &mut into, &mut no_descriptors, RecvFlags::DONTWAIT) {
            Ok(received) => received.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(errno) => return Err(ended(errno)),
        };
        let untrusted_bytes = buffer.get(..count).unwrap_or_default();
        if untrusted_bytes.is_empty() {
            return Err(WorkerError::BusClosed);
        }
        match self.bus.hear(untrusted_bytes)? {
            Some(News::CallFailed) => {
                self.log("a notification was not shown: nothing on the session bus shows any, or it refused")
            }
            None => Ok(()),
        }
    }

    fn say(&mut self) -> Result<(), WorkerError> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let bytes = [IoSlice::new(self.bus.outgoing())];
        match sendmsg(&self.socket, &bytes, &mut SendAncillaryBuffer::default(), flags) {
            Ok(count) => {
                self.bus.sent(count);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(ended(errno)),
        }
    }

    fn log(&mut self, text: &str) -> Result<(), WorkerError> {
        Ok(self.edge.send(&LogLine::new(Level::Warning, text))?)
    }
}

fn ended(errno: Errno) -> WorkerError {
    match errno {
        Errno::PIPE | Errno::CONNRESET => WorkerError::BusClosed,
        other => WorkerError::BusSocket(other),
    }
}
