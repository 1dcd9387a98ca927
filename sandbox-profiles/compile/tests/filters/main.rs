//! Every filter of every architecture, asked about every system call number: what the profile says is what it does.
//!
//! The oracle is [`profile_compiler::condition::Condition::holds`], which shares nothing with the compiler of filters. That
//! the kernel agrees is shown in `sys/tests/profiles`, for the architecture of the machine.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "all of this is a test, which fails by a panic"
)]

mod machine;

use std::path::Path;

use machine::{ALLOW, Call, KILL_PROCESS};
use profile_compiler::Compiled;
use profile_compiler::cases;
use profile_compiler::format::Grant;
use profile_compiler::names::Arch;

/// `AUDIT_ARCH_*` of `linux/audit.h`: i386, ARM, x86_64, aarch64, riscv64, and none.
const ARCHES: [u32; 6] = [0x4000_0003, 0x4000_0028, 0xC000_003E, 0xC000_00B7, 0xC000_00F3, 0];

/// The bit that makes a call of x86_64 one of its x32 variant.
const X32_BIT: u32 = 0x4000_0000;

fn audit_arch(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 => 0xC000_003E,
        Arch::Aarch64 => 0xC000_00B7,
    }
}

/// Calls `check` with every profile of every architecture.
fn each(mut check: impl FnMut(Arch, &Compiled)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (arch, profiles) in profile_compiler::all(&folder).unwrap() {
        assert_eq!(profiles.len(), 12, "{arch:?}");
        for profile in &profiles {
            check(arch, profile);
        }
    }
}

/// More than the highest number that any kernel has so far.
fn numbers(arch: Arch) -> std::ops::Range<u32> {
    let highest = arch.syscalls().map(|call| call.0).max().unwrap();
    0..u32::try_from(highest).unwrap() + 200
}

fn grants(profile: &Compiled, number: u32) -> Vec<&Grant> {
    profile.grants.iter().filter(|grant| grant.number == i64::from(number)).collect()
}

fn verdict(profile: &Compiled, number: u32, arch: u32, arguments: [u64; 6]) -> u32 {
    machine::run(&profile.program, &Call { number, arch, arguments })
}

#[test]
fn every_number_is_permitted_exactly_as_the_profile_says() {
    let (mut allowed, mut killed) = (0, 0);
    each(|arch, profile| {
        machine::check(&profile.program);
        for number in numbers(arch) {
            for arguments in cases::around(&grants(profile, number)) {
                let said = verdict(profile, number, audit_arch(arch), arguments);
                let meant = profile.permits(i64::from(number), &arguments);
                let place = format!("{} {arch:?}: {number} {arguments:x?}", profile.stem);
                assert_eq!(said, if meant { ALLOW } else { KILL_PROCESS }, "{place}");
                if meant { allowed += 1 } else { killed += 1 }
            }
        }
    });
    assert!(allowed > 10_000 && killed > 50_000, "{allowed} and {killed}");
}

#[test]
fn every_way_to_make_a_call_is_open_and_every_condition_closes_something() {
    each(|arch, profile| {
        for grant in &profile.grants {
            let number = u32::try_from(grant.number).unwrap();
            let permitted = cases::permitted(grant).expect("conditions that can be met");
            assert_eq!(verdict(profile, number, audit_arch(arch), permitted), ALLOW);
            for condition in &grant.conditions {
                let closed = cases::around(&[grant]).into_iter().any(|arguments| {
                    !condition.holds(&arguments)
                        && grant.conditions.iter().all(|it| it.text == condition.text || it.holds(&arguments))
                        && verdict(profile, number, audit_arch(arch), arguments) == KILL_PROCESS
                });
                assert!(closed, "{} {arch:?}: {} {}", profile.stem, grant.name, condition.text);
            }
        }
    });
}

#[test]
fn every_other_entry_into_the_kernel_is_closed() {
    each(|arch, profile| {
        for number in numbers(arch) {
            let arguments = grants(profile, number).first().and_then(|grant| cases::permitted(grant));
            let arguments = arguments.unwrap_or_default();
            for other in ARCHES.into_iter().filter(|other| *other != audit_arch(arch)) {
                assert_eq!(verdict(profile, number, other, arguments), KILL_PROCESS, "{number} {other:#x}");
            }
            for number in [number | X32_BIT, number | 1 << 31, !number] {
                let said = verdict(profile, number, audit_arch(arch), arguments);
                assert_eq!(said, KILL_PROCESS, "{} {arch:?}: {number:#x}", profile.stem);
            }
        }
    });
}

#[test]
fn both_architectures_grant_the_same_under_their_own_names() {
    // What aarch64 has under another name only, and what is x86_64's alone.
    const OTHER_NAMES: [(&str, Option<&str>); 5] = [
        ("poll", Some("ppoll")),
        ("access", Some("faccessat")),
        ("readlink", Some("readlinkat")),
        ("dup2", Some("dup3")),
        ("arch_prctl", None),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let all = profile_compiler::all(&folder).unwrap();
    let [(_, intel), (_, arm)] = all.as_slice() else { panic!("two architectures") };
    for (intel, arm) in intel.iter().zip(arm) {
        let texts = |grant: &Grant| grant.conditions.iter().map(|it| it.text.clone()).collect::<Vec<_>>();
        let mut expected: Vec<(String, Vec<String>)> = Vec::new();
        for grant in &intel.grants {
            match OTHER_NAMES.iter().find(|known| known.0 == grant.name) {
                None => expected.push((grant.name.clone(), texts(grant))),
                Some((_, Some(other))) => expected.push(((*other).to_owned(), texts(grant))),
                Some((_, None)) => {}
            }
        }
        expected.sort();
        expected.dedup();
        let mut granted: Vec<_> = arm.grants.iter().map(|grant| (grant.name.clone(), texts(grant))).collect();
        granted.sort();
        assert_eq!(granted, expected, "{}", arm.stem);
        let rest = |one: &Compiled| {
            format!(
                "{:?}",
                (
                    &one.file.descriptors,
                    &one.file.rlimits,
                    &one.file.namespaces,
                    &one.file.user,
                    &one.file.later,
                    one.file.landlock()
                )
            )
        };
        assert_eq!(rest(arm), rest(intel), "{}", arm.stem);
    }
}
