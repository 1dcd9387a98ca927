//! Every message type of every edge: what is encoded comes back, what is damaged is refused, and what may be
//! received in which state is spelled out.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use protocol::attach::{
    AttachFailure, AttachReply, AttachRequest, Attachment, IMAGES_MAX, InventoryItem, Order, OrderId,
    Outcome, answers,
};
use protocol::codec::{decode, encode};
use protocol::dialog::{
    self, DialogCommand, DialogEvent, DialogState, Notice, Question, QuestionId, QuestionKind, Recipient,
};
use protocol::launch::{
    DISPOSABLE_NUMBER_MAX, DisposableNumber, LaunchFailure, LaunchId, LaunchOrder, LaunchOutcome,
    LaunchReply, LaunchRequest,
};
use protocol::log::{Level, LogLine, LogText};
use protocol::monitor::{self, MonitorEvent, MonitorState};
use protocol::reply::{Code, Detail, Reply};
use protocol::request::{Request, Verb};
use protocol::supervise::{Ending, Role, SupervisorNotice, SupervisorOrder};
use protocol::types::{Device, Domid, ImageId, ReqId, Seq, SizeMib, VmName};

fn domid() -> impl Strategy<Value = Domid> {
    (1_u16..0x7FF0).prop_map(|number| Domid::new(number).unwrap())
}
fn name() -> impl Strategy<Value = VmName> {
    "[A-Za-z0-9_][A-Za-z0-9._-]{0,62}".prop_map(|text| VmName::new(text.as_bytes()).unwrap())
}
fn reqid() -> impl Strategy<Value = Option<ReqId>> {
    proptest::option::of("[A-Za-z0-9_-]{1,32}".prop_map(|text| ReqId::new(text.as_bytes()).unwrap()))
}
fn seq() -> impl Strategy<Value = Seq> {
    (1_u32..=0x7FFF_FFFF).prop_map(|number| Seq::new(number).unwrap())
}
fn size() -> impl Strategy<Value = SizeMib> {
    (1_u32..2_097_152).prop_map(|mib| SizeMib::new(mib).unwrap())
}
fn image() -> impl Strategy<Value = ImageId> {
    any::<[u8; 16]>().prop_map(ImageId)
}
fn line() -> impl Strategy<Value = LogLine> {
    any::<String>().prop_map(|text| LogLine::new(Level::Warning, &text))
}
fn request() -> impl Strategy<Value = Request> {
    let verb = prop_oneof![
        proptest::option::of(size()).prop_map(|size| Verb::New { size }),
        (name(), proptest::option::of(seq())).prop_map(|(to, seq)| Verb::Send { to, seq }),
        seq().prop_map(|seq| Verb::SendDisposable { seq }),
        Just(Verb::Umount),
        Just(Verb::Killme),
    ];
    (verb, reqid()).prop_map(|(verb, reqid)| Request { verb, reqid })
}
fn reply() -> impl Strategy<Value = Reply> {
    (reqid(), proptest::sample::select(&Code::ALL[..]), proptest::sample::select(&Detail::ALL[..]))
        .prop_map(|(reqid, code, detail)| Reply { reqid, code, detail })
}
fn monitor_event() -> impl Strategy<Value = MonitorEvent> {
    prop_oneof![
        (domid(), name()).prop_map(|(domid, name)| MonitorEvent::DomainSeen { domid, name }),
        domid().prop_map(|domid| MonitorEvent::NameUnfit { domid }),
        domid().prop_map(|domid| MonitorEvent::DomainGone { domid }),
        domid().prop_map(|domid| MonitorEvent::QpenMissing { domid }),
        (domid(), request(), any::<u64>()).prop_map(|(domid, request, digest)| MonitorEvent::RequestSeen {
            domid,
            request,
            digest
        }),
        (domid(), reqid(), any::<u64>()).prop_map(|(domid, reqid, digest)| MonitorEvent::RequestUnparsable {
            domid,
            reqid,
            digest
        }),
        Just(MonitorEvent::Synced),
        line().prop_map(MonitorEvent::Log),
    ]
}
fn device() -> impl Strategy<Value = Device> {
    proptest::sample::select(&Device::ALL[..])
}
fn order() -> impl Strategy<Value = Order> {
    let attachment = prop_oneof![
        Just(Attachment::Outgoing),
        (name(), proptest::option::of(seq()), any::<bool>())
            .prop_map(|(source, seq, writable)| Attachment::Incoming { source, seq, writable }),
    ];
    prop_oneof![
        Just(Order::Inventory),
        domid().prop_map(|domid| Order::MakeQpen { domid }),
        (domid(), reply()).prop_map(|(domid, reply)| Order::Answer { domid, reply }),
        (image(), size(), name()).prop_map(|(image, size, label)| Order::Create { image, size, label }),
        (image(), domid(), name(), any::<bool>(), attachment).prop_map(
            |(image, domid, name, boots, place)| Order::Attach { image, domid, name, boots, place }
        ),
        image().prop_map(|image| Order::Measure { image }),
        (image(), domid(), device()).prop_map(|(image, domid, device)| Order::Detach {
            image,
            domid,
            device
        }),
        image().prop_map(|image| Order::Destroy { image }),
        domid().prop_map(|domid| Order::ForgetDomain { domid }),
    ]
}
fn outcome() -> impl Strategy<Value = Outcome> {
    let item = (image(), proptest::option::of((domid(), device())))
        .prop_map(|(image, holder)| InventoryItem { image, holder });
    prop_oneof![
        Just(Outcome::Done),
        proptest::collection::vec(item, 0..=IMAGES_MAX).prop_map(Outcome::Inventory),
        Just(Outcome::Failed(AttachFailure::NoSpace)),
    ]
}

/// Encodes, decodes, compares; then makes sure that no shortened or lengthened copy decodes.
macro_rules! comes_back_and_only_whole {
    ($message:expr, $type:ty) => {{
        let message: $type = $message;
        let bytes = encode(&message).unwrap();
        prop_assert_eq!(decode::<$type>(&bytes).unwrap(), message);
        for length in 0..bytes.len() {
            prop_assert!(decode::<$type>(&bytes[..length]).is_err(), "{} of {} bytes", length, bytes.len());
        }
        let mut longer = bytes;
        longer.push(0);
        prop_assert!(decode::<$type>(&longer).is_err());
    }};
}

proptest! {
    #[test]
    fn monitor_messages_come_back(event in monitor_event()) {
        comes_back_and_only_whole!(event, MonitorEvent);
    }

    #[test]
    fn attach_requests_come_back(id in any::<u64>(), order in order()) {
        comes_back_and_only_whole!(AttachRequest { id: OrderId(id), order }, AttachRequest);
    }

    #[test]
    fn attach_replies_come_back(id in any::<u64>(), outcome in outcome(), line in line()) {
        let bytes = encode(&AttachReply::Finished { id: OrderId(id), outcome: outcome.clone() }).unwrap();
        let decoded: AttachReply = decode(&bytes).unwrap();
        prop_assert_eq!(decoded, AttachReply::Finished { id: OrderId(id), outcome });
        comes_back_and_only_whole!(AttachReply::Log(line), AttachReply);
    }

    #[test]
    fn dialog_messages_come_back(
        id in any::<u64>(), source in name(), target in name(), size_mib in any::<u32>(),
        age_ms in any::<u32>(), expires_ms in any::<u32>(), waits in any::<bool>(), yes in any::<bool>(), rule in any::<String>(),
    ) {
        let id = QuestionId(id);
        let kind = if waits { QuestionKind::WaitForReceiver } else { QuestionKind::Transfer };
        let rule = LogText::new(&rule);
        let target = if yes { Recipient::Vm(target) } else { Recipient::NewDisposable };
        let question = Question { id, kind, source, target, size_mib, used_mib: size_mib / 2, age_ms, rule, expires_ms };
        let failed = LaunchFailure::ALL[usize::try_from(size_mib).unwrap() % LaunchFailure::ALL.len()];
        let failed = Notice::CreationFailed { source: question.source.clone(), reason: failed };
        comes_back_and_only_whole!(DialogCommand::Tell(failed), DialogCommand);
        comes_back_and_only_whole!(DialogCommand::Tell(Notice::TemplateBeingRebuilt), DialogCommand);
        let notice = Notice::Decided {
            allowed: yes,
            source: question.source.clone(),
            target: question.target.clone(),
            rule: question.rule.clone(),
        };
        comes_back_and_only_whole!(DialogCommand::Tell(notice), DialogCommand);
        comes_back_and_only_whole!(DialogCommand::Ask(question), DialogCommand);
        comes_back_and_only_whole!(DialogCommand::Withdraw { id }, DialogCommand);
        comes_back_and_only_whole!(DialogEvent::Answer { id, yes }, DialogEvent);
    }

    #[test]
    fn messages_about_disposables_come_back(id in any::<u64>(), number in 1..=DISPOSABLE_NUMBER_MAX) {
        let id = LaunchId(id);
        let number = DisposableNumber::new(number).unwrap();
        for order in [LaunchOrder::Create { number }, LaunchOrder::Destroy { number }] {
            comes_back_and_only_whole!(LaunchRequest { id, order }, LaunchRequest);
        }
        let failures = LaunchFailure::ALL.into_iter().map(LaunchOutcome::Failed);
        for outcome in failures.chain([LaunchOutcome::Done]) {
            comes_back_and_only_whole!(LaunchReply::Finished { id, outcome }, LaunchReply);
        }
        comes_back_and_only_whole!(LaunchReply::Rebuilding { id }, LaunchReply);
    }

    #[test]
    fn supervisor_messages_come_back(code in any::<i32>()) {
        for role in Role::ALL {
            comes_back_and_only_whole!(SupervisorNotice::Started { role }, SupervisorNotice);
            let notice = SupervisorNotice::Ended { role, how: Ending::Signal(code) };
            comes_back_and_only_whole!(notice, SupervisorNotice);
            comes_back_and_only_whole!(SupervisorOrder::Restart { role }, SupervisorOrder);
        }
        comes_back_and_only_whole!(SupervisorOrder::Ready, SupervisorOrder);
        for number in [0, 1, u32::MAX] {
            comes_back_and_only_whole!(SupervisorNotice::AreYouAlive { number }, SupervisorNotice);
            comes_back_and_only_whole!(SupervisorOrder::Alive { number }, SupervisorOrder);
        }
    }

    #[test]
    fn l1_arbitrary_bytes_decode_to_something_permitted_or_to_an_error(
        untrusted in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        // What decodes must encode to the very same bytes: there is one encoding of each message. Log text is
        // the exception, since it is escaped anew.
        if let Ok(event) = decode::<MonitorEvent>(&untrusted)
            && !matches!(event, MonitorEvent::Log(_))
        {
            prop_assert_eq!(encode(&event).unwrap(), untrusted.clone());
        }
        if let Ok(request) = decode::<AttachRequest>(&untrusted) {
            prop_assert_eq!(encode(&request).unwrap(), untrusted);
        }
    }
}

#[test]
fn a_name_outside_the_contract_does_not_decode() {
    for (text, fits) in [("a", true), ("", false), ("-a", false), ("a/b", false), ("a\n", false)] {
        let bytes = encode(&(0_u32, Domid::new(1).unwrap(), String::from(text))).unwrap();
        assert_eq!(decode::<MonitorEvent>(&bytes).is_ok(), fits, "{text:?}");
    }
    let domid_zero = encode(&(2_u32, 0_u16)).unwrap();
    assert!(decode::<MonitorEvent>(&domid_zero).is_err());
}

#[test]
fn the_longest_inventory_fits_a_datagram() {
    let item = InventoryItem {
        image: ImageId([0xFF; 16]),
        holder: Some((Domid::new(0x7FEF).unwrap(), Device::Incoming)),
    };
    let outcome = Outcome::Inventory(vec![item; IMAGES_MAX]);
    assert!(answers(&Order::Inventory, &outcome));
    assert!(encode(&AttachReply::Finished { id: OrderId(u64::MAX), outcome }).is_ok());
    assert!(!answers(&Order::Inventory, &Outcome::Inventory(vec![item; IMAGES_MAX + 1])));
}

#[test]
fn each_state_names_what_it_receives() {
    let domid = Domid::new(1).unwrap();
    let name = VmName::new(b"work").unwrap();
    let request = Request { verb: Verb::Umount, reqid: None };
    let log = || LogLine::new(Level::Info, "x");
    let any_time = [
        MonitorEvent::DomainSeen { domid, name },
        MonitorEvent::NameUnfit { domid },
        MonitorEvent::DomainGone { domid },
        MonitorEvent::QpenMissing { domid },
        MonitorEvent::RequestSeen { domid, request, digest: 0 },
        MonitorEvent::RequestUnparsable { domid, reqid: None, digest: 0 },
        MonitorEvent::Log(log()),
    ];
    for event in &any_time {
        assert!(monitor::permitted(MonitorState::Listing, event));
        assert!(monitor::permitted(MonitorState::Following, event));
    }
    assert!(monitor::permitted(MonitorState::Listing, &MonitorEvent::Synced));
    assert!(!monitor::permitted(MonitorState::Following, &MonitorEvent::Synced));

    let answer = DialogEvent::Answer { id: QuestionId(1), yes: true };
    assert!(!dialog::permitted(DialogState::NothingAsked, &answer));
    assert!(dialog::permitted(DialogState::Asked, &answer));
    assert!(dialog::permitted(DialogState::NothingAsked, &DialogEvent::Log(log())));
}

#[test]
fn only_the_inventory_is_answered_with_an_inventory() {
    let domid = Domid::new(1).unwrap();
    let image = ImageId([1; 16]);
    let name = VmName::new(b"work").unwrap();
    let reply = Reply { reqid: None, code: Code::Ok, detail: Detail::Done };
    let others = [
        Order::MakeQpen { domid },
        Order::Answer { domid, reply },
        Order::Create { image, size: SizeMib::new(1).unwrap(), label: name.clone() },
        Order::Attach { image, domid, name, boots: false, place: Attachment::Outgoing },
        Order::Detach { image, domid, device: Device::Outgoing },
        Order::Destroy { image },
        Order::ForgetDomain { domid },
    ];
    for order in &others {
        assert!(answers(order, &Outcome::Done));
        assert!(answers(order, &Outcome::Failed(AttachFailure::Io)));
        assert!(!answers(order, &Outcome::Inventory(Vec::new())));
    }
    assert!(!answers(&Order::Inventory, &Outcome::Done));
    let measured = Outcome::Measured { used_mib: 1 };
    assert!(others.iter().chain([&Order::Inventory]).all(|order| !answers(order, &measured)));
    assert!(answers(&Order::Measure { image }, &measured));
    assert!(!answers(&Order::Measure { image }, &Outcome::Done));
    assert!(answers(&Order::Measure { image }, &Outcome::Failed(AttachFailure::Io)));
    assert!(answers(&Order::Inventory, &Outcome::Failed(AttachFailure::Xenstore)));
}
