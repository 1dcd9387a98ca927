//! The watchdog of whoever started the daemon, as sd_watchdog_enabled(3) has it: it wants to hear from the daemon within
//! `WATCHDOG_USEC`, or ends it and starts it again.
//!
//! A daemon whose first process turns its loop while the broker is stuck serves nobody. So each sign of life is one of
//! both: the broker is asked in half of that time, and when it answers, that is told. While there is no broker, nothing
//! is told.

use std::ffi::OsStr;

/// Shortest time that a watchdog may give, in milliseconds.
pub const INTERVAL_MS_MIN: u64 = 100;
/// Microseconds of a millisecond.
const US_PER_MS: u64 = 1000;

/// The environment says what cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchdogError {
    /// No number.
    #[error("{0} in the environment is not a number: start the daemon without it, or correct it")]
    NotANumber(&'static str),
    /// Too short a time.
    #[error("WATCHDOG_USEC is less than {INTERVAL_MS_MIN} ms: set WatchdogSec to more")]
    TooShort,
}

/// When the broker is asked, and whether it has answered.
#[derive(Debug)]
pub struct Watchdog {
    /// From one question to the next, in milliseconds.
    every_ms: u64,
    due_ms: u64,
    /// The question that is open.
    asked: Option<u32>,
    next: u32,
}

impl Watchdog {
    /// What the values of `WATCHDOG_USEC` and `WATCHDOG_PID` ask for; `own_pid` is this process. `None`: nobody watches
    /// this process.
    ///
    /// # Errors
    /// [`WatchdogError`].
    pub fn wanted(
        usec: Option<&OsStr>,
        pid: Option<&OsStr>,
        own_pid: u32,
    ) -> Result<Option<Self>, WatchdogError> {
        let Some(usec) = usec else { return Ok(None) };
        if let Some(pid) = pid
            && number(pid).ok_or(WatchdogError::NotANumber("WATCHDOG_PID"))? != u64::from(own_pid)
        {
            return Ok(None);
        }
        let interval_ms = number(usec).ok_or(WatchdogError::NotANumber("WATCHDOG_USEC"))? / US_PER_MS;
        if interval_ms < INTERVAL_MS_MIN {
            return Err(WatchdogError::TooShort);
        }
        Ok(Some(Self { every_ms: interval_ms / 2, due_ms: 0, asked: None, next: 1 }))
    }

    /// A broker has been started. It owes no answer yet.
    pub fn broker_started(&mut self) {
        self.asked = None;
    }

    /// When a broker is to be asked; `None` while it owes an answer.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.asked.is_none().then_some(self.due_ms)
    }

    /// The number of the question that the broker is to be asked now, if it is.
    pub fn question(&mut self, now_ms: u64) -> Option<u32> {
        if self.due_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return None;
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.asked = Some(number);
        self.due_ms = now_ms.saturating_add(self.every_ms);
        Some(number)
    }

    /// The broker has answered this question: whether that is a sign of life, or an answer to nothing.
    pub fn answered(&mut self, number: u32) -> bool {
        let is_open = self.asked == Some(number);
        if is_open {
            self.asked = None;
        }
        is_open
    }
}

fn number(text: &OsStr) -> Option<u64> {
    let text = text.to_str()?;
    // `parse` would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(usec: &str) -> Result<Option<Watchdog>, WatchdogError> {
        Watchdog::wanted(Some(OsStr::new(usec)), None, 7)
    }

    #[test]
    fn the_broker_is_asked_in_half_of_the_time_and_not_again_before_it_answered() {
        let mut watchdog = wanted("30000000").unwrap().unwrap();
        assert_eq!(watchdog.due_ms(), Some(0));
        assert_eq!(watchdog.question(0), Some(1));
        assert_eq!((watchdog.due_ms(), watchdog.question(99_000)), (None, None));
        assert!(watchdog.answered(1));
        assert_eq!(watchdog.due_ms(), Some(15_000));
        assert_eq!(watchdog.question(14_999), None);
        assert_eq!(watchdog.question(15_000), Some(2));
    }

    #[test]
    fn an_answer_to_nothing_is_no_sign_of_life() {
        let mut watchdog = wanted("1000000").unwrap().unwrap();
        assert!(!watchdog.answered(1));
        let number = watchdog.question(0).unwrap();
        assert!(!watchdog.answered(number.wrapping_add(1)));
        assert!(watchdog.answered(number));
        assert!(!watchdog.answered(number));
        // What the broker before this one was asked, this one cannot answer.
        let number = watchdog.question(500).unwrap();
        watchdog.broker_started();
        assert!(!watchdog.answered(number));
        assert_eq!(watchdog.question(999), None);
        assert_eq!(watchdog.question(1000), Some(number + 1));
    }

    #[test]
    fn nobody_watches_without_a_time_or_another_process() {
        assert!(Watchdog::wanted(None, None, 7).unwrap().is_none());
        let usec = Some(OsStr::new("1000000"));
        assert!(Watchdog::wanted(usec, Some(OsStr::new("8")), 7).unwrap().is_none());
        assert!(Watchdog::wanted(usec, Some(OsStr::new("7")), 7).unwrap().is_some());
        assert_eq!(
            Watchdog::wanted(usec, Some(OsStr::new("x")), 7).unwrap_err(),
            WatchdogError::NotANumber("WATCHDOG_PID")
        );
    }

    #[test]
    fn l19_a_time_that_is_none_or_too_short_is_refused() {
        for usec in ["", "-1", "+1000000", "1s", "18446744073709551616"] {
            assert_eq!(wanted(usec).unwrap_err(), WatchdogError::NotANumber("WATCHDOG_USEC"), "{usec}");
        }
        for usec in ["0", "1", "99999"] {
            assert_eq!(wanted(usec).unwrap_err(), WatchdogError::TooShort, "{usec}");
        }
        for usec in ["100000", "100001", "18446744073709551615"] {
            assert!(wanted(usec).unwrap().is_some(), "{usec}");
        }
    }
}
