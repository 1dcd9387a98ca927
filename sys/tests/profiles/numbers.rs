//! Every system call number of this machine, tried from inside of every profile, one process for each.
//!
//! What a profile permits is told by its file and [`profile_compiler::condition::Condition::holds`]; that the filters of
//! all architectures agree with that, for many more arguments, is shown in `sandbox-profiles/compile/tests/filters`.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use profile_compiler::format::Grant;
use profile_compiler::names::Arch;
use profile_compiler::{Compiled, cases};
use sys::profile::{Profile, Root};
use sys::spawn::Ended;

use crate::probe::EXIT_REFUSED;
use crate::under_profiles::{start, start_supervisor};

pub const TESTS: &[(&str, fn())] = &[
    ("every_number_is_stopped_or_passes_as_the_profile_says", every_number),
    ("a_permitted_call_with_wrong_arguments_ends_in_sigsys", wrong_arguments),
    ("the_entries_for_programs_of_32_bits_end_in_sigsys", entries_of_32_bits),
];

/// So many numbers behind the highest known one are tried as well.
const MORE_NUMBERS: i64 = 16;
/// Wrong arguments that are tried of each way to make a call: a process each.
const WRONG_MAX: usize = 12;

/// What a stopped call's arguments are: wrong for every call, should it not be stopped.
const NONSENSE: [u64; 6] = [0x7FFF_FFF0; 6];

/// `uretprobe` and `uprobe` of x86_64. Linux 6.11 and newer let them pass every filter (`seccomp_uprobe_exception` in
/// `kernel/seccomp.c`); whoever calls them from elsewhere than from a probe gets SIGILL or an error.
const PASS_EVERY_FILTER: [i64; 2] = [335, 336];

/// One process to start.
struct Attempt {
    profile: &'static Profile,
    number: i64,
    arguments: [u64; 6],
    is_permitted: bool,
}

impl Attempt {
    fn run(&self) {
        let words = self.arguments.map(|argument| argument.to_string()).join(",");
        let argument = format!("{},{words}", self.number);
        let ended = if self.profile.root == Root::Inherited {
            start_supervisor(&["call", &argument])
        } else {
            start(self.profile, &["call", &argument]).end()
        };
        let place = format!("{}: {argument}: {ended}", self.profile.process);
        let harmless = [Ended::Signal(libc::SIGILL), Ended::Code(i32::from(EXIT_REFUSED))];
        let passes = PASS_EVERY_FILTER.contains(&self.number) && harmless.contains(&ended);
        assert_eq!(ended.is_violation(), !self.is_permitted && !passes, "{place}");
        assert_ne!(ended, Ended::Code(i32::from(sys::worker::EXIT_SANDBOX)), "{place}");
    }
}

/// The profiles as the compiler sees them, beside the constants; both are in the order of their files' names.
fn profiles() -> impl Iterator<Item = (&'static Profile, Compiled)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sandbox-profiles");
    let compiled = profile_compiler::folder(&folder, arch()).unwrap();
    assert_eq!(compiled.len(), sandbox_profiles::ALL.len());
    sandbox_profiles::ALL.iter().copied().zip(compiled).inspect(|(profile, compiled)| {
        assert_eq!(
            (profile.process, profile.filter.len()),
            (&*compiled.file.process, compiled.program.len())
        );
    })
}

fn arch() -> Arch {
    Arch::ALL.into_iter().find(|arch| arch.name() == std::env::consts::ARCH).unwrap()
}

fn grants(compiled: &Compiled, number: i64) -> Vec<&Grant> {
    compiled.grants.iter().filter(|grant| grant.number == number).collect()
}

/// Runs all of them, as many at once as there are processors.
fn run_all(attempts: &[Attempt]) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(attempt) = attempts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    attempt.run();
                }
            });
        }
    });
}

fn every_number() {
    let last = arch().syscalls().map(|call| call.0).max().unwrap() + MORE_NUMBERS;
    let mut attempts = Vec::new();
    for (profile, compiled) in profiles() {
        for number in 0..=last {
            let permitted: Vec<_> =
                grants(&compiled, number).into_iter().filter_map(cases::permitted).collect();
            let mut attempt = |is_permitted, arguments| {
                attempts.push(Attempt { profile, number, arguments, is_permitted });
            };
            if permitted.is_empty() {
                attempt(false, NONSENSE);
            }
            // Each way to make a call, those that no other test goes (`rare` in the profiles) among them.
            permitted.into_iter().for_each(|arguments| attempt(true, arguments));
        }
    }
    run_all(&attempts);
}

fn wrong_arguments() {
    let mut attempts = Vec::new();
    for (profile, compiled) in profiles() {
        for grant in &compiled.grants {
            let wrong = cases::around(&grants(&compiled, grant.number)).into_iter();
            let wrong: Vec<_> = wrong.filter(|it| !compiled.permits(grant.number, it)).collect();
            assert_eq!(wrong.is_empty(), grant.conditions.is_empty(), "{}", grant.name);
            let step = wrong.len().div_ceil(WRONG_MAX).max(1);
            let chosen = wrong.into_iter().step_by(step);
            let number = grant.number;
            attempts.extend(chosen.map(|arguments| Attempt {
                profile,
                number,
                arguments,
                is_permitted: false,
            }));
        }
    }
    assert!(attempts.len() > 300, "{}", attempts.len());
    run_all(&attempts);
}

#[cfg(target_arch = "x86_64")]
fn entries_of_32_bits() {
    /// `__X32_SYSCALL_BIT` of `asm/unistd.h`.
    const X32_BIT: i64 = 0x4000_0000;
    let mut attempts = Vec::new();
    for (profile, compiled) in profiles() {
        for number in compiled.grants.iter().map(|grant| grant.number | X32_BIT).chain([X32_BIT + 520]) {
            attempts.push(Attempt { profile, number, arguments: NONSENSE, is_permitted: false });
        }
        let ended = match profile.root {
            Root::Inherited => start_supervisor(&["i386-getpid"]),
            Root::Empty => start(profile, &["i386-getpid"]).end(),
        };
        if ended == Ended::Signal(libc::SIGSEGV) {
            testkit::skip("this kernel has no entry for programs of i386");
        } else {
            assert!(ended.is_violation(), "{}: {ended}", profile.process);
        }
    }
    run_all(&attempts);
}

/// Those of aarch64 need another processor mode, which a program of 64 bits cannot enter.
#[cfg(not(target_arch = "x86_64"))]
fn entries_of_32_bits() {
    testkit::skip("a program of this architecture cannot reach another entry into the kernel");
}
