//! A connection to the daemon: one request, one answer.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::channel::{Channel, ChannelError};
use protocol::control::{ClientReply, ControlReply, ControlRequest, answers};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use supervisor::control_socket;

use crate::Failure;

/// How long the daemon may take for one answer, in milliseconds.
const ANSWER_MS_MAX: u64 = 15_000;

/// A connection.
pub(crate) struct Client {
    edge: Channel<ControlRequest, ClientReply>,
}

impl Client {
    /// Connects to the daemon that listens at this path.
    pub(crate) fn connect(socket: &Path) -> Result<Self, Failure> {
        let place = socket.display().to_string().escape_default().to_string();
        let connected = control_socket::connect(socket).map_err(|error| {
            let kind = error.kind();
            if kind == ErrorKind::PermissionDenied {
                Failure::NoPermission(place)
            } else if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&kind) {
                Failure::NotRunning(place)
            } else {
                Failure::Lost(error.to_string())
            }
        })?;
        Ok(Self { edge: Channel::new(connected) })
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: ControlRequest) -> Result<ControlReply, Failure> {
        // A refusal may be there already, and the connection closed.
        let sent = self.edge.send(&request);
        match self.receive(&sent)? {
            ClientReply::Answered(reply) if answers(&request, &reply) => Ok(reply),
            ClientReply::Answered(_) => Err(Failure::Protocol),
            ClientReply::Refused(refusal) => Err(refusal.into()),
        }
    }

    fn receive(&mut self, sent: &Result<(), ChannelError>) -> Result<ClientReply, Failure> {
        let deadline = Instant::now() + Duration::from_millis(ANSWER_MS_MAX);
        loop {
            // A connection that was closed before the request was read says that first, and the refusal then.
            let received = match self.edge.receive() {
                Err(ChannelError::Closed) => self.edge.receive(),
                other => other,
            };
            if let Some(reply) = received? {
                return Ok(reply);
            }
            if let Err(error) = sent {
                return Err(Failure::Lost(error.to_string()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Lost("it took too long".to_owned()));
            }
            let timeout = Timespec::try_from(left).map_err(|_| Failure::Protocol)?;
            match poll(&mut [PollFd::from_borrowed_fd(self.edge.as_fd(), PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Failure::Lost(errno.to_string())),
            }
        }
    }
}
