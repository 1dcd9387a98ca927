//! The same attacher with real loop devices, as on a Xen host.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use protocol::attach::{AttachFailure, Attachment, InventoryItem, Order, Outcome};
use protocol::types::{Device, ImageId};

use xenstore::path::{BackNode, VbdPath};

use crate::rig::kernel::Mood;
use crate::rig::{Rig, domid, failed, incoming};

const A: ImageId = ImageId([0xAA; 16]);
const B: ImageId = ImageId([0x0B; 16]);
const C: ImageId = ImageId([0xC0; 16]);

fn rig() -> Option<Rig> {
    let rig = Rig::with_loops()?;
    rig.store.add_domain(domid(1));
    rig.store.add_domain(domid(2));
    Some(rig)
}

/// The loop device that a back end names, as the kernel would open it.
fn node(rig: &mut Rig, domid: u16, device: Device) -> String {
    let physical = rig.kernel.look(domid, device).unwrap().physical.unwrap();
    let minor = u32::from_str_radix(physical.strip_prefix("7:").unwrap(), 16).unwrap();
    format!("loop{minor}")
}

#[test]
fn a_pendrive_travels_through_loop_devices() {
    let Some(mut rig) = rig() else { return };
    assert_eq!(rig.create(A, 40), Outcome::Done);
    assert_eq!(rig.attach(A, 1, Attachment::Outgoing), Outcome::Done);
    let seen = rig.kernel.look(1, Device::Outgoing).unwrap();
    assert_eq!((seen.kind.as_deref(), seen.mode.as_str()), (None, "w"));
    assert_eq!(rig.bound_loops(), [A.to_string()]);
    let device = format!("/dev/{}", node(&mut rig, 1, Device::Outgoing));
    let written = fs::OpenOptions::new().write(true).open(&device).unwrap();
    written.write_all_at(b"from the first VM", 20 << 20).unwrap();
    drop(written);
    assert_eq!(rig.detach(A, 1, Device::Outgoing), Outcome::Done);
    assert!(rig.bound_loops().is_empty());
    assert_eq!(rig.attach(A, 2, incoming(false)), Outcome::Done);
    let device = format!("/dev/{}", node(&mut rig, 2, Device::Incoming));
    let mut read = [0; 17];
    fs::File::open(device).unwrap().read_exact_at(&mut read, 20 << 20).unwrap();
    assert_eq!(&read, b"from the first VM");
    assert_eq!(rig.detach(A, 2, Device::Incoming), Outcome::Done);
    assert_eq!(rig.destroy(A), Outcome::Done);
    assert!(rig.bound_loops().is_empty());
}

#[test]
fn l17_a_read_only_attachment_is_read_only_below_the_back_end() {
    let Some(mut rig) = rig() else { return };
    rig.create(A, 40);
    assert_eq!(rig.attach(A, 2, incoming(false)), Outcome::Done);
    assert_eq!(rig.kernel.look(2, Device::Incoming).unwrap().mode, "r");
    let name = node(&mut rig, 2, Device::Incoming);
    assert_eq!(fs::read_to_string(format!("/sys/block/{name}/ro")).unwrap().trim(), "1");
    // A back end that writes in spite of all that reaches nothing.
    let before = fs::read(rig.image_path(A)).unwrap();
    if let Ok(device) = fs::OpenOptions::new().write(true).open(format!("/dev/{name}")) {
        assert!(device.write_all_at(&[7; 4096], 0).and_then(|()| device.sync_all()).is_err());
    }
    assert!(fs::read(rig.image_path(A)).unwrap() == before);
    rig.detach(A, 2, Device::Incoming);
    assert_eq!(rig.attach(A, 2, incoming(true)), Outcome::Done);
    let name = node(&mut rig, 2, Device::Incoming);
    assert_eq!(fs::read_to_string(format!("/sys/block/{name}/ro")).unwrap().trim(), "0");
}

#[test]
fn l20_no_loop_device_is_scanned_for_partitions() {
    let Some(mut rig) = rig() else { return };
    rig.create(A, 40);
    // An MBR with one partition, as a guest may write it.
    let image = fs::OpenOptions::new().write(true).open(rig.image_path(A)).unwrap();
    let mut sector = [0_u8; 512];
    sector[450] = 0x0C;
    sector[454] = 8;
    sector[458] = 64;
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    image.write_all_at(&sector, 0).unwrap();
    rig.attach(A, 1, Attachment::Outgoing);
    let name = node(&mut rig, 1, Device::Outgoing);
    assert_eq!(fs::read_to_string(format!("/sys/block/{name}/loop/partscan")).unwrap().trim(), "0");
    assert!(!fs::exists(format!("/sys/block/{name}/{name}p1")).unwrap());
}

#[test]
fn l6_detach_waits_until_the_kernel_has_let_go_of_the_loop_device() {
    let Some(mut rig) = rig() else { return };
    rig.create(A, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    rig.kernel.clings = true;
    let id = rig.give(Order::Detach { image: A, domid: domid(1), device: Device::Outgoing });
    assert!(!rig.is_answered_within(id, Duration::from_millis(400)));
    // The nodes are gone, the image is not free.
    assert!(rig.kernel.back_ends().is_empty());
    assert_eq!(rig.attach(A, 2, incoming(false)), failed(AttachFailure::InUse));
    assert_eq!(rig.destroy(A), failed(AttachFailure::InUse));
    rig.kernel.clings = false;
    assert_eq!(rig.answer(id), Outcome::Done);
    assert!(rig.bound_loops().is_empty());
}

#[test]
fn the_kernel_unbinds_the_loop_device_of_a_back_end_that_closes_by_itself() {
    let Some(mut rig) = rig() else { return };
    rig.create(A, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    let name = node(&mut rig, 1, Device::Outgoing);
    let autoclear = || fs::read_to_string(format!("/sys/block/{name}/loop/autoclear")).unwrap().trim() == "1";
    assert!(!autoclear());
    rig.kernel.set_mood(1, Mood::Silent);
    let id = rig.give(Order::Detach { image: A, domid: domid(1), device: Device::Outgoing });
    while !autoclear() {
        assert!(!rig.is_answered_within(id, Duration::from_millis(10)));
    }
    // Not only when the nodes are removed; and until it is closed it goes on working for who has it open.
    assert_eq!(rig.kernel.look(1, Device::Outgoing).unwrap().state, "5");
    assert_eq!(rig.bound_loops(), [A.to_string()]);
    rig.kernel.set_mood(1, Mood::Willing);
    assert_eq!(rig.answer(id), Outcome::Done);
    assert!(rig.bound_loops().is_empty());
}

#[test]
fn l6_a_loop_device_that_is_never_let_go_fails_the_detach() {
    let Some(mut rig) = rig() else { return };
    rig.create(A, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    rig.kernel.clings = true;
    assert_eq!(rig.detach(A, 1, Device::Outgoing), failed(AttachFailure::Io));
    let holder = Some((domid(1), Device::Outgoing));
    assert_eq!(rig.inventory(), [InventoryItem { image: A, holder }]);
    rig.kernel.clings = false;
    assert_eq!(rig.detach(A, 1, Device::Outgoing), Outcome::Done);
    assert_eq!(rig.destroy(A), Outcome::Done);
}

#[test]
fn a_silent_guest_keeps_no_loop_device() {
    let Some(mut rig) = rig() else { return };
    rig.kernel.set_mood(1, Mood::Silent);
    rig.create(A, 40);
    for _ in 0..3 {
        assert_eq!(rig.attach(A, 1, Attachment::Outgoing), failed(AttachFailure::GuestSilent));
        assert!(rig.bound_loops().is_empty());
    }
}

#[test]
fn without_a_free_loop_device_nothing_is_attached() {
    let Some(mut rig) = rig() else { return };
    for image in [A, B, C] {
        rig.create(image, 40);
    }
    rig.attach(A, 1, Attachment::Outgoing);
    rig.attach(B, 2, Attachment::Outgoing);
    assert_eq!(rig.attach(C, 2, incoming(false)), failed(AttachFailure::NoLoopDevice));
    assert_eq!(rig.kernel.back_ends().len(), 2);
    rig.detach(A, 1, Device::Outgoing);
    assert_eq!(rig.attach(C, 2, incoming(false)), Outcome::Done);
}

#[test]
fn after_sigkill_loop_devices_are_found_again_or_released() {
    let Some(mut rig) = rig() else { return };
    rig.create(A, 40);
    rig.create(B, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    rig.attach(B, 2, Attachment::Outgoing);
    rig.kill();
    // Of one device only the loop device is left, as if the attacher had been killed just then.
    let list = xenstore::path::BackendListPath::of(domid(2));
    rig.kernel.client.rm(&list).unwrap();
    rig.kernel.play();
    rig.start();
    let holder = Some((domid(1), Device::Outgoing));
    let items = [InventoryItem { image: B, holder: None }, InventoryItem { image: A, holder }];
    assert_eq!(rig.inventory(), items);
    assert_eq!(rig.bound_loops(), [A.to_string()]);
    assert_eq!(rig.detach(A, 1, Device::Outgoing), Outcome::Done);
    assert!(rig.bound_loops().is_empty());
}

/// One of the known limits: what it holds may be anything, so nothing is done before it is free.
#[test]
fn a_loop_device_that_stays_busy_keeps_the_attacher_from_starting_until_it_is_free() {
    let Some(mut rig) = rig() else { return };
    rig.create(A, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    rig.kernel.clings = true;
    rig.kill();
    rig.kernel.client.rm(&xenstore::path::BackendListPath::of(domid(1))).unwrap();
    assert!(rig.start_in_vain().iter().any(|line| line.starts_with("the attacher ends: taking stock")));
    rig.kernel.clings = false;
    rig.kernel.play();
    rig.start();
    assert_eq!(rig.inventory(), [InventoryItem { image: A, holder: None }]);
    assert!(rig.bound_loops().is_empty());
}

#[test]
fn the_devices_of_a_destroyed_domain_are_released() {
    let Some(mut rig) = rig() else { return };
    rig.create(A, 40);
    rig.attach(A, 1, Attachment::Outgoing);
    rig.store.remove_domain(domid(1));
    rig.kernel.set_mood(1, Mood::Silent);
    assert_eq!(rig.order(Order::ForgetDomain { domid: domid(1) }), Outcome::Done);
    assert!(rig.kernel.back_ends().is_empty());
    assert!(rig.bound_loops().is_empty());
}

#[test]
fn what_the_kernel_writes_after_the_removal_is_removed_too() {
    let Some(mut rig) = rig() else { return };
    rig.kernel.set_mood(1, Mood::Teasing);
    rig.create(A, 40);
    rig.kernel.writes_late = true;
    assert_eq!(rig.attach(A, 1, Attachment::Outgoing), failed(AttachFailure::GuestSilent));
    assert!(!rig.kernel.writes_late);
    assert!(rig.kernel.back_ends().is_empty());
    assert!(rig.bound_loops().is_empty());
    // Even where it was written later still.
    let late = VbdPath::new(domid(1), Device::Outgoing).back_node(BackNode::DiscardEnable);
    rig.kernel.client.write(&late, b"0").unwrap();
    rig.kernel.set_mood(1, Mood::Willing);
    assert_eq!(rig.attach(A, 1, Attachment::Outgoing), Outcome::Done);
    assert_eq!(rig.detach(A, 1, Device::Outgoing), Outcome::Done);
    rig.kernel.client.write(&late, b"0").unwrap();
    assert_eq!(rig.order(Order::ForgetDomain { domid: domid(1) }), Outcome::Done);
    assert!(rig.kernel.back_ends().is_empty());
}
