//! The log: one line each, on the descriptors that the supervisor gave, never faster than somebody can store.
//!
//! Where stderr is the journal, there is a socket of journald as well, and a line goes there, with its fields. When
//! journald does not take it at once, it goes to stderr: no line is lost for the sake of its fields.

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::OwnedFd;

use protocol::control::{LOG_LINES_PER_PAGE_MAX, LogItem, LogStart, Page};
use protocol::journald::{self, Event as Happened, Note};
use protocol::log::{Level, LogLine, LogText};

use super::clock::Clock;

/// Most lines within [`WINDOW_MS`]; what is more is counted and said when the window is over.
pub const LINES_PER_WINDOW_MAX: u32 = 500;
/// The window, in milliseconds.
pub const WINDOW_MS: u64 = 10_000;
/// Most lines that are remembered for `qfilexchgctl log`.
pub const LINES_KEPT_MAX: usize = 1000;

/// Writes lines. A line that cannot be written is lost: there is nobody to tell.
#[derive(Debug)]
pub struct Log {
    clock: Clock,
    /// Where journald hears, if it does. Never waited for.
    journald: Option<OwnedFd>,
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
    pub fn new(clock: Clock, journald: Option<OwnedFd>) -> Self {
        Self {
            clock,
            journald,
            window_began: 0,
            lines: 0,
            suppressed: 0,
            kept: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// Writes a line, escaped and bounded.
    pub fn line(&mut self, level: Level, note: &Note) {
        for (level, note) in self.admit(level, note, self.clock.ms()) {
            self.write(level, &note);
        }
    }

    fn write(&self, level: Level, note: &Note) {
        if let Some(journald) = &self.journald {
            let entry = journald::entry(level, note);
            if rustix::io::write(journald, &entry).is_ok_and(|written| written == entry.len()) {
                return;
            }
        }
        let line = format!("qfilexchgd {level}: {}\n", note.text);
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// What is to be written now: nothing, or this line, perhaps after one about lines that were not; escaped.
    fn admit(&mut self, level: Level, note: &Note, now: u64) -> Vec<(Level, Note)> {
        let mut admitted = Vec::new();
        if now.saturating_sub(self.window_began) >= WINDOW_MS {
            if self.suppressed > 0 {
                let text = format!("{} lines were not logged", self.suppressed);
                admitted.push((Level::Warning, Note::new(Happened::LinesLost, text)));
            }
            (self.window_began, self.lines, self.suppressed) = (now, 0, 0);
        }
        if self.lines >= LINES_PER_WINDOW_MAX {
            self.suppressed = self.suppressed.saturating_add(1);
            return admitted;
        }
        self.lines = self.lines.saturating_add(1);
        let text = LogText::new(&note.text).as_str().to_owned();
        admitted.push((level, Note { text, ..note.clone() }));
        for (level, note) in &admitted {
            self.keep(LogLine::new(*level, &note.text), now);
        }
        admitted
    }

    /// Remembers a line.
    fn keep(&mut self, line: LogLine, now: u64) {
        if self.kept.len() >= LINES_KEPT_MAX {
            self.kept.pop_front();
            self.forgotten = self.forgotten.saturating_add(1);
        }
        self.kept.push_back((now, line));
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
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn note(text: &str) -> Note {
        Note::new(Happened::ProcessSaid, text.to_owned())
    }

    #[test]
    fn l18_a_flood_of_lines_is_counted_and_not_written() {
        let mut log = Log::new(Clock::new(), None);
        let written: usize =
            (0..LINES_PER_WINDOW_MAX + 7).map(|_| log.admit(Level::Info, &note("x"), 1).len()).sum();
        assert_eq!(written, usize::try_from(LINES_PER_WINDOW_MAX).unwrap());
        let next = log.admit(Level::Info, &note("later"), 1 + WINDOW_MS);
        let lost = Note::new(Happened::LinesLost, "7 lines were not logged".to_owned());
        assert_eq!(next, [(Level::Warning, lost), (Level::Info, note("later"))]);
    }

    #[test]
    fn l19_the_newest_lines_are_kept_and_read_page_by_page() {
        let mut log = Log::new(Clock::new(), None);
        assert!(log.page_at(LogStart::Last(5), 0).items().is_empty());
        let written = u64::try_from(LINES_KEPT_MAX).unwrap() + 1;
        for number in 0..written {
            // A window for each, so that none is left out.
            let _ = log.admit(Level::Info, &note(&format!("line {number}")), number * WINDOW_MS);
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
        let admitted = Log::new(Clock::new(), None).admit(Level::Error, &note("a\nb\u{1b}"), 1);
        assert_eq!(admitted, [(Level::Error, note("a\\nb\\u{1b}"))]);
    }

    #[test]
    fn a_line_goes_to_journald_and_to_nobody_else_as_long_as_that_takes_it() {
        let (ours, its) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut log = Log::new(Clock::new(), Some(ours.into()));
        log.line(Level::Warning, &note("a line"));
        let mut buffer = [0; 400];
        let length = its.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], journald::entry(Level::Warning, &note("a line")));
        // More than its queue takes: each of these returns at once.
        (0..LINES_PER_WINDOW_MAX).for_each(|_| log.line(Level::Info, &note("one of many")));
        drop(its);
        log.line(Level::Info, &note("nobody hears"));
        assert_eq!(log.kept.len(), usize::try_from(LINES_PER_WINDOW_MAX).unwrap());
    }
}
