//! `new`, `send` and `umount` against the original's commands: all rounds of the one, and then all of the other. In turns
//! each would find the emulator, the scheduler and the caches as the other one has left them.

use std::time::Duration;

use super::table::{self, Times};
use super::{RULE, Timeline, awaits, back_end, inside, of_guest, watched};
use crate::host::Lab;

/// How often each thing is measured, after once that does not count: an emulator translates a program when it runs first.
const ROUNDS: usize = 30;
/// The same for the original's commands, which take longer and vary less.
const ORIGINAL_ROUNDS: usize = 9;
/// Size of the pendrives, in MiB: what the daemon makes when nothing else is asked for.
const SIZE_MIB: u32 = 1024;
/// How many times faster than the toolstack `new` and `send` are to be.
const AIM: f64 = 12.0;
/// The image of the original's commands.
const ORIGINAL: &str = "/var/lib/xen/original.img";
/// Where the original's last command says that it is done.
const DONE: &str = "/local/domain/0/lab-done";
/// Numbers of the devices in xenstore.
const XVDG: u32 = 51_808;
const XVDH: u32 = 51_824;

/// The parts of a device's way to a guest.
struct Parts {
    whole: Times,
    ours: Times,
    kernels: Times,
    ready: Times,
}

impl Parts {
    fn new(whole: &'static str, ours: &'static str) -> Self {
        let kernels = "  the kernels: the rest";
        Self {
            whole: Times::without_first(whole),
            ours: Times::without_first(ours),
            kernels: Times::without_first(kernels),
            ready: Times::without_first("  until the guest's udev is done"),
        }
    }

    fn add(&mut self, seen: &Timeline, asked: Duration, ours: Duration) {
        let whole = seen.at("data/seen", "") - asked;
        self.whole.add(whole);
        self.ours.add(ours);
        self.kernels.add(whole - ours);
        self.ready.add(seen.at("data/usable", "") - asked);
    }

    fn print(&self, original: &Original) {
        table::print(&self.whole, &[&self.ours, &self.kernels], &original.seen, Some(AIM));
        table::print(&self.ready, &[], &original.ready, None);
    }
}

/// The original's commands for the same.
struct Original {
    seen: Times,
    ready: Times,
}

impl Original {
    fn new(name: &'static str) -> Self {
        Self {
            seen: Times::without_first(name),
            ready: Times::without_first("  the same commands, until the guest's udev is done"),
        }
    }

    fn add(&mut self, seen: &Timeline) {
        self.seen.add(seen.at("data/seen", ""));
        self.ready.add(seen.at("data/usable", ""));
    }
}

/// Measures and prints.
pub fn run(lab: &mut Lab) {
    lab.start_daemon("copy * * allow\n");
    // Nobody takes the pendrive in.
    lab.guest("g2", &format!("mv {RULE} /run/hidden.rules; udevadm control --reload"));
    let mut new = Parts::new("new: request to device in the guest", "  ours: request to back end offered");
    let mut xl_new = Original::new("  truncate, mkfs.vfat, xl block-attach");
    let mut send = Parts::new(
        "send: request to device in the receiver",
        "  ours: to closing, and from closed to offered",
    );
    let mut xl_send = Original::new("  xl block-detach, xl block-attach");
    let mut umount = Times::without_first("umount: request to image gone");
    let mut xl_umount = Times::without_first("  xl block-detach, rm");
    for round in 0..=ROUNDS {
        new_once(lab, round, &mut new);
        send_once(lab, round, &mut send);
        umount_once(lab, round, &mut umount);
    }
    for round in 0..=ORIGINAL_ROUNDS {
        original_once(lab, round, &mut xl_new, &mut xl_send, &mut xl_umount);
    }
    new.print(&xl_new);
    send.print(&xl_send);
    table::print(&umount, &[], &xl_umount, None);
    lab.guest("g2", &format!("mv /run/hidden.rules {RULE}; udevadm control --reload"));
    lab.end_daemon();
}

/// What tells how far a device is on its way to a guest.
fn nodes(lab: &Lab, asks: &str, gets: &str) -> Vec<String> {
    let (sender, receiver) = (lab.domid("g1"), lab.domid("g2"));
    vec![
        of_guest(lab, asks, "device/qpen"),
        back_end(sender, XVDG),
        back_end(receiver, XVDH),
        of_guest(lab, gets, "data/seen"),
        of_guest(lab, gets, "data/usable"),
    ]
}

fn new_once(lab: &mut Lab, round: usize, new: &mut Parts) {
    awaits(lab, "g1", "xvdg", &format!("n{round}"));
    let script = inside(lab, "g1", &format!("xenstore-write device/qpen 'new {SIZE_MIB} #n{round}'"));
    let seen = watched(lab, &nodes(lab, "g1", "g1"), &format!("data/usable=n{round}"), &script);
    let asked = seen.at("device/qpen", "new");
    let [offered] = seen.changed(lab.domid("g1"), XVDG);
    new.add(&seen, asked, offered - asked);
}

fn send_once(lab: &mut Lab, round: usize, send: &mut Parts) {
    awaits(lab, "g2", "xvdh", &format!("s{round}"));
    let script = inside(lab, "g1", &format!("xenstore-write device/qpen 'send g2 #s{round}'"));
    let seen = watched(lab, &nodes(lab, "g1", "g2"), &format!("data/usable=s{round}"), &script);
    let asked = seen.at("device/qpen", "send");
    let [closing, closed] = seen.changed(lab.domid("g1"), XVDG);
    let [offered] = seen.changed(lab.domid("g2"), XVDH);
    send.add(&seen, asked, (closing - asked) + (offered - closed));
}

fn umount_once(lab: &mut Lab, round: usize, umount: &mut Times) {
    let script = inside(lab, "g2", &format!("xenstore-write device/qpen 'umount #u{round}'"));
    let reply = format!("u{round} ok");
    let nodes = ["device/qpen", "qpen/reply"].map(|node| of_guest(lab, "g2", node));
    let seen = watched(lab, &nodes, &format!("qpen/reply={reply}"), &script);
    umount.add(seen.at("qpen/reply", &reply) - seen.at("device/qpen", "umount"));
    let left = lab.dom0("ls /var/lib/qfilexchgd/images | grep -v ^spare; true");
    assert_eq!(left, "", "the reply comes when the image is gone");
}

fn original_once(lab: &mut Lab, round: usize, new: &mut Original, send: &mut Original, umount: &mut Times) {
    let disk = |device: &str| format!("'format=raw,vdev={device},access=w,target={ORIGINAL}'");
    awaits(lab, "g1", "xvdg", &format!("N{round}"));
    let script = format!(
        "truncate -s {SIZE_MIB}M {ORIGINAL} && mkfs.vfat {ORIGINAL} > /dev/null && xl block-attach g1 {}",
        disk("xvdg")
    );
    new.add(&watched(lab, &nodes(lab, "g1", "g1"), &format!("data/usable=N{round}"), &script));
    awaits(lab, "g2", "xvdh", &format!("S{round}"));
    let script = format!("xl block-detach g1 xvdg && xl block-attach g2 {}", disk("xvdh"));
    send.add(&watched(lab, &nodes(lab, "g1", "g2"), &format!("data/usable=S{round}"), &script));
    let script = format!("xl block-detach g2 xvdh && rm {ORIGINAL} && xenstore-write {DONE} {round}");
    umount.add(watched(lab, &[DONE.to_owned()], &format!("{DONE}={round}"), &script).at(DONE, ""));
}
