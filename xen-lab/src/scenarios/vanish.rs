//! Guests that do not cooperate, or go away.

use super::copy::{MAKE_TREE, SUMS, received};
use super::mounts::{NO_TOOLS, TOOLS_AGAIN};
use crate::host::Lab;

/// A VM that goes away while it holds a pendrive, or while it is about to get one.
pub fn guests_are_destroyed(lab: &mut Lab) {
    lab.start_daemon("");
    // The receiver, while the person is asked: the sender keeps its pendrive.
    assert_eq!(lab.request("g1", "new 64 #n1"), "ok xvdg");
    lab.write_request("g1", "send g2 #s1");
    let _ = lab.question();
    lab.destroy("g2");
    assert!(lab.final_reply("g1", "s1").starts_with("failed"));
    assert!(lab.left().contains("51808"));
    // The sender, with the pendrive mounted.
    lab.guest("g1", "mount -t vfat /dev/xvdg /mnt/outgoing && echo x > /mnt/outgoing/x");
    lab.destroy("g1");
    lab.wait_until_clean();
    // The receiver, with the pendrive that arrived.
    lab.create("g1");
    lab.create("g2");
    lab.guest("g2", NO_TOOLS);
    assert_eq!(lab.request("g1", "new 64 #n2"), "ok xvdg");
    lab.write_request("g1", "send g2 #s2");
    let question = lab.question();
    lab.answer(question, true);
    assert_eq!(lab.final_reply("g1", "s2"), "ok done");
    lab.guest("g2", "dd if=/dev/xvdh of=/dev/null bs=1M count=1 2>/dev/null");
    lab.destroy("g2");
    lab.wait_until_clean();
}

/// A paused sender cannot close its device: it is taken away after `close_ms_max`, and the receiver gets it whole.
pub fn a_paused_sender_loses_its_device(lab: &mut Lab) {
    lab.start_daemon("copy g1 g2 allow\n");
    assert_eq!(lab.request("g1", "new 64 #n"), "ok xvdg");
    lab.guest("g1", "mount -t vfat /dev/xvdg /mnt/outgoing && mkdir /mnt/outgoing/tree && echo here > /mnt/outgoing/tree/f && umount /mnt/outgoing");
    let domid = lab.domid("g1");
    let send = lab.unique("send g2 #s");
    lab.dom0(&format!("xl pause g1; xenstore-write /local/domain/{domid}/device/qpen '{send}'"));
    let got = received(lab, "g2", "g1");
    assert_eq!(got.lines().count(), 1, "{got}");
    lab.wait_until_clean();
    lab.dom0("xl unpause g1");
    assert_eq!(lab.final_reply("g1", "s"), "ok done");
    // The guest finds that the device is gone, and can have another.
    lab.wait_for("no xvdg", |lab| lab.try_guest("g1", "[ -b /dev/xvdg ]").code != 0);
    assert_eq!(lab.request("g1", "new 64 #again"), "ok xvdg");
    lab.guest("g1", "mount -t vfat /dev/xvdg /mnt/outgoing && umount /mnt/outgoing");
    lab.destroy("g1");
    lab.wait_until_clean();
}

/// A paused receiver does not connect in time: the sender is told, nothing is left.
pub fn a_paused_receiver_gets_nothing(lab: &mut Lab) {
    lab.start_daemon("copy g1 g2 allow\n");
    assert_eq!(lab.request("g1", "new 64 #n"), "ok xvdg");
    lab.dom0("xl pause g2");
    lab.write_request("g1", "send g2 #s");
    assert!(lab.final_reply("g1", "s").starts_with("failed"));
    lab.wait_until_clean();
    lab.dom0("xl unpause g2");
    lab.user("g1", &format!("{MAKE_TREE}; {SUMS} > sums; qvm-copy-to-vm g2 tree"));
    let got = received(lab, "g2", "g1");
    assert_eq!(lab.user("g1", "cat sums"), got);
    lab.wait_until_clean();
}

/// A sender that writes while it sends: what it holds open fails, and the receiver gets what was there.
pub fn a_mounted_device_is_taken_all_the_same(lab: &mut Lab) {
    lab.start_daemon("copy g1 g2 allow\n");
    lab.guest("g2", NO_TOOLS);
    assert_eq!(lab.request("g1", "new 64 #n"), "ok xvdg");
    lab.guest("g1", "mount -t vfat /dev/xvdg /mnt/outgoing && echo x > /mnt/outgoing/x && sync");
    let writer = lab
        .start_in("g1", "while dd if=/dev/zero of=/mnt/outgoing/big bs=64k count=100 conv=fsync; do :; done");
    assert_eq!(lab.request("g1", "send g2 #s"), "ok done");
    assert_eq!(writer.finish().code, 0);
    lab.guest("g1", "umount /mnt/outgoing");
    // It is at one guest only, and read-only there.
    let left = lab.left();
    let (sender, receiver) = (lab.domid("g1"), lab.domid("g2"));
    assert!(left.contains(&format!("back end {receiver} 51824")), "{left}");
    assert!(!left.contains(&format!("back end {sender} ")), "{left}");
    lab.guest("g2", "mount -t vfat -o ro /dev/xvdh /mnt/incoming && grep -q x /mnt/incoming/x");
    // The same for the receiver: dom0 takes it while it is mounted.
    assert_eq!(lab.request("g2", "umount #u"), "ok done");
    lab.guest("g2", "umount /mnt/incoming");
    lab.wait_until_clean();
    lab.guest("g2", TOOLS_AGAIN);
}

/// A guest without a driver for the device: the attach fails in time, and the next one works.
pub fn an_unplugged_front_end_is_no_harm(lab: &mut Lab) {
    lab.start_daemon("");
    let disk = "vbd-51824";
    // Only one device of the driver can be unplugged, since the disk of tools is in use: the key is denied to it.
    lab.guest(
        "g1",
        &format!("[ ! -e /sys/bus/xen/devices/{disk} ] && echo 0 > /sys/bus/xen/drivers_autoprobe"),
    );
    assert!(lab.request("g1", "new 64 #n1").starts_with("failed"));
    lab.wait_until_clean();
    lab.guest("g1", "echo 1 > /sys/bus/xen/drivers_autoprobe");
    assert_eq!(lab.request("g1", "new 64 #n2"), "ok xvdg");
    lab.destroy("g1");
    lab.wait_until_clean();
}
