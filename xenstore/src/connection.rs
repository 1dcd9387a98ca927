//! One connection to xenstored: requests out, replies matched to them, watch events collected on the way.

use crate::error::{Error, Refusal};
use crate::token::{Token, WatchEvent};
use crate::wire::{FRAME_BYTES_MAX, Frame, FrameReader, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Longest wait for one reply.
pub const REPLY_MS_MAX: u64 = 10_000;
/// Most requests that are sent before their replies are read.
pub const PIPELINE_REQUESTS_MAX: usize = 64;
/// Most watches of one connection, and so also most events that can wait.
pub const WATCHES_MAX: usize = 4096;
/// Most reads of one [`Connection::pump`], so that a flood of events cannot hold its caller.
const PUMP_READS_MAX: usize = 64;

/// A request that was sent and whose reply has not been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestId(u32);

/// What is known of a request that was sent.
#[derive(Debug)]
enum Pending {
    Sent(Kind),
    Answered(Result<Vec<u8>, Refusal>),
}

/// The connection. After a fatal error ([`Error::is_fatal`]) every call gives that error again.
#[derive(Debug)]
pub(crate) struct Connection {
    fd: OwnedFd,
    reader: FrameReader,
    requests: BTreeMap<RequestId, Pending>,
    newest: u32,
    watches: BTreeSet<Token>,
    fired: BTreeSet<Token>,
    events: VecDeque<Token>,
    reply_ms_max: u64,
    fatal: Option<Error>,
}

impl Connection {
    pub(crate) fn new(fd: OwnedFd) -> Result<Self, Error> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self {
            fd,
            reader: FrameReader::default(),
            requests: BTreeMap::new(),
            newest: 0,
            watches: BTreeSet::new(),
            fired: BTreeSet::new(),
            events: VecDeque::new(),
            reply_ms_max: REPLY_MS_MAX,
            fatal: None,
        })
    }

    pub(crate) fn set_reply_ms_max(&mut self, reply_ms_max: u64) {
        self.reply_ms_max = reply_ms_max;
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// How many replies have not been taken yet.
    pub(crate) fn outstanding(&self) -> usize {
        self.requests.len()
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn call(
        &mut self,
        kind: Kind,
        transaction_id: u32,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, Error> {
        let request = self.send(kind, transaction_id, parts)?;
        self.wait(request)
    }

    /// Sends a request whose payload is these parts in a row; its reply must be taken by [`Connection::wait`].
    ///
    /// One request is one write: the device `/dev/xen/xenbus` takes no two in one.
    pub(crate) fn send(
        &mut self,
        kind: Kind,
        transaction_id: u32,
        parts: &[&[u8]],
    ) -> Result<RequestId, Error> {
        self.usable()?;
        let request = RequestId(self.newest.wrapping_add(1));
        let frame = Frame::new(kind.number(), request.0, transaction_id, parts.concat())
            .map_err(|_| Error::TooLong)?;
        self.newest = request.0;
        self.requests.insert(request, Pending::Sent(kind));
        let result = self.write_all(&frame.encode());
        self.remember(result).map(|()| request)
    }

    /// Waits for the reply of this request, collecting whatever arrives before it.
    pub(crate) fn wait(&mut self, request: RequestId) -> Result<Vec<u8>, Error> {
        let mut deadline = None;
        loop {
            self.usable()?;
            match self.requests.remove(&request) {
                Some(Pending::Answered(answer)) => return answer.map_err(Error::Refused),
                Some(pending @ Pending::Sent(_)) => drop(self.requests.insert(request, pending)),
                None => return Err(Error::Broken("a reply was taken twice")),
            }
            let deadline = *deadline.get_or_insert_with(|| self.deadline());
            let result =
                self.poll(PollFlags::IN, deadline).and_then(|_| self.receive_once()).map(|_received| ());
            self.remember(result)?;
        }
    }

    /// Takes in what has arrived, without waiting. Events are then in [`Connection::next_event`].
    pub(crate) fn pump(&mut self) -> Result<(), Error> {
        self.usable()?;
        let mut result = Ok(true);
        for _ in 0..PUMP_READS_MAX {
            match result {
                Ok(true) => result = self.receive_once(),
                Ok(false) | Err(_) => break,
            }
        }
        self.remember(result.map(|_received| ()))
    }

    pub(crate) fn next_event(&mut self) -> Option<WatchEvent> {
        let token = self.events.pop_front()?;
        self.fired.remove(&token);
        Some(WatchEvent { token })
    }

    /// From here on events with this token are wanted.
    pub(crate) fn expect_events(&mut self, token: Token) -> Result<(), Error> {
        if self.watches.len() >= WATCHES_MAX {
            return Err(Error::TooMany);
        }
        self.watches.insert(token);
        Ok(())
    }

    /// From here on events with this token are dropped, those that wait as well.
    pub(crate) fn forget_events(&mut self, token: Option<Token>) {
        match token {
            Some(token) => {
                self.watches.remove(&token);
                if self.fired.remove(&token) {
                    self.events.retain(|waiting| *waiting != token);
                }
            }
            None => {
                self.watches.clear();
                self.fired.clear();
                self.events.clear();
            }
        }
    }

    /// For a wait that begins now. A clock costs a system call under Xen, so it is asked only when there is one.
    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.reply_ms_max)
    }

    fn usable(&self) -> Result<(), Error> {
        self.fatal.map_or(Ok(()), Err)
    }

    fn remember<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = result
            && error.is_fatal()
        {
            self.fatal = Some(error);
        }
        result
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        let mut deadline = None;
        while !bytes.is_empty() {
            match rustix::io::write(&self.fd, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                // The other side may be waiting for us to read before it reads again.
                Err(Errno::AGAIN) => {
                    let deadline = *deadline.get_or_insert_with(|| self.deadline());
                    if self.poll(PollFlags::IN | PollFlags::OUT, deadline)?.contains(PollFlags::IN) {
                        self.receive_once()?;
                    }
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::Closed),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn poll(&self, wanted: PollFlags, deadline: Instant) -> Result<PollFlags, Error> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(|_| Error::TimedOut)?;
            let mut fds = [PollFd::new(&self.fd, wanted)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Err(Error::TimedOut),
                Ok(_) => {
                    let [polled] = fds;
                    return Ok(polled.revents());
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// One read; `false` when nothing is there.
    fn receive_once(&mut self) -> Result<bool, Error> {
        let mut buffer = [0; FRAME_BYTES_MAX];
        match rustix::io::read(&self.fd, &mut buffer) {
            Ok(0) | Err(Errno::CONNRESET) => return Err(Error::Closed),
            Ok(received) => self.reader.push(buffer.get(..received).unwrap_or_default()),
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
        while let Some(frame) = self.reader.next_frame()? {
            self.accept(frame)?;
        }
        Ok(true)
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Error> {
        let kind = Kind::of_number(frame.header.kind);
        if kind == Some(Kind::WatchEvent) {
            return self.accept_event(&frame.payload);
        }
        let Some(pending) = self.requests.get_mut(&RequestId(frame.header.request_id)) else {
            return Err(Error::Broken("a reply to no request"));
        };
        let Pending::Sent(asked) = *pending else {
            return Err(Error::Broken("a second reply to one request"));
        };
        *pending = if kind == Some(Kind::Error) {
            Pending::Answered(Err(Refusal::of_payload(&frame.payload)))
        } else if kind == Some(asked) {
            Pending::Answered(Ok(frame.payload))
        } else {
            return Err(Error::Broken("a reply of another type"));
        };
        Ok(())
    }

    /// An event is `PATH NUL TOKEN NUL`. Only the token is kept, and each waits at most once.
    fn accept_event(&mut self, payload: &[u8]) -> Result<(), Error> {
        let untrusted_parts = payload.strip_suffix(b"\0").unwrap_or_default();
        let mut untrusted_parts = untrusted_parts.split(|byte| *byte == 0);
        let (Some(_path), Some(token), None) =
            (untrusted_parts.next(), untrusted_parts.next(), untrusted_parts.next())
        else {
            return Err(Error::Broken("a watch event does not parse"));
        };
        let token = Token::parse(token).ok_or(Error::Broken("a watch event has a foreign token"))?;
        if self.watches.contains(&token) && self.fired.insert(token) {
            self.events.push_back(token);
        }
        Ok(())
    }
}
