//! Running the targets, several at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::result::Results;
use crate::Outcome;
use crate::run::step;
use crate::workspace::top;

/// Longest input that is tried, in bytes.
const INPUT_BYTES_MAX: usize = 4096;
/// The same of targets for which that is too short to matter.
const LONG_INPUTS: [(&str, usize); 3] =
    [("edges", 16 * 1024 + 2), ("fat_volume", 16 * 1024), ("gate", 16 * 1024)];
/// Longest time for one input, in seconds: everything here takes milliseconds, on a machine that
/// has nothing else to do.
const INPUT_S_MAX: u32 = 30;
/// Most memory of a target, in MiB. AddressSanitizer and the corpus take some hundred.
const MEMORY_MIB_MAX: u32 = 2048;
/// Most memory that one input may ask for at once, in MiB.
const ALLOCATION_MIB_MAX: u32 = 256;

/// One run of all.
pub struct Campaign {
    /// Where the targets are.
    pub programs: PathBuf,
    /// Where what is found goes.
    pub folder: PathBuf,
    /// How long each runs.
    pub seconds: u64,
    /// Where its dice begin, if that is to be the same each time.
    pub dice: Option<u64>,
}

impl Campaign {
    /// Runs these targets; an error names those that found something.
    pub fn run(&self, targets: &[String], jobs: usize) -> Outcome<()> {
        step(&format!("fuzzing, {} s each", self.seconds));
        let waiting = Mutex::new(targets.iter());
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..jobs.min(targets.len()) {
                scope.spawn(|| {
                    while let Some(target) = next(&waiting) {
                        if let Err(error) = self.target(target) {
                            println!("{target}: FAILED: {error}");
                            failed.lock().unwrap_or_else(|error| error.into_inner()).push(target.as_str());
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap_or_else(|error| error.into_inner());
        if failed.is_empty() {
            Ok(())
        } else {
            Err(format!("fuzzing found something: {}", failed.join(", ")))
        }
    }

    fn target(&self, target: &str) -> Outcome<()> {
        let corpus = self.made("corpus", target)?;
        let found = self.made("found", target)?;
        let log = self.made("logs", "")?.join(target);
        let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let status = self.command(target, &corpus, &found).stderr(file).status();
        let status = status.map_err(|error| format!("cannot be started: {error}"))?;
        let untrusted_log = std::fs::read(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let results = Results::of(&String::from_utf8_lossy(&untrusted_log));
        println!("{target}: {results}");
        if status.success() {
            return Ok(());
        }
        Err(format!("{status}; what it tried is in {}, what it said in {}", found.display(), log.display()))
    }

    fn command(&self, target: &str, corpus: &Path, found: &Path) -> Command {
        let long = LONG_INPUTS.iter().find(|(name, _)| *name == target);
        let input_bytes_max = long.map_or(INPUT_BYTES_MAX, |(_, bytes)| *bytes);
        let mut command = self.program(target);
        command.arg(format!("-max_total_time={}", self.seconds));
        command.arg(format!("-max_len={input_bytes_max}"));
        command.arg(format!("-timeout={INPUT_S_MAX}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        command.arg(format!("-malloc_limit_mb={ALLOCATION_MIB_MAX}"));
        command.arg(format!("-artifact_prefix={}/", found.display()));
        command.arg("-print_final_stats=1");
        let dictionary = top().join("fuzz/dictionaries").join(target);
        if dictionary.exists() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        // What is new goes into the first folder.
        command.arg(corpus).arg(top().join("fuzz/seeds").join(target));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// The target alone, with its dice. libFuzzer remembers addresses that were compared, so the same dice fall the same
    /// way only where addresses are the same each time.
    fn program(&self, target: &str) -> Command {
        let program = self.programs.join(target);
        let Some(dice) = self.dice else { return Command::new(program) };
        let mut command = Command::new("setarch");
        command.arg("--addr-no-randomize").arg(program).arg(format!("-seed={dice}"));
        command
    }

    fn made(&self, kind: &str, target: &str) -> Outcome<PathBuf> {
        let folder = self.folder.join(kind).join(target);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }
}

fn next<'a>(waiting: &Mutex<std::slice::Iter<'a, String>>) -> Option<&'a String> {
    waiting.lock().unwrap_or_else(|error| error.into_inner()).next()
}
