//! Programs and tests for aarch64, linked statically: the machine has no library of ours.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use crate::workspace::{self, cargo};
use crate::{Outcome, run};

/// The compiler's name of the architecture.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Where the linker and its options are told to cargo.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static -Cstrip=symbols"),
];
/// The packages whose tests start processes in their profiles.
const PACKAGES: [&str; 6] = ["sys", "dvm-parser", "attacher", "xs-monitor", "control", "e2e"];
/// Packages with programs that run on the developer's machine.
const NOT_FOR_IT: [&str; 2] = ["xtask", "xen-lab"];

/// What was built.
pub struct Built {
    /// The folder of all programs.
    pub programs: PathBuf,
    pub tests: Vec<Test>,
}

/// A program that runs tests.
pub struct Test {
    pub program: PathBuf,
    /// The folder of its package, which it is started in.
    pub folder: PathBuf,
}

impl Test {
    /// Its package and what it is called there: `e2e/transfer`.
    pub fn name(&self) -> String {
        let part = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = part(&self.program);
        let stem = file.rsplit_once('-').map_or(&*file, |(stem, _)| stem);
        format!("{}/{stem}", part(&self.folder))
    }
}

/// A line of what cargo says; of other lines these are missing.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// Builds all of them.
pub fn build() -> Outcome<Built> {
    let mut rustup = std::process::Command::new("rustup");
    run::succeed(rustup.args(["target", "add", TARGET]), "the standard library for aarch64")?;
    let mut command = cargo();
    command.args(["build", "--workspace", "--bins", "--target", TARGET]).envs(ENVIRONMENT);
    command.args(NOT_FOR_IT.iter().flat_map(|package| ["--exclude", package]));
    run::succeed(&mut command, "building the programs")?;
    let programs = workspace::target_folder()?.join(TARGET).join("debug");
    Ok(Built { programs, tests: tests()? })
}

fn tests() -> Outcome<Vec<Test>> {
    let mut command = cargo();
    command.args(["test", "--no-run", "--test", "*", "--target", TARGET]).envs(ENVIRONMENT);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| format!("building the tests: {error}"))?;
    run::check(output.status, "building the tests")?;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut tests: Vec<Test> = lines.lines().filter_map(test).collect();
    tests.sort_by_key(Test::name);
    Ok(tests)
}

/// The test program that a line is about.
fn test(line: &str) -> Option<Test> {
    let message: Message = serde_json::from_str(line).ok()?;
    let is_test = message.target?.kind.iter().any(|kind| kind == "test");
    let folder = message.manifest_path?.parent()?.to_owned();
    message.executable.filter(|_| is_test).map(|program| Test { program, folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_told_from_other_things_that_cargo_says() {
        let line = |kind: &str, executable: &str| {
            format!(
                r#"{{"manifest_path":"/w/e2e/Cargo.toml","target":{{"kind":["{kind}"]}},"executable":{executable}}}"#
            )
        };
        let found = test(&line("test", "\"/t/deps/window_liars-0123abcd\"")).unwrap();
        assert_eq!((found.name().as_str(), found.folder.to_str()), ("e2e/window_liars", Some("/w/e2e")));
        assert!(test(&line("bin", "\"/t/xen-sim\"")).is_none() && test(&line("test", "null")).is_none());
        assert!(test(r#"{"reason":"build-finished","success":true}"#).is_none() && test("").is_none());
    }
}
