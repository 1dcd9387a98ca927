//! How far a copy has come: on one line of a terminal for a person, on many lines of stdout for a program.
//!
//! A program reads `progress DONE_BYTES TOTAL_BYTES` and `note TEXT`, each on a line of its own.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shortest time between two updates.
const UPDATE_MS_MIN: u64 = 100;
/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// A line on stderr that is written again and again.
#[derive(Debug)]
pub struct Progress {
    enabled: bool,
    has_lines: bool,
    is_line_open: bool,
    started: Instant,
    updated: Option<Instant>,
}

impl Progress {
    /// Progress on stderr, if that is a terminal or `forced`.
    #[must_use]
    pub fn new(forced: bool) -> Self {
        let enabled = forced || std::io::stderr().is_terminal();
        Self { enabled, has_lines: false, is_line_open: false, started: Instant::now(), updated: None }
    }

    /// The same, on stdout for a program as well.
    #[must_use]
    pub fn with_lines(self, has_lines: bool) -> Self {
        Self { has_lines, ..self }
    }

    /// Says what goes on, on a line of its own.
    pub fn note(&mut self, text: &str) {
        self.finish();
        self.put_line(&format!("note {text}"));
        if self.enabled {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// From here on bytes are counted.
    pub fn restart(&mut self) {
        self.started = Instant::now();
        self.updated = None;
    }

    /// Shows how far it is, at most ten times a second and at the end.
    pub fn update(&mut self, done_bytes: u64, total_bytes: u64) {
        let is_due = self.updated.is_none_or(|at| at.elapsed() >= Duration::from_millis(UPDATE_MS_MIN));
        if !self.enabled && !self.has_lines || (!is_due && done_bytes < total_bytes) {
            return;
        }
        self.updated = Some(Instant::now());
        self.put_line(&format!("progress {done_bytes} {total_bytes}"));
        if !self.enabled {
            return;
        }
        self.is_line_open = true;
        let line = line(done_bytes, total_bytes, self.started.elapsed());
        let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
    }

    /// Shows how much there is so far where nobody knows how much there will be.
    pub fn count(&mut self, files: u32, done_bytes: u64) {
        let is_due = self.updated.is_none_or(|at| at.elapsed() >= Duration::from_millis(UPDATE_MS_MIN));
        if !self.enabled || !is_due {
            return;
        }
        self.updated = Some(Instant::now());
        self.is_line_open = true;
        let _ = write!(std::io::stderr(), "\r  {files} files, {} MiB\x1b[K", tenths(done_bytes));
    }

    /// That nobody reads it any more is no reason to stop.
    fn put_line(&self, line: &str) {
        if self.has_lines {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    /// Ends the line, so that others can follow.
    pub fn finish(&mut self) {
        if std::mem::take(&mut self.is_line_open) {
            let _ = writeln!(std::io::stderr());
        }
    }
}

fn line(done_bytes: u64, total_bytes: u64, elapsed: Duration) -> String {
    let percent = done_bytes.saturating_mul(100).checked_div(total_bytes).unwrap_or(100).min(100);
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = done_bytes.saturating_mul(1000) / elapsed_ms;
    format!("  {} of {} MiB, {percent} %, {} MiB/s", tenths(done_bytes), tenths(total_bytes), tenths(rate))
}

/// Bytes as MiB with one decimal.
fn tenths(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / MIB;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_bytes_percent_and_rate() {
        let second = Duration::from_secs(1);
        assert_eq!(line(10 * MIB, 40 * MIB, second), "  10.0 of 40.0 MiB, 25 %, 10.0 MiB/s");
        assert_eq!(line(MIB / 2, MIB, Duration::ZERO), "  0.5 of 1.0 MiB, 50 %, 500.0 MiB/s");
    }

    #[test]
    fn l19_nothing_and_more_than_everything_have_a_line() {
        assert_eq!(line(0, 0, Duration::ZERO), "  0.0 of 0.0 MiB, 100 %, 0.0 MiB/s");
        assert!(line(u64::MAX, 1, Duration::MAX).contains("100 %"));
    }
}
