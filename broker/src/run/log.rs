//! The log: one line each, on the descriptor that the supervisor gave, never faster than somebody can store.

use std::io::Write;

use protocol::log::{Level, LogText};

use super::clock::Clock;

/// Most lines within [`WINDOW_MS`]; what is more is counted and said when the window is over.
pub const LINES_PER_WINDOW_MAX: u32 = 500;
/// The window, in milliseconds.
pub const WINDOW_MS: u64 = 10_000;

/// Writes lines to stderr. A line that cannot be written is lost: there is nobody to tell.
#[derive(Debug)]
pub struct Log {
    clock: Clock,
    window_began: u64,
    lines: u32,
    suppressed: u32,
}

impl Log {
    /// An empty log.
    pub fn new(clock: Clock) -> Self {
        Self { clock, window_began: 0, lines: 0, suppressed: 0 }
    }

    /// Writes a line, escaped and bounded.
    pub fn line(&mut self, level: Level, text: &str) {
        if let Some(line) = self.admit(level, text, self.clock.ms()) {
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn admit(&mut self, level: Level, text: &str, now: u64) -> Option<String> {
        let mut before = String::new();
        if now.saturating_sub(self.window_began) >= WINDOW_MS {
            if self.suppressed > 0 {
                before = format!("qfilexchgd warning: {} lines were not logged\n", self.suppressed);
            }
            *self = Self { window_began: now, ..Self::new(self.clock) };
        }
        if self.lines >= LINES_PER_WINDOW_MAX {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.lines = self.lines.saturating_add(1);
        Some(format!("{before}qfilexchgd {level}: {}\n", LogText::new(text).as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l18_a_flood_of_lines_is_counted_and_not_written() {
        let mut log = Log::new(Clock::new());
        let written =
            (0..LINES_PER_WINDOW_MAX + 7).filter(|_| log.admit(Level::Info, "x", 1).is_some()).count();
        assert_eq!(written, usize::try_from(LINES_PER_WINDOW_MAX).unwrap());
        let next = log.admit(Level::Info, "later", 1 + WINDOW_MS).unwrap();
        assert_eq!(next, "qfilexchgd warning: 7 lines were not logged\nqfilexchgd info: later\n");
    }

    #[test]
    fn l7_a_line_is_one_line_of_printable_text() {
        let line = Log::new(Clock::new()).admit(Level::Error, "a\nb\u{1b}", 1).unwrap();
        assert_eq!(line, "qfilexchgd error: a\\nb\\u{1b}\n");
    }
}
