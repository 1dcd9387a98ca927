//! The log: one line each, on the descriptors that the supervisor gave, never faster than somebody can store.
//!
//! Where stderr is the journal, there is a socket of journald as well, and a line goes there, with its fields. When
//! journald does not take it at once, it goes to stderr: no line is lost for the sake of its fields.
//!
//! Whoever causes lines has a budget of his own, and an own share of what is remembered: a VM that floods crowds out its
//! own lines (L18).

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::os::fd::OwnedFd;

use protocol::control::{LOG_LINES_PER_PAGE_MAX, LogItem, LogStart, Page};
use protocol::journald::{self, Event as Happened, Note};
use protocol::log::{Level, LogLine, LogText};

use super::clock::Clock;
use crate::machine::{About, VMS_MAX};

/// Most lines about one VM, or about one worker, within [`WINDOW_MS`]; what is more is counted, and said when the window
/// is over.
pub const LINES_ABOUT_ONE_MAX: u32 = 100;
/// Most lines about all of them within [`WINDOW_MS`], beyond those of [`LINES_ANYHOW_MAX`].
pub const LINES_PER_WINDOW_MAX: u32 = 2_000;
/// So many lines about each within [`WINDOW_MS`] are written whatever the others do.
pub const LINES_ANYHOW_MAX: u32 = 10;
/// The window, in milliseconds.
pub const WINDOW_MS: u64 = 10_000;
/// Most that may cause lines within one window; lines about further VMs are counted only. Only an xs-monitor that invents
/// domains reaches it. The daemon and its workers are so few that none of them is ever left out.
pub const CAUSES_MAX: usize = VMS_MAX + 16;
/// Most lines that are remembered for `qfilexchgctl log`.
pub const LINES_KEPT_MAX: usize = 1000;

/// What somebody has had of the window.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    lines: u32,
    suppressed: u32,
}

/// A line that is remembered.
#[derive(Debug)]
struct Kept {
    number: u64,
    about: About,
    written_ms: u64,
    line: LogLine,
}

/// Writes lines. A line that cannot be written is lost: there is nobody to tell.
#[derive(Debug)]
pub struct Log {
    clock: Clock,
    /// Where journald hears, if it does. Never waited for.
    journald: Option<OwnedFd>,
    window_began: u64,
    lines: u32,
    shares: BTreeMap<About, Share>,
    /// Suppressed lines about those that have no share, since there are too many.
    suppressed: u32,
    /// Remembered lines, oldest first.
    kept: VecDeque<Kept>,
    next_number: u64,
}

impl Log {
    /// An empty log.
    pub fn new(clock: Clock, journald: Option<OwnedFd>) -> Self {
        Self {
            clock,
            journald,
            window_began: 0,
            lines: 0,
            shares: BTreeMap::new(),
            suppressed: 0,
            kept: VecDeque::new(),
            next_number: 0,
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
            let lost = self.suppressed_line().map(|text| Note::new(Happened::LinesLost, text));
            admitted.extend(lost.map(|note| (Level::Warning, note)));
            (self.window_began, self.lines, self.suppressed) = (now, 0, 0);
            self.shares.clear();
        }
        if self.has_room(About::of(note)) {
            let text = LogText::new(&note.text).as_str().to_owned();
            admitted.push((level, Note { text, ..note.clone() }));
        }
        for (level, note) in &admitted {
            self.keep(About::of(note), LogLine::new(*level, &note.text), now);
        }
        admitted
    }

    /// Counts a line, and says whether it may be written.
    fn has_room(&mut self, about: About) -> bool {
        let is_vm = matches!(about, About::Vm(_));
        if is_vm && self.shares.len() >= CAUSES_MAX && !self.shares.contains_key(&about) {
            self.suppressed = self.suppressed.saturating_add(1);
            return false;
        }
        let share = self.shares.entry(about).or_default();
        if share.lines < LINES_ANYHOW_MAX {
            share.lines = share.lines.saturating_add(1);
            return true;
        }
        if share.lines >= LINES_ABOUT_ONE_MAX || self.lines >= LINES_PER_WINDOW_MAX {
            share.suppressed = share.suppressed.saturating_add(1);
            return false;
        }
        share.lines = share.lines.saturating_add(1);
        self.lines = self.lines.saturating_add(1);
        true
    }

    /// What was not written, and who caused most of it.
    fn suppressed_line(&self) -> Option<String> {
        let sum = self.shares.values().fold(self.suppressed, |sum, it| sum.saturating_add(it.suppressed));
        let most = self.shares.iter().max_by_key(|(_, share)| share.suppressed)?;
        (sum > 0).then(|| match most {
            (about, share) if share.suppressed > 0 => {
                format!("{sum} lines were not logged, {} of them about {about}", share.suppressed)
            }
            _ => format!("{sum} lines were not logged"),
        })
    }

    /// Remembers a line. What is forgotten for it is the oldest line of whoever has most.
    fn keep(&mut self, about: About, line: LogLine, now: u64) {
        if self.kept.len() >= LINES_KEPT_MAX {
            let mut counts: BTreeMap<About, usize> = BTreeMap::new();
            for kept in &self.kept {
                let count = counts.entry(kept.about).or_default();
                *count = count.saturating_add(1);
            }
            let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(about, _)| about);
            let oldest = self.kept.iter().position(|kept| Some(kept.about) == most);
            drop(oldest.and_then(|index| self.kept.remove(index)));
        }
        self.kept.push_back(Kept { number: self.next_number, about, written_ms: now, line });
        self.next_number = self.next_number.saturating_add(1);
    }

    /// A page of the remembered lines.
    pub fn page(&self, from: LogStart) -> Page<LogItem, LOG_LINES_PER_PAGE_MAX> {
        self.page_at(from, self.clock.ms())
    }

    fn page_at(&self, from: LogStart, now: u64) -> Page<LogItem, LOG_LINES_PER_PAGE_MAX> {
        let skip = match from {
            LogStart::Last(count) => self.kept.len().saturating_sub(usize::from(count)),
            LogStart::Number(number) => self.kept.partition_point(|kept| kept.number < number),
        };
        Page::first_of(self.kept.iter().skip(skip).map(|kept| LogItem {
            number: kept.number,
            age_ms: now.saturating_sub(kept.written_ms),
            line: kept.line.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use protocol::supervise::Role;
    use protocol::types::Domid;

    use super::*;

    fn note(text: &str) -> Note {
        Note::new(Happened::Serving, text.to_owned())
    }

    fn of_vm(domid: u16, text: &str) -> Note {
        Note::about_vm(Happened::Request, Domid::new(domid).unwrap(), None, text.to_owned())
    }

    fn of_monitor() -> Note {
        Note::about_process(Happened::ProcessSaid, Role::Monitor, "x".to_owned())
    }

    /// How many of so many lines like this one are written.
    fn written(log: &mut Log, note: &Note, count: u32, now: u64) -> u32 {
        (0..count)
            .filter(|_| log.admit(Level::Info, note, now).iter().any(|(_, it)| it == note))
            .map(|_| 1)
            .sum()
    }

    #[test]
    fn l18_a_flood_of_lines_is_counted_and_not_written() {
        let mut log = Log::new(Clock::new(), None);
        assert_eq!(written(&mut log, &of_vm(7, "x"), LINES_ABOUT_ONE_MAX + 7, 1), LINES_ABOUT_ONE_MAX);
        let next = log.admit(Level::Info, &of_vm(7, "later"), 1 + WINDOW_MS);
        let lost = "7 lines were not logged, 7 of them about domain 7".to_owned();
        let lost = Note::new(Happened::LinesLost, lost);
        assert_eq!(next, [(Level::Warning, lost), (Level::Info, of_vm(7, "later"))]);
    }

    #[test]
    fn l18_vms_that_flood_crowd_out_no_line_of_others() {
        let mut log = Log::new(Clock::new(), None);
        for flooding in [1, 2] {
            let _ = written(&mut log, &of_vm(flooding, "x"), 10_000, 1);
        }
        assert_eq!(written(&mut log, &of_vm(3, "x"), LINES_ABOUT_ONE_MAX, 1), LINES_ABOUT_ONE_MAX);
        assert_eq!(written(&mut log, &of_monitor(), 1, 1), 1);
        // As many as it takes to use up what all share.
        for flooding in 10..50 {
            let _ = written(&mut log, &of_vm(flooding, "x"), LINES_ABOUT_ONE_MAX, 1);
        }
        assert_eq!(written(&mut log, &of_vm(60, "x"), LINES_ABOUT_ONE_MAX, 1), LINES_ANYHOW_MAX);
        assert_eq!(written(&mut log, &note("x"), 1, 1), 1);
    }

    #[test]
    fn l18_vms_that_flood_make_no_line_of_others_forgotten() {
        let mut log = Log::new(Clock::new(), None);
        let _ = log.admit(Level::Info, &of_vm(3, "of another"), 0);
        for window in 1..100 {
            for flooding in [1, 2] {
                let _ = written(&mut log, &of_vm(flooding, "x"), 10_000, window * WINDOW_MS);
            }
        }
        assert_eq!(log.kept.len(), LINES_KEPT_MAX);
        let first = log.page_at(LogStart::Number(0), 0);
        assert_eq!(first.items().first().unwrap().line.text.as_str(), "of another");
    }

    #[test]
    fn l18_invented_domains_do_not_fill_the_log() {
        let mut log = Log::new(Clock::new(), None);
        let all: u32 = (1..20_000).map(|domid| written(&mut log, &of_vm(domid, "x"), 20, 1)).sum();
        let causes = u32::try_from(CAUSES_MAX).unwrap();
        assert!(all <= LINES_PER_WINDOW_MAX + LINES_ANYHOW_MAX * causes, "{all} lines");
        assert_eq!(log.shares.len(), CAUSES_MAX);
    }

    #[test]
    fn l18_invented_domains_crowd_out_no_line_of_a_worker_or_of_the_daemon() {
        let mut log = Log::new(Clock::new(), None);
        for domid in 1..20_000 {
            let _ = written(&mut log, &of_vm(domid, "x"), 20, 1);
        }
        assert_eq!(written(&mut log, &of_monitor(), 1, 1), 1);
        assert_eq!(written(&mut log, &note("it is restarted"), 1, 1), 1);
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
        (0..LINES_ABOUT_ONE_MAX).for_each(|_| log.line(Level::Info, &note("one of many")));
        drop(its);
        log.line(Level::Info, &note("nobody hears"));
        assert_eq!(log.kept.len(), usize::try_from(LINES_ABOUT_ONE_MAX).unwrap());
    }
}
