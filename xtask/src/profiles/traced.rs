//! Which rules of the profiles a run used, as strace(1) saw it.
//!
//! strace follows every process, prints the arguments as numbers, and the length of each filter that a process enters, by
//! which that is known. A call counts for every filter that it passes: those of a worker count for the supervisor's too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use profile_compiler::Compiled;
use profile_compiler::names::Arch;

use crate::run::{self, step};
use crate::workspace::cargo;
use crate::{Outcome, workspace};

/// What strace is told: follow, name the process, numbers for all arguments but those of `seccomp`, nothing of signals.
const STRACE: [&str; 8] = ["-f", "-Y", "-qq", "-e", "raw=!seccomp", "-e", "signal=none", "-o"];
/// Packages whose tests try what is forbidden, or need no process of ours.
const LEFT_OUT: [&str; 6] = ["--exclude", "sys", "--exclude", "profile-compiler", "--exclude", "xtask"];
/// Longest process name that the kernel keeps.
const NAME_BYTES_MAX: usize = 15;

/// What is known while a trace is read.
struct Traced<'a> {
    profiles: &'a [Compiled],
    numbers: BTreeMap<&'static str, i64>,
    /// The filters of each process, as places in `profiles`.
    filters: BTreeMap<u32, Vec<usize>>,
    /// What was begun and is not finished: its text so far.
    unfinished: BTreeMap<u32, String>,
    /// Places of profiles and of their grants.
    used: BTreeSet<(usize, usize)>,
    /// How often each profile was entered.
    entered: BTreeMap<usize, usize>,
}

/// Runs all tests under strace, and reports.
pub fn run(profiles: &[Compiled], arch: Arch) -> Outcome<()> {
    step("programs and tests");
    run::succeed(cargo().args(["build", "--workspace"]), "cargo build")?;
    run::succeed(cargo().args(["test", "--workspace", "--no-run"]).args(LEFT_OUT), "cargo test --no-run")?;
    step("tests, under strace");
    let scratch = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let pipe = scratch.path().join("trace");
    run::succeed(std::process::Command::new("mkfifo").arg(&pipe), "mkfifo")?;
    let mut command = std::process::Command::new("strace");
    command.current_dir(workspace::top()).args(STRACE).arg(&pipe).arg(cargo().get_program());
    command.args(["test", "--workspace", "--no-fail-fast"]).args(LEFT_OUT).stdin(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("strace: {error}"))?;
    let mut traced = Traced::new(profiles, arch);
    traced.read(&pipe)?;
    // Slowed down as they are, some may fail: what was called still counts.
    let status = child.wait().map_err(|error| format!("strace: {error}"))?;
    println!("the tests ended with {status}");
    traced.report()
}

/// Reports about traces that were made before.
pub fn report(profiles: &[Compiled], arch: Arch, files: &[PathBuf]) -> Outcome<()> {
    let mut traced = Traced::new(profiles, arch);
    for file in files {
        traced.filters.clear();
        traced.unfinished.clear();
        traced.read(file)?;
    }
    traced.report()
}

impl<'a> Traced<'a> {
    fn new(profiles: &'a [Compiled], arch: Arch) -> Self {
        let numbers = arch.syscalls().map(|(number, name)| (name, number)).collect();
        let (filters, unfinished) = (BTreeMap::new(), BTreeMap::new());
        Self { profiles, numbers, filters, unfinished, used: BTreeSet::new(), entered: BTreeMap::new() }
    }

    fn read(&mut self, file: &Path) -> Outcome<()> {
        let at = |error: std::io::Error| format!("{}: {error}", file.display());
        for line in BufReader::new(File::open(file).map_err(at)?).split(b'\n') {
            self.line(&String::from_utf8_lossy(&line.map_err(at)?));
        }
        Ok(())
    }

    /// `PID<NAME> CALL(ARGUMENTS) = RESULT`, whole or in two parts.
    fn line(&mut self, line: &str) {
        let Some((process, rest)) = line.split_once(' ') else { return };
        let Some((pid, name)) = process.split_once('<') else { return };
        let (Ok(pid), name) = (pid.parse(), name.trim_end_matches('>')) else { return };
        let rest = rest.trim_start();
        if rest.starts_with("+++") {
            self.filters.remove(&pid);
        } else if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            self.called(pid, begun);
            self.unfinished.insert(pid, begun.to_owned());
        } else if rest.starts_with("<... ") {
            if let Some(begun) = self.unfinished.remove(&pid) {
                self.ended(pid, name, &begun, rest);
            }
        } else {
            self.called(pid, rest);
            self.ended(pid, name, rest, rest);
        }
    }

    fn called(&mut self, pid: u32, text: &str) {
        let Some((name, rest)) = text.split_once('(') else { return };
        let (Some(number), Some(stack)) = (self.numbers.get(name), self.filters.get(&pid)) else { return };
        let words = rest.split([')', '<']).next().unwrap_or_default();
        let mut arguments = [0; 6];
        for (place, word) in arguments.iter_mut().zip(words.split(", ")) {
            *place = value(word.trim()).unwrap_or_default();
        }
        for profile in stack {
            let grants = self.profiles.get(*profile).map(|profile| profile.grants.as_slice());
            for (place, grant) in grants.unwrap_or_default().iter().enumerate() {
                if grant.permits(*number, &arguments) {
                    self.used.insert((*profile, place));
                }
            }
        }
    }

    /// A new process has the filters of the one that made it; a process that enters a filter has one more.
    fn ended(&mut self, pid: u32, name: &str, begun: &str, end: &str) {
        let Some(result) = end.rsplit_once("= ").and_then(|(_, word)| value(word.trim())) else { return };
        let call = begun.split('(').next().unwrap_or_default();
        if ["clone", "clone3", "fork", "vfork"].contains(&call) {
            if let (Ok(child), Some(stack)) = (u32::try_from(result), self.filters.get(&pid)) {
                let stack = stack.clone();
                self.filters.entry(child).or_insert(stack);
            }
        } else if call == "seccomp" && result == 0 {
            let length = begun.split_once("{len=").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
            if let Some(place) = length.and_then(|length| self.profile(name, length)) {
                self.filters.entry(pid).or_default().push(place);
                let count = self.entered.entry(place).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// The profile of this length; of several, that of the process's name.
    fn profile(&self, name: &str, length: usize) -> Option<usize> {
        let of_length =
            |place: &usize| self.profiles.get(*place).is_some_and(|it| it.program.len() == length);
        let found: Vec<usize> = (0..self.profiles.len()).filter(of_length).collect();
        let is_named = |place: &&usize| {
            let process = self.profiles.get(**place).map_or("", |profile| profile.file.process.as_str());
            process.get(..NAME_BYTES_MAX).unwrap_or(process) == name
        };
        found.iter().find(is_named).or(found.first().filter(|_| found.len() == 1)).copied()
    }

    fn report(&self) -> Outcome<()> {
        step("rules that nothing used");
        let mut unexplained = 0_usize;
        for (place, profile) in self.profiles.iter().enumerate() {
            let entered = self.entered.get(&place).copied().unwrap_or_default();
            println!("{}: entered {entered} times", profile.stem);
            for (number, grant) in profile.grants.iter().enumerate() {
                if self.used.contains(&(place, number)) {
                    continue;
                }
                let texts: Vec<&str> = grant.conditions.iter().map(|it| it.text.as_str()).collect();
                let why = grant.rare.as_ref().map_or("NOT EXPLAINED", String::as_str);
                unexplained = unexplained.saturating_add(usize::from(grant.rare.is_none()));
                println!("  {} {}: {why}", grant.name, texts.join(", "));
            }
        }
        match unexplained {
            0 => Ok(()),
            count => Err(format!("{count} rules were not used: remove them, or say why in `rare`")),
        }
    }
}

/// A number as strace prints it.
fn value(word: &str) -> Option<u64> {
    let word = word.split(' ').next()?;
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"
process = "test"
user = "nobody"
stdio = "null"
descriptors = ["edge"]
root = "empty"
namespaces = ["user", "pid", "net", "ipc", "uts", "cgroup"]
capabilities = []
landlock = []

[rlimits]
core = 0

[syscalls]
read = "bytes"
write = { when = ["int0 == 2"], reason = "words" }
exit_group = { reason = "the end", rare = "it is killed" }
"#;

    fn unused(trace: &str) -> Vec<String> {
        let profiles = [profile_compiler::compile("test", PROFILE, Arch::X86_64).unwrap()];
        let mut traced = Traced::new(&profiles, Arch::X86_64);
        let trace = trace.replace("LENGTH", &profiles[0].program.len().to_string());
        trace.lines().for_each(|line| traced.line(line));
        let is_unused = |number: &usize| !traced.used.contains(&(0, *number));
        let numbers = (0..profiles[0].grants.len()).filter(is_unused);
        numbers.map(|number| profiles[0].grants[number].name.clone()).collect()
    }

    #[test]
    fn a_rule_is_used_by_a_call_that_meets_it_within_the_filter() {
        let enter = "7<test> seccomp(SECCOMP_SET_MODE_FILTER, 0, {len=LENGTH, filter=0x7f}) = 0\n";
        let calls = "7<test> read(0x3, 0x7f, 0x10) = 0x10\n7<test> write(0x2, 0x7f, 0x1) = 0x1\n";
        assert_eq!(unused(&format!("{enter}{calls}")), ["exit_group"]);
        assert_eq!(unused(&format!("{calls}{enter}")).len(), 3, "before the filter");
        let other = "7<test> write(0x3, 0x7f, 0x1) = 0x1\n8<test> read(0x3, 0x7f, 0x10) = 0x10\n";
        assert_eq!(unused(&format!("{enter}{other}")).len(), 3, "other arguments, another process");
    }

    #[test]
    fn a_call_in_two_parts_and_one_of_a_child_are_seen() {
        let trace = "7<test> seccomp(SECCOMP_SET_MODE_FILTER, 0, {len=LENGTH, filter=0x7f} <unfinished ...>\n\
                     7<test> <... seccomp resumed>) = 0\n\
                     7<test> clone3(0x7ffc, 0x58 <unfinished ...>\n\
                     7<test> <... clone3 resumed>) = 0x9\n\
                     9<test> read(0x3, 0x7f, 0x10 <unfinished ...>\n\
                     9<test> exit_group(0) = ?\n";
        assert_eq!(unused(trace), ["write"]);
    }
}
