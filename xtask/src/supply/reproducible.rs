//! Two builds of the same sources, in folders of different names, must give the same programs, byte for byte.
//!
//! What would differ are the names of folders, which the compiler writes into panic messages and debug information. So
//! releases are built with these names replaced ([`crate::workspace::release_flags`]).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::run::{self, step};
use crate::workspace::{self, PROGRAMS};
use crate::{Outcome, scratch_folder};

/// Folders of the workspace that hold nothing of the sources.
const NO_SOURCES: [&str; 2] = [".git", "target"];
/// The two folders: of different lengths, so that a name that stays moves what is behind it.
const FOLDERS: [&str; 2] = ["a", "another/folder"];

/// Builds every program twice.
pub fn all() -> Outcome<()> {
    let sums = twice(&["--workspace"], &PROGRAMS)?;
    for (program, sum) in sums {
        println!("{sum}  {program}");
    }
    Ok(())
}

/// Builds these packages twice, and gives the digests of the programs, which are the same.
fn twice(packages: &[&str], programs: &[&str]) -> Outcome<BTreeMap<String, String>> {
    let scratch = scratch_folder("qfilexchg-reproducible-")?;
    let mut sums = Vec::new();
    for folder in FOLDERS {
        let copy = scratch.path().join(folder);
        step(&format!("building in {}", copy.display()));
        copy_sources(workspace::top(), &copy)?;
        sums.push(build(&copy, packages, programs)?);
    }
    let [first, second] = <[_; 2]>::try_from(sums).map_err(|_| "two builds".to_owned())?;
    let differ: Vec<&str> = first
        .iter()
        .filter(|(program, sum)| second.get(*program) != Some(sum))
        .map(|(program, _)| program.as_str())
        .collect();
    if differ.is_empty() { Ok(first) } else { Err(format!("two builds differ: {}", differ.join(", "))) }
}

fn build(top: &Path, packages: &[&str], programs: &[&str]) -> Outcome<BTreeMap<String, String>> {
    let target = top.join("target");
    let mut command = workspace::cargo();
    command.current_dir(top).args(["build", "--quiet", "--release", "--locked", "--bins"]).args(packages);
    workspace::release_flags(&mut command, top, &target)?;
    run::succeed(command.env("CARGO_TARGET_DIR", &target), "cargo build --release")?;
    let mut sums = BTreeMap::new();
    for program in programs {
        let path = target.join("release").join(program);
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let digest = Sha256::digest(&bytes);
        sums.insert((*program).to_owned(), digest.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    Ok(sums)
}

fn copy_sources(from: &Path, to: &Path) -> Outcome<()> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut waiting: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = waiting.pop() {
        fs::create_dir_all(&to).map_err(|error| failed(&to, error))?;
        for entry in fs::read_dir(&from).map_err(|error| failed(&from, error))? {
            let entry = entry.map_err(|error| failed(&from, error))?;
            let (source, copy) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type().map_err(|error| failed(&source, error))?;
            if NO_SOURCES.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if kind.is_dir() {
                waiting.push((source, copy));
            } else if kind.is_file() {
                fs::copy(&source, &copy).map_err(|error| failed(&source, error))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_builds_in_different_folders_give_the_same_programs() {
        // The two that read a VM's bytes; `cargo xtask reproducible` builds all.
        let sums = twice(&["--package", "dvm-parser"], &["dvm-parser", "fat-reader"]).unwrap();
        assert_eq!(sums.len(), 2);
        assert_ne!(sums["dvm-parser"], sums["fat-reader"]);
    }
}
