//! What a worker that was taken over could say. Each lie is told once; then the process waits for its end.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bincode::{Decode, Encode};
use protocol::attach::{
    AttachFailure, AttachReply, AttachRequest, IMAGES_MAX, InventoryItem, OrderId, Outcome,
};
use protocol::channel::Channel;
use protocol::codec::{self, MESSAGE_BYTES_MAX};
use protocol::control::{ControlEvent, ControlRequest, Ticket};
use protocol::dialog::{DialogCommand, DialogEvent, QuestionId};
use protocol::launch::{LaunchId, LaunchOutcome, LaunchReply};
use protocol::log::{Level, LogLine};
use protocol::monitor::MonitorEvent;
use protocol::request::{Request, Verb};
use protocol::supervise::{Role, SupervisorOrder};
use protocol::types::{Domid, ImageId, VmName};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sys::inherit::Inherited;
use sys::worker::EXIT_SANDBOX;

/// Lines of one flood.
const FLOOD_LINES: usize = 5_000;

/// Tells a lie.
pub fn tell(role: Role, word: &str, mut inherited: Inherited) -> ! {
    let edge = inherited.take("edge").unwrap();
    match word {
        "silent" => {}
        "garbage" => say(&edge, &[0xFF; 32], &[]),
        "empty" => say(&edge, &[], &[]),
        "truncated" => {
            let mut part = line(role, "cut off");
            part.pop();
            say(&edge, &part, &[]);
        }
        "trailing" => say(&edge, &[&line(role, "too long")[..], &[0]].concat(), &[]),
        "oversized" => say(&edge, &[0; MESSAGE_BYTES_MAX + 1], &[]),
        "huge" => say(&edge, &[0; 60_000], &[]),
        "foreign" => say(&edge, &codec::encode(&SupervisorOrder::Ready).unwrap(), &[]),
        "one-descriptor" => say(&edge, &line(role, "one"), &[edge.as_fd()]),
        "two-descriptors" => say(&edge, &line(role, "two"), &[edge.as_fd(), edge.as_fd()]),
        "flood" => {
            for _ in 0..FLOOD_LINES {
                say(&edge, &line(role, "flood"), &[]);
            }
            say(&edge, &[0xFF; 32], &[]);
        }
        "panic" => panic!("the test wants it"),
        other => of_its_own(role, other, edge, inherited),
    }
    // The profiles of some have no call to close it.
    std::mem::forget(edge);
    for_ever()
}

/// Lies that only one worker can tell.
fn of_its_own(role: Role, word: &str, edge: OwnedFd, mut inherited: Inherited) -> ! {
    match (role, word) {
        (Role::Monitor, "synced-twice") => {
            for _ in 0..2 {
                say_that(&edge, &MonitorEvent::Synced);
            }
        }
        (Role::Monitor, "strangers") => strangers(&edge),
        (Role::Gate, "stream-garbage") => {
            let stream = inherited.take("monitor").unwrap();
            // A header of xenstore's protocol that promises four gigabytes.
            let _ = rustix::io::write(&stream, &[0xFF; 64]);
            std::mem::forget(stream);
        }
        (Role::Attacher, "unasked") => say_that(&edge, &finished(OrderId(u64::MAX), Outcome::Done)),
        (Role::Attacher, _) => attacher(word, edge),
        (Role::Dialog, "unasked") => say_that(&edge, &DialogEvent::Answer { id: QuestionId(1), yes: true }),
        (Role::Dialog, _) => dialog(word, edge),
        (Role::Launcher, "unasked") => {
            say_that(&edge, &LaunchReply::Finished { id: LaunchId(7), outcome: LaunchOutcome::Done });
        }
        (Role::Launcher, "rebuilding") => say_that(&edge, &LaunchReply::Rebuilding { id: LaunchId(7) }),
        (Role::Broker, "ready-and-unconfined") => {
            say_that(&edge, &SupervisorOrder::Ready);
            sys::worker::exit(EXIT_SANDBOX)
        }
        (Role::Control, "same-ticket") => tickets(&edge, [5, 5]),
        (Role::Control, "older-ticket") => tickets(&edge, [5, 4]),
        (other, word) => panic!("{other} knows no lie {word}"),
    }
    std::mem::forget((edge, inherited));
    for_ever()
}

/// Domains and requests of domains that do not exist.
fn strangers(edge: &OwnedFd) {
    let domid = |number: u16| Domid::new(number).unwrap();
    for number in 2_000..4_000 {
        let name = VmName::new(format!("invented{number}").as_bytes()).unwrap();
        say_that(edge, &MonitorEvent::DomainSeen { domid: domid(number), name });
    }
    for number in [2_000, 9_000] {
        let request = Request { verb: Verb::New { size: None }, reqid: None };
        say_that(edge, &MonitorEvent::RequestSeen { domid: domid(number), request, digest: 1 });
    }
    for _ in 0..2 {
        say_that(edge, &MonitorEvent::Synced);
    }
}

fn finished(id: OrderId, outcome: Outcome) -> AttachReply {
    AttachReply::Finished { id, outcome }
}

/// Waits for the inventory's order and answers it falsely.
fn attacher(word: &str, edge: OwnedFd) -> ! {
    let mut edge: Channel<AttachReply, AttachRequest> = Channel::new(edge);
    let AttachRequest { id, .. } = next(&mut edge);
    let item = |number: usize| InventoryItem {
        image: ImageId(u128::try_from(number).unwrap().to_le_bytes()),
        holder: None,
    };
    let outcomes = match word {
        "misfit" => vec![Outcome::Done],
        "no-inventory" => vec![Outcome::Failed(AttachFailure::Io)],
        "too-many" => vec![Outcome::Inventory((0..=IMAGES_MAX).map(item).collect())],
        "twice" => vec![Outcome::Inventory(Vec::new()), Outcome::Inventory(Vec::new())],
        other => panic!("the attacher knows no lie {other}"),
    };
    for outcome in outcomes {
        edge.send(&finished(id, outcome)).unwrap();
    }
    std::mem::forget(edge);
    for_ever()
}

/// Waits for a question, and answers it as nobody has.
fn dialog(word: &str, edge: OwnedFd) -> ! {
    let mut edge: Channel<DialogEvent, DialogCommand> = Channel::new(edge);
    let id = loop {
        if let DialogCommand::Ask(question) = next(&mut edge) {
            break question.id;
        }
    };
    let answer =
        |number: u64, yes: bool| codec::encode(&DialogEvent::Answer { id: QuestionId(number), yes }).unwrap();
    let raw = edge.as_fd();
    let yes = answer(id.0, true);
    match word {
        "yes" => say(raw, &yes, &[]),
        // No, and then yes to it and to every other that there could be.
        "stale" => {
            say(raw, &answer(id.0, false), &[]);
            (id.0 - 1..=id.0 + 3).rev().for_each(|number| say(raw, &answer(number, true), &[]));
        }
        "yes-then-no" => [true, false].into_iter().for_each(|yes| say(raw, &answer(id.0, yes), &[])),
        // Yes to what will be asked, and nothing of what is.
        "ahead" => (id.0 + 1..id.0 + 9).for_each(|number| say(raw, &answer(number, true), &[])),
        "yes-truncated" => say(raw, yes.split_last().unwrap().1, &[]),
        "yes-trailing" => say(raw, &[&yes[..], &[0]].concat(), &[]),
        "yes-oversized" => say(raw, &[&yes[..], &[0; MESSAGE_BYTES_MAX]].concat(), &[]),
        "yes-with-descriptor" => say(raw, &yes, &[raw]),
        "yes-after-flood" => {
            for _ in 0..FLOOD_LINES {
                say(raw, &line(Role::Dialog, "flood"), &[]);
            }
            say(raw, &[&yes[..], &yes[..]].concat(), &[]);
        }
        other => panic!("the dialog knows no lie {other}"),
    }
    std::mem::forget(edge);
    for_ever()
}

fn tickets(edge: &OwnedFd, tickets: [u64; 2]) {
    for ticket in tickets {
        let request = ControlRequest::Status;
        say_that(edge, &ControlEvent::Asked { ticket: Ticket(ticket), uid: 0, request });
    }
}

fn next<Out: Encode, In: Decode<()>>(edge: &mut Channel<Out, In>) -> In {
    loop {
        if let Some(message) = edge.receive().unwrap() {
            return message;
        }
        let mut waiting = [PollFd::from_borrowed_fd(edge.as_fd(), PollFlags::IN)];
        poll(&mut waiting, None).unwrap();
    }
}

/// A line for the log as this worker may send it.
fn line(role: Role, text: &str) -> Vec<u8> {
    let line = LogLine::new(Level::Info, text);
    let bytes = match role {
        Role::Monitor => codec::encode(&MonitorEvent::Log(line)),
        Role::Attacher => codec::encode(&AttachReply::Log(line)),
        Role::Dialog => codec::encode(&DialogEvent::Log(line)),
        Role::Launcher => codec::encode(&LaunchReply::Log(line)),
        Role::Control => codec::encode(&ControlEvent::Log(line)),
        Role::Gate | Role::Notifier => codec::encode(&line),
        Role::Broker => panic!("the broker writes its log itself"),
    };
    bytes.unwrap()
}

fn say_that<M: Encode>(edge: &OwnedFd, message: &M) {
    say(edge, &codec::encode(message).unwrap(), &[]);
}

/// Sends a datagram as soon as there is room for it. After the broker has closed the edge nothing is said.
pub fn say(edge: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(&edge, &[IoSlice::new(bytes)], &mut control, flags) {
            Err(rustix::io::Errno::AGAIN) => {
                let mut waiting = [PollFd::from_borrowed_fd(edge.as_fd(), PollFlags::OUT)];
                poll(&mut waiting, None).unwrap();
            }
            Ok(_) | Err(_) => return,
        }
    }
}

/// Nothing is closed, and nothing is said any more.
fn for_ever() -> ! {
    loop {
        let _ = poll(&mut [], None);
    }
}
