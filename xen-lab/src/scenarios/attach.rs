//! The block devices as dom0 and the guests see them, and what each process holds.

use super::mounts::{NO_TOOLS, TOOLS_AGAIN};
use crate::host::Lab;

/// The receiver cannot write, whatever it believes; and nobody in dom0 or in the guests has looked into the image.
pub fn l17_l20_the_receiver_reads_only_and_nobody_scans(lab: &mut Lab) {
    lab.start_daemon("copy g1 g2 allow\n");
    lab.guest("g2", NO_TOOLS);
    assert_eq!(lab.request("g1", "new 64 #n"), "ok xvdg");
    nobody_scanned(lab, "g1", "xvdg");
    assert_eq!(lab.guest("g1", "cat /sys/block/xvdg/ro").trim(), "0");
    assert_eq!(lab.guest("g1", "stat -c %u:%a /dev/xvdg").trim(), "1000:600");
    assert_eq!(lab.request("g1", "send g2 #s"), "ok done");
    nobody_scanned(lab, "g2", "xvdh");
    assert_eq!(lab.guest("g2", "cat /sys/block/xvdh/ro").trim(), "1");
    assert_ne!(lab.try_guest("g2", "dd if=/dev/zero of=/dev/xvdh bs=512 count=1 conv=fsync").code, 0);
    let loops = lab.dom0("losetup -a | grep -v /lab/tools.disk | cut -d: -f1");
    let number = loops.trim().trim_start_matches("/dev/loop").to_owned();
    assert_eq!(lab.dom0(&format!("cat /sys/block/loop{number}/ro")).trim(), "1");
    assert_eq!(lab.request("g2", "umount #u"), "ok done");
    lab.wait_until_clean();
    lab.guest("g2", TOOLS_AGAIN);
}

/// udev knows the devices, and nothing about what is on them.
fn nobody_scanned(lab: &mut Lab, guest: &str, device: &str) {
    lab.guest(guest, "udevadm settle");
    let known = lab.guest(guest, &format!("udevadm info /dev/{device}"));
    assert!(known.contains("UDISKS_IGNORE=1"), "{known}");
    assert!(!known.contains("ID_FS_"), "{known}");
    lab.dom0("udevadm settle");
    let node = lab.dom0("losetup -a | grep -v /lab/tools.disk | cut -d: -f1");
    let known = lab.dom0(&format!("udevadm info {node}"));
    assert!(known.contains("UDISKS_IGNORE=1"), "{known}");
    assert!(!known.contains("ID_FS_") && !known.contains("ID_PART"), "{known}");
}

/// What an earlier run left, of which no journal speaks, is taken away and destroyed.
pub fn what_an_earlier_run_left_is_cleared_away(lab: &mut Lab) {
    lab.start_daemon("");
    assert_eq!(lab.request("g1", "new 64 #n1"), "ok xvdg");
    assert_eq!(lab.request("g2", "new 64 #n2"), "ok xvdg");
    lab.kill_daemon();
    // Without a journal, a request that still stands in the store would be a new one.
    for guest in ["g1", "g2"] {
        lab.guest(guest, "xenstore-write device/qpen ''");
    }
    lab.dom0("rm -r /var/lib/qfilexchgd/journal && xl pause g2");
    lab.restart_daemon();
    lab.wait_until_clean();
    lab.dom0("xl unpause g2");
    // Both can have new ones.
    for guest in ["g1", "g2"] {
        lab.wait_for("no xvdg", |lab| lab.try_guest(guest, "[ -b /dev/xvdg ]").code != 0);
        assert_eq!(lab.request(guest, "new 64 #n3"), "ok xvdg");
        lab.guest(guest, "mount -t vfat /dev/xvdg /mnt/outgoing && umount /mnt/outgoing");
    }
    for guest in ["g1", "g2"] {
        lab.destroy(guest);
    }
    lab.wait_until_clean();
}

/// Each worker has its account and no capability; no process has the hypervisor's device; the attacher has what its card
/// says.
pub fn no_process_reaches_the_hypervisor(lab: &mut Lab) {
    lab.start_daemon("");
    assert_eq!(lab.request("g1", "new 64 #n"), "ok xvdg");
    let mut seen = Vec::new();
    for (name, account) in [
        ("qfilexchgd", "root"),
        ("broker", "qfx-broker"),
        ("xs-monitor", "qfx-monitor"),
        ("xs-gate", "qfx-gate"),
        ("attacher", "qfx-attacher"),
        ("control", "qfx-control"),
    ] {
        let facts = lab.dom0(&format!(
            "pid=$(pidof {name}) && uid=$(id -u {account}) && \
             grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' /proc/$pid/status && echo account $uid && \
             for fd in /proc/$pid/fd/*; do echo \"open $(readlink $fd)\"; done"
        ));
        let field = |name: &str| {
            let line = facts.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().unwrap_or_default().to_owned()
        };
        assert_eq!(field("Uid:"), field("account"), "{name}");
        assert_eq!(field("Seccomp:"), "2", "{name}");
        assert_eq!(field("NoNewPrivs:"), "1", "{name}");
        if name != "qfilexchgd" {
            assert_eq!(field("CapEff:"), "0000000000000000", "{name}");
        }
        let mut open: Vec<&str> = facts.lines().filter_map(|line| line.strip_prefix("open ")).collect();
        open.sort_unstable();
        assert!(
            !open.iter().any(|path| path.contains("privcmd") || path.contains("/dev/xen")),
            "{name}: {open:?}"
        );
        if name == "attacher" {
            seen = open.iter().map(|path| (*path).to_owned()).collect();
        }
    }
    let sockets = seen.iter().filter(|path| path.starts_with("socket:")).count();
    let rest: Vec<&String> =
        seen.iter().filter(|path| !path.starts_with("socket:") && !path.starts_with("/dev/null")).collect();
    println!("the attacher has {sockets} sockets and {rest:?}");
    assert!(
        rest.iter().all(|path| {
            path.starts_with("/var/lib/qfilexchgd/images")
                || path.starts_with("/dev/qfilexchgd")
                || path.starts_with("/memfd:")
        }),
        "{rest:?}"
    );
    lab.destroy("g1");
    lab.wait_until_clean();
}
