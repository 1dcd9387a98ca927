//! Requests and answers of `qfilexchgctl`: what is encoded comes back, the longest page fits a datagram, what is out
//! of bounds does not decode, and what may be received when is spelled out.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use protocol::codec::{CodecError, MESSAGE_BYTES_MAX, decode, encode};
use protocol::control::{
    AnswerOutcome, ClientReply, ControlCommand, ControlEvent, ControlReply, ControlRequest, ControlState,
    DisposableItem, DisposableState, Holder, KillOutcome, LogItem, LogStart, Page, PendriveItem,
    PendriveState, Quota, REQUEST_BYTES_MAX, Refusal, Status, Ticket, WorkerItem, answers,
};
use protocol::dialog::{Question, QuestionId, QuestionKind, Recipient};
use protocol::launch::DisposableNumber;
use protocol::log::{LOG_TEXT_BYTES_MAX, Level, LogLine, LogText};
use protocol::supervise::Role;
use protocol::types::{Device, Domid, ImageId, Seq, SizeMib, VmName};

/// The longest name, text, and so on, so that the longest page is seen.
fn longest_name() -> VmName {
    VmName::new(&[b'n'; 63]).unwrap()
}

fn longest_text() -> LogText {
    LogText::new(&"x".repeat(LOG_TEXT_BYTES_MAX))
}

fn pendrive(image: [u8; 16]) -> PendriveItem {
    let holder =
        Holder { domid: Domid::new(7).unwrap(), name: Some(longest_name()), device: Device::Outgoing };
    PendriveItem {
        image: ImageId(image),
        size: SizeMib::new(64).unwrap(),
        maker: longest_name(),
        state: PendriveState::Asking,
        holder: Some(holder),
        to: Some(Recipient::Vm(longest_name())),
        age_ms: Some(u64::MAX),
    }
}

fn question(id: u64) -> Question {
    Question {
        id: QuestionId(id),
        kind: QuestionKind::Transfer,
        source: longest_name(),
        target: Recipient::Vm(longest_name()),
        size_mib: 64,
        used_mib: 7,
        age_ms: 5,
        rule: longest_text(),
        expires_ms: 60_000,
    }
}

fn disposable(number: u32) -> DisposableItem {
    DisposableItem {
        number: DisposableNumber::new(number).unwrap(),
        domid: Domid::new(9).ok(),
        source: longest_name(),
        seq: Seq::new(3).unwrap(),
        age_ms: Some(1),
        state: DisposableState::Running,
    }
}

fn status() -> Status {
    let quota = Quota { used: 1, max: 2 };
    Status {
        version: LogText::new("0.1.0"),
        serving: true,
        uptime_ms: 1,
        can_ask: false,
        workers: Page::first_of(Role::ALL.map(|role| WorkerItem { role, up: true })),
        vms: 1,
        questions: 2,
        orders: 3,
        disposables: 4,
        pendrives: quota,
        mib: quota,
        pendrives_per_vm_max: 4,
        mib_per_vm_max: 5,
    }
}

fn log_item(number: u64) -> LogItem {
    LogItem { number, age_ms: 9, line: LogLine::new(Level::Warning, longest_text().as_str()) }
}

/// One reply of each kind, each as long as it can be.
fn replies() -> Vec<ControlReply> {
    vec![
        ControlReply::Status(status()),
        ControlReply::Log(Page::first_of((0..1000).map(log_item))),
        ControlReply::Pendrives(Page::first_of((0..=255).map(|byte| pendrive([byte; 16])))),
        ControlReply::Disposables(Page::first_of((1..1000).map(disposable))),
        ControlReply::Questions(Page::first_of((0..1000).map(question))),
        ControlReply::Answer(AnswerOutcome::NotOpen),
        ControlReply::Kill(KillOutcome::Begun),
    ]
}

/// One request of each kind, in the same order.
fn requests() -> [ControlRequest; 7] {
    [
        ControlRequest::Status,
        ControlRequest::Log { from: LogStart::Number(u64::MAX) },
        ControlRequest::Pendrives { after: Some(ImageId([255; 16])) },
        ControlRequest::Disposables { after: DisposableNumber::new(9999).ok() },
        ControlRequest::Questions { after: Some(QuestionId(u64::MAX)) },
        ControlRequest::Answer { id: QuestionId(u64::MAX), yes: true },
        ControlRequest::Kill { image: ImageId([1; 16]) },
    ]
}

#[test]
fn the_longest_messages_fit_and_come_back() {
    for reply in replies() {
        let command = ControlCommand { ticket: Ticket(u64::MAX), reply: reply.clone() };
        assert_eq!(decode::<ControlCommand>(&encode(&command).unwrap()), Ok(command));
        let answered = ClientReply::Answered(reply);
        assert_eq!(decode::<ClientReply>(&encode(&answered).unwrap()), Ok(answered));
    }
    for refusal in [Refusal::NotPermitted, Refusal::TooMany, Refusal::NotUnderstood] {
        let refused = ClientReply::Refused(refusal);
        assert_eq!(decode::<ClientReply>(&encode(&refused).unwrap()), Ok(refused));
    }
    for request in requests() {
        let bytes = encode(&request).unwrap();
        assert!(bytes.len() <= REQUEST_BYTES_MAX, "{request:?}");
        assert_eq!(decode::<ControlRequest>(&bytes), Ok(request));
        let event = ControlEvent::Asked { ticket: Ticket(1), uid: u32::MAX, request };
        assert_eq!(decode::<ControlEvent>(&encode(&event).unwrap()), Ok(event));
    }
}

#[test]
fn each_reply_answers_its_request_and_no_other() {
    for (asked, request) in requests().iter().enumerate() {
        for (answered, reply) in replies().iter().enumerate() {
            assert_eq!(answers(request, reply), asked == answered, "{request:?} {answered}");
        }
    }
}

#[test]
fn a_ticket_is_used_once_and_they_only_grow() {
    let asked =
        |ticket| ControlEvent::Asked { ticket: Ticket(ticket), uid: 0, request: ControlRequest::Status };
    let state = ControlState::default().after(&asked(5)).unwrap();
    for ticket in [0, 4, 5] {
        assert_eq!(state.after(&asked(ticket)), None, "{ticket}");
    }
    let log = ControlEvent::Log(LogLine::new(Level::Info, "x"));
    assert_eq!(state.after(&log), Some(state));
    assert!(state.after(&log).and_then(|state| state.after(&asked(6))).is_some());
}

#[test]
fn l7_text_in_answers_is_escaped_again_when_it_is_decoded() {
    let raw = (0_u64, 0_u64, Level::Info, String::from("\u{1b}[2J"));
    let item: LogItem = decode(&encode(&raw).unwrap()).unwrap();
    assert_eq!(item.line.text.as_str(), "\\u{1b}[2J");
}

#[test]
fn words_for_states_are_words() {
    let words = PendriveState::ALL.map(PendriveState::word);
    assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())));
    let different: std::collections::BTreeSet<_> = words.iter().collect();
    assert_eq!(different.len(), words.len());
}

proptest! {
    #[test]
    fn arbitrary_bytes_decode_to_nothing_else_than_they_encode(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(request) = decode::<ControlRequest>(&bytes) {
            prop_assert_eq!(encode(&request).unwrap(), bytes.clone());
        }
        if let Ok(event) = decode::<ControlEvent>(&bytes) {
            prop_assert!(encode(&event).is_ok());
        }
        match decode::<ControlCommand>(&bytes) {
            Ok(command) => prop_assert!(encode(&command).unwrap().len() <= MESSAGE_BYTES_MAX),
            Err(error) => prop_assert!(matches!(error, CodecError::Malformed | CodecError::Trailing)),
        }
    }

    #[test]
    fn a_request_that_is_cut_or_lengthened_does_not_decode(which in 0_usize..7, cut in 0_usize..24) {
        let mut bytes = encode(requests().get(which).unwrap()).unwrap();
        if cut < bytes.len() {
            prop_assert!(decode::<ControlRequest>(bytes.get(..cut).unwrap()).is_err());
        }
        bytes.push(0);
        prop_assert!(decode::<ControlRequest>(&bytes).is_err());
    }
}
