//! What dom0's kernel must have for the daemon.

use crate::host::Lab;

/// Debian's list of security modules has Landlock; this one replaces it.
pub const WITHOUT_LANDLOCK: &str = "lsm=yama";

/// What the daemon says then.
const REASON: &str = "a kernel with Landlock ABI 2 (Linux 5.19) is needed, with lsm=landlock";
/// How long it may take to give up, in seconds.
const GIVING_UP_S_MAX: u32 = 120;

/// What a daemon at work has: processes, loop devices, sockets at which it listens, nodes in xenstore.
const AT_WORK: &str = "readlink /proc/[0-9]*/exe | grep qfilexchg; losetup -a; \
                       awk '$4 == \"00010000\" { print $8 }' /proc/net/unix; xenstore-ls -f -p /";

/// Where its processes cannot be confined, the daemon ends instead of serving with less, says why, and leaves nothing.
pub fn landlock_is_required(lab: &mut Lab) {
    let modules = lab.dom0("mount -t securityfs none /sys/kernel/security && cat /sys/kernel/security/lsm");
    assert!(modules.contains("yama") && !modules.contains("landlock"), "{modules}");
    let before = lab.dom0(AT_WORK);
    let ran = lab.try_dom0(&format!("timeout {GIVING_UP_S_MAX} qfilexchgd 2>&1 < /dev/null"));
    assert!(!ran.stdout.contains("requests are served"), "{}", ran.stdout);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.stdout.contains(REASON), "{}", ran.stdout);
    // What cannot become better is not tried again.
    assert_eq!(ran.stdout.matches("broker (process").count(), 1, "{}", ran.stdout);
    assert_eq!(lab.left(), "");
    assert_eq!(lab.dom0(AT_WORK), before);
}
