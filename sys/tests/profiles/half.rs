//! A sandbox of which one step fails: the process must not begin its work in what is there of it.

use std::io::Read;

use sys::profile::Profile;
use sys::spawn::Ended;

use crate::probe::WITH_STEP_REFUSED;
use crate::under_profiles::{start, start_supervisor};

pub const TESTS: &[(&str, fn())] = &[
    ("a_worker_of_whose_sandbox_one_step_fails_does_not_begin", a_worker_does_not_begin),
    ("a_supervisor_of_whose_sandbox_one_step_fails_does_not_begin", a_supervisor_does_not_begin),
];

/// The calls of which entering a sandbox consists, each of which the kernel may refuse.
const STEPS: [(&str, i64); 16] = [
    ("close_range", libc::SYS_close_range),
    ("rt_sigaction", libc::SYS_rt_sigaction),
    ("unshare", libc::SYS_unshare),
    ("mount", libc::SYS_mount),
    ("fsopen", libc::SYS_fsopen),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("move_mount", libc::SYS_move_mount),
    ("pivot_root", libc::SYS_pivot_root),
    ("umount2", libc::SYS_umount2),
    ("capset", libc::SYS_capset),
    ("prctl", libc::SYS_prctl),
    ("landlock_create_ruleset", libc::SYS_landlock_create_ruleset),
    ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
    ("prlimit64", libc::SYS_prlimit64),
    ("seccomp", libc::SYS_seccomp),
];

/// What a process with a root of its own needs besides the supervisor's steps.
const OF_WORKERS: [&str; 10] = [
    "unshare",
    "mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "move_mount",
    "pivot_root",
    "umount2",
    "landlock_create_ruleset",
    "landlock_restrict_self",
];

/// From now on the kernel refuses this call to this process, and to what it becomes, with this error: a filter with one
/// rule.
pub fn refuse(number: u32, errno: i32) {
    let filter =
        |code: u32, jf: u8, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap(), jt: 0, jf, k };
    let mut program = [
        filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number),
        filter(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap()),
        filter(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let whole = libc::sock_fprog { len: u16::try_from(program.len()).unwrap(), filter: program.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true).unwrap();
    // SAFETY: the program is valid for its length during the call, in which the kernel copies it.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const whole) };
    assert_eq!(done, 0);
}

/// It ends before it begins. rustix takes it for impossible that a limit cannot be read, and panics.
fn ends_early(step: &str, ended: Ended) -> bool {
    let by_panic = step == "prlimit64" && ended == Ended::Signal(libc::SIGILL);
    by_panic || ended == Ended::Code(i32::from(sys::worker::EXIT_SANDBOX))
}

fn words(number: i64) -> [String; 2] {
    [WITH_STEP_REFUSED.to_owned(), number.to_string()]
}

fn a_worker_does_not_begin() {
    let profiles: [&Profile; 2] = [&sandbox_profiles::XS_MONITOR, &sandbox_profiles::ATTACHER];
    for profile in profiles {
        let of_rules = [("landlock_add_rule", libc::SYS_landlock_add_rule)];
        let has_rules = profile.process == "attacher";
        for (step, number) in STEPS.iter().chain(of_rules.iter().filter(|_| has_rules)) {
            let [act, number] = words(*number);
            let mut probe = start(profile, &[&act, &number]);
            let mut report = [0; 512];
            let count = std::fs::File::from(probe.edge.try_clone().unwrap()).read(&mut report).unwrap_or(0);
            let report = String::from_utf8_lossy(&report[..count]).into_owned();
            let ended = probe.child.wait().unwrap();
            let place = format!("{}: {step}: {ended}: {report}", profile.process);
            assert!(ends_early(step, ended), "{place}");
            // Before it has its descriptors it can tell nobody.
            let is_told = report.contains("cannot enter its sandbox") || report.contains("panic at");
            assert_eq!(is_told, *step != "close_range", "{place}");
            // A report is cut off, and the crate's words for this are long.
            assert_eq!(report.contains("with lsm=landlock"), step.starts_with("landlock"), "{place}");
        }
    }
}

fn a_supervisor_does_not_begin() {
    for (step, number) in STEPS.iter().filter(|(step, _)| !OF_WORKERS.contains(step)) {
        let [act, number] = words(*number);
        let ended = start_supervisor(&[&act, &number]);
        assert!(ends_early(step, ended), "{step}: {ended}");
    }
    // Without a refusal it does.
    let [act, number] = words(libc::SYS_bpf);
    assert_eq!(start_supervisor(&[&act, &number]), Ended::Code(7));
}
