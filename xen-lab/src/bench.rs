//! `cargo xtask xen-bench`: how long things take on a real host, each beside what one would do without the product, in
//! the same dom0 and the same run. The emulator is slow, and so are both: the ratios count.

mod cost;
mod table;

use std::time::Duration;

use crate::LabError;
use crate::clock::Event;
use crate::host::Lab;
use crate::machine::Options;
use crate::product::Product;
use crate::scenarios::disposable;
use table::Times;

/// How often each thing is measured.
const ROUNDS: usize = 5;
/// The same for what takes long.
const FEW_ROUNDS: usize = 3;
/// Size of the pendrives that are compared, in MiB.
const SIZE_MIB: u32 = 64;
/// What is copied, in MiB.
const COPY_MIB: u32 = 64;
/// Memory of the machine in MiB: room for many guests.
const MEMORY_MIB: u32 = 4096;
/// How many times faster than the toolstack `new` and `send` are to be.
const AIM: f64 = 12.0;
/// Nodes that tell how far a transfer is.
const WANTED: &str = "device/qpen qpen/reply data/seen data/opened /state /name lab-done";
/// The image of the original's commands.
const ORIGINAL: &str = "/var/lib/xen/original.img";
/// What the receiver's udev starts by itself.
const RULE: &str = "/usr/lib/udev/rules.d/71-qfilexchg-vm.rules";

/// What happened in one measurement.
struct Timeline(Vec<Event>);

impl Timeline {
    /// When a node that ends so first held a value that begins so.
    fn at(&self, path: &str, value: &str) -> Duration {
        let found = self.0.iter().find(|event| event.path.ends_with(path) && event.value.starts_with(value));
        found.unwrap_or_else(|| panic!("{path} never held {value}: {:?}", self.0)).after
    }

    /// The same for the state of a guest's back end.
    fn back_end(&self, domid: u32, devid: u32, state: &str) -> Duration {
        self.at(&format!("/backend/vbd/{domid}/{devid}/state"), state)
    }
}

/// Runs a script in dom0, and watches xenstore until a node that ends in `end` holds a value.
fn watched(lab: &mut Lab, end: &str, script: &str) -> Timeline {
    let quoted = script.replace('\'', r"'\''");
    let said = lab.dom0(&format!("exec lab-agent clock '{end}' '{quoted}' {WANTED}"));
    Timeline(said.lines().filter_map(Event::parse).collect())
}

/// A command for dom0 that runs a script in a guest.
fn inside(lab: &Lab, guest: &str, script: &str) -> String {
    format!("lab-agent in {} \"{}\" > /dev/null", lab.domid(guest), script.replace('"', "\\\""))
}

/// Has a guest say when it sees a device.
fn awaits(lab: &mut Lab, guest: &str, device: &str, mark: &str) {
    let script = format!(
        "(udevadm wait --timeout=90 /dev/{device} && xenstore-write data/seen {mark}) > /dev/null 2>&1 &"
    );
    lab.guest(guest, &script);
}

/// Measures everything and prints it.
///
/// # Errors
/// There is no lab.
pub fn run(product: &Product, options: &Options) -> Result<(), LabError> {
    let options = Options { memory_mib: MEMORY_MIB, save: false, resume: false, ..options.clone() };
    let mut lab = Lab::start(product, &options)?;
    lab.reset();
    devices(&mut lab);
    copies(&mut lab);
    documents(&mut lab);
    cost::run(&mut lab);
    Ok(())
}

fn devices(lab: &mut Lab) {
    lab.start_daemon("copy * * allow\n");
    let hidden = format!("mv {RULE} /run/hidden.rules; udevadm control --reload");
    lab.guest("g2", &hidden);
    let mut times: [Times; 9] = [
        "new: request to device visible in the guest",
        "  ours: request to back end offered",
        "  the two kernels: offered to connected",
        "  the guest's udev: connected to visible",
        "  truncate, mkfs.vfat, xl block-attach",
        "send: request to device visible in the receiver",
        "  xl block-detach, xl block-attach",
        "umount: request to image gone",
        "  xl block-detach, rm",
    ]
    .map(Times::new);
    for round in 0..ROUNDS {
        let [new, ours, kernels, udev, xl_new, send, xl_send, umount, xl_umount] = &mut times;
        let (first, second) = (lab.domid("g1"), lab.domid("g2"));
        awaits(lab, "g1", "xvdg", &format!("n{round}"));
        let script = inside(lab, "g1", &format!("xenstore-write device/qpen 'new {SIZE_MIB} #n{round}'"));
        let seen = watched(lab, &format!("data/seen=n{round}"), &script);
        let asked = seen.at("device/qpen", "new");
        let (offered, connected) = (seen.back_end(first, 51_808, "1"), seen.back_end(first, 51_808, "4"));
        let visible = seen.at("data/seen", "n");
        new.add(visible - asked);
        ours.add(offered - asked);
        kernels.add(connected - offered);
        udev.add(visible.saturating_sub(connected));

        awaits(lab, "g2", "xvdh", &format!("s{round}"));
        let script = inside(lab, "g1", &format!("xenstore-write device/qpen 'send g2 #s{round}'"));
        let seen = watched(lab, &format!("data/seen=s{round}"), &script);
        send.add(seen.at("data/seen", "s") - seen.at("device/qpen", "send"));

        let script = inside(lab, "g2", &format!("xenstore-write device/qpen 'umount #u{round}'"));
        let seen = watched(lab, &format!("{second}/qpen/reply=u{round} ok"), &script);
        umount.add(seen.at("qpen/reply", &format!("u{round} ok")) - seen.at("device/qpen", "umount"));
        let left = lab.dom0("ls /var/lib/qfilexchgd/images | grep -v ^spare; true");
        assert_eq!(left, "", "the reply comes when the image is gone");

        let disk = |device: &str| format!("'format=raw,vdev={device},access=w,target={ORIGINAL}'");
        awaits(lab, "g1", "xvdg", &format!("N{round}"));
        let script = format!(
            "truncate -s {SIZE_MIB}M {ORIGINAL} && mkfs.vfat {ORIGINAL} > /dev/null && xl block-attach g1 {}",
            disk("xvdg")
        );
        xl_new.add(watched(lab, &format!("data/seen=N{round}"), &script).at("data/seen", "N"));
        awaits(lab, "g2", "xvdh", &format!("S{round}"));
        let script = format!("xl block-detach g1 xvdg && xl block-attach g2 {}", disk("xvdh"));
        xl_send.add(watched(lab, &format!("data/seen=S{round}"), &script).at("data/seen", "S"));
        let script = format!(
            "xl block-detach g2 xvdh && rm {ORIGINAL} && xenstore-write /local/domain/0/lab-done {round}"
        );
        xl_umount.add(watched(lab, &format!("lab-done={round}"), &script).at("lab-done", ""));
    }
    let [new, ours, kernels, udev, xl_new, send, xl_send, umount, xl_umount] = &times;
    table::print(new, &[ours, kernels, udev], xl_new, Some(AIM));
    table::print(send, &[], xl_send, Some(AIM));
    table::print(umount, &[], xl_umount, None);
    lab.guest("g2", &format!("mv /run/hidden.rules {RULE}; udevadm control --reload"));
    lab.end_daemon();
}

fn copies(lab: &mut Lab) {
    lab.start_daemon("copy * * allow\n");
    lab.guest(
        "g1",
        &format!("head -c {COPY_MIB}M /dev/urandom > /home/user/big; chown user: /home/user/big"),
    );
    let second = lab.domid("g2");
    let mut ours = Times::new("64 MiB from guest to guest, qvm-copy-to-vm to given back");
    let mut dd = Times::new("  dd to and from the same devices");
    for round in 0..FEW_ROUNDS {
        let script = inside(lab, "g1", "su user -c 'cd; qvm-copy-to-vm g2 big'");
        let end = format!("{second}/qpen/reply= ok");
        let seen = watched(lab, &end, &script);
        let last = seen.0.last().map(|event| event.after).unwrap_or_default();
        ours.add(last - seen.at("device/qpen", "new"));
        let sums = "cat /home/user/QubesIncoming/g1/*/big | sha256sum; rm -r /home/user/QubesIncoming";
        assert_eq!(lab.guest("g2", sums), lab.guest("g1", "sha256sum < /home/user/big"));

        lab.guest("g2", &format!("mv {RULE} /run/hidden.rules; udevadm control --reload"));
        let reader = format!(
            "(udevadm wait --timeout=90 /dev/xvdh && dd if=/dev/xvdh of=/home/user/copy bs=1M count={COPY_MIB} && \
             sync && xenstore-write device/qpen 'umount #u{round}') > /dev/null 2>&1 &"
        );
        lab.guest("g2", &reader);
        let writer = format!(
            "xenstore-write device/qpen 'new 96 #n{round}' && udevadm wait --timeout=90 /dev/xvdg && \
             dd if=/home/user/big of=/dev/xvdg bs=1M conv=fsync && xenstore-write device/qpen 'send g2 #s{round}'"
        );
        let seen = watched(lab, &format!("{second}/qpen/reply=u{round} ok"), &inside(lab, "g1", &writer));
        dd.add(seen.at("qpen/reply", &format!("u{round} ok")) - seen.at("device/qpen", "new"));
        assert_eq!(
            lab.guest("g2", "sha256sum < /home/user/copy"),
            lab.guest("g1", "sha256sum < /home/user/big")
        );
        lab.guest(
            "g2",
            &format!("rm /home/user/copy; mv /run/hidden.rules {RULE}; udevadm control --reload"),
        );
    }
    table::print(&ours, &[], &dd, None);
    lab.end_daemon();
}

/// From `send disposable` to the document being open.
fn documents(lab: &mut Lab) {
    type Way = fn(&mut Lab);
    let ways: [(&'static str, Way); 2] = [
        ("send disposable to document open, xl create", disposable::by_create),
        ("send disposable to document open, xl restore", disposable::by_restore),
    ];
    for (name, begin) in ways {
        begin(lab);
        lab.guest("g1", "echo 'a draft' > /home/user/letter.txt; chown user: /home/user/letter.txt");
        let parts =
            ["  the toolstack", "  boot, until the device is connected", "  udev, parser, program started"];
        let (mut whole, mut parts) = (Times::new(name), parts.map(Times::new));
        for _ in 0..=FEW_ROUNDS {
            let script = inside(lab, "g1", "su user -c 'cd; qvm-open-in-dvm letter.txt'");
            let seen = watched(lab, "data/opened=", &script);
            disposable::until_disposed(lab);
            let asked = seen.at("device/qpen", "send");
            // The DisposableVM alone has this device.
            let (offered, connected) = (seen.at("/51824/state", "1"), seen.back_end_of_any("4"));
            let opened = seen.at("data/opened", "");
            whole.add(opened - asked);
            let [toolstack, boot, parse] = &mut parts;
            toolstack.add(offered - asked);
            boot.add(connected - offered);
            parse.add(opened - connected);
        }
        // The first one of all made the saved VM.
        whole.drop_first();
        parts.iter_mut().for_each(Times::drop_first);
        let [toolstack, boot, parse] = &parts;
        table::print_alone(&whole, &[toolstack, boot, parse]);
        lab.end_daemon();
    }
}

impl Timeline {
    fn back_end_of_any(&self, state: &str) -> Duration {
        let ends = |event: &&Event| {
            event.path.contains("/backend/vbd/")
                && event.path.ends_with("/51824/state")
                && event.value == state
        };
        self.0.iter().find(ends).unwrap_or_else(|| panic!("never connected: {:?}", self.0)).after
    }
}
