//! How a domain comes into being: its directory, a little later its name, and at last its introduction.
//!
//! On Xen a directory was seen up to 6 s before `@introduceDomain`, and its name later than the directory. Here the
//! times are short, because they are spent in each test that starts a VM.

use std::time::{Duration, Instant};

/// How long after its directory a domain's name is written.
const NAME_DELAY: Duration = Duration::from_millis(20);
/// How long after its directory a domain is introduced, which is when its own programs may begin.
const INTRODUCTION_DELAY: Duration = Duration::from_millis(50);

/// How far a domain is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth {
    began: Instant,
    /// What comes next; nothing for one that is introduced.
    next: Option<Step>,
}

/// What is done for a domain whose directory is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its name is written.
    Name,
    /// Everybody is told.
    Introduction,
}

impl Birth {
    /// Of a domain whose directory has just been written.
    pub(super) fn begin(now: Instant) -> Self {
        Self { began: now, next: Some(Step::Name) }
    }

    /// When something is to be done, unless the domain is introduced.
    pub(super) fn due(&self) -> Option<Instant> {
        let delay = match self.next? {
            Step::Name => NAME_DELAY,
            Step::Introduction => INTRODUCTION_DELAY,
        };
        Some(self.began + delay)
    }

    /// The step that is to be done now, once.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Step> {
        self.due().filter(|due| *due <= now)?;
        let step = self.next?;
        self.next = match step {
            Step::Name => Some(Step::Introduction),
            Step::Introduction => None,
        };
        Some(step)
    }

    /// Whether the domain is introduced.
    pub(super) fn is_over(&self) -> bool {
        self.next.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_gets_its_name_and_is_introduced_later_each_once() {
        let began = Instant::now();
        let mut birth = Birth::begin(began);
        let at = |ms| began + Duration::from_millis(ms);
        assert_eq!(birth.take_due(at(19)), None);
        assert_eq!(birth.take_due(at(20)), Some(Step::Name));
        assert_eq!(birth.take_due(at(49)), None);
        assert!(!birth.is_over());
        assert_eq!((birth.due(), birth.take_due(at(50))), (Some(at(50)), Some(Step::Introduction)));
        assert!(birth.is_over());
        assert_eq!((birth.due(), birth.take_due(at(1000))), (None, None));
    }

    #[test]
    fn nothing_is_left_out_when_both_are_late() {
        let began = Instant::now();
        let mut birth = Birth::begin(began);
        let late = began + Duration::from_secs(1);
        let steps = [birth.take_due(late), birth.take_due(late), birth.take_due(late)];
        assert_eq!(steps, [Some(Step::Name), Some(Step::Introduction), None]);
    }
}
