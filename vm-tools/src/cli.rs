//! What the command lines of all tools have in common.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Duration;

use crate::exit;
use crate::failure::Failure;
use crate::interrupt;
use crate::session::TIMEOUT_SECONDS_MAX;
use crate::shown::{Line, say};

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<T> {
    /// The tool's work.
    Work(T),
    /// Only this text, on stdout.
    Text(String),
}

/// Runs a tool: reads its command line, does its work, says in one line why it failed.
pub fn run<T>(
    tool: &str,
    parse: impl FnOnce(lexopt::Parser) -> Result<Asked<T>, Failure>,
    work: impl FnOnce(T) -> Result<u8, Failure>,
) -> ExitCode {
    let result = parse(lexopt::Parser::from_env()).and_then(|asked| match asked {
        Asked::Work(options) => interrupt::watch().and_then(|()| work(options)),
        Asked::Text(text) => {
            let written = std::io::stdout().write_all(text.as_bytes());
            written.map(|()| exit::DONE).map_err(|error| Failure::failed(&format!("stdout: {error}")))
        }
    });
    ExitCode::from(result.unwrap_or_else(|failure| {
        say(tool, &Line::new(&failure.to_string()));
        failure.exit_code()
    }))
}

/// The answer to `--version`.
#[must_use]
pub fn version(tool: &str) -> String {
    format!("{tool} (qfilexchgd) {}\n", env!("CARGO_PKG_VERSION"))
}

/// The value of `--timeout`.
///
/// # Errors
/// It is no number from 1 to [`TIMEOUT_SECONDS_MAX`].
pub fn timeout(value: &OsStr) -> Result<Duration, Failure> {
    match number(value.as_bytes()) {
        Some(seconds) if (1..=TIMEOUT_SECONDS_MAX).contains(&u64::from(seconds)) => {
            Ok(Duration::from_secs(u64::from(seconds)))
        }
        _ => Err(Failure::usage(&format!("--timeout takes seconds, 1 to {TIMEOUT_SECONDS_MAX}"))),
    }
}

/// A plain decimal number, as the contract has it: without sign and without zeros in front.
#[must_use]
pub fn number(word: &[u8]) -> Option<u32> {
    let is_plain = word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || word.first() != Some(&b'0'));
    std::str::from_utf8(word).ok().filter(|_| is_plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l19_time_outs_are_bounded_at_both_ends() {
        for (text, fits) in
            [("0", false), ("1", true), ("86400", true), ("86401", false), ("", false), ("-1", false)]
        {
            assert_eq!(timeout(OsStr::new(text)).is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn only_plain_numbers_are_numbers() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"4294967295"), Some(u32::MAX));
        for word in [&b""[..], b"+1", b"-1", b"01", b"1 ", b"1e3", b"4294967296", b"\xff"] {
            assert_eq!(number(word), None, "{word:?}");
        }
    }
}
