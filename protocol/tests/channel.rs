//! One end of an edge against a peer that does what it likes.

#![expect(clippy::expect_used, reason = "helpers of tests")]

use std::os::fd::{AsFd, OwnedFd};

use protocol::channel::{Channel, ChannelError, QUEUE_MESSAGES_MAX, pair};
use protocol::codec::{self, CodecError, MESSAGE_BYTES_MAX};
use rustix::net::{SendFlags, send};

type End = Channel<String, String>;

fn raw_and_end() -> (OwnedFd, End) {
    let (raw, end) = pair().expect("a socket pair");
    (raw, Channel::new(end))
}

#[test]
fn messages_arrive_whole_and_in_order() {
    let (left, right) = pair().unwrap();
    let (mut left, mut right): (End, End) = (Channel::new(left), Channel::new(right));
    left.send(&String::from("one")).unwrap();
    left.send(&String::new()).unwrap();
    assert_eq!(right.receive().unwrap().as_deref(), Some("one"));
    assert_eq!(right.receive().unwrap().as_deref(), Some(""));
    assert_eq!(right.receive().unwrap(), None);
}

#[test]
fn a_descriptor_travels_with_its_message_and_is_refused_where_none_belongs() {
    let (left, right) = pair().unwrap();
    let (mut left, mut right): (End, End) = (Channel::new(left), Channel::new(right));
    let (gift, kept) = pair().unwrap();
    left.send_with(&String::from("here"), gift.try_clone().unwrap()).unwrap();
    let (text, arrived) = right.receive_with().unwrap().unwrap();
    assert_eq!(text, "here");
    send(arrived.unwrap(), b"through", SendFlags::empty()).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(rustix::net::recv(&kept, &mut buffer, rustix::net::RecvFlags::empty()).unwrap().0, 7);

    left.send_with(&String::from("unwanted"), gift).unwrap();
    assert!(matches!(right.receive(), Err(ChannelError::Descriptors)));
}

#[test]
fn l19_a_datagram_of_the_limit_passes_and_one_byte_more_is_refused() {
    let (raw, mut end) = raw_and_end();
    let text = "x".repeat(MESSAGE_BYTES_MAX - 8);
    send(&raw, &codec::encode(&text).unwrap(), SendFlags::empty()).unwrap();
    assert_eq!(end.receive().unwrap(), Some(text));
    send(&raw, &[0; MESSAGE_BYTES_MAX + 1], SendFlags::empty()).unwrap();
    assert!(matches!(end.receive(), Err(ChannelError::Truncated)));
    send(&raw, &[0; MESSAGE_BYTES_MAX + 2], SendFlags::empty()).unwrap();
    assert!(matches!(end.receive(), Err(ChannelError::Truncated)));
}

#[test]
fn garbage_and_trailing_bytes_are_refused() {
    let (raw, mut end) = raw_and_end();
    send(&raw, &[0xFF; 9], SendFlags::empty()).unwrap();
    assert!(matches!(end.receive(), Err(ChannelError::Codec(CodecError::Malformed))));
    let mut bytes = codec::encode(&String::from("a")).unwrap();
    bytes.push(0);
    send(&raw, &bytes, SendFlags::empty()).unwrap();
    assert!(matches!(end.receive(), Err(ChannelError::Codec(CodecError::Trailing))));
}

#[test]
fn a_closed_peer_is_told_apart_from_a_silent_one() {
    let (raw, mut end) = raw_and_end();
    assert!(matches!(end.receive(), Ok(None)));
    drop(raw);
    assert!(matches!(end.receive(), Err(ChannelError::Closed)));
    assert!(matches!(end.send(&String::from("late")), Err(ChannelError::Closed)));
}

#[test]
fn a_peer_that_never_reads_is_noticed_and_blocks_nobody() {
    let (_raw, mut end) = raw_and_end();
    let text = "x".repeat(MESSAGE_BYTES_MAX / 2);
    let mut sent = 0;
    let error = loop {
        match end.send(&text) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 2 * QUEUE_MESSAGES_MAX, "the queue is not bounded");
    };
    assert!(matches!(error, ChannelError::Overflow));
    assert!(end.wants_write());
}

#[test]
fn queued_messages_follow_when_the_peer_reads_again() {
    let (left, right) = pair().unwrap();
    let (mut left, mut right): (End, End) = (Channel::new(left), Channel::new(right));
    let text = "x".repeat(MESSAGE_BYTES_MAX / 2);
    let mut sent = 0;
    while !left.wants_write() {
        left.send(&format!("{sent}{text}")).unwrap();
        sent += 1;
    }
    for number in 0..sent {
        let message = right.receive().unwrap().unwrap_or_default();
        assert!(message.starts_with(&number.to_string()), "message {number} is out of order");
        left.flush().unwrap();
    }
    assert!(!left.wants_write());
    assert!(right.as_fd().try_clone_to_owned().is_ok());
}
