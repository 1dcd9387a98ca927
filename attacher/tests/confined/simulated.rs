//! The attacher in its sandbox, with images as files, against guests of every mood.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use crate::rig::kernel::Mood;
use crate::rig::{CLOSE_MS_MAX, CONNECT_MS_MAX, Rig, SPARE_MIB, domid, failed, guest, incoming};
use protocol::attach::{AttachFailure, Attachment, InventoryItem, Order, Outcome};
use protocol::reply::{Code, Detail, Reply};
use protocol::types::{Device, ImageId, ReqId, VmName};
use xenstore::path::{BackNode, DomainPath, FrontNode, VbdPath};
use xenstore::{Access, Client, Permissions, Who, missing_is_none};

const A: ImageId = ImageId([0xAA; 16]);
const B: ImageId = ImageId([0x0B; 16]);

fn rig() -> Rig {
    let rig = Rig::simulated();
    rig.store.add_domain(domid(1));
    rig.store.add_domain(domid(2));
    rig
}

fn value(rig: &mut Rig, path: &DomainPath) -> Option<String> {
    let value = missing_is_none(rig.kernel.client.read(path)).unwrap();
    value.map(|value| String::from_utf8(value).unwrap())
}

#[test]
fn a_pendrive_is_made_filled_moved_and_destroyed() {
    let mut rig = rig();
    assert_eq!(rig.create(A, SPARE_MIB), Outcome::Done);
    assert_eq!(rig.attach(A, 1, Attachment::Outgoing), Outcome::Done);
    let seen = rig.kernel.look(1, Device::Outgoing).unwrap();
    assert_eq!((seen.state.as_str(), seen.mode.as_str(), seen.kind.as_deref()), ("4", "w", Some("file")));
    assert_eq!(seen.params, rig.image_path(A).to_str().unwrap());
    assert_eq!(seen.physical, None);
    let holder = Some((domid(1), Device::Outgoing));
    assert_eq!(rig.inventory(), [InventoryItem { image: A, holder }]);
    assert_eq!(rig.destroy(A), failed(AttachFailure::InUse));
    assert_eq!(rig.detach(A, 1, Device::Outgoing), Outcome::Done);
    assert_eq!(rig.kernel.back_ends(), []);
    assert_eq!(rig.attach(A, 2, incoming(false)), Outcome::Done);
    assert_eq!(rig.kernel.look(2, Device::Incoming).unwrap().mode, "r");
    assert_eq!(value(&mut rig, &DomainPath::source(domid(2))).as_deref(), Some("work"));
    assert_eq!(value(&mut rig, &DomainPath::transaction_seq(domid(2))).as_deref(), Some("77"));
    let readable = Permissions::guest_reads(domid(2));
    assert_eq!(rig.kernel.client.permissions(&DomainPath::source(domid(2))), Ok(readable));
    assert_eq!(rig.detach(A, 2, Device::Incoming), Outcome::Done);
    assert_eq!(value(&mut rig, &DomainPath::source(domid(2))), None);
    assert_eq!(value(&mut rig, &DomainPath::transaction_seq(domid(2))), None);
    assert_eq!(rig.destroy(A), Outcome::Done);
    assert_eq!(rig.image_files(), 0);
    assert_eq!(rig.inventory(), []);
}

#[test]
fn both_ends_have_the_permissions_of_the_block_interface() {
    let mut rig = rig();
    rig.create(A, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    let vbd = VbdPath::new(domid(1), Device::Outgoing);
    let client = &mut rig.kernel.client;
    let guest = Who::Guest(domid(1));
    for front in [vbd.front(), vbd.front_node(FrontNode::State), vbd.front_node(FrontNode::Backend)] {
        assert_eq!(client.permissions(&front).unwrap().owner(), guest);
    }
    for back in [vbd.back(), vbd.back_node(BackNode::State), vbd.back_node(BackNode::Params)] {
        let permissions = client.permissions(&back).unwrap();
        assert_eq!((permissions.owner(), permissions.of(guest)), (Who::Dom0, Access::Read));
        assert_eq!(permissions.of(Who::Guest(domid(2))), Access::None);
    }
}

#[test]
fn l6_attach_of_a_silent_guest_fails_in_time_and_leaves_nothing() {
    for mood in [Mood::Silent, Mood::Teasing] {
        let mut rig = rig();
        rig.kernel.set_mood(2, mood);
        rig.create(A, 40);
        let begun = Instant::now();
        assert_eq!(rig.attach(A, 2, incoming(false)), failed(AttachFailure::GuestSilent));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(u64::from(CONNECT_MS_MAX)), "{took:?}");
        assert!(took < Duration::from_millis(u64::from(CONNECT_MS_MAX) + 10_000), "{took:?}");
        assert_eq!(rig.kernel.back_ends(), []);
        assert_eq!(value(&mut rig, &DomainPath::source(domid(2))), None);
        // The image is whole and goes elsewhere.
        assert_eq!(rig.attach(A, 1, Attachment::Outgoing), Outcome::Done);
    }
}

#[test]
fn a_pendrive_is_not_given_to_a_domain_of_another_name() {
    let mut rig = rig();
    rig.create(A, 40);
    for wrong in [&b"guest2"[..], b"gues", b"Guest"] {
        let name = VmName::new(wrong).unwrap();
        let order =
            Order::Attach { image: A, domid: domid(1), name, boots: false, place: Attachment::Outgoing };
        assert_eq!(rig.order(order), failed(AttachFailure::OtherName));
        assert_eq!(rig.kernel.back_ends(), []);
    }
    assert_eq!(rig.attach(A, 1, Attachment::Outgoing), Outcome::Done);
}

#[test]
fn what_an_image_occupies_is_told_in_whole_mib() {
    let mut rig = rig();
    assert_eq!(rig.order(Order::Measure { image: A }), failed(AttachFailure::NoSuchImage));
    rig.create(A, 40);
    let Outcome::Measured { used_mib: empty } = rig.order(Order::Measure { image: A }) else { panic!() };
    let file = File::options().write(true).open(rig.images.path().join(format!("{A}.img"))).unwrap();
    file.write_all_at(&vec![1; 9 << 20], 20 << 20).unwrap();
    file.sync_all().unwrap();
    assert_eq!(rig.order(Order::Measure { image: A }), Outcome::Measured { used_mib: empty + 9 });
}

#[test]
fn a_guest_that_closes_instead_of_connecting_fails_at_once() {
    let mut rig = rig();
    rig.kernel.set_mood(1, Mood::Refusing);
    rig.create(A, 40);
    let id = rig.give(Order::Attach {
        image: A,
        domid: domid(1),
        name: guest(),
        boots: false,
        place: Attachment::Outgoing,
    });
    assert!(rig.is_answered_within(id, Duration::from_millis(u64::from(CONNECT_MS_MAX) / 2)));
    assert_eq!(rig.answer(id), failed(AttachFailure::GuestSilent));
    assert_eq!(rig.kernel.back_ends(), []);
}

#[test]
fn a_paused_guest_loses_its_device_in_time_and_delays_nobody() {
    let mut rig = rig();
    rig.create(A, 40);
    rig.create(B, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    rig.kernel.set_mood(1, Mood::Silent);
    let begun = Instant::now();
    let slow = rig.give(Order::Detach { image: A, domid: domid(1), device: Device::Outgoing });
    // L2: meanwhile the other guest gets its device and gives it back.
    assert_eq!(rig.attach(B, 2, Attachment::Outgoing), Outcome::Done);
    assert_eq!(rig.detach(B, 2, Device::Outgoing), Outcome::Done);
    assert!(begun.elapsed() < Duration::from_millis(u64::from(CLOSE_MS_MAX)), "{:?}", begun.elapsed());
    assert_eq!(rig.answer(slow), Outcome::Done);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(u64::from(CLOSE_MS_MAX)), "{took:?}");
    assert_eq!(rig.kernel.back_ends(), []);
    assert!(rig.logged.iter().any(|line| line.contains("xvdg of domain 1")), "{:?}", rig.logged);
    // The same device can be used again.
    rig.kernel.set_mood(1, Mood::Willing);
    assert_eq!(rig.attach(B, 1, Attachment::Outgoing), Outcome::Done);
}

#[test]
fn a_domain_that_is_destroyed_while_attached_leaves_nothing() {
    let mut rig = rig();
    rig.create(A, 40);
    rig.create(B, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    rig.attach(B, 1, incoming(true));
    rig.store.remove_domain(domid(1));
    rig.kernel.set_mood(1, Mood::Silent);
    assert_eq!(rig.kernel.back_ends().len(), 2);
    assert_eq!(rig.order(Order::ForgetDomain { domid: domid(1) }), Outcome::Done);
    assert_eq!(rig.kernel.back_ends(), []);
    assert_eq!(rig.destroy(A), Outcome::Done);
    assert_eq!(rig.destroy(B), Outcome::Done);
    assert_eq!(rig.image_files(), 0);
    let gone = failed(AttachFailure::DomainGone);
    rig.create(A, 40);
    assert_eq!(rig.attach(A, 1, Attachment::Outgoing), gone);
    assert_eq!(rig.order(Order::MakeQpen { domid: domid(1) }), gone);
    let reply = Reply { reqid: None, code: Code::Ok, detail: Detail::Done };
    assert_eq!(rig.order(Order::Answer { domid: domid(1), reply }), gone);
    // None of these orders has made a node of a domain that is not there.
    assert_eq!(value(&mut rig, &DomainPath::home(domid(1))), None);
}

#[test]
fn l16_nothing_that_a_guest_writes_is_believed() {
    let mut rig = rig();
    rig.kernel.set_mood(1, Mood::Silent);
    rig.create(A, 40);
    let id = rig.give(Order::Attach {
        image: A,
        domid: domid(1),
        name: guest(),
        boots: false,
        place: Attachment::Outgoing,
    });
    while rig.kernel.look(1, Device::Outgoing).is_none() {
        assert!(!rig.is_answered_within(id, Duration::from_millis(10)));
    }
    let vbd = VbdPath::new(domid(1), Device::Outgoing);
    let mut guest = Client::new(rig.store.connection_of(1)).unwrap();
    // The front end says that it is connected, and that its back end is that of somebody else.
    let other = VbdPath::new(domid(2), Device::Outgoing).back().to_string();
    guest.write(&vbd.front_node(FrontNode::State), b"4").unwrap();
    guest.write(&vbd.front_node(FrontNode::Backend), other.as_bytes()).unwrap();
    guest.write(&vbd.front_node(FrontNode::BackendId), b"2").unwrap();
    assert!(guest.write(&vbd.back_node(BackNode::State), b"4").is_err());
    assert_eq!(rig.answer(id), failed(AttachFailure::GuestSilent));
    // The same for a detach: "closed" of the front end is no confirmation.
    rig.create(B, 40);
    rig.attach(B, 2, Attachment::Outgoing);
    rig.kernel.set_mood(1, Mood::Willing);
    assert_eq!(rig.attach(A, 1, Attachment::Outgoing), Outcome::Done);
    rig.kernel.set_mood(1, Mood::Silent);
    let id = rig.give(Order::Detach { image: A, domid: domid(1), device: Device::Outgoing });
    guest.write(&vbd.front_node(FrontNode::Backend), other.as_bytes()).unwrap();
    guest.write(&vbd.front_node(FrontNode::State), b"6").unwrap();
    assert!(!rig.is_answered_within(id, Duration::from_millis(100)));
    assert_eq!(rig.answer(id), Outcome::Done);
    assert_eq!(rig.kernel.look(2, Device::Outgoing).unwrap().state, "4");
    assert_eq!(rig.kernel.back_ends().len(), 1);
}

/// What a guest owns or may write is written and removed, and never looked at.
#[test]
fn l16_of_all_nodes_only_names_and_back_ends_are_read() {
    const HOME: &str = "/local/domain/1";
    let mut rig = rig();
    let asked = rig.restart_recorded();
    for place in [Attachment::Outgoing, incoming(true)] {
        rig.create(A, 40);
        assert_eq!(rig.order(Order::MakeQpen { domid: domid(1) }), Outcome::Done);
        let device = place.device();
        assert_eq!(rig.attach(A, 1, place), Outcome::Done);
        let reply = Reply { reqid: ReqId::new(b"r").ok(), code: Code::Ok, detail: Detail::Done };
        assert_eq!(rig.order(Order::Answer { domid: domid(1), reply }), Outcome::Done);
        assert_eq!(rig.detach(A, 1, device), Outcome::Done);
        rig.destroy(A);
    }
    rig.create(B, 40);
    rig.attach(B, 1, Attachment::Outgoing);
    rig.store.remove_domain(domid(1));
    assert_eq!(rig.order(Order::ForgetDomain { domid: domid(1) }), Outcome::Done);
    rig.kill();
    // READ, DIRECTORY, GET_PERMS, WATCH, DIRECTORY_PART (xs_wire.h of Xen).
    let reads: Vec<_> = std::mem::take(&mut *asked.lock().unwrap());
    let reads = reads.into_iter().filter(|(kind, _)| [1, 2, 3, 4, 20].contains(kind));
    let mut count = 0;
    for (kind, path) in reads {
        // Whose a node is, is nothing that a guest can say.
        let is_owner = kind == 3
            && ["", "/qpen/reply", "/device/qpen"].map(|end| format!("{HOME}{end}")).contains(&path);
        let is_name = path == format!("{HOME}/name");
        assert!(is_owner || is_name || path.starts_with("/local/domain/0/backend/vbd"), "{kind} {path}");
        count += 1;
    }
    assert!(count > 8, "{count}");
}

#[test]
fn a_device_that_somebody_else_has_made_is_left_alone() {
    let mut rig = rig();
    rig.create(A, 40);
    let vbd = VbdPath::new(domid(1), Device::Outgoing);
    rig.kernel.client.write(&vbd.back_node(BackNode::Params), b"/dev/sda1").unwrap();
    rig.kernel.client.write(&vbd.back_node(BackNode::State), b"4").unwrap();
    assert_eq!(rig.attach(A, 1, Attachment::Outgoing), failed(AttachFailure::InUse));
    rig.restart();
    assert_eq!(rig.inventory(), [InventoryItem { image: A, holder: None }]);
    assert_eq!(rig.kernel.look(1, Device::Outgoing).unwrap().params, "/dev/sda1");
}

#[test]
fn after_sigkill_the_inventory_tells_what_is_attached_and_nothing_leaks() {
    let mut rig = rig();
    rig.create(A, 40);
    rig.create(B, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    rig.kernel.set_mood(2, Mood::Silent);
    let id = rig.give(Order::Attach {
        image: B,
        domid: domid(2),
        name: guest(),
        boots: false,
        place: incoming(false),
    });
    // Half-made for domain 2, complete for domain 1: a silent guest keeps it so.
    while rig.kernel.look(2, Device::Incoming).is_none() {
        assert!(!rig.is_answered_within(id, Duration::from_millis(50)));
    }
    rig.restart();
    let holders: Vec<_> = rig.inventory().into_iter().map(|item| (item.image, item.holder)).collect();
    let expected = [(B, Some((domid(2), Device::Incoming))), (A, Some((domid(1), Device::Outgoing)))];
    assert_eq!(holders, expected);
    // The order of before, given again.
    assert_eq!(rig.attach(A, 1, Attachment::Outgoing), Outcome::Done);
    assert_eq!(rig.detach(B, 2, Device::Incoming), Outcome::Done);
    assert_eq!(value(&mut rig, &DomainPath::source(domid(2))), None);
    assert_eq!(rig.detach(A, 1, Device::Outgoing), Outcome::Done);
    assert_eq!(rig.kernel.back_ends(), []);
    assert_eq!(rig.destroy(A), Outcome::Done);
    assert_eq!(rig.destroy(B), Outcome::Done);
    assert_eq!(rig.image_files(), 0);
}

#[test]
fn at_start_a_back_end_without_its_image_is_removed() {
    let mut rig = rig();
    rig.create(A, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    rig.kill();
    fs::remove_file(rig.image_path(A)).unwrap();
    rig.start();
    assert_eq!(rig.inventory(), []);
    assert_eq!(rig.kernel.back_ends(), []);
}

#[test]
fn sigkill_at_any_moment_of_a_transfer_leaks_nothing() {
    let mut rig = rig();
    for pause_us in (0..4_000).step_by(250) {
        rig.create(A, 40);
        rig.give(Order::Attach {
            image: A,
            domid: domid(1),
            name: guest(),
            boots: false,
            place: Attachment::Outgoing,
        });
        rig.kernel.play();
        std::thread::sleep(Duration::from_micros(pause_us));
        rig.kernel.play();
        rig.restart();
        let items = rig.inventory();
        assert_eq!(items.len(), 1);
        let is_attached = items.first().unwrap().holder.is_some();
        assert_eq!(is_attached, !rig.kernel.back_ends().is_empty());
        assert_eq!(rig.detach(A, 1, Device::Outgoing), Outcome::Done);
        assert_eq!(rig.kernel.back_ends(), []);
        assert_eq!(rig.destroy(A), Outcome::Done);
        assert_eq!(rig.image_files(), 0);
    }
}

#[test]
fn l4_limits_hold_whatever_the_broker_orders() {
    let mut rig = rig();
    let id = |number| ImageId([number; 16]);
    assert_eq!(rig.create(id(1), 513), failed(AttachFailure::NoSpace));
    for number in 1..=4 {
        assert_eq!(rig.create(id(number), 40), Outcome::Done);
    }
    assert_eq!(rig.create(id(5), 40), failed(AttachFailure::NoSpace));
    assert_eq!(rig.create(id(4), 40), failed(AttachFailure::InUse));
    assert_eq!(rig.destroy(id(4)), Outcome::Done);
    assert_eq!(rig.create(id(5), 393), failed(AttachFailure::NoSpace));
    assert_eq!(rig.create(id(5), 392), Outcome::Done);
    assert_eq!(rig.image_files(), 4);
}

#[test]
fn l3_a_fresh_pendrive_holds_no_byte_of_an_earlier_one() {
    let mut rig = rig();
    rig.create(A, SPARE_MIB);
    let empty = fs::read(rig.image_path(A)).unwrap();
    fs::write(rig.image_path(A), vec![0x5A; 8 << 20]).unwrap();
    rig.destroy(A);
    rig.create(A, SPARE_MIB);
    assert!(fs::read(rig.image_path(A)).unwrap() == empty);
    assert!(fs::metadata(rig.image_path(A)).unwrap().blocks() < 2048);
}

#[test]
fn keys_are_made_with_their_permissions_and_never_overwritten() {
    let mut rig = rig();
    assert_eq!(rig.order(Order::MakeQpen { domid: domid(1) }), Outcome::Done);
    let (qpen, reply) = (DomainPath::qpen(domid(1)), DomainPath::reply(domid(1)));
    assert_eq!(value(&mut rig, &qpen).as_deref(), Some(""));
    assert_eq!(value(&mut rig, &reply).as_deref(), Some(""));
    let both = Permissions::guest_reads_and_writes(domid(1));
    assert_eq!(rig.kernel.client.permissions(&qpen), Ok(both.clone()));
    assert_eq!(rig.kernel.client.permissions(&reply), Ok(Permissions::guest_reads(domid(1))));
    let mut guest = Client::new(rig.store.connection_of(1)).unwrap();
    guest.write(&qpen, b"new 100").unwrap();
    assert!(guest.write(&reply, b"- ok done").is_err());
    assert!(Client::new(rig.store.connection_of(2)).unwrap().read(&qpen).is_err());
    assert_eq!(rig.order(Order::MakeQpen { domid: domid(1) }), Outcome::Done);
    assert_eq!(value(&mut rig, &qpen).as_deref(), Some("new 100"));
    // A guest can remove its key; it gets it again, and the right permissions with it.
    guest.rm(&qpen).unwrap();
    rig.kernel.client.write(&qpen, b"").unwrap();
    assert_eq!(rig.order(Order::MakeQpen { domid: domid(1) }), Outcome::Done);
    assert_eq!(rig.kernel.client.permissions(&qpen), Ok(both));
}

#[test]
fn l19_answers_of_every_length_are_written_in_their_order() {
    let mut rig = rig();
    let reply = DomainPath::reply(domid(1));
    for length in [1, 32] {
        let reqid = ReqId::new(&vec![b'x'; length]).unwrap();
        let answer = Reply { reqid: Some(reqid), code: Code::Pending, detail: Detail::WaitingForReceiver };
        let text = answer.to_string();
        assert_eq!(rig.order(Order::Answer { domid: domid(1), reply: answer }), Outcome::Done);
        assert_eq!(value(&mut rig, &reply), Some(text));
    }
    assert_eq!(rig.kernel.client.permissions(&reply), Ok(Permissions::guest_reads(domid(1))));
    let answer = |code| Reply { reqid: None, code, detail: Detail::Done };
    rig.give(Order::Answer { domid: domid(1), reply: answer(Code::Pending) });
    let last = rig.give(Order::Answer { domid: domid(1), reply: answer(Code::Ok) });
    assert_eq!(rig.answer(last), Outcome::Done);
    assert_eq!(value(&mut rig, &reply).as_deref(), Some("- ok done"));
}

#[test]
fn the_attacher_ends_with_its_broker_and_with_xenstored() {
    let mut rig = rig();
    rig.inventory();
    assert_eq!(rig.ended(), sys::spawn::Ended::Code(0));
}

#[test]
fn foreign_files_are_told_once_and_left_alone() {
    let mut rig = rig();
    rig.inventory();
    rig.kill();
    fs::write(rig.images.path().join("README\u{1b}[2J"), "not ours").unwrap();
    rig.start();
    rig.inventory();
    assert_eq!(rig.logged.iter().filter(|line| line.contains("not ours")).count(), 1);
    assert_eq!(rig.image_files(), 1);
}
