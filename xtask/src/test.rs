//! `cargo xtask test`: format, lints, licences, every test, the demo as an ordinary user.

mod demo_as_user;
mod deny;
pub mod tools;
pub mod totals;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use crate::run::{self, step};
use crate::supply;
use crate::workspace::{self, cargo};
use crate::{Outcome, demo, xen};
use totals::Totals;

/// Names the file in which tests note that they could not run, and why (crate `testkit`).
const SKIPPED_FILE_ENV: &str = "QFILEXCHG_SKIPPED";

/// The scenarios of xen-lab/ that every run has time for; `cargo xtask xen-test` runs all.
const SCENARIOS: &str = "a_tree_arrives_whole_and_nothing_is_left,no_process_reaches_the_hypervisor,\
    a_daemon_killed_while_it_waits_comes_back,two_transfers_in_opposite_directions,both_kernels_mount";

/// Runs everything; goes on after a failure, so that one run shows all of them.
pub fn main() -> Outcome<()> {
    let scratch = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let mut checks = Vec::new();
    let mut note = |what: &str, outcome: Outcome<()>| {
        if let Err(error) = &outcome {
            println!("FAILED: {error}");
        }
        checks.push((what.to_owned(), outcome.is_ok()));
    };

    step("tools that tests need");
    tools::install(&tools::OF_ALL_TESTS);
    step("format");
    note("format", run::succeed(cargo().args(["fmt", "--all", "--check"]), "cargo fmt --check"));
    step("lints");
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    note("lints", run::succeed(cargo().args(lints), "cargo clippy"));
    step("licences, bans and sources of the dependencies");
    let skipped_file = scratch.path().join("skipped");
    note("licences", licences());
    note("fuzzing", crate::fuzz::smoke(&skipped_file));
    step("programs");
    let built = workspace::build(false);
    note("programs", built.as_ref().map(drop).map_err(Clone::clone));
    step("tests");
    let (mut totals, outcome) = tests(&skipped_file);
    note("tests", outcome);
    if let Ok(programs) = &built {
        step("demo, as an ordinary user");
        note("demo", demo_as_user::run(programs, scratch.path()));
    }

    if let Ok(programs) = &built {
        step("a real Xen host");
        note("a real Xen host", xen_host(programs, &mut totals));
    }

    for (_, passed) in &checks {
        totals.note_check(*passed);
    }
    if !totals.skipped.is_empty() {
        step("tests that could not run here");
        for (test, reason) in &totals.skipped {
            println!("{test}: {reason}");
        }
    }
    println!("\n{}", totals.closing_line());
    let failed: Vec<&str> =
        checks.iter().filter(|(_, passed)| !passed).map(|(what, _)| what.as_str()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// Runs the scenarios of xen-lab/, and counts them.
fn xen_host(programs: &Path, totals: &mut Totals) -> Outcome<()> {
    let summary = xen::scenarios(programs, &xen_lab::Options::default(), SCENARIOS)?;
    totals.note_scenarios(&summary);
    if summary.failed.is_empty() { Ok(()) } else { Err(summary.failed.join(", ")) }
}

fn licences() -> Outcome<()> {
    // The same rules, followed by ourselves: cargo-deny cannot be had everywhere.
    supply::check()?;
    deny::check()
}

/// Runs the tests, passes their output through, and counts.
fn tests(skipped_file: &Path) -> (Totals, Outcome<()>) {
    let mut totals = Totals::default();
    let outcome = pass_through(skipped_file, &mut totals);
    let notes = std::fs::read_to_string(skipped_file).unwrap_or_default();
    totals.note_skipped(&notes);
    (totals, outcome)
}

fn pass_through(skipped_file: &Path, totals: &mut Totals) -> Outcome<()> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).env(SKIPPED_FILE_ENV, skipped_file);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cargo test: {error}"))?;
    if let Some(output) = child.stdout.take() {
        let mut screen = std::io::stdout().lock();
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(|error| format!("reading from cargo test: {error}"))?;
            let shown = screen.write_all(&line).and_then(|()| screen.write_all(b"\n"));
            shown.map_err(|error| format!("writing: {error}"))?;
            totals.note_line(&String::from_utf8_lossy(&line));
        }
    }
    let status = child.wait().map_err(|error| format!("cargo test: {error}"))?;
    run::check(status, "cargo test")
}

/// The demo's own options, for the run as another user.
pub(crate) const DEMO_OPTIONS: [&str; 2] = ["--yes", demo::PROGRAMS_OPTION];
