//! xs-gate with any stream of bytes from the monitor's side, in front of a server that records what reaches it.
//!
//! The server is the simulator's store, as domain 0, so that more than types and paths can be looked at: no node changes,
//! and no value that the monitor has no need of is ever in an answer.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use attacher::gate::{Ended, Relay};
use protocol::channel::Channel;
use protocol::log::LogLine;
use rustix::event::Timespec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use simulator::store::Store;
use simulator::store::wire::{HEADER_BYTES, Header, Message};

use crate::bytes::Bytes;
use crate::store::{dump, gives_no_secret, with_two_guests};

/// Most payload bytes of a message: what announces more breaks the framing.
const PAYLOAD_BYTES_MAX: usize = 4096;
/// Longest request about a watch.
const WATCH_BYTES_MAX: usize = 256;

/// The first two bytes say how the stream is cut, the others are the stream.
pub fn run(untrusted: &[u8]) {
    let mut bytes = Bytes::new(untrusted);
    let piece = usize::from(bytes.half()) % 5000 + 1;
    let untrusted_stream = bytes.rest();
    let mut rig = Rig::new();
    let before = dump(&mut rig.store);
    let mut ended = None;
    for chunk in untrusted_stream.chunks(piece) {
        rig.send(chunk);
        // One turn reads at most one message's length.
        for _ in 0..chunk.len().div_ceil(HEADER_BYTES + PAYLOAD_BYTES_MAX) {
            ended = ended.or(rig.turn());
        }
    }
    rig.monitor.shutdown(Shutdown::Write).expect("a stream that is open");
    while ended.is_none() {
        ended = rig.turn();
    }
    let (requests, is_broken) = requests(untrusted_stream);
    assert_eq!(ended, Some(if is_broken { Ended::MonitorBroken } else { Ended::MonitorClosed }));
    let (permitted, refused): (Vec<_>, Vec<_>) = requests.iter().partition(|request| is_permitted(request));
    rig.recorded_are(&permitted, is_broken);
    rig.heard_are(&refused, permitted.len(), is_broken);
    gives_no_secret(untrusted_stream, &rig.heard);
    assert_eq!(dump(&mut rig.store), before, "nothing has changed");
    rig.said_little();
}

/// One message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    header: Header,
    payload: Vec<u8>,
}

/// Cuts the stream as `io/xs_wire.h` says; also whether it breaks off in what is no message.
fn requests(mut stream: &[u8]) -> (Vec<Request>, bool) {
    let mut requests = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk::<HEADER_BYTES>() {
        let header = Header::decode(header);
        let length = header.payload_bytes as usize;
        if length > PAYLOAD_BYTES_MAX {
            return (requests, true);
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        requests.push(Request { header, payload: payload.to_vec() });
        stream = rest;
    }
    (requests, false)
}

/// What xs-monitor needs, written down once more: docs/design.md, and docs/contract.md for the nodes.
fn is_permitted(request: &Request) -> bool {
    let Some(text) = request.payload.strip_suffix(&[0]) else { return false };
    let words: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
    let is_special = |path: &[u8]| path == b"@introduceDomain" || path == b"@releaseDomain";
    let is_list = |path: &[u8]| path == b"/local/domain";
    let is_offset = |word: &[u8]| (1..=10).contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
    request.header.transaction_id == 0
        && match (request.header.kind, words.as_slice()) {
            (1, [path]) => is_list(path),
            (2, [path]) => is_of_a_guest(path),
            (4, [path, _]) => {
                request.payload.len() <= WATCH_BYTES_MAX && (is_of_a_guest(path) || is_special(path))
            }
            (5, [path, _]) => is_of_a_guest(path) || is_special(path),
            (21, [empty]) => empty.is_empty(),
            (22, [path, offset]) => is_list(path) && is_offset(offset),
            _ => false,
        }
}

fn is_of_a_guest(path: &[u8]) -> bool {
    let text = String::from_utf8_lossy(path);
    let Some(rest) = text.strip_prefix("/local/domain/") else { return false };
    let Some((number, node)) = rest.split_once('/') else { return false };
    let is_guest =
        number.parse::<u16>().is_ok_and(|domid| (1..0x7FF0).contains(&domid) && domid.to_string() == number);
    is_guest && matches!(node, "name" | "device/qpen")
}

/// The relay, and who is at its ends.
struct Rig {
    relay: Relay,
    broker: Channel<(), LogLine>,
    xenstored: UnixStream,
    monitor: UnixStream,
    store: Store,
    client: simulator::store::ConnectionId,
    /// What reached xenstored and is no whole request yet.
    incoming: Vec<u8>,
    recorded: Vec<Request>,
    /// What the monitor was told.
    heard: Vec<u8>,
}

fn streams() -> (rustix::fd::OwnedFd, UnixStream) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a socketpair");
    (near, UnixStream::from(far))
}

impl Rig {
    fn new() -> Self {
        let (edge, broker) = protocol::channel::pair().expect("a socketpair");
        let ((near_xenstored, xenstored), (near_monitor, monitor)) = (streams(), streams());
        let relay = Relay::new(edge, near_xenstored, near_monitor).expect("a relay");
        let mut store = with_two_guests();
        let client = store.connect(0);
        let broker = Channel::new(broker);
        let (incoming, recorded, heard) = (Vec::new(), Vec::new(), Vec::new());
        Self { relay, broker, xenstored, monitor, store, client, incoming, recorded, heard }
    }

    fn send(&mut self, chunk: &[u8]) {
        match self.monitor.write_all(chunk) {
            Ok(()) => {}
            // The relay has ended in the middle of it.
            Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
        }
    }

    /// One turn of the relay, and whatever its neighbours do then.
    fn turn(&mut self) -> Option<Ended> {
        let ended = self.relay.turn(Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).err();
        self.serve();
        read_all(&mut self.monitor, &mut self.heard);
        ended
    }

    fn serve(&mut self) {
        read_all(&mut self.xenstored, &mut self.incoming);
        let (requests, is_broken) = requests(&self.incoming);
        assert!(!is_broken, "what reaches xenstored can be cut into requests");
        for request in requests {
            self.incoming.drain(..HEADER_BYTES + request.payload.len());
            self.store.handle(self.client, &request.header, &request.payload);
            self.recorded.push(request);
        }
        assert!(self.incoming.is_empty(), "requests reach xenstored whole");
        while let Some(Message { header, payload }) = self.store.next_message(self.client) {
            let reply = [&header.encode()[..], &payload].concat();
            self.xenstored.write_all(&reply).expect("the relay takes replies");
        }
    }

    /// Exactly what is permitted has arrived, unchanged and in order. When the framing broke, what came shortly before
    /// may be lost.
    fn recorded_are(&self, permitted: &[&Request], is_broken: bool) {
        let recorded: Vec<&Request> = self.recorded.iter().collect();
        if is_broken {
            assert!(permitted.starts_with(&recorded), "{recorded:?} of {permitted:?}");
        } else {
            assert_eq!(recorded, permitted);
        }
    }

    /// Each request is answered once, refused ones in their order.
    fn heard_are(&self, refused: &[&Request], permitted: usize, is_broken: bool) {
        let (heard, heard_is_broken) = requests(&self.heard);
        assert!(!heard_is_broken);
        let refusals: Vec<u32> = heard
            .iter()
            .filter(|reply| reply.header.kind == 16 && reply.payload == b"EACCES\0")
            .map(|reply| reply.header.request_id)
            .collect();
        let expected: Vec<u32> = refused.iter().map(|request| request.header.request_id).collect();
        if is_broken {
            assert!(expected.starts_with(&refusals), "{refusals:?} of {expected:?}");
            return;
        }
        assert_eq!(refusals, expected);
        // Watch events come besides.
        let answers = heard.iter().filter(|reply| reply.header.kind != 15).count();
        assert!(answers <= refused.len() + permitted);
    }

    /// A flood of refusals is one line of the log.
    fn said_little(&mut self) {
        let lines = std::iter::from_fn(|| self.broker.receive().ok().flatten()).count();
        assert!(lines <= 1, "{lines} lines");
    }
}

fn read_all(stream: &mut UnixStream, bytes: &mut Vec<u8>) {
    match stream.read_to_end(bytes) {
        Ok(_) => {}
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset), "{error}")
        }
    }
}
