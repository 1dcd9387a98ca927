//! A large file from guest to guest.

use super::table::{self, Times};
use super::{FEW_ROUNDS, RULE, inside, of_guest, watched};
use crate::host::Lab;

/// What is copied, in MiB.
const COPY_MIB: u64 = 64;
/// What the guests need for it, who have nothing but memory: half of it is for files.
const ROOMY_MIB: u32 = 512;

/// Our tools on both sides against `dd`, through the same devices.
pub fn run(lab: &mut Lab) {
    for guest in ["g1", "g2"] {
        lab.destroy(guest);
        lab.create_with(guest, ROOMY_MIB);
    }
    lab.start_daemon("copy * * allow\n");
    lab.guest(
        "g1",
        &format!(
            "dd if=/dev/urandom of=/home/user/big bs=1M count={COPY_MIB} 2> /dev/null && chown user: /home/user/big"
        ),
    );
    assert_eq!(lab.guest("g1", "stat -c %s /home/user/big").trim(), (COPY_MIB << 20).to_string());
    let second = lab.domid("g2");
    let nodes = [("g1", "device/qpen"), ("g2", "device/qpen"), ("g2", "qpen/reply")]
        .map(|(guest, node)| of_guest(lab, guest, node));
    let mut ours = Times::new("64 MiB from guest to guest, qvm-copy-to-vm to given back");
    let mut dd = Times::new("  dd to and from the same devices");
    for round in 0..FEW_ROUNDS {
        let script = inside(lab, "g1", "su user -c 'cd; qvm-copy-to-vm g2 big'");
        let end = format!("{second}/qpen/reply= ok");
        let seen = watched(lab, &nodes, &end, &script);
        let last = seen.0.last().map(|event| event.after).unwrap_or_default();
        ours.add(last - seen.at("device/qpen", "new"));
        let sums = "cat /home/user/QubesIncoming/g1/*/big | sha256sum; rm -r /home/user/QubesIncoming";
        assert_eq!(lab.guest("g2", sums), lab.guest("g1", "sha256sum < /home/user/big"));

        lab.guest("g2", &format!("mv {RULE} /run/hidden.rules; udevadm control --reload"));
        let reader = format!(
            "(udevadm wait --timeout=90 /dev/xvdh && dd if=/dev/xvdh of=/home/user/copy bs=1M count={COPY_MIB} && \
             sync && xenstore-write device/qpen 'umount #du{round}') > /dev/null 2>&1 &"
        );
        lab.guest("g2", &reader);
        let writer = format!(
            "xenstore-write device/qpen 'new 96 #dn{round}' && udevadm wait --timeout=90 /dev/xvdg && \
             dd if=/home/user/big of=/dev/xvdg bs=1M conv=fsync && xenstore-write device/qpen 'send g2 #ds{round}'"
        );
        let end = format!("{second}/qpen/reply=du{round} ok");
        let seen = watched(lab, &nodes, &end, &inside(lab, "g1", &writer));
        dd.add(seen.at("qpen/reply", &format!("du{round} ok")) - seen.at("device/qpen", "new"));
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
    for guest in ["g1", "g2"] {
        lab.destroy(guest);
        lab.create(guest);
    }
}
