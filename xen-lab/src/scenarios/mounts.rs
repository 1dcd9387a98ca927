//! As the users of 2010 had it: the guests' kernels mount the pendrives.

use super::copy::{MAKE_TREE, SUMS};
use crate::host::Lab;

/// Lets a guest's tools mount, as its administrator would.
const ALLOW_MOUNTS: &str = "cat /usr/share/qfilexchg/fstab.qfilexchg-vm > /etc/fstab";
/// What `vm.toml` is again afterwards.
const SETTINGS: &str = "/etc/qfilexchg/vm.toml";

/// The sender copies into /mnt/outgoing; the receiver has it at /mnt/incoming until its user unmounts it.
pub fn both_kernels_mount(lab: &mut Lab) {
    lab.start_daemon("copy g1 g2 allow\n");
    for guest in ["g1", "g2"] {
        lab.guest(guest, ALLOW_MOUNTS);
    }
    lab.guest("g2", &format!("cp {SETTINGS} /tmp/kept && echo 'incoming = \"mount\"' >> {SETTINGS}"));
    let sent = lab.user("g1", &format!("{MAKE_TREE}; {SUMS}"));
    lab.user("g1", "qvm-copy-to-vm --mode mount g2 tree");
    lab.wait_for("the mount", |lab| lab.guest("g2", "cat /proc/mounts").contains(" /mnt/incoming "));
    let mount = lab.guest("g2", "grep /mnt/incoming /proc/mounts");
    for option in ["/dev/xvdh", " vfat ", "ro,", "nosuid", "nodev", "noexec"] {
        assert!(mount.contains(option), "{option}: {mount}");
    }
    assert_eq!(lab.guest("g2", &format!("cd /mnt/incoming && {SUMS}")), sent);
    lab.guest("g2", "umount /mnt/incoming");
    lab.wait_until_clean();
    lab.guest("g2", &format!("cp /tmp/kept {SETTINGS}"));
}

/// Puts our udev rule that starts the receiving script aside.
pub const NO_TOOLS: &str = "mv /usr/lib/udev/rules.d/71-qfilexchg-vm.rules /tmp && udevadm control --reload";
/// Puts it back.
pub const TOOLS_AGAIN: &str =
    "mv /tmp/71-qfilexchg-vm.rules /usr/lib/udev/rules.d && udevadm control --reload";

/// Only what any guest has: a xenstore client, mount, cp, umount.
pub fn guests_without_our_tools(lab: &mut Lab) {
    lab.start_daemon("copy g1 g2 allow\n");
    lab.guest("g2", NO_TOOLS);
    let sent = lab.guest("g1", &format!("mkdir -p /tmp/out && cd /tmp/out && {MAKE_TREE}; {SUMS}"));
    lab.write_request("g1", "new");
    lab.wait_for("xvdg", |lab| lab.try_guest("g1", "[ -b /dev/xvdg ]").code == 0);
    lab.guest(
        "g1",
        "mount -t vfat -o utf8 /dev/xvdg /mnt/outgoing && cp -r /tmp/out/tree /mnt/outgoing && umount /mnt/outgoing",
    );
    lab.write_request("g1", "send g2");
    lab.wait_for("xvdh", |lab| lab.try_guest("g2", "[ -b /dev/xvdh ]").code == 0);
    assert_eq!(lab.guest("g2", "xenstore-read qubes_blocksrc qubes_transaction_seq"), "g1\n0\n");
    let got = lab.guest(
        "g2",
        &format!(
            "mount -t vfat -o ro,utf8 /dev/xvdh /mnt/incoming && mkdir -p /tmp/got && \
             cp -r /mnt/incoming/tree /tmp/got && umount /mnt/incoming && cd /tmp/got && {SUMS}"
        ),
    );
    assert_eq!(got, sent);
    lab.write_request("g2", "umount");
    lab.wait_until_clean();
    lab.guest("g1", "rm -r /tmp/out");
    lab.guest("g2", &format!("rm -r /tmp/got; {TOOLS_AGAIN}"));
}
