//! control's loop: waits, hands what happened to [`Desk`], and does what it says.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use protocol::channel::{Channel, ChannelError};
use protocol::codec::{self, CodecError};
use protocol::control::{ClientReply, ControlCommand, ControlEvent, REQUEST_BYTES_MAX};
use protocol::settings::ControlSettings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, pread};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags, SocketFlags, accept_with,
    recvmsg, sendmsg,
};
use sys::inherit::{InheritError, Inherited};
use sys::peer::Peer;
use sys::sandbox::Sandboxed;

use crate::admission::admitted;
use crate::desk::{Action, CLIENTS_MAX, ClientId, Desk, Event};

/// Most connections that are accepted before everything else has its turn.
pub const ACCEPTS_PER_TURN_MAX: usize = 16;
/// Most answers of the broker that are taken before everything else has its turn.
pub const ANSWERS_PER_TURN_MAX: usize = 16;
/// Longest settings, in bytes.
const SETTINGS_BYTES_MAX: usize = 256;
/// Longest sleep, in milliseconds, when nothing is due earlier.
const SLEEP_MS_MAX: u64 = 60_000;
/// Most connections that are open at once: every client, and those of this turn that are sent away.
const CONNECTIONS_MAX: usize = CLIENTS_MAX + ACCEPTS_PER_TURN_MAX;

/// The broker went away, as at every shutdown.
const EXIT_DONE: u8 = 0;
/// The edge could not be used.
const EXIT_BROKEN: u8 = 1;

/// Why control cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A descriptor is missing.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// The settings are none.
    #[error("the settings cannot be read: {0}")]
    Settings(#[from] CodecError),
    /// The broker is gone, or sends what it must not.
    #[error("the broker's edge: {0}")]
    Edge(#[from] ChannelError),
    /// The broker answers what nobody asked.
    #[error("the broker answers what nobody asked")]
    Breach,
    /// The kernel refused.
    #[error("system call failed: {0}")]
    Os(#[from] Errno),
}

/// Serves clients until the broker goes away. Returns the exit code.
#[must_use]
pub fn run(inherited: Inherited, sandboxed: &Sandboxed) -> u8 {
    match Worker::start(inherited, sandboxed).and_then(|mut worker| worker.serve()) {
        Ok(()) | Err(WorkerError::Edge(ChannelError::Closed)) => EXIT_DONE,
        Err(
            WorkerError::Inherit(_)
            | WorkerError::Settings(_)
            | WorkerError::Edge(_)
            | WorkerError::Breach
            | WorkerError::Os(_),
        ) => EXIT_BROKEN,
    }
}

struct Worker {
    edge: Channel<ControlEvent, ControlCommand>,
    settings: ControlSettings,
    listener: OwnedFd,
    desk: Desk,
    connections: BTreeMap<ClientId, Connection>,
    last_client: u64,
    began: Instant,
}

/// A client's socket, and what it has not taken yet.
struct Connection {
    socket: OwnedFd,
    waiting: Option<Vec<u8>>,
}

/// What a descriptor of the loop is.
#[derive(Clone, Copy)]
enum Source {
    Edge,
    Listener,
    Client(ClientId),
}

impl Worker {
    fn start(mut inherited: Inherited, _sandboxed: &Sandboxed) -> Result<Self, WorkerError> {
        let edge = Channel::new(inherited.take("edge")?);
        let file = inherited.take("settings")?;
        let mut bytes = [0; SETTINGS_BYTES_MAX];
        let length = pread(&file, &mut bytes, 0)?;
        let settings = codec::decode_settings(bytes.get(..length).unwrap_or_default())?;
        let listener = inherited.take("listener")?;
        Ok(Self {
            edge,
            settings,
            listener,
            desk: Desk::default(),
            connections: BTreeMap::new(),
            last_client: 0,
            began: Instant::now(),
        })
    }

    fn serve(&mut self) -> Result<(), WorkerError> {
        loop {
            for (source, flags) in self.wait()? {
                match source {
                    Source::Edge => self.hear_broker()?,
                    Source::Listener => self.accept()?,
                    Source::Client(id) => self.serve_client(id, flags)?,
                }
            }
            self.handle(Event::Tick)?;
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until something can be done, and says what.
    fn wait(&self) -> Result<Vec<(Source, PollFlags)>, Errno> {
        let now_ms = self.now_ms();
        let out = if self.edge.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
        let mut sources = vec![Source::Edge];
        let mut fds = vec![PollFd::from_borrowed_fd(self.edge.as_fd(), PollFlags::IN | out)];
        for (id, connection) in &self.connections {
            let flags = if connection.waiting.is_some() {
                PollFlags::OUT
            } else if self.desk.is_heard(*id, now_ms) {
                PollFlags::IN
            } else {
                // Only its end is told, which the kernel always does.
                PollFlags::empty()
            };
            sources.push(Source::Client(*id));
            fds.push(PollFd::new(&connection.socket, flags));
        }
        // Last, so that those who went away make room first.
        if self.connections.len() < CONNECTIONS_MAX {
            sources.push(Source::Listener);
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let due_ms = self.desk.next_tick_ms(now_ms).unwrap_or(u64::MAX);
        match poll(&mut fds, Some(&timeout(due_ms.saturating_sub(now_ms)))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let ready = sources.into_iter().zip(fds.iter().map(PollFd::revents));
        Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn hear_broker(&mut self) -> Result<(), WorkerError> {
        self.edge.flush()?;
        for _ in 0..ANSWERS_PER_TURN_MAX {
            let Some(command) = self.edge.receive()? else { break };
            self.handle(Event::Answered(command))?;
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), WorkerError> {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let socket = match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => socket,
                // It went away before it was accepted.
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                // None is left, or there is no room; the others are tried again.
                Err(Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => break,
                Err(errno) => return Err(errno.into()),
            };
            let Ok(peer) = Peer::of(&socket) else { continue };
            self.last_client = self.last_client.saturating_add(1);
            let id = ClientId(self.last_client);
            self.connections.insert(id, Connection { socket, waiting: None });
            self.handle(Event::Connected(id, admitted(self.settings, &peer)))?;
        }
        Ok(())
    }

    fn serve_client(&mut self, id: ClientId, flags: PollFlags) -> Result<(), WorkerError> {
        let now_ms = self.now_ms();
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let event = if connection.waiting.is_some() {
            match connection.flush() {
                Ok(true) => Event::Served(id),
                Ok(false) => return Ok(()),
                Err(_) => Event::Gone(id),
            }
        } else if self.desk.is_heard(id, now_ms) {
            match receive(connection.socket.as_fd()) {
                Ok(Some(datagram)) => {
                    let understood = datagram.and_then(|bytes| codec::decode(&bytes).ok());
                    Event::Said(id, understood)
                }
                Ok(None) => return Ok(()),
                Err(_) => Event::Gone(id),
            }
        } else if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
            Event::Gone(id)
        } else {
            return Ok(());
        };
        if matches!(event, Event::Gone(_)) {
            self.connections.remove(&id);
        }
        self.handle(event)
    }

    /// Takes one event, and those that follow from doing what it asks for: at most one for each client.
    fn handle(&mut self, event: Event) -> Result<(), WorkerError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.desk.step(event, self.now_ms()) {
                match action {
                    Action::Ask(message) => self.edge.send(&message)?,
                    Action::Tell(id, reply) => events.extend(self.tell(id, &reply)?),
                    Action::Close(id) => drop(self.connections.remove(&id)),
                    Action::End => return Err(WorkerError::Breach),
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, id: ClientId, reply: &ClientReply) -> Result<Option<Event>, WorkerError> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(None) };
        connection.waiting = Some(codec::encode(reply)?);
        match connection.flush() {
            Ok(true) => Ok(Some(Event::Served(id))),
            Ok(false) => Ok(None),
            Err(_) => {
                self.connections.remove(&id);
                Ok(Some(Event::Gone(id)))
            }
        }
    }
}

impl Connection {
    /// Sends what waits; `false` when the client does not take it yet.
    fn flush(&mut self) -> Result<bool, Errno> {
        let Some(bytes) = &self.waiting else { return Ok(true) };
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            match sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut SendAncillaryBuffer::default(), flags) {
                Ok(_) => {
                    self.waiting = None;
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Takes one datagram if one is there: `Some(None)` for one that is too long or carries descriptors, which are never
/// taken.
fn receive(socket: BorrowedFd<'_>) -> Result<Option<Option<Vec<u8>>>, Errno> {
    let mut untrusted_bytes = [0; REQUEST_BYTES_MAX];
    let mut none = RecvAncillaryBuffer::default();
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut untrusted_bytes)], &mut none, flags) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    };
    if received.bytes == 0 {
        return Err(Errno::PIPE);
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Ok(Some(None));
    }
    Ok(Some(untrusted_bytes.get(..received.bytes).map(<[u8]>::to_vec)))
}

fn timeout(ms: u64) -> Timespec {
    let ms = ms.min(SLEEP_MS_MAX);
    Timespec {
        tv_sec: i64::try_from(ms / 1000).unwrap_or_default(),
        tv_nsec: i64::try_from(ms % 1000 * 1_000_000).unwrap_or_default(),
    }
}
