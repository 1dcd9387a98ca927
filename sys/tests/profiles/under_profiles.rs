//! What each profile stops, and what the kernel says about a process in it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::profile::{Landlock, Profile, Root};
use sys::spawn::{Account, Child, Ended, Spawn};

use crate::probe::{self, EXIT_HAPPENED, EXIT_REFUSED, READY, has_edge, has_heap};
use crate::{ORDINARY_ID, PROBE, QUICK, acts};

pub const TESTS: &[(&str, fn())] = &[
    ("every_forbidden_act_ends_in_sigsys", every_forbidden_act_ends_in_sigsys),
    ("what_no_filter_can_see_is_refused_by_landlock_and_the_empty_root", what_no_filter_can_see_is_refused),
    ("the_kernel_confirms_the_sandbox_of_a_live_process", the_kernel_confirms_the_sandbox_of_a_live_process),
    ("the_body_of_a_worker_runs_and_its_code_is_passed_on", the_body_runs),
    ("a_panic_is_reported_without_its_text_and_is_no_violation", a_panic_is_reported_without_its_text),
    ("the_end_of_memory_is_reported_and_is_no_violation", the_end_of_memory_is_reported),
    (
        "a_stack_overflow_and_a_memory_fault_are_no_violations",
        a_stack_overflow_and_a_memory_fault_are_no_violations,
    ),
    ("libcs_abort_ends_as_a_violation", libcs_abort_ends_as_a_violation),
    ("memory_can_be_had_up_to_the_limit_and_no_further", memory_can_be_had_up_to_the_limit),
    ("a_missing_descriptor_is_told_by_the_exit_code", a_missing_descriptor_is_told_by_the_exit_code),
    ("a_worker_in_shared_namespaces_does_not_enter", a_worker_in_shared_namespaces_does_not_enter),
    ("everything_holds_without_privileges", everything_holds_without_privileges),
    ("landlock_lets_the_attacher_reach_its_images_and_nothing_beside", landlock_by_descriptor),
    ("a_process_with_a_second_thread_does_not_enter", a_second_thread_is_refused),
    ("a_worker_dies_with_the_process_that_started_it", a_worker_dies_with_its_starter),
    ("the_supervisors_filter_does_not_stop_a_worker", the_supervisors_filter_does_not_stop_a_worker),
    ("the_supervisor_starts_workers_from_within_its_profile", the_supervisor_starts_workers),
    ("the_supervisor_cannot_do_what_no_process_may", the_supervisor_cannot_do_what_no_process_may),
];

/// A started probe, and this side of its edge.
pub struct Probe {
    pub child: Child,
    pub edge: OwnedFd,
    /// How many seccomp filters it is under when it is in its sandbox.
    filters: usize,
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn workers() -> impl Iterator<Item = &'static Profile> {
    sandbox_profiles::ALL.iter().copied().filter(|profile| profile.root == Root::Empty)
}

/// Starts the probe with what its profile lists: directories where landlock rules want them, sockets otherwise.
pub fn start(profile: &Profile, args: &[&str]) -> Probe {
    start_with(profile, args, |spawn| spawn.start().unwrap())
}

fn start_with(profile: &Profile, args: &[&str], how: impl FnOnce(&Spawn<'_>) -> Child) -> Probe {
    start_in(&std::env::temp_dir(), profile, args, how)
}

pub fn start_in(
    directory: &std::path::Path,
    profile: &Profile,
    args: &[&str],
    how: impl FnOnce(&Spawn<'_>) -> Child,
) -> Probe {
    let (edge, far) = edge();
    let directory = File::open(directory).unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let mut descriptors: Vec<BorrowedFd<'_>> = vec![far.as_fd()];
    descriptors.extend(profile.descriptors.iter().skip(1).map(|name| {
        let by_landlock = match profile.landlock {
            Landlock::Rules(rules) => rules.iter().any(|rule| rule.descriptor == *name),
            Landlock::NotForStarters => false,
        };
        if by_landlock { directory.as_fd() } else { null.as_fd() }
    }));
    let program = File::open(std::env::current_exe().unwrap()).unwrap();
    let place = probe::place(profile);
    let filters = filters(std::process::id()) + probe::filters_before_the_profile(args) + 1;
    let args: Vec<&std::ffi::OsStr> =
        std::iter::once(place.as_str()).chain(args.iter().copied()).map(AsRef::as_ref).collect();
    // The nearest test of a change of accounts: only root can, and then the probe must be able to run its program.
    let account = sys::spawn::can_switch_accounts().then_some(Account { uid: ORDINARY_ID, gid: ORDINARY_ID });
    let child = how(&Spawn {
        program: program.as_fd(),
        argv0: PROBE,
        args: &args,
        stdio: [null.as_fd(); 3],
        descriptors: &descriptors,
        account,
        namespaces: profile.namespaces,
    });
    Probe { child, edge, filters }
}

/// How many seccomp filters a process is under.
fn filters(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

pub fn edge() -> (OwnedFd, OwnedFd) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

impl Probe {
    /// The next message, or an empty one at the end.
    fn receive(&mut self) -> Vec<u8> {
        let mut buffer = [0_u8; 512];
        let count = File::from(self.edge.try_clone().unwrap()).read(&mut buffer).unwrap_or(0);
        buffer[..count].to_vec()
    }

    /// Waits until it is in its sandbox: it says so, or the kernel does where it has no edge. The filter of the profile
    /// is the last step.
    pub fn is_ready(&mut self, profile: &Profile) -> bool {
        if has_edge(profile) {
            return self.receive() == READY;
        }
        (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            filters(self.child.pid()) == self.filters
        })
    }

    pub fn end(mut self) -> Ended {
        self.child.wait().unwrap()
    }
}

fn every_forbidden_act_ends_in_sigsys() {
    for profile in workers() {
        for (act, number) in acts::STOPPED {
            let mut probe = start(profile, &[act]);
            // One without an edge may have ended before it could be looked at.
            assert!(!has_edge(profile) || probe.is_ready(profile), "{} {act}", profile.process);
            let ended = probe.end();
            let unconditional =
                profile.syscalls.iter().any(|call| call.number == *number && call.conditions.is_empty());
            assert!(!unconditional, "{}: {act} is allowed with any arguments", profile.process);
            assert!(ended.is_violation(), "{} {act}: {ended}", profile.process);
        }
    }
}

fn what_no_filter_can_see_is_refused() {
    // Beneath a directory of its own, so that a mistake in this test removes nothing.
    let outer = std::env::temp_dir().join(format!("qfilexchg-paths-{}", std::process::id()));
    let inner = outer.join("granted");
    std::fs::create_dir_all(&inner).unwrap();
    if sys::spawn::can_switch_accounts() {
        std::os::unix::fs::chown(&inner, Some(ORDINARY_ID), Some(ORDINARY_ID)).unwrap();
    }
    let mut refused_otherwise = 0;
    for profile in workers() {
        for act in acts::REFUSED {
            let ended = start_in(&inner, profile, &[act], |spawn| spawn.start().unwrap()).end();
            let refused = ended == Ended::Code(i32::from(EXIT_REFUSED));
            refused_otherwise += usize::from(refused);
            assert!(refused || ended.is_violation(), "{} {act}: {ended}", profile.process);
        }
    }
    std::fs::remove_dir_all(&outer).unwrap();
    // The attacher's two and fat-reader's two.
    assert_eq!(refused_otherwise, 4);
}

fn the_kernel_confirms_the_sandbox_of_a_live_process() {
    for profile in workers() {
        let mut probe = start(profile, &["report-and-wait"]);
        assert!(probe.is_ready(profile), "{}", profile.process);
        let proc = format!("/proc/{}", probe.child.pid());
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(field("Name"), profile.process[..profile.process.len().min(15)]);
        assert_eq!(field("Seccomp"), "2");
        assert_eq!(field("NoNewPrivs"), "1");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{} {set}", profile.process);
        }
        assert_eq!(field("Threads"), "1");
        if sys::spawn::can_switch_accounts() {
            assert_eq!(field("Uid"), ORDINARY_ID.to_string());
            assert_eq!(field("Gid"), ORDINARY_ID.to_string());
            assert_eq!(status.lines().find(|line| line.starts_with("Groups:")).unwrap().trim(), "Groups:");
        }
        check_descriptors_root_and_limits(profile, &proc);
        drop(probe.edge);
        if has_edge(profile) {
            assert_eq!(probe.child.wait().unwrap(), Ended::Code(0));
        }
    }
}

fn check_descriptors_root_and_limits(profile: &Profile, proc: &str) {
    let mut open: Vec<u32> = std::fs::read_dir(format!("{proc}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    open.sort_unstable();
    // The one more is the reporter's duplicate of the edge.
    let count = 3 + profile.descriptors.len() + usize::from(has_edge(profile));
    let expected: Vec<u32> = (0..u32::try_from(count).unwrap()).collect();
    assert_eq!(open, expected, "{}", profile.process);
    assert_eq!(std::fs::read_dir(format!("{proc}/root/")).unwrap().count(), 0, "{}", profile.process);
    let mounts = std::fs::read_to_string(format!("{proc}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains(" / / ro,nosuid,nodev,noexec"), "{mounts}");
    for namespace in ["user", "pid", "net", "ipc", "uts", "mnt"] {
        let own = std::fs::read_link(format!("{proc}/ns/{namespace}")).unwrap();
        assert_ne!(own, std::fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap());
    }
    let limits = std::fs::read_to_string(format!("{proc}/limits")).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
}

fn the_body_runs() {
    for profile in workers() {
        assert_eq!(start(profile, &["finish"]).end(), Ended::Code(7), "{}", profile.process);
    }
}

fn a_panic_is_reported_without_its_text() {
    for profile in workers() {
        let mut probe = start(profile, &["panic"]);
        if has_edge(profile) {
            assert!(probe.is_ready(profile));
            let report = String::from_utf8(probe.receive()).unwrap();
            assert!(report.starts_with("panic at ") && report.contains("acts.rs:"), "{report}");
            assert!(!report.contains("quotes"), "{report}");
        }
        let ended = probe.end();
        assert_eq!(ended, Ended::Signal(libc::SIGILL), "{}", profile.process);
        assert!(ended.is_crash() && !ended.is_violation());
    }
}

fn the_end_of_memory_is_reported() {
    for profile in workers() {
        for (act, bytes) in [("out-of-memory", 1_u64 << 40), ("grow", 1 << 20)] {
            let mut probe = start(profile, &[act]);
            if !has_heap(profile) {
                // It has no call to ask for memory with: dvm-parser, which needs none after its start.
                assert!(probe.end().is_violation(), "{} {act}", profile.process);
                continue;
            }
            assert!(probe.is_ready(profile), "{}", profile.process);
            let report = String::from_utf8(probe.receive()).unwrap();
            assert_eq!(report, format!("no memory left for {bytes} bytes"), "{} {act}", profile.process);
            let ended = probe.end();
            assert_eq!(ended, Ended::Signal(libc::SIGILL), "{} {act}", profile.process);
            assert!(ended.is_crash());
        }
    }
}

fn a_stack_overflow_and_a_memory_fault_are_no_violations() {
    for profile in workers() {
        for act in ["overflow", "write-null"] {
            let ended = start(profile, &[act]).end();
            assert_eq!(ended, Ended::Signal(libc::SIGSEGV), "{} {act}", profile.process);
            assert!(ended.is_crash());
        }
    }
}

/// What libc does about a heap that it finds broken, and what the runtime does where a panic cannot be told: no profile
/// grants it, and the end is the same.
fn libcs_abort_ends_as_a_violation() {
    for profile in workers() {
        for act in ["abort", "break-heap"] {
            let ended = start(profile, &[act]).end();
            assert!(ended.is_violation(), "{} {act}: {ended}", profile.process);
        }
    }
}

fn memory_can_be_had_up_to_the_limit() {
    for profile in workers().filter(|profile| has_heap(profile)) {
        let little = start(profile, &["allocate", "16"]).end();
        assert_eq!(little, Ended::Code(i32::from(EXIT_HAPPENED)), "{}", profile.process);
        let much = start(profile, &["allocate", "4096"]).end();
        assert_eq!(much, Ended::Signal(libc::SIGILL), "{}", profile.process);
    }
}

fn a_missing_descriptor_is_told_by_the_exit_code() {
    for profile in workers() {
        let probe = start_with(profile, &["finish"], |spawn| {
            Spawn { descriptors: &spawn.descriptors[1..], ..*spawn }.start().unwrap()
        });
        assert_eq!(probe.end(), Ended::Code(i32::from(sys::worker::EXIT_SANDBOX)), "{}", profile.process);
    }
}

fn a_worker_in_shared_namespaces_does_not_enter() {
    use sys::profile::Namespaces;
    let all = Namespaces::ALL;
    let lacking = [
        Namespaces { pid: false, ..all },
        Namespaces { net: false, ..all },
        Namespaces { ipc: false, ..all },
        Namespaces { uts: false, ..all },
        Namespaces::NONE,
    ];
    for namespaces in lacking {
        let mut probe = start_with(&sandbox_profiles::XS_MONITOR, &["finish"], |spawn| {
            Spawn { namespaces, ..*spawn }.start().unwrap()
        });
        let reason = String::from_utf8(probe.receive()).unwrap();
        assert!(reason.contains("namespace: "), "{namespaces:?}: {reason}");
        assert_eq!(probe.end(), Ended::Code(i32::from(sys::worker::EXIT_SANDBOX)));
    }
}

/// The same tests once more, by a user who may do nothing.
fn everything_holds_without_privileges() {
    use std::os::unix::process::CommandExt;
    if !is_root() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let reachable =
        std::process::Command::new(&program).arg("--list").uid(ORDINARY_ID).gid(ORDINARY_ID).status();
    if !reachable.is_ok_and(|status| status.success()) {
        testkit::skip("an ordinary user cannot reach the folder of the built tests");
        return;
    }
    let status = std::process::Command::new(program)
        .arg(QUICK)
        .uid(ORDINARY_ID)
        .gid(ORDINARY_ID)
        .current_dir("/")
        .status();
    assert!(status.unwrap().success());
}

fn landlock_by_descriptor() {
    let outer = std::env::temp_dir().join(format!("qfilexchg-landlock-{}", std::process::id()));
    let images = outer.join("images");
    std::fs::create_dir_all(&images).unwrap();
    for file in [outer.join("beside"), images.join("kept")] {
        std::fs::write(&file, b"x").unwrap();
    }
    if sys::spawn::can_switch_accounts() {
        std::os::unix::fs::chown(&images, Some(ORDINARY_ID), Some(ORDINARY_ID)).unwrap();
    }
    let probe =
        start_in(&images, &sandbox_profiles::ATTACHER, &["use-images"], |spawn| spawn.start().unwrap());
    let ended = probe.end();
    std::fs::remove_dir_all(&outer).unwrap();
    assert_eq!(ended, Ended::Code(7));
}

/// A worker inherits the filter of the process that starts it. Those of a VM are started by no supervisor.
fn the_supervisors_filter_does_not_stop_a_worker() {
    let supervisor = &sandbox_profiles::SUPERVISOR;
    let of_vm = [&sandbox_profiles::FAT_READER, &sandbox_profiles::DVM_PARSER].map(|profile| profile.process);
    let started_by_it = |profile: &&Profile| !of_vm.contains(&profile.process);
    for profile in workers().filter(started_by_it) {
        for call in profile.syscalls {
            let there = |granted: &&sys::profile::Syscall| {
                granted.number == call.number
                    && (granted.conditions.is_empty() || granted.conditions == call.conditions)
            };
            assert!(
                supervisor.syscalls.iter().any(|granted| there(&granted)),
                "{}: {} is not in the supervisor's profile",
                profile.process,
                call.name
            );
        }
    }
}

fn the_supervisor_starts_workers() {
    assert_eq!(start_supervisor(&["start-workers"]), Ended::Code(7));
}

/// What the confined supervisor does in that test.
pub fn start_workers() -> u8 {
    for profile in workers() {
        if start(profile, &["finish"]).end() != Ended::Code(7)
            || !start(profile, &["socket"]).end().is_violation()
        {
            return EXIT_REFUSED;
        }
    }
    7
}

fn the_supervisor_cannot_do_what_no_process_may() {
    for act in acts::STOPPED_EVERYWHERE {
        let ended = start_supervisor(&[act]);
        assert!(ended.is_violation(), "{act}: {ended}");
    }
}

/// Whoever started the daemon: this user, in the namespaces of this process.
pub fn start_supervisor(args: &[&str]) -> Ended {
    supervisor(args, std::io::stderr().as_fd()).wait().unwrap()
}

fn supervisor(args: &[&str], output: BorrowedFd<'_>) -> Child {
    let program = File::open(std::env::current_exe().unwrap()).unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let profile = &sandbox_profiles::SUPERVISOR;
    let place = probe::place(profile);
    let args: Vec<&std::ffi::OsStr> =
        std::iter::once(place.as_str()).chain(args.iter().copied()).map(AsRef::as_ref).collect();
    Spawn {
        program: program.as_fd(),
        argv0: PROBE,
        args: &args,
        stdio: [null.as_fd(), output, std::io::stderr().as_fd()],
        descriptors: &[],
        account: None,
        namespaces: profile.namespaces,
    }
    .start()
    .unwrap()
}

fn a_second_thread_is_refused() {
    let mut probe = start(&sandbox_profiles::XS_GATE, &["with-a-thread"]);
    let reason = String::from_utf8(probe.receive()).unwrap();
    assert!(reason.contains("2 threads"), "{reason}");
    assert_eq!(probe.end(), Ended::Code(i32::from(sys::worker::EXIT_SANDBOX)));
}

fn a_worker_dies_with_its_starter() {
    let (mut output, writer) = std::io::pipe().unwrap();
    let mut starter = supervisor(&["start-and-hold"], writer.as_fd());
    drop(writer);
    let mut pid = [0; 4];
    output.read_exact(&mut pid).unwrap();
    let status = format!("/proc/{}/status", u32::from_ne_bytes(pid));
    assert!(std::fs::read_to_string(&status).unwrap().contains("Seccomp:\t2"));
    starter.kill().unwrap();
    assert_eq!(starter.wait().unwrap(), Ended::Signal(libc::SIGKILL));
    // Whoever inherits it may not have waited for it yet.
    let is_gone = || std::fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"));
    let gone = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        is_gone()
    });
    assert!(gone, "the worker lives on");
}

/// What the confined supervisor does in that test: starts a worker, tells its number, and waits to be killed.
pub fn start_and_hold() -> u8 {
    let mut probe = start(&sandbox_profiles::XS_MONITOR, &["report-and-wait"]);
    if probe.receive() != READY {
        return EXIT_REFUSED;
    }
    let told = rustix::io::write(std::io::stdout(), &probe.child.pid().to_ne_bytes());
    let ended = probe.child.wait();
    u8::from(told.is_ok() && ended.is_ok())
}
