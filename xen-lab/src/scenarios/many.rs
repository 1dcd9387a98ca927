//! More than one transfer at a time.

use super::copy::{SUMS, received};
use crate::host::Lab;

/// Both send to each other at once.
pub fn two_in_opposite_directions(lab: &mut Lab) {
    lab.start_daemon("copy * * allow\n");
    let mut sent = Vec::new();
    for guest in ["g1", "g2"] {
        sent.push(
            lab.user(guest, &format!("mkdir tree; head -c 2000000 /dev/urandom > tree/of-{guest}; {SUMS}")),
        );
    }
    let copies = [
        lab.start_as_user("g1", "qvm-copy-to-vm g2 tree"),
        lab.start_as_user("g2", "qvm-copy-to-vm g1 tree"),
    ];
    for copy in copies {
        let ran = copy.finish();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert_eq!(received(lab, "g2", "g1"), sent[0]);
    assert_eq!(received(lab, "g1", "g2"), sent[1]);
    lab.wait_until_clean();
}

/// Ten transfers one behind the other, each while the receiver still has the one before: each waits for its turn after a
/// yes, arrives in a directory of its own, and in order.
pub fn a_queue_of_ten(lab: &mut Lab) {
    lab.start_daemon("copy g1 g2 allow\n");
    let copies = lab.start_as_user(
        "g1",
        "for n in 0 1 2 3 4 5 6 7 8 9; do mkdir -p tree; echo $n > tree/n; qvm-copy-to-vm g2 tree || exit 1; done",
    );
    // The receiver may still be busy with the last one: then the person is asked whether to wait.
    let mut done = false;
    let mut waited = 0;
    lab.wait_for("ten trees", |lab| {
        let questions = lab.dom0("qfilexchgctl questions --json");
        // One that is settled by the receiver's umount meanwhile takes no answer any more.
        if let Some(question) = crate::host::number(&questions) {
            waited += 1;
            let _ = lab.try_dom0(&format!("qfilexchgctl answer {question} yes"));
        }
        let count =
            lab.try_guest("g2", "cat /home/user/QubesIncoming/g1/*/tree/n 2>/dev/null | wc -l").stdout;
        done = count.trim() == "10";
        done
    });
    assert!(done);
    let ran = copies.finish();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let order = lab.guest("g2", "cat /home/user/QubesIncoming/g1/*/tree/n | sort | tr -d '\\n'");
    assert_eq!(order, "0123456789");
    println!("ten transfers, of which {waited} waited for the receiver");
    lab.wait_until_clean();
}
