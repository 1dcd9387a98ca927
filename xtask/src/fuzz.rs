//! `cargo xtask fuzz`: every fuzz target for some time, under AddressSanitizer (docs/fuzzing.md).
//!
//! cargo-fuzz builds them; they are run from here, several at a time, because it runs one only. Rust's own sanitizers
//! are not stable, so the compiler is told to behave as an unstable one (`RUSTC_BOOTSTRAP`), for these builds alone.

mod campaign;
mod result;

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
const CARGO_FUZZ: &str = "cargo-fuzz";

/// The command's line.
pub fn main(arguments: &mut Parser) -> Outcome<()> {
    let (mut seconds, mut jobs, mut targets) = (SECONDS, JOBS, Vec::new());
    while let Some(argument) = next(arguments)? {
        match argument {
            Arg::Long("seconds") => seconds = number(arguments, "--seconds")?,
            Arg::Long("jobs") => jobs = usize::try_from(number(arguments, "--jobs")?).unwrap_or(usize::MAX),
            Arg::Value(target) => targets.push(target.to_string_lossy().into_owned()),
            other @ (Arg::Long(_) | Arg::Short(_)) => return Err(other.unexpected().to_string()),
        }
    }
    fuzz(&targets, seconds, jobs)
}

/// What `cargo xtask test` does: every target, for a short time. A reason if that cannot be done here.
#[expect(dead_code, reason = "cargo xtask test is to call it, once its cost is measured")]
pub fn smoke() -> Result<Outcome<()>, &'static str> {
    if !is_there("c++") {
        return Err("no C++ compiler is installed, which libFuzzer needs");
    }
    Ok(fuzz(&[], SECONDS, JOBS))
}

fn number(arguments: &mut Parser, option: &str) -> Outcome<u64> {
    let value = arguments.value().and_then(|value| value.parse()).ok().filter(|number| *number > 0);
    value.ok_or_else(|| format!("{option} takes a number from 1 on"))
}

fn fuzz(wanted: &[String], seconds: u64, jobs: usize) -> Outcome<()> {
    let all = targets()?;
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        return Err(format!("no fuzz target {unknown}; there are: {}", all.join(" ")));
    }
    let folder = target_folder()?.join("fuzz");
    let tool = cargo_fuzz(&folder)?;
    step("fuzz targets, with AddressSanitizer");
    let programs = build(&tool, &folder)?;
    let campaign = Campaign { programs, folder, seconds };
    campaign.run(if wanted.is_empty() { &all } else { wanted }, jobs)
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
fn build(tool: &Path, folder: &Path) -> Outcome<PathBuf> {
    let mut command = Command::new(tool);
    command.args(["fuzz", "build", "--target-dir"]).arg(folder).current_dir(top());
    run::succeed(command.env("RUSTC_BOOTSTRAP", "1"), "building the fuzz targets")?;
    let built = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // The folder is named after the machine.
    let mut releases = built.filter_map(|entry| Some(entry.ok()?.path().join("release")));
    releases.find(|release| release.join("request").exists()).ok_or_else(|| "where are they?".to_owned())
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
