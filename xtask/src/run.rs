//! Running other programs.

use std::process::{Command, ExitStatus};

use crate::Outcome;

/// Runs a program to its end; anything but exit code 0 is an error that says what was tried.
pub fn succeed(command: &mut Command, what: &str) -> Outcome<()> {
    let status = command.status().map_err(|error| format!("{what}: cannot start: {error}"))?;
    check(status, what)
}

/// Turns an exit status into an outcome.
pub fn check(status: ExitStatus, what: &str) -> Outcome<()> {
    if status.success() { Ok(()) } else { Err(format!("{what}: {status}")) }
}

/// Says which step begins.
pub fn step(text: &str) {
    println!("\n== {text}");
}
