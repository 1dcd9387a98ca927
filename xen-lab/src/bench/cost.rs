//! What one request costs dom0, with few guests and with many.

use crate::host::{GUEST_MIB, Lab};

/// Requests in each measurement.
const REQUESTS: u32 = 100;
/// Numbers of guests; after them, as many as there is memory for.
const GUESTS: [usize; 2] = [2, 8];
/// What is left over when there is room for no other guest, in MiB.
const SPARE_MIB: u32 = 64;
/// Processes of the daemon, and xenstored for comparison.
const PROCESSES: [&str; 5] = ["xs-gate", "xs-monitor", "broker", "attacher", "xenstored"];

/// Measures and prints.
pub fn run(lab: &mut Lab) {
    println!("\nprocessor time in dom0 for one request that is refused, in microseconds");
    print!("{:>8}", "guests");
    PROCESSES.iter().for_each(|name| print!("{name:>12}"));
    println!();
    lab.start_daemon("");
    for count in GUESTS {
        while lab.guests().len() < count {
            lab.create(&format!("g{}", lab.guests().len() + 1));
        }
        measure(lab);
    }
    while free_mib(lab) > GUEST_MIB + SPARE_MIB {
        lab.create(&format!("g{}", lab.guests().len() + 1));
    }
    measure(lab);
    lab.end_daemon();
}

fn free_mib(lab: &mut Lab) -> u32 {
    lab.dom0("xl info free_memory").trim().parse().unwrap()
}

fn measure(lab: &mut Lab) {
    let before = PROCESSES.map(|name| spent_us(lab, name));
    let domid = lab.domid("g1");
    let count = lab.guests().len();
    lab.guest(
        "g1",
        &format!(
            "for n in $(seq {REQUESTS}); do xenstore-write device/qpen \"nonsense #c{count}-$n\"; \
             until xenstore-read qpen/reply | grep -q \"^c{count}-$n \"; do :; done; done"
        ),
    );
    let after = PROCESSES.map(|name| spent_us(lab, name));
    print!("{count:>8}");
    for (before, after) in before.iter().zip(after) {
        print!("{:>12}", (after - before) / u64::from(REQUESTS));
    }
    println!();
    let last = lab.dom0(&format!("xenstore-read /local/domain/{domid}/qpen/reply"));
    assert!(last.starts_with(&format!("c{count}-{REQUESTS} invalid")), "{last}");
}

/// Processor time of a process so far, in microseconds (proc(5), schedstat: nanoseconds come first).
fn spent_us(lab: &mut Lab, name: &str) -> u64 {
    let script = format!(
        "for d in /proc/[0-9]*; do read -r n < $d/comm 2>/dev/null || continue; \
         [ \"$n\" = {name} ] && cat $d/schedstat; done; true"
    );
    let said = lab.dom0(&script);
    let spent: Vec<u64> = said.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    assert_eq!(spent.len(), 1, "{name}: {said}");
    spent[0] / 1000
}
