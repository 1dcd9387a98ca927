//! What must hold for the packages, checked with the programs that people use: man, shells, dpkg, rpm, systemd.

mod booted;
mod complete;
mod completions;
mod installed;
mod manuals;
mod root;
mod rpms;
mod started;
mod unit;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::list::{List, Package, Thing};

/// Verbs of programs that have a `--help` of their own.
const VERBS: &[(&str, &[&[&str]])] = &[(
    "qfilexchgctl",
    &[&["policy", "check"], &["policy", "list"], &["status"], &["log"], &["answer"], &["kill"]],
)];

/// The verbs of a program, and no verb.
fn verbs_of(program: &str) -> Vec<&'static [&'static str]> {
    let verbs = VERBS.iter().find(|(name, _)| *name == program).map_or(&[][..], |(_, verbs)| *verbs);
    std::iter::once(&[][..]).chain(verbs.iter().copied()).collect()
}

/// The folder of the built programs: that of the running test, or its parent.
fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_path_buf()
}

/// Whether all programs of the packages are built. Skips the test otherwise.
fn require_programs() -> bool {
    let list = List::read().unwrap();
    let folder = programs();
    let mut all = Package::ALL.into_iter().flat_map(|package| list.programs(package));
    match all.find(|program| !folder.join(program).is_file()) {
        None => true,
        Some(missing) => {
            testkit::skip(&format!("{missing} is not built: run cargo build --workspace --bins first"));
            false
        }
    }
}

/// The programs for people, without the workers.
fn commands() -> Vec<String> {
    let list = List::read().unwrap();
    let things = Package::ALL.into_iter().flat_map(|package| list.of(package));
    let names = things.filter_map(|thing| match thing {
        Thing::Program { name, .. } => Some(name.clone()),
        Thing::Worker { .. } | Thing::Manual(_) | Thing::File { .. } => None,
    });
    names.collect()
}

/// The options that a program's own `--help`, and those of its verbs, name.
fn options_of(program: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for words in verbs_of(program) {
        let output = Command::new(programs().join(program)).args(words).arg("--help").output().unwrap();
        assert!(output.status.success(), "{program} {words:?} --help");
        found.extend(options_in(program, &String::from_utf8(output.stdout).unwrap()));
    }
    found
}

/// Every `--word` that begins a line of a help, or follows the program's name there. Elsewhere it may be another
/// program's.
fn options_in(program: &str, help: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let starts = help.lines().map(|line| {
        let line = line.trim_start();
        line.strip_prefix(program).unwrap_or(line).trim_start()
    });
    let options = starts.filter(|line| line.starts_with("--"));
    options.map(|line| line.split(|letter| !is_part(letter)).next().unwrap().to_owned()).collect()
}

/// What a command says on stdout; it must succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Every file below a folder, relative to it.
fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}
