//! The relay between a monitor that may be hostile and a server that records what reaches it.

use super::{Ended, OUTBOX_BYTES_MAX, Relay, Verdict, WATCH_BYTES_MAX, Watches, verdict};
use proptest::prelude::*;
use protocol::channel::Channel;
use protocol::log::LogLine;
use rustix::event::Timespec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;
use xenstore::WATCHES_MAX;
use xenstore::wire::{FRAME_BYTES_MAX, Frame, FrameReader, Header, Kind, PAYLOAD_BYTES_MAX};

/// A relay in a thread of its own, and the far ends of its three descriptors.
struct Rig {
    broker: Channel<(), LogLine>,
    xenstored: UnixStream,
    monitor: UnixStream,
    relay: JoinHandle<Ended>,
}

fn streams() -> (OwnedFd, UnixStream) {
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let far = UnixStream::from(far);
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (near, far)
}

fn rig() -> Rig {
    let (edge, broker) = protocol::channel::pair().unwrap();
    let (near_xenstored, xenstored) = streams();
    let (near_monitor, monitor) = streams();
    let relay = std::thread::spawn(move || {
        let mut relay = Relay::new(edge, near_xenstored, near_monitor).unwrap();
        loop {
            if let Err(ended) = relay.turn(None) {
                relay.report(ended);
                return ended;
            }
        }
    });
    Rig { broker: Channel::new(broker), xenstored, monitor, relay }
}

fn frame(kind: u32, request_id: u32, transaction_id: u32, payload: &[u8]) -> Frame {
    Frame::new(kind, request_id, transaction_id, payload.to_vec()).unwrap()
}

fn receive(stream: &mut UnixStream) -> Frame {
    let mut header = [0; 16];
    stream.read_exact(&mut header).unwrap();
    let header = Header::decode(&header);
    let mut payload = vec![0; usize::try_from(header.payload_bytes).unwrap()];
    stream.read_exact(&mut payload).unwrap();
    Frame { header, payload }
}

/// Everything until the other side closes, cut into messages.
fn receive_all(stream: &mut UnixStream) -> Vec<Frame> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let mut reader = FrameReader::default();
    reader.push(&bytes);
    std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
}

#[test]
fn only_reading_and_watching_outside_transactions_is_relayed() {
    let payloads: [&[u8]; 5] = [
        b"/local/domain\0",
        b"/local/domain/5/name\0",
        b"/local/domain\x004096\0",
        b"/local/domain/5/name\0token\0",
        b"\0",
    ];
    for kind in 0..70_000 {
        for transaction_id in [0, 1, u32::MAX] {
            let relayed =
                |payload: &&[u8]| verdict(&frame(kind, 1, transaction_id, payload)) == Verdict::Relay;
            let permitted = matches!(kind, 1 | 2 | 4 | 5 | 21 | 22) && transaction_id == 0;
            assert_eq!(payloads.iter().filter(|payload| relayed(payload)).count(), usize::from(permitted));
        }
    }
}

#[test]
fn a_request_and_its_reply_pass_unchanged() {
    let mut rig = rig();
    let request = frame(Kind::Read.number(), 9, 0, b"/local/domain/5/name\0");
    rig.monitor.write_all(&request.encode()).unwrap();
    assert_eq!(receive(&mut rig.xenstored), request);
    let event = frame(Kind::WatchEvent.number(), 0, 0, b"@releaseDomain\x001:0:0\0");
    let reply = frame(Kind::Read.number(), 9, 0, b"\xff\x1b[2J");
    rig.xenstored.write_all(&event.encode()).unwrap();
    // Header and body in two writes, as C xenstored sends them.
    rig.xenstored.write_all(&reply.header.encode()).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    rig.xenstored.write_all(&reply.payload).unwrap();
    assert_eq!(receive(&mut rig.monitor), event);
    assert_eq!(receive(&mut rig.monitor), reply);
    drop(rig.monitor);
    assert_eq!(rig.relay.join().unwrap(), Ended::MonitorClosed);
}

#[test]
fn a_write_is_refused_here_and_never_reaches_xenstored() {
    let mut rig = rig();
    let write = frame(Kind::Write.number(), 4, 0, b"/local/domain/5/name\0dom0");
    let read = frame(Kind::Read.number(), 5, 0, b"/local/domain/5/name\0");
    for request in [&write, &write, &read] {
        rig.monitor.write_all(&request.encode()).unwrap();
    }
    assert_eq!(receive(&mut rig.monitor), frame(Kind::Error.number(), 4, 0, b"EACCES\0"));
    assert_eq!(receive(&mut rig.monitor), frame(Kind::Error.number(), 4, 0, b"EACCES\0"));
    assert_eq!(receive(&mut rig.xenstored), read);
    drop(rig.monitor);
    rig.relay.join().unwrap();
    let refusal = rig.broker.receive().unwrap().unwrap();
    assert!(refusal.text.as_str().contains("refused"));
    let end = rig.broker.receive().unwrap().unwrap();
    assert_eq!(end.text.as_str(), Ended::MonitorClosed.to_string());
}

#[test]
fn l19_requests_of_0_1_and_4096_bytes_are_answered_and_4097_end_the_relay() {
    let mut rig = rig();
    for length in [0, 1, PAYLOAD_BYTES_MAX] {
        let request = frame(Kind::Directory.number(), 1, 0, &vec![b'/'; length]);
        rig.monitor.write_all(&request.encode()).unwrap();
        assert_eq!(receive(&mut rig.monitor), frame(Kind::Error.number(), 1, 0, b"EACCES\0"));
    }
    let header = Header { kind: Kind::Read.number(), request_id: 2, transaction_id: 0, payload_bytes: 4097 };
    rig.monitor.write_all(&header.encode()).unwrap();
    assert_eq!(rig.relay.join().unwrap(), Ended::MonitorBroken);
    assert_eq!(receive_all(&mut rig.xenstored), []);
}

#[test]
fn l19_watches_beyond_4096_or_of_more_than_256_bytes_are_refused() {
    let mut watches = Watches::default();
    let watch = |payload: &[u8]| frame(Kind::Watch.number(), 1, 0, payload);
    let unwatch = |payload: &[u8]| frame(Kind::Unwatch.number(), 1, 0, payload);
    assert_eq!(watches.count(&watch(&[b'w'; WATCH_BYTES_MAX + 1])), Verdict::Refuse);
    assert_eq!(watches.count(&watch(&[b'w'; WATCH_BYTES_MAX])), Verdict::Relay);
    for number in 1..WATCHES_MAX {
        assert_eq!(watches.count(&watch(number.to_string().as_bytes())), Verdict::Relay);
    }
    assert_eq!(watches.count(&watch(b"one more")), Verdict::Refuse);
    // One that is there already is xenstored's to refuse, and removing what is not there gives no room.
    assert_eq!(watches.count(&watch(b"7")), Verdict::Relay);
    assert_eq!(watches.count(&unwatch(b"one more")), Verdict::Relay);
    assert_eq!(watches.count(&watch(b"one more")), Verdict::Refuse);
    assert_eq!(watches.count(&unwatch(b"7")), Verdict::Relay);
    assert_eq!(watches.count(&watch(b"one more")), Verdict::Relay);
    assert_eq!(watches.count(&watch(b"7")), Verdict::Refuse);
    assert_eq!(watches.count(&frame(Kind::ResetWatches.number(), 1, 0, b"\0")), Verdict::Relay);
    assert_eq!(watches.count(&watch(b"7")), Verdict::Relay);
}

#[test]
fn each_side_that_closes_ends_the_relay() {
    let Rig { broker, xenstored: _xenstored, monitor: _monitor, relay } = rig();
    drop(broker);
    assert_eq!(relay.join().unwrap(), Ended::Broker);
    let Rig { broker: _broker, xenstored, monitor: _monitor, relay } = rig();
    drop(xenstored);
    assert_eq!(relay.join().unwrap(), Ended::XenstoredClosed);
    let Rig { broker: _broker, xenstored: _xenstored, monitor, relay } = rig();
    drop(monitor);
    assert_eq!(relay.join().unwrap(), Ended::MonitorClosed);
}

#[test]
fn l18_a_side_that_does_not_read_makes_the_other_wait_and_nothing_is_lost() {
    let (edge, _broker) = protocol::channel::pair().unwrap();
    let (near_xenstored, mut xenstored) = streams();
    let (near_monitor, mut monitor) = streams();
    let mut relay = Relay::new(edge, near_xenstored, near_monitor).unwrap();
    let event = frame(Kind::WatchEvent.number(), 0, 0, &[b'e'; 1000]).encode();
    xenstored.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let mut idle_turns = 0;
    let short = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    // The server writes as long as anything takes its bytes; the monitor reads nothing.
    while idle_turns < 3 {
        match xenstored.write(&event[sent % event.len()..]) {
            Ok(written) => (sent, idle_turns) = (sent + written, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                idle_turns += 1;
            }
        }
        relay.turn(Some(&short)).unwrap();
        assert!(relay.to_monitor.bytes() <= OUTBOX_BYTES_MAX + 2 * FRAME_BYTES_MAX);
    }
    assert!(relay.to_monitor.bytes() >= OUTBOX_BYTES_MAX);
    // Nor are requests read now, whose refusals would need room as well.
    let write = frame(Kind::Write.number(), 1, 0, b"").encode();
    monitor.write_all(&write).unwrap();
    let before = relay.to_monitor.bytes();
    relay.turn(Some(&short)).unwrap();
    assert_eq!(relay.to_monitor.bytes(), before);
    monitor.set_nonblocking(true).unwrap();
    let (mut got, mut events) = (0, 0);
    let mut reader = FrameReader::default();
    while got < sent / event.len() * event.len() {
        relay.turn(Some(&short)).unwrap();
        let mut buffer = vec![0; 1 << 20];
        if let Ok(received) = monitor.read(&mut buffer) {
            reader.push(&buffer[..received]);
            while let Some(frame) = reader.next_frame().unwrap() {
                got += frame.encode().len();
                events += usize::from(frame.header.kind == Kind::WatchEvent.number());
            }
        }
    }
    assert!(events >= sent / event.len() - 1);
}

/// A request with a type that often is a real one, and a payload that often is short.
fn any_request() -> impl Strategy<Value = Frame> {
    let kind = prop_oneof![0_u32..26, any::<u32>()];
    let transaction_id = prop_oneof![3 => Just(0_u32), 1 => any::<u32>()];
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(vec![0; PAYLOAD_BYTES_MAX]),
        Just(b"/local/domain/5/name\0x".to_vec()),
        Just(b"/local/domain/5/name\0".to_vec()),
        Just(b"/local/domain/5/name\0token\0".to_vec()),
        Just(b"/local/domain\0".to_vec()),
        Just(b"/tool\0".to_vec()),
    ];
    (kind, any::<u32>(), transaction_id, payload).prop_map(|(kind, request_id, transaction_id, payload)| {
        frame(kind, request_id, transaction_id, &payload)
    })
}

fn is_permitted(request: &Frame) -> bool {
    let is = |kind: Kind| kind.number() == request.header.kind;
    let payload = request.payload.as_slice();
    let is_needed = match payload {
        b"/local/domain/5/name\0" => is(Kind::Read),
        b"/local/domain/5/name\0token\0" => is(Kind::Watch) || is(Kind::Unwatch),
        b"/local/domain\0" => is(Kind::Directory),
        b"\0" => is(Kind::ResetWatches),
        _ => false,
    };
    is_needed && request.header.transaction_id == 0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn of_any_requests_exactly_the_permitted_ones_arrive(
        requests in prop::collection::vec(any_request(), 0..30),
        piece in 1_usize..5000,
    ) {
        let mut rig = rig();
        let stream: Vec<u8> = requests.iter().flat_map(Frame::encode).collect();
        let mut writer = rig.monitor.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            stream.chunks(piece).for_each(|chunk| writer.write_all(chunk).unwrap());
        });
        let (permitted, refused): (Vec<_>, Vec<_>) = requests.into_iter().partition(is_permitted);
        for request in &permitted {
            prop_assert_eq!(&receive(&mut rig.xenstored), request);
        }
        for request in &refused {
            let reply = receive(&mut rig.monitor);
            prop_assert_eq!(reply.header.kind, Kind::Error.number());
            prop_assert_eq!(reply.header.request_id, request.header.request_id);
        }
        writing.join().unwrap();
        drop(rig.monitor);
        prop_assert_eq!(rig.relay.join().unwrap(), Ended::MonitorClosed);
        prop_assert_eq!(receive_all(&mut rig.xenstored), Vec::new());
    }

    #[test]
    fn of_random_bytes_nothing_but_permitted_requests_ever_arrives(
        good in prop::collection::vec(any_request(), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let mut rig = rig();
        let stream: Vec<u8> = good.iter().flat_map(Frame::encode).chain(noise).collect();
        // The relay may end in the middle of it.
        drop(rig.monitor.write_all(&stream));
        drop(rig.monitor.shutdown(std::net::Shutdown::Write));
        rig.relay.join().unwrap();
        for request in receive_all(&mut rig.xenstored) {
            prop_assert!(is_permitted(&request));
        }
    }
}
