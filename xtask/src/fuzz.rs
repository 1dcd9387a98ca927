//! `cargo xtask fuzz`: every fuzz target for some time, under AddressSanitizer unless told otherwise (docs/fuzzing.md).
//!
//! cargo-fuzz builds them; they are run from here, several at a time, because it runs one only. Rust's own sanitizers
//! are not stable, so the compiler is told to behave as an unstable one (`RUSTC_BOOTSTRAP`), for these builds alone.

mod campaign;
mod coverage;
mod result;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lexopt::{Arg, Parser, ValueExt};

use crate::run::{self, step};
use crate::workspace::{cargo, target_folder, top};
use crate::{Outcome, next};
use campaign::Campaign;

/// How long each target runs when nothing else is said, and in `cargo xtask test`, in seconds.
const SECONDS: u64 = 20;
/// How many targets run at a time when nothing else is said.
const JOBS: usize = 2;
/// Where the dice begin in `cargo xtask test`: a change must not fail by what was there before. Campaigns roll their own,
/// unless `--dice` says otherwise.
const DICE: u64 = 1;
/// What watches over memory.
#[derive(Clone, Copy)]
enum Sanitizer {
    Address,
    None,
}

impl Sanitizer {
    /// As cargo-fuzz calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::None => "none",
        }
    }
}

const CARGO_FUZZ: &str = "cargo-fuzz";

/// The command's line.
pub fn main(arguments: &mut Parser) -> Outcome<()> {
    let (mut seconds, mut jobs, mut targets) = (SECONDS, JOBS, Vec::new());
    let (mut only_coverage, mut sanitizer, mut dice) = (false, Sanitizer::Address, None);
    while let Some(argument) = next(arguments)? {
        match argument {
            Arg::Long("coverage") => only_coverage = true,
            Arg::Long("without-sanitizer") => sanitizer = Sanitizer::None,
            Arg::Long("dice") => dice = Some(number(arguments, "--dice")?),
            Arg::Long("seconds") => seconds = number(arguments, "--seconds")?,
            Arg::Long("jobs") => jobs = usize::try_from(number(arguments, "--jobs")?).unwrap_or(usize::MAX),
            Arg::Value(target) => targets.push(target.to_string_lossy().into_owned()),
            other @ (Arg::Long(_) | Arg::Short(_)) => return Err(other.unexpected().to_string()),
        }
    }
    let targets = chosen(targets)?;
    if only_coverage {
        return coverage::measure(&targets, &folder()?);
    }
    fuzz(&targets, sanitizer, seconds, jobs, dice)
}

/// What `cargo xtask test` does: every target, for a short time. Where that cannot be done, the reason goes into the
/// file that collects what is skipped.
pub fn smoke(skipped_file: &Path) -> Outcome<()> {
    let reason = if !is_there("c++") {
        "no C++ compiler is installed, which libFuzzer needs"
    } else if folder().and_then(|folder| cargo_fuzz(&folder)).is_err() {
        "cargo-fuzz is not installed, and cannot be"
    } else {
        // All that is tried is safe Rust: the sanitizer would find little, and takes two thirds of the executions.
        return fuzz(&chosen(Vec::new())?, Sanitizer::None, SECONDS, JOBS, Some(DICE));
    };
    println!("skipped: {reason}");
    let mut options = std::fs::OpenOptions::new();
    let file = options.append(true).create(true).open(skipped_file);
    file.and_then(|mut file| writeln!(file, "fuzzing: {reason}"))
        .map_err(|error| format!("noting what is skipped: {error}"))
}

fn number(arguments: &mut Parser, option: &str) -> Outcome<u64> {
    let value = arguments.value().and_then(|value| value.parse()).ok().filter(|number| *number > 0);
    value.ok_or_else(|| format!("{option} takes a number from 1 on"))
}

/// These targets, or all if none is named.
fn chosen(wanted: Vec<String>) -> Outcome<Vec<String>> {
    let all = targets()?;
    match wanted.iter().find(|name| !all.contains(name)) {
        Some(unknown) => Err(format!("no fuzz target {unknown}; there are: {}", all.join(" "))),
        None if wanted.is_empty() => Ok(all),
        None => Ok(wanted),
    }
}

/// Where everything of this is.
fn folder() -> Outcome<PathBuf> {
    Ok(target_folder()?.join("fuzz"))
}

fn fuzz(
    targets: &[String],
    sanitizer: Sanitizer,
    seconds: u64,
    jobs: usize,
    dice: Option<u64>,
) -> Outcome<()> {
    let folder = folder()?;
    let tool = cargo_fuzz(&folder)?;
    step(&format!("fuzz targets, sanitizer: {}", sanitizer.name()));
    let programs = build(&tool, &folder, sanitizer)?;
    Campaign { programs, folder, seconds, dice }.run(targets, jobs)
}

/// The names of all targets: each has a file.
fn targets() -> Outcome<Vec<String>> {
    let folder = top().join("fuzz/targets");
    let files = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = files.filter_map(|file| file.ok().map(|file| file.path()));
    let mut names: Vec<String> =
        paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// cargo-fuzz, installed beside what it builds if it is not there.
fn cargo_fuzz(folder: &Path) -> Outcome<PathBuf> {
    if is_there(CARGO_FUZZ) {
        return Ok(CARGO_FUZZ.into());
    }
    let tool = folder.join("bin").join(CARGO_FUZZ);
    if !tool.exists() {
        step("installing cargo-fuzz");
        let mut install = cargo();
        install.args(["install", "--quiet", CARGO_FUZZ, "--locked", "--root"]).arg(folder);
        run::succeed(&mut install, "cargo install cargo-fuzz")?;
    }
    Ok(tool)
}

/// Builds all targets, and says in which folder they are.
fn build(tool: &Path, folder: &Path, sanitizer: Sanitizer) -> Outcome<PathBuf> {
    let folder = folder.join(sanitizer.name());
    let mut command = Command::new(tool);
    command.args(["fuzz", "build", "--sanitizer", sanitizer.name(), "--target-dir"]).arg(&folder);
    command.current_dir(top()).env("RUSTC_BOOTSTRAP", "1");
    run::succeed(&mut command, "building the fuzz targets")?;
    let built = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // The folder is named after the machine.
    let mut releases = built.filter_map(|entry| Some(entry.ok()?.path().join("release")));
    releases.find(|release| release.join("request").exists()).ok_or_else(|| "where are they?".to_owned())
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
