//! Guests that do with their keys whatever xenstored permits.

use super::copy::received;
use crate::host::Lab;

/// The key is made again with its permissions; the guest can neither give it away nor reach another's.
pub fn the_key_comes_back(lab: &mut Lab) {
    lab.start_daemon("");
    let (own, other) = (lab.domid("g1"), lab.domid("g2"));
    let permissions = format!("n0,b{own}");
    let shown = |lab: &mut Lab| {
        lab.dom0(&format!("xenstore-ls -p /local/domain/{own}/device; true"))
            .lines()
            .find(|line| line.trim_start().starts_with("qpen "))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(shown(lab).contains(&permissions));
    for _ in 0..3 {
        lab.guest("g1", "xenstore-rm device/qpen");
        lab.wait_for("the key", |lab| shown(lab).contains(&permissions));
    }
    for attempt in [
        format!("xenstore-chmod device/qpen b{other}"),
        "xenstore-chmod device/qpen n0 b0".to_owned(),
        format!("xenstore-write /local/domain/{other}/device/qpen new"),
        format!("xenstore-read /local/domain/{other}/device/qpen"),
        "xenstore-write qpen/reply 'x ok done'".to_owned(),
        "xenstore-write qubes_blocksrc dom0".to_owned(),
    ] {
        assert_ne!(lab.try_guest("g1", &attempt).code, 0, "{attempt}");
    }
    assert!(shown(lab).contains(&permissions));
    assert_eq!(lab.request("g1", "new 64 #after"), "ok xvdg");
    lab.destroy("g1");
    lab.wait_until_clean();
}

/// Noise of the largest size, over and over, from one guest: the other is served meanwhile, and so is this one after.
pub fn l18_noise_delays_nobody_else(lab: &mut Lab) {
    lab.start_daemon("copy g2 g1 allow\n");
    // An x first, or it could be taken for an option; and no backslash, with which xenstore-write begins an escape.
    // A node's permissions count into xenstored's limit of 2048 bytes: the largest value that it takes is tried out.
    let noise = "{ printf x; head -c 2047 /dev/urandom | tr '\\000\\n\\134' xxx; } > /tmp/noise; size=2048; \
                 until xenstore-write device/qpen \"$(head -c $size /tmp/noise)\"; do \
                     size=$((size-1)); [ $size -gt 1900 ] || exit 1; done; n=0; while [ $n -lt 1000 ]; do \
                 xenstore-write device/qpen \"$(head -c $size /tmp/noise)\" || exit 1; n=$((n+1)); done";
    let flood = lab.start_in("g1", noise);
    lab.user("g2", "mkdir -p tree && echo quiet > tree/note && qvm-copy-to-vm g1 tree");
    let got = received(lab, "g1", "g2");
    assert_eq!(got.lines().count(), 1);
    let flood = flood.finish();
    assert_eq!(flood.code, 0, "the flood was cut off: {}", flood.stderr);
    // The receiving script's request had to compete with its own VM's noise; whatever became of it, this one counts.
    let mut tries = 0;
    lab.wait_for("a served umount", |lab| {
        tries += 1;
        let reply = lab.request("g1", &format!("umount #u{tries}"));
        reply == "ok done" || reply.starts_with("busy")
    });
    lab.wait_until_clean();
    assert_eq!(lab.request("g1", "new 64 #n"), "ok xvdg");
    let log = lab.log();
    assert!(log.len() < 200_000, "{} bytes of log", log.len());
    assert!(log.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "raw bytes in the log");
    lab.destroy("g1");
    lab.wait_until_clean();
}
