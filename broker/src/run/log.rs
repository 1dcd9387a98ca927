//! The log: one line each, on the descriptor that the supervisor gave, never faster than somebody can store.

use std::collections::VecDeque;
use std::io::Write;

use protocol::control::{LOG_LINES_PER_PAGE_MAX, LogItem, LogStart, Page};
use protocol::log::{Level, LogLine};

use super::clock::Clock;

/// Most lines within [`WINDOW_MS`]; what is more is counted and said when the window is over.
pub const LINES_PER_WINDOW_MAX: u32 = 500;
/// The window, in milliseconds.
pub const WINDOW_MS: u64 = 10_000;
/// Most lines that are remembered for `qfilexchgctl log`.
pub const LINES_KEPT_MAX: usize = 1000;

/// Writes lines to stderr. A line that cannot be written is lost: there is nobody to tell.
#[derive(Debug)]
pub struct Log {
    clock: Clock,
    window_began: u64,
    lines: u32,
    suppressed: u32,
    /// The newest lines with the time of each, oldest first.
    kept: VecDeque<(u64, LogLine)>,
    /// How many were forgotten.
    forgotten: u64,
}

impl Log {
    /// An empty log.
    pub fn new(clock: Clock) -> Self {
        Self { clock, window_began: 0, lines: 0, suppressed: 0, kept: VecDeque::new(), forgotten: 0 }
    }

    /// Writes a line, escaped and bounded.
    pub fn line(&mut self, level: Level, text: &str) {
        if let Some(line) = self.admit(level, text, self.clock.ms()) {
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn admit(&mut self, level: Level, text: &str, now: u64) -> Option<String> {
        let mut text_before = String::new();
        if now.saturating_sub(self.window_began) >= WINDOW_MS {
            if self.suppressed > 0 {
                let line = format!("{} lines were not logged", self.suppressed);
                text_before = self.keep(LogLine::new(Level::Warning, &line), now);
            }
            (self.window_began, self.lines, self.suppressed) = (now, 0, 0);
        }
        if self.lines >= LINES_PER_WINDOW_MAX {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.lines = self.lines.saturating_add(1);
        Some(text_before + &self.keep(LogLine::new(level, text), now))
    }

    /// Remembers a line, and gives its text.
    fn keep(&mut self, line: LogLine, now: u64) -> String {
        let text = format!("qfilexchgd {}: {}\n", line.level, line.text.as_str());
        if self.kept.len() >= LINES_KEPT_MAX {
            self.kept.pop_front();
            self.forgotten = self.forgotten.saturating_add(1);
        }
        self.kept.push_back((now, line));
        text
    }

    /// A page of the remembered lines.
    pub fn page(&self, from: LogStart) -> Page<LogItem, LOG_LINES_PER_PAGE_MAX> {
        self.page_at(from, self.clock.ms())
    }

    fn page_at(&self, from: LogStart, now: u64) -> Page<LogItem, LOG_LINES_PER_PAGE_MAX> {
        let skip = match from {
            LogStart::Last(count) => self.kept.len().saturating_sub(usize::from(count)),
            LogStart::Number(number) => {
                usize::try_from(number.saturating_sub(self.forgotten)).unwrap_or(usize::MAX)
            }
        };
        let numbered = (self.forgotten..).zip(&self.kept).skip(skip);
        Page::first_of(numbered.map(|(number, (written, line))| LogItem {
            number,
            age_ms: now.saturating_sub(*written),
            line: line.clone(),
        }))
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
    fn l19_the_newest_lines_are_kept_and_read_page_by_page() {
        let mut log = Log::new(Clock::new());
        assert!(log.page_at(LogStart::Last(5), 0).items().is_empty());
        let written = u64::try_from(LINES_KEPT_MAX).unwrap() + 1;
        for number in 0..written {
            // A window for each, so that none is left out.
            let _ = log.admit(Level::Info, &format!("line {number}"), number * WINDOW_MS);
        }
        for (from, first, count, more) in [
            (LogStart::Last(0), None, 0, false),
            (LogStart::Last(1), Some(written - 1), 1, false),
            (LogStart::Last(u16::MAX), Some(1), LOG_LINES_PER_PAGE_MAX, true),
            (LogStart::Number(0), Some(1), LOG_LINES_PER_PAGE_MAX, true),
            (LogStart::Number(2), Some(2), LOG_LINES_PER_PAGE_MAX, true),
            (LogStart::Number(written - 1), Some(written - 1), 1, false),
            (LogStart::Number(written), None, 0, false),
            (LogStart::Number(u64::MAX), None, 0, false),
        ] {
            let page = log.page_at(from, written * WINDOW_MS);
            assert_eq!(page.items().len(), count, "{from:?}");
            assert_eq!(page.has_more(), more, "{from:?}");
            let item = page.items().first();
            assert_eq!(item.map(|item| item.number), first, "{from:?}");
            if let Some(item) = item {
                assert_eq!(item.line.text.as_str(), format!("line {}", item.number));
                assert_eq!(item.age_ms, (written - item.number) * WINDOW_MS);
            }
        }
    }

    #[test]
    fn l7_a_line_is_one_line_of_printable_text() {
        let line = Log::new(Clock::new()).admit(Level::Error, "a\nb\u{1b}", 1).unwrap();
        assert_eq!(line, "qfilexchgd error: a\\nb\\u{1b}\n");
    }
}
