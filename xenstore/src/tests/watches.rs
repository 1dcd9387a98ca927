//! Watches and their events.

use super::client_of;
use crate::path::{DomainPath, SpecialWatch};
use crate::wire::Kind;
use crate::{Error, Refusal, Token, WATCHES_MAX, WatchEvent};
use protocol::types::Domid;
use rustix::event::{PollFd, PollFlags, poll};

const DOMAINS: Token = Token::plain(1);
const QPEN: Token = Token::of_domain(2, 5);

fn qpen() -> DomainPath {
    DomainPath::qpen(Domid::new(5).unwrap())
}

#[test]
fn an_event_before_a_reply_is_kept_and_the_reply_is_not_shifted() {
    let (mut client, server) = client_of(|server| {
        assert_eq!(server.serve(Kind::Watch, b"OK\0").payload, b"/local/domain/5/device/qpen\x002:5:0\0");
        let request = server.expect(Kind::Read);
        server.event("/local/domain/5/device/qpen", "2:5:0");
        server.reply(&request, b"first");
        server.serve(Kind::Read, b"second");
    });
    client.watch(&qpen(), QPEN).unwrap();
    assert_eq!(client.read(&qpen()).unwrap(), b"first");
    assert_eq!(client.read(&qpen()).unwrap(), b"second");
    assert_eq!(client.next_event(), Some(WatchEvent { token: QPEN }));
    assert_eq!(client.next_event(), None);
    server.join().unwrap();
}

#[test]
fn l18_a_flood_of_events_of_one_watch_waits_as_one() {
    let (mut client, server) = client_of(|server| {
        server.serve(Kind::Watch, b"OK\0");
        server.serve(Kind::Watch, b"OK\0");
        let request = server.expect(Kind::Read);
        for child in 0..10_000 {
            server.event(&format!("/local/domain/5/device/qpen/{child}"), "2:5:0");
        }
        server.event("@releaseDomain", "1:0:0");
        server.reply(&request, b"");
    });
    client.watch(&qpen(), QPEN).unwrap();
    client.watch(&SpecialWatch::ReleaseDomain, DOMAINS).unwrap();
    client.read(&qpen()).unwrap();
    assert_eq!(client.next_event(), Some(WatchEvent { token: QPEN }));
    assert_eq!(client.next_event(), Some(WatchEvent { token: DOMAINS }));
    assert_eq!(client.next_event(), None);
    server.join().unwrap();
}

#[test]
fn pump_takes_events_in_without_waiting() {
    let (go, gone) = std::sync::mpsc::channel();
    let (mut client, server) = client_of(move |server| {
        server.serve(Kind::Watch, b"OK\0");
        gone.recv().unwrap();
        server.event("/local/domain/5/device/qpen", "2:5:0");
        server.next();
    });
    client.watch(&qpen(), QPEN).unwrap();
    client.pump().unwrap();
    assert_eq!(client.next_event(), None);
    go.send(()).unwrap();
    poll(&mut [PollFd::from_borrowed_fd(client.fd(), PollFlags::IN)], None).unwrap();
    client.pump().unwrap();
    assert_eq!(client.next_event(), Some(WatchEvent { token: QPEN }));
    drop(client);
    server.join().unwrap();
}

#[test]
fn an_event_of_a_removed_watch_is_dropped() {
    let (mut client, server) = client_of(|server| {
        server.serve(Kind::Watch, b"OK\0");
        let request = server.expect(Kind::Unwatch);
        server.event("/local/domain/5/device/qpen", "2:5:0");
        server.reply(&request, b"OK\0");
        server.event("/local/domain/5/device/qpen", "2:5:0");
        server.serve(Kind::ResetWatches, b"OK\0");
    });
    client.watch(&qpen(), QPEN).unwrap();
    client.unwatch(&qpen(), QPEN).unwrap();
    client.reset_watches().unwrap();
    assert_eq!(client.next_event(), None);
    server.join().unwrap();
}

#[test]
fn a_malformed_event_ends_the_connection() {
    for payload in
        [&b""[..], b"\0", b"/a\0", b"/a\x002:5:0", b"/a\x002:5:0\0x\0", b"/a\0token\0", b"/a\0\xff\0"]
    {
        let (mut client, server) = client_of(move |server| {
            server.expect(Kind::Read);
            server.send(Kind::WatchEvent, 0, payload);
        });
        assert!(matches!(client.read(&qpen()), Err(Error::Broken(_))));
        server.join().unwrap();
    }
}

#[test]
fn a_refused_watch_is_not_counted() {
    let (mut client, server) = client_of(|server| {
        let request = server.expect(Kind::Watch);
        server.refuse(&request, "ENOSPC");
        server.event("/local/domain/5/device/qpen", "2:5:0");
        server.serve(Kind::Read, b"");
    });
    assert_eq!(client.watch(&qpen(), QPEN), Err(Refusal::NoSpace.into()));
    client.read(&qpen()).unwrap();
    assert_eq!(client.next_event(), None);
    server.join().unwrap();
}

#[test]
fn l19_watches_beyond_the_limit_are_refused_here() {
    let (mut client, server) = client_of(|server| {
        for _ in 0..WATCHES_MAX {
            server.serve(Kind::Watch, b"OK\0");
        }
        assert_eq!(server.next(), None);
    });
    for number in 0..u32::try_from(WATCHES_MAX).unwrap() {
        client.watch(&qpen(), Token { kind: 1, domid: 5, number }).unwrap();
    }
    assert_eq!(client.watch(&qpen(), QPEN), Err(Error::TooMany));
    drop(client);
    server.join().unwrap();
}
