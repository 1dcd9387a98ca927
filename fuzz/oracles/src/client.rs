//! The project's own xenstore client under a hostile xenstored: it believes nothing that is not an answer to what it
//! asked, and waits for nobody who is gone.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use protocol::types::{Device, Domid};
use xenstore::path::{BackNode, DomainListPath, DomainPath, OwnPath, SpecialWatch, VbdPath};
use xenstore::wire::{FRAME_BYTES_MAX, Frame, FrameError, FrameReader, Header, Kind, PAYLOAD_BYTES_MAX};
use xenstore::{Client, DIRECTORY_BYTES_MAX, Error, Permissions, Token};

use crate::bytes::Bytes;

/// Calls of one input.
const CALLS_MAX: usize = 12;

/// The calls, then what the server says, in advance.
pub(crate) fn run(mut bytes: Bytes<'_>) {
    let count = bytes.below(CALLS_MAX + 1);
    let calls = bytes.take(count).to_vec();
    let said = if bytes.flag() { bytes.rest().to_vec() } else { answers(&mut bytes) };
    the_same_messages_however_cut(&said);
    let (near, mut far) = UnixStream::pair().expect("a socketpair");
    far.write_all(&said).expect("a socket holds that much");
    far.shutdown(Shutdown::Write).expect("an open socket");
    let mut talk =
        Talk { client: Client::new(near.into()).expect("a client"), watches: BTreeSet::new(), fatal: None };
    for call in calls {
        talk.call(call);
    }
}

/// Frames that are nearly right: the client counts its requests from 1.
fn answers(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut said = Vec::new();
    let mut number = 0_u32;
    while !bytes.is_empty() && said.len() < 8 * FRAME_BYTES_MAX {
        let kind = Kind::ALL[bytes.below(Kind::ALL.len())];
        let (is_next, is_wrong) = (kind != Kind::WatchEvent, bytes.below(16) == 15);
        number = number.wrapping_add(u32::from(is_next));
        let request_id = if is_wrong { bytes.word() } else { number };
        let payload = bytes.piece();
        let payload = payload[..payload.len().min(PAYLOAD_BYTES_MAX)].to_vec();
        said.extend(Frame::new(kind.number(), request_id, 0, payload).expect("a short frame").encode());
    }
    said
}

fn the_same_messages_however_cut(said: &[u8]) {
    let (whole, broken) = frames(said, said.len().max(1));
    for cut in [1, 7, 16, 4097] {
        assert_eq!(frames(said, cut), (whole.clone(), broken));
    }
    let encoded: Vec<u8> = whole.iter().flat_map(Frame::encode).collect();
    assert!(said.starts_with(&encoded));
    for header in said.chunks_exact(16) {
        let header: [u8; 16] = header.try_into().expect("16 bytes");
        assert_eq!(Header::decode(&header).encode(), header);
    }
}

fn frames(said: &[u8], cut: usize) -> (Vec<Frame>, bool) {
    let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
    for piece in said.chunks(cut) {
        reader.push(piece);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(FrameError::TooLong) => return (frames, true),
            }
        }
    }
    (frames, false)
}

struct Talk {
    client: Client,
    watches: BTreeSet<Token>,
    fatal: Option<Error>,
}

impl Talk {
    fn call(&mut self, which: u8) {
        let domid = Domid::new(5).expect("a guest's number");
        let (qpen, name) = (DomainPath::qpen(domid), DomainPath::name(domid));
        let token = Token { kind: which / 16, domid: 5, number: 0 };
        let client = &mut self.client;
        let outcome = match which % 16 {
            0 => client.read(&qpen).map(|value| assert!(value.len() <= PAYLOAD_BYTES_MAX)),
            1 => client.write(&qpen, b"x"),
            2 => client.mkdir(&qpen),
            3 => client.rm(&name),
            4 => client.permissions(&qpen).map(|permissions| {
                let list = permissions.encode();
                assert!(!list.is_empty());
            }),
            5 => client.set_permissions(&qpen, &Permissions::guest_reads_and_writes(domid)),
            6 | 7 => client.directory(&DomainListPath::new()).map(|names| {
                assert!(names.iter().all(|name| !name.is_empty() && !name.contains(&0)));
                assert!(names.iter().map(|name| name.len() + 1).sum::<usize>() <= DIRECTORY_BYTES_MAX);
            }),
            8 => {
                self.watches.insert(token);
                client.watch(&qpen, token)
            }
            9 => {
                self.watches.insert(token);
                client.watch(&SpecialWatch::ReleaseDomain, token)
            }
            10 => client.unwatch(&qpen, token),
            11 => client.reset_watches(),
            12 => client.transaction(|transaction| {
                let state = VbdPath::new(domid, Device::Outgoing).back_node(BackNode::State);
                transaction.write(&state, b"5")?;
                transaction.read(&state).map(drop)
            }),
            13 => client.read(&OwnPath::name()).map(drop),
            14 => {
                self.watches.insert(token);
                client.transaction(|transaction| {
                    transaction.watch(&qpen, token)?;
                    let (value, forgotten) =
                        (transaction.ask_value(&qpen)?, transaction.ask_children(&qpen)?);
                    transaction.rm(&name)?;
                    drop(forgotten);
                    transaction.answer(value).map(|value| assert!(value.len() <= PAYLOAD_BYTES_MAX))
                })
            }
            _ => client.pump(),
        };
        self.after(outcome);
        let mut fired = BTreeSet::new();
        while let Some(event) = self.client.next_event() {
            assert!(self.watches.contains(&event.token), "an event of a watch that nobody set");
            assert!(fired.insert(event.token), "an event waits once");
        }
    }

    fn after(&mut self, outcome: Result<(), Error>) {
        match (outcome, self.fatal) {
            (Err(error), Some(before)) => assert_eq!(error, before, "a connection stays broken"),
            (Ok(()), Some(before)) => panic!("a connection is usable again after {before}"),
            (Err(error), None) if error.is_fatal() => {
                assert_ne!(error, Error::TimedOut, "the server is gone, and that is seen at once");
                self.fatal = Some(error);
            }
            (Err(_) | Ok(()), None) => {}
        }
    }
}
