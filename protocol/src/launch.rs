//! The edge between the broker and dvm-launcher: make this DisposableVM, destroy that one.
//!
//! A DisposableVM is named by its number alone, so that nothing which a VM chose can become a word of a command.

use std::fmt;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use crate::log::LogLine;
use crate::types::{ValueError, VmName, checked_message_field};

/// Most orders that are not answered yet. More than the DisposableVMs that may live at once.
pub const LAUNCHES_OPEN_MAX: usize = 64;
/// Most DisposableVMs at once, whatever the configuration says.
pub const DISPOSABLES_MAX: usize = 32;
/// Largest number of a DisposableVM. The lowest free one is taken, so that it stays small.
pub const DISPOSABLE_NUMBER_MAX: u32 = 9_999;

/// The number of a DisposableVM, 1 to [`DISPOSABLE_NUMBER_MAX`]; shown, it is the VM's name: `disp1`, `disp2`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DisposableNumber(u32);

impl DisposableNumber {
    /// Accepts 1 to [`DISPOSABLE_NUMBER_MAX`].
    ///
    /// # Errors
    /// [`ValueError::DisposableNumber`].
    pub fn new(number: u32) -> Result<Self, ValueError> {
        if (1..=DISPOSABLE_NUMBER_MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(ValueError::DisposableNumber)
        }
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The name of the VM.
    ///
    /// # Errors
    /// None in fact: the name of every number fits.
    pub fn name(self) -> Result<VmName, ValueError> {
        VmName::new(self.to_string().as_bytes())
    }
}

impl fmt::Display for DisposableNumber {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "disp{}", self.0)
    }
}

checked_message_field!(
    DisposableNumber,
    u32,
    |outer| &outer.0,
    DisposableNumber::new,
    "number of a DisposableVM"
);

/// The number of one order, never used twice in one life of the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LaunchId(pub u64);

/// An order of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct LaunchRequest {
    /// Its number.
    pub id: LaunchId,
    /// What is to be done.
    pub order: LaunchOrder,
}

/// What dvm-launcher can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum LaunchOrder {
    /// Make and start the DisposableVM of this number. Done when the toolstack says that it runs.
    Create {
        /// Which one.
        number: DisposableNumber,
    },
    /// End it at once. Done also if it does not exist.
    Destroy {
        /// Which one.
        number: DisposableNumber,
    },
}

/// What dvm-launcher says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum LaunchReply {
    /// Before this DisposableVM can be made, what it is made from is made anew.
    Rebuilding {
        /// Which order has to wait.
        id: LaunchId,
    },
    /// The answer to one order.
    Finished {
        /// Which order.
        id: LaunchId,
        /// How it ended.
        outcome: LaunchOutcome,
    },
    /// A line for the log.
    Log(LogLine),
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum LaunchOutcome {
    /// What was ordered holds now.
    Done,
    /// It does not hold. After a failed [`LaunchOrder::Create`] parts of the VM may exist.
    Failed(LaunchFailure),
}

/// Why an order could not be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
pub enum LaunchFailure {
    /// The host has less free memory than a DisposableVM needs.
    #[error("not enough free memory on the host")]
    NoMemory,
    /// What DisposableVMs are made from is missing, or older than its base, and nothing is configured to make it.
    #[error("the template of DisposableVMs is missing or out of date")]
    NoTemplate,
    /// Making it anew failed.
    #[error("rebuilding the template of DisposableVMs failed")]
    RebuildFailed,
    /// The toolstack's command could not be started.
    #[error("the toolstack's command cannot be started")]
    NotStarted,
    /// The toolstack's command reported a failure.
    #[error("the toolstack's command failed")]
    CommandFailed,
    /// The toolstack's command did not end in time, and was ended.
    #[error("the toolstack's command took too long")]
    TimedOut,
    /// The domain did not appear, or not under its name, in time.
    #[error("the DisposableVM did not appear in time")]
    NotSeen,
    /// dvm-launcher ended while it was at work.
    #[error("the launcher ended")]
    Interrupted,
    /// Another order for the same number is open, or there are too many.
    #[error("too many orders at once")]
    Conflict,
}

impl LaunchFailure {
    /// Every failure, for tests and documentation.
    pub const ALL: [Self; 9] = [
        Self::NoMemory,
        Self::NoTemplate,
        Self::RebuildFailed,
        Self::NotStarted,
        Self::CommandFailed,
        Self::TimedOut,
        Self::NotSeen,
        Self::Interrupted,
        Self::Conflict,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l19_numbers_of_disposables_are_bounded_at_both_ends() {
        assert!(DisposableNumber::new(0).is_err());
        assert!(DisposableNumber::new(1).is_ok());
        assert!(DisposableNumber::new(DISPOSABLE_NUMBER_MAX).is_ok());
        assert!(DisposableNumber::new(DISPOSABLE_NUMBER_MAX + 1).is_err());
    }

    #[test]
    fn the_name_of_every_disposable_fits_the_contract() {
        for number in [1, 2, DISPOSABLE_NUMBER_MAX] {
            let name = DisposableNumber::new(number).unwrap().name().unwrap();
            assert_eq!(name.as_str(), format!("disp{number}"));
        }
    }
}
