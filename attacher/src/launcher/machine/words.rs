//! Commands in words for the log, and the one number that is read from what a command printed.

use protocol::runner::{Command, RunEnd, RunOutput};

/// Most digits of the number that the command for the free memory prints.
pub(super) const MEMORY_DIGITS_MAX: usize = 12;

/// What a command is called in the log: the key of the configuration, and the VM.
pub(super) fn name(command: Command) -> String {
    match command {
        Command::Create { number } => format!("create of {number}"),
        Command::Destroy { number } => format!("destroy of {number}"),
        Command::Exists { number } => format!("exists of {number}"),
        Command::Rebuild => "rebuild".to_owned(),
        Command::FreeMemory => "free_memory".to_owned(),
    }
}

/// A line about a command that failed. What it printed is escaped and cut when the line is made.
pub(super) fn account(command: Command, how: RunEnd, output: &RunOutput) -> String {
    let how = match how {
        RunEnd::Code(code) => format!("ended with code {code}"),
        RunEnd::Signal(signal) => format!("was ended by signal {signal}"),
        RunEnd::NotStarted(errno) => format!("cannot be started: error {errno}"),
    };
    let untrusted_text = String::from_utf8_lossy(output.untrusted_bytes());
    format!("{} {how}: {}", name(command), untrusted_text.trim())
}

/// The number on the last line.
pub(super) fn read_memory(output: &RunOutput) -> Option<u64> {
    let untrusted_text = std::str::from_utf8(output.untrusted_bytes()).ok()?;
    let line = untrusted_text.trim_end_matches('\n').rsplit('\n').next()?.trim();
    let fits =
        (1..=MEMORY_DIGITS_MAX).contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_digit());
    if fits { line.parse().ok() } else { None }
}
