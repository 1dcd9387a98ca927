//! When a document is released: nobody has to do with it any longer.
//!
//! The started program has ended, and for [`QUIET_MS`] nobody else was seen with the document. An early end says
//! little: `xdg-open` hands the document to a program that may be slow to start. So a document that nobody has changed
//! or taken up is only released when the time for that (`hand_over_s`, counted from the start) is over.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use super::holders::is_held;
use crate::failure::Failure;
use crate::interrupt;

/// How long nobody may have been seen with the document, in milliseconds.
pub const QUIET_MS: u64 = 1000;
/// Between two looks, in milliseconds.
const LOOK_MS: u64 = 250;

/// What is seen at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// The started program runs.
    is_running: bool,
    /// Another process refers to the document.
    is_held: bool,
    /// The file is not the one that was received.
    is_touched: bool,
}

/// What has been seen so far.
#[derive(Debug)]
struct Watch {
    hand_over_ms: u64,
    free_since_ms: Option<u64>,
    was_taken_up: bool,
}

impl Watch {
    fn new(hand_over_ms: u64) -> Self {
        Self { hand_over_ms, free_since_ms: None, was_taken_up: false }
    }

    /// Whether the document is released, so many milliseconds after the program was started.
    fn is_released(&mut self, seen: Seen, now_ms: u64) -> bool {
        if seen.is_running || seen.is_held {
            self.was_taken_up |= !seen.is_running;
            self.free_since_ms = None;
            return false;
        }
        let since_ms = *self.free_since_ms.get_or_insert(now_ms);
        let is_quiet = now_ms.saturating_sub(since_ms) >= QUIET_MS;
        is_quiet && (seen.is_touched || self.was_taken_up || now_ms >= self.hand_over_ms)
    }
}

/// Waits until the documents are released; says how each started program ended. The documents are in a private
/// directory, all named by their real paths.
///
/// # Errors
/// The person interrupted, or a program could not be waited for.
pub fn wait(
    mut programs: Vec<Child>,
    directory: &Path,
    documents: &[PathBuf],
    hand_over_s: u32,
) -> Result<Vec<ExitStatus>, Failure> {
    let started = Instant::now();
    let fingerprints = || documents.iter().map(|document| fingerprint(document)).collect::<Vec<_>>();
    let received = fingerprints();
    let mut watch = Watch::new(u64::from(hand_over_s).saturating_mul(1000));
    loop {
        let ended: Vec<Option<ExitStatus>> = programs
            .iter_mut()
            .map(Child::try_wait)
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::failed(&format!("cannot wait for the program: {error}")))?;
        let ended: Option<Vec<ExitStatus>> = ended.into_iter().collect();
        let seen = Seen {
            is_running: ended.is_none(),
            // While one runs, nobody else matters.
            is_held: ended.is_some() && is_held(directory),
            is_touched: fingerprints() != received,
        };
        let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_released = watch.is_released(seen, now_ms);
        if let (Some(ended), true) = (ended, is_released) {
            return Ok(ended);
        }
        interrupt::check("the document may still be open, and nothing was sent back")?;
        std::thread::sleep(Duration::from_millis(LOOK_MS));
    }
}

/// Changes when somebody writes the file, or puts another one in its place. Only a sign: content decides.
fn fingerprint(document: &Path) -> Option<(u64, u64, i64, i64)> {
    let metadata = std::fs::symlink_metadata(document).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: Seen = Seen { is_running: true, is_held: false, is_touched: false };
    const HELD: Seen = Seen { is_running: false, is_held: true, is_touched: false };
    const FREE: Seen = Seen { is_running: false, is_held: false, is_touched: false };
    const TOUCHED: Seen = Seen { is_touched: true, ..FREE };

    /// When it is released, if these are seen from these times on.
    fn released_ms(hand_over_ms: u64, course: &[(u64, Seen)]) -> Option<u64> {
        let mut watch = Watch::new(hand_over_ms);
        (0..120_000).step_by(100).find(|&now_ms| {
            let seen = course.iter().rev().find(|(from_ms, _)| *from_ms <= now_ms).unwrap().1;
            watch.is_released(seen, now_ms)
        })
    }

    #[test]
    fn it_is_released_a_moment_after_a_program_that_ran_for_long() {
        assert_eq!(released_ms(10_000, &[(0, RUNS), (60_000, FREE)]), Some(61_000));
        assert_eq!(released_ms(10_000, &[(0, RUNS)]), None);
    }

    #[test]
    fn a_program_that_ends_at_once_has_perhaps_handed_it_over() {
        assert_eq!(released_ms(10_000, &[(0, FREE)]), Some(10_000));
        assert_eq!(released_ms(10_000, &[(0, FREE), (9_000, HELD), (50_000, FREE)]), Some(51_000));
        assert_eq!(released_ms(10_000, &[(0, FREE), (2_000, HELD), (3_000, FREE)]), Some(4_000));
        assert_eq!(released_ms(10_000, &[(0, HELD)]), None);
    }

    #[test]
    fn one_that_has_changed_it_and_ended_has_not() {
        assert_eq!(released_ms(10_000, &[(0, RUNS), (500, TOUCHED)]), Some(1_500));
    }

    #[test]
    fn a_short_gap_is_no_release() {
        let course =
            [(0, RUNS), (20_000, FREE), (20_900, HELD), (30_000, FREE), (30_900, HELD), (40_000, FREE)];
        assert_eq!(released_ms(10_000, &course), Some(41_000));
    }

    #[test]
    fn l19_without_time_to_hand_over_it_is_released_when_it_is_quiet() {
        assert_eq!(released_ms(0, &[(0, FREE)]), Some(QUIET_MS));
        assert_eq!(released_ms(1, &[(0, FREE)]), Some(QUIET_MS));
    }
}
