//! The daemon is killed, with all of its processes, at the steps of a transfer, and started again.

use super::copy::{MAKE_TREE, SUMS};
use super::mounts::{NO_TOOLS, TOOLS_AGAIN};
use crate::host::Lab;

/// Kills it, looks whether anything of it still runs, and starts it.
fn again(lab: &mut Lab) {
    lab.kill_daemon();
    lab.wait_for("the end of the workers", |lab| {
        lab.try_dom0("pidof broker xs-monitor xs-gate attacher control qfilexchgd").code != 0
    });
    lab.restart_daemon();
}

/// At each step where the daemon waits for somebody: what was permitted is completed, everything else undone.
pub fn killed_while_it_waits(lab: &mut Lab) {
    lab.start_daemon("");
    lab.guest("g2", NO_TOOLS);
    // With a pendrive at the sender, and a question open.
    assert_eq!(lab.request("g1", "new 64 #n"), "ok xvdg");
    lab.guest(
        "g1",
        "mount -t vfat /dev/xvdg /mnt/outgoing && echo kept > /mnt/outgoing/x && umount /mnt/outgoing",
    );
    again(lab);
    lab.write_request("g1", "send g2 #s1");
    let _ = lab.question();
    again(lab);
    assert!(lab.final_reply("g1", "s1").starts_with("failed"), "no yes is carried over");
    // With the pendrive at the receiver.
    lab.write_request("g1", "send g2 #s2");
    let question = lab.question();
    lab.answer(question, true);
    assert_eq!(lab.final_reply("g1", "s2"), "ok done");
    again(lab);
    assert_eq!(
        lab.guest("g2", "mount -t vfat -o ro /dev/xvdh /mnt/incoming && cat /mnt/incoming/x"),
        "kept\n"
    );
    lab.guest("g2", "umount /mnt/incoming");
    assert_eq!(lab.request("g2", "umount #u"), "ok done");
    lab.wait_until_clean();
    lab.guest("g2", TOOLS_AGAIN);
}

/// At any moment of a permitted transfer: the tool gets an answer, and nothing leaks.
pub fn killed_while_it_works(lab: &mut Lab) {
    lab.start_daemon("copy g1 g2 allow\n");
    let sums = lab.user("g1", &format!("{MAKE_TREE}; {SUMS}"));
    for hundredths in [0, 15, 30, 50, 80, 120] {
        let copy = lab.start_as_user("g1", "qvm-copy-to-vm --timeout 60 g2 tree");
        lab.dom0(&format!("usleep {hundredths}0000"));
        again(lab);
        let ran = copy.finish();
        assert!(ran.code == 0 || !ran.stderr.is_empty(), "after {hundredths}/100 s: silence");
        // A sender keeps what was not sent: the next copy overwrites it. What was sent may still be read in g2.
        lab.wait_for("a copy after the restart", |lab| {
            lab.start_as_user("g1", "qvm-copy-to-vm --reuse g2 tree || qvm-copy-to-vm g2 tree").finish().code
                == 0
        });
        lab.wait_until_clean();
        let trees = lab.guest("g2", "ls -d /home/user/QubesIncoming/g1/*/tree");
        for tree in trees.lines() {
            assert_eq!(lab.guest("g2", &format!("cd {tree}/.. && {SUMS}")), sums, "{tree}");
        }
        // All of a guest is in its memory: a full one would rightly leave the next pendrive where it is.
        lab.guest("g2", "rm -r /home/user/QubesIncoming/g1");
    }
}
