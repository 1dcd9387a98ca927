//! The edge between the broker and the dialog.
//!
//! A question holds what dom0 knows, and of what a VM chose only its name's fitting characters (L21). An
//! answer names the question that it answers (L13).

use std::fmt;

use bincode::{Decode, Encode};

use crate::launch::LaunchFailure;
use crate::log::{LogLine, LogText};
use crate::types::VmName;

/// Most questions that are open at once; a request beyond it is answered `busy`.
pub const QUESTIONS_OPEN_MAX: usize = 64;

/// The exit code of a dialog whose display is not there, or is gone (`EX_UNAVAILABLE` of sysexits.h). It is no mistake
/// of the program's: it is started again when there is a display.
pub const EXIT_NO_DISPLAY: u8 = 69;

/// The number of one question, never used twice in one life of the broker, which no dialog outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct QuestionId(pub u64);

/// What the broker tells the dialog.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum DialogCommand {
    /// Put this question to the person.
    Ask(Question),
    /// Take it away: it has been settled otherwise.
    Withdraw {
        /// Which question.
        id: QuestionId,
    },
    /// Tell the person of something that needs no answer.
    Tell(Notice),
}

/// Who would get a pendrive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Recipient {
    /// A running VM.
    Vm(VmName),
    /// A DisposableVM that is yet to be made.
    NewDisposable,
}

impl fmt::Display for Recipient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vm(name) => name.fmt(out),
            Self::NewDisposable => out.write_str("a new DisposableVM"),
        }
    }
}

/// What the person is told without being asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Notice {
    /// The policy decided, and says that the person wants to know (`notify=yes`).
    Decided {
        /// Whether it was allowed.
        allowed: bool,
        /// The VM that wanted to send.
        source: VmName,
        /// Who would get it.
        target: Recipient,
        /// The line of the policy that decided, as `file:line`.
        rule: LogText,
    },
    /// A DisposableVM was permitted, and could not be made.
    CreationFailed {
        /// The VM that wanted one.
        source: VmName,
        /// Why not.
        reason: LaunchFailure,
    },
    /// What DisposableVMs are made from is being made anew, which takes a while.
    TemplateBeingRebuilt,
}

/// One question with two answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Question {
    /// Its number.
    pub id: QuestionId,
    /// What is asked.
    pub kind: QuestionKind,
    /// The VM whose pendrive it is.
    pub source: VmName,
    /// Who would get it.
    pub target: Recipient,
    /// Size of the pendrive in MiB, as dom0 made it.
    pub size_mib: u32,
    /// What it occupies in dom0, in MiB, rounded up: the VM cannot have written more than this.
    pub used_mib: u32,
    /// How long ago the VM asked, in milliseconds.
    pub age_ms: u32,
    /// The line of the policy that asks, as `file:line`, or `default`.
    pub rule: LogText,
    /// Milliseconds until the answer is *no*.
    pub expires_ms: u32,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum QuestionKind {
    /// Whether the target may have the pendrive.
    Transfer,
    /// The target holds another pendrive: whether to wait until it is unmounted.
    WaitForReceiver,
}

/// What the dialog tells the broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum DialogEvent {
    /// The person answered.
    Answer {
        /// Which question.
        id: QuestionId,
        /// Whether the answer is *yes*.
        yes: bool,
    },
    /// A line for the log.
    Log(LogLine),
}

/// Where this edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialogState {
    /// Nothing has been asked since the dialog started.
    NothingAsked,
    /// Something has been asked. It may be settled by now: a late answer is dropped, not punished.
    Asked,
}

/// Whether this message may arrive in this state.
#[must_use]
pub fn permitted(state: DialogState, event: &DialogEvent) -> bool {
    match (state, event) {
        (DialogState::NothingAsked, DialogEvent::Answer { .. }) => false,
        (DialogState::Asked, DialogEvent::Answer { .. }) => true,
        (DialogState::NothingAsked | DialogState::Asked, DialogEvent::Log(_)) => true,
    }
}
