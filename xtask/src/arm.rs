//! `cargo xtask arm-test`: the profiles of aarch64 with real processes in them, in a machine that QEMU plays.

mod machine;
mod programs;
mod root;

use lexopt::{Arg, Parser};

use crate::run::step;
use crate::test::tools::{self, Tool};
use crate::test::totals::Totals;
use crate::{Outcome, next, scratch_folder};

/// What builds the programs, fetches the machine's own, and plays the machine.
const TOOLS: [Tool; 4] = [
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("../aarch64-linux-gnu/lib/libc.a", "libc6-dev-arm64-cross"),
    ("mmdebstrap", "mmdebstrap"),
    ("qemu-system-aarch64", "qemu-system-arm"),
];

/// Builds, boots, and counts what the test programs say.
pub fn test(arguments: &mut Parser) -> Outcome<()> {
    let mut parts = String::new();
    while let Some(argument) = next(arguments)? {
        match argument {
            Arg::Value(value) => parts = value.to_string_lossy().into_owned(),
            other @ (Arg::Short(_) | Arg::Long(_)) => return Err(other.unexpected().to_string()),
        }
    }
    step("tools that this needs");
    tools::install(&TOOLS);
    step("programs for aarch64");
    let built = programs::build()?;
    let tests: Vec<_> = built.tests.iter().filter(|test| is_wanted(&test.name(), &parts)).collect();
    if tests.is_empty() {
        return Err(format!("no test program has {parts:?} in its name"));
    }
    let scratch = scratch_folder("arm-")?;
    step("the machine's file system");
    let kernel = root::make(&built, &tests, scratch.path())?;
    step("tests");
    let mut totals = Totals::default();
    let ended = machine::run(&kernel, &scratch.path().join(root::NAME), &mut totals)?;
    for (test, reason) in &totals.skipped {
        println!("{test}: {reason}");
    }
    println!("\n{}", totals.closing_line());
    let missing: Vec<_> = tests.iter().map(|test| test.name()).filter(|name| !ended.contains(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("failed or not run: {}", missing.join(", "))) }
}

/// Whether a name has one of these parts, between which there are commas.
fn is_wanted(name: &str, parts: &str) -> bool {
    parts.split(',').any(|part| name.contains(part))
}
