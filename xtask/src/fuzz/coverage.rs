//! What the kept and the found inputs reach, in lines: the targets without libFuzzer, built to count what is executed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::Outcome;
use crate::run::{self, step};
use crate::workspace::{cargo, top};

/// What `llvm-cov export` says, as far as it is wanted here.
#[derive(Deserialize)]
struct Export {
    data: Vec<Data>,
}

#[derive(Deserialize)]
struct Data {
    files: Vec<CoveredFile>,
}

#[derive(Deserialize)]
struct CoveredFile {
    filename: PathBuf,
    summary: Summary,
}

#[derive(Deserialize)]
struct Summary {
    lines: Count,
}

#[derive(Deserialize, Clone, Copy, Default)]
struct Count {
    count: u64,
    covered: u64,
}

/// Runs every input of these targets, and prints how many lines of each file they reach together.
pub fn measure(targets: &[String], folder: &Path) -> Outcome<()> {
    let tools = tools()?;
    let folder_of_builds = folder.join("coverage");
    step("the targets, counting what is executed");
    let mut build = cargo();
    build.args(["build", "--package", "fuzz-oracles", "--example", "replay", "--target-dir"]);
    build.arg(&folder_of_builds).env("RUSTFLAGS", "-Cinstrument-coverage");
    run::succeed(&mut build, "building the targets")?;
    let program = folder_of_builds.join("debug/examples/replay");
    let mut counts = Vec::new();
    for target in targets {
        let places = [folder.join("corpus").join(target), top().join("fuzz/seeds").join(target)];
        let count = folder_of_builds.join(format!("{target}.profraw"));
        let mut replay = Command::new(&program);
        replay.arg(target).args(places.iter().filter(|place| place.is_dir()));
        run::succeed(replay.env("LLVM_PROFILE_FILE", &count), target)?;
        counts.push(count);
    }
    let merged = folder_of_builds.join("all.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    merge.args(["merge", "-sparse", "-o"]).arg(&merged).args(&counts);
    run::succeed(&mut merge, "llvm-profdata")?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "-summary-only", "-instr-profile"]).arg(&merged).arg(&program);
    let said = export.stderr(Stdio::inherit()).output().map_err(|error| format!("llvm-cov: {error}"))?;
    run::check(said.status, "llvm-cov")?;
    let export: Export =
        serde_json::from_slice(&said.stdout).map_err(|error| format!("what llvm-cov says: {error}"))?;
    print(&export);
    Ok(())
}

/// The project's files, those in which nothing was reached left out: they belong to no target.
fn print(export: &Export) {
    let mut files: BTreeMap<&Path, Count> = BTreeMap::new();
    for file in export.data.iter().flat_map(|data| &data.files) {
        let own = file.filename.strip_prefix(top()).ok().filter(|own| !own.starts_with("fuzz"));
        if let Some(own) = own.filter(|_| file.summary.lines.covered > 0) {
            files.insert(own, file.summary.lines);
        }
    }
    for (file, Count { count, covered }) in files {
        println!("{covered:>5} of {count:>5} lines  {}", file.display());
    }
}

/// The compiler's own tools; others may not know its format.
fn tools() -> Outcome<PathBuf> {
    let said = Command::new("rustc").args(["--print", "target-libdir"]).output();
    let said = said.map_err(|error| format!("rustc: {error}"))?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
    let tools = libraries.parent().map(|folder| folder.join("bin")).unwrap_or_default();
    if tools.join("llvm-cov").exists() {
        return Ok(tools);
    }
    Err("llvm-cov is not there: rustup component add llvm-tools".to_owned())
}
