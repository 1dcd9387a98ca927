//! The simulator's xenstored under requests of a hostile guest: it changes nothing that it may not write, and is told
//! nothing that it may not read.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;
use simulator::server::{Server, Source};
use simulator::store::path::{Domid, NodePath};
use simulator::store::perms::{Access, Permissions};
use simulator::store::wire::{ERROR, HEADER_BYTES, Header, WATCH_EVENT};
use simulator::store::{ConnectionId, NO_TRANSACTION, Store};

use crate::bytes::Bytes;

/// A value that guest 1, and xs-monitor, may never see.
pub(crate) const SECRET: &[u8] = b"S3CR3T";
/// The part of the store that guest 1 may change, besides its `device/qpen`.
const ITS_OWN: &str = "/local/domain/1/data";
const ITS_REQUEST: &str = "/local/domain/1/device/qpen";
/// Requests of one input.
const REQUESTS_MAX: usize = 100;

/// Two guests with what the toolstack and the daemon make for them, and a secret of domain 0.
pub(crate) fn with_two_guests() -> Store {
    let mut store = Store::new();
    let dom0 = store.connect(0);
    let nodes: [(&str, &[u8], Permissions); 11] = [
        ("/tool", SECRET, Permissions::new(0, Access::None, &[])),
        ("/local/domain/0/secret", SECRET, Permissions::new(0, Access::None, &[])),
        ("/local/domain/1", b"", Permissions::new(0, Access::None, &[(1, Access::Read)])),
        ("/local/domain/1/name", b"red", Permissions::new(0, Access::None, &[(1, Access::Read)])),
        (ITS_OWN, b"", Permissions::new(1, Access::None, &[])),
        ("/local/domain/1/device", b"", Permissions::new(0, Access::None, &[(1, Access::Read)])),
        (ITS_REQUEST, b"", Permissions::new(0, Access::None, &[(1, Access::Both)])),
        ("/local/domain/2", b"", Permissions::new(0, Access::None, &[(2, Access::Read)])),
        ("/local/domain/2/name", b"green", Permissions::new(0, Access::None, &[(2, Access::Read)])),
        ("/local/domain/2/data", SECRET, Permissions::new(2, Access::None, &[])),
        ("/local/domain/2/device/qpen", b"umount", Permissions::new(0, Access::None, &[(2, Access::Both)])),
    ];
    for (text, value, permissions) in nodes {
        let path = NodePath::parse(0, text.as_bytes()).expect("a path");
        store.write(dom0, NO_TRANSACTION, &path, value).expect("domain 0 may write");
        store.set_permissions(dom0, NO_TRANSACTION, &path, permissions).expect("domain 0 may do that");
    }
    store.introduce(1);
    store.introduce(2);
    store.disconnect(dom0);
    store
}

/// Every node with its value, as domain 0 sees it.
pub(crate) fn dump(store: &mut Store) -> BTreeMap<String, Vec<u8>> {
    let dom0 = store.connect(0);
    let mut nodes = BTreeMap::new();
    let mut open = vec![NodePath::root()];
    while let Some(path) = open.pop() {
        let value = store.read(dom0, NO_TRANSACTION, &path).expect("domain 0 may read");
        let names = store.directory(dom0, NO_TRANSACTION, &path).expect("domain 0 may read");
        open.extend(names.iter().map(|name| path.child(name)));
        nodes.insert(path.to_string(), value);
    }
    store.disconnect(dom0);
    nodes
}

/// What must stay as it is, whatever guest 1 does.
fn others(store: &mut Store) -> BTreeMap<String, Vec<u8>> {
    let mut nodes = dump(store);
    nodes.retain(|path, _| !path.starts_with(ITS_OWN) && !path.starts_with(ITS_REQUEST));
    nodes
}

/// The secret is in no answer, unless whoever asks has said it.
pub(crate) fn gives_no_secret(untrusted_said: &[u8], heard: &[u8]) {
    let tells = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|part| part == SECRET);
    assert!(tells(untrusted_said) || !tells(heard), "a secret got out");
}

/// One byte says how: single requests, or a stream of bytes over a socket.
pub(crate) fn run(mut bytes: Bytes<'_>) {
    let untrusted = bytes.left();
    let mut store = with_two_guests();
    let before = others(&mut store);
    let domain_0 = store.connect(0);
    let heard = if bytes.flag() {
        over_a_socket(&mut store, bytes.rest())
    } else {
        let guest = store.connect(1);
        one_by_one(&mut store, guest, &mut bytes)
    };
    gives_no_secret(untrusted, &heard);
    assert_eq!(others(&mut store), before, "guest 1 has changed what is not its own");
    assert!(!store.has_output(domain_0), "nobody hears what nobody watches");
}

/// Each request is answered, once, and after it come the events that it caused.
fn one_by_one(store: &mut Store, guest: ConnectionId, bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut heard = Vec::new();
    for request_id in 1..=u32::try_from(REQUESTS_MAX).expect("a small number") {
        if bytes.is_empty() {
            break;
        }
        let kind = u32::from(bytes.byte());
        let transaction_id = u32::from(bytes.byte());
        let payload = bytes.piece();
        let payload_bytes = u32::try_from(payload.len()).expect("a piece is short");
        let request = Header { kind, request_id, transaction_id, payload_bytes };
        store.handle(guest, &request, payload);
        let mut answers = 0;
        while let Some(message) = store.next_message(guest) {
            assert_eq!(message.header.payload_bytes as usize, message.payload.len());
            if message.header.kind != WATCH_EVENT {
                answers += 1;
                assert_eq!(message.header.request_id, request_id);
                assert!(message.header.kind == kind || message.header.kind == ERROR);
            }
            heard.extend(message.payload);
        }
        assert_eq!(answers, 1, "an answer to each request");
    }
    heard
}

fn over_a_socket(store: &mut Store, untrusted_stream: &[u8]) -> Vec<u8> {
    let (near, mut far) = UnixStream::pair().expect("a socketpair");
    near.set_nonblocking(true).expect("a socket that does not block");
    far.set_nonblocking(true).expect("a socket that does not block");
    let mut server = Server::new();
    let guest: Domid = 1;
    server.adopt(store, guest, near);
    let mut heard = Vec::new();
    let mut rest = untrusted_stream;
    let mut is_idle = false;
    while !is_idle {
        is_idle = true;
        if let Ok(written) = far.write(rest) {
            rest = &rest[written..];
            is_idle = written == 0;
        }
        let wanted: Vec<Source> = server
            .interests(store)
            .filter(|(_, _, flags)| flags.contains(PollFlags::IN))
            .map(|(source, _, _)| source)
            .collect();
        // At most so many requests are in what a socket holds.
        for source in wanted.into_iter().cycle().take(untrusted_stream.len() / HEADER_BYTES + 1) {
            server.serve(store, source);
        }
        server.flush(store);
        let before = heard.len();
        match far.read_to_end(&mut heard) {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => is_idle &= heard.len() == before,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                break;
            }
        }
    }
    heard
}
