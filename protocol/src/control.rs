//! What `qfilexchgctl` asks: over the socket that control holds, and on the edge between control and the broker.
//!
//! A request is the same value on both ways. control adds who asks and a ticket; the broker answers each ticket once,
//! at once. Long answers come in pages, each of which fits one datagram: the next request says after what to go on.

mod answer;
mod page;

use bincode::{Decode, Encode};

use crate::dialog::QuestionId;
use crate::launch::DisposableNumber;
use crate::log::LogLine;
use crate::types::ImageId;

pub use answer::{
    AnswerOutcome, ControlReply, DISPOSABLES_PER_PAGE_MAX, DisposableItem, DisposableState, Holder,
    KillOutcome, LOG_LINES_PER_PAGE_MAX, LogItem, PENDRIVES_PER_PAGE_MAX, PendriveItem, PendriveState,
    QUESTIONS_PER_PAGE_MAX, Quota, Status, WORKERS_MAX, WorkerItem,
};
pub use page::Page;

/// Where the daemon listens when the configuration names no other place.
pub const CONTROL_SOCKET: &str = "/run/qfilexchgd/control";
/// Longest request of a client, in bytes: every request that there is is far shorter.
pub const REQUEST_BYTES_MAX: usize = 128;

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ControlRequest {
    /// How the daemon is.
    Status,
    /// Lines of the log that the broker still remembers, oldest first.
    Log {
        /// Where to begin.
        from: LogStart,
    },
    /// The pendrives that exist, in the order of their identities.
    Pendrives {
        /// Only those behind this one.
        after: Option<ImageId>,
    },
    /// The DisposableVMs that this daemon made, in the order of their numbers.
    Disposables {
        /// Only those behind this one.
        after: Option<DisposableNumber>,
    },
    /// The open questions, in the order of their numbers.
    Questions {
        /// Only those behind this one.
        after: Option<QuestionId>,
    },
    /// The person answers a question (L13: one that is not open any longer is refused).
    Answer {
        /// Which question.
        id: QuestionId,
        /// Whether the answer is *yes*.
        yes: bool,
    },
    /// Take a pendrive from whoever holds it, and destroy it.
    Kill {
        /// Which one.
        image: ImageId,
    },
}

/// Where lines of the log begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum LogStart {
    /// So many lines before the end.
    Last(u16),
    /// With the line of this number, or the oldest one after it that is remembered.
    Number(u64),
}

/// The number of one request on the edge to the broker, never used twice in one life of the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Ticket(pub u64);

/// What control tells the broker.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlEvent {
    /// Somebody who may asks something.
    Asked {
        /// The number of this request.
        ticket: Ticket,
        /// The user id of who asks.
        uid: u32,
        /// What is asked.
        request: ControlRequest,
    },
    /// A line for the log.
    Log(LogLine),
}

/// What the broker tells control: the answer to one request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ControlCommand {
    /// Which request.
    pub ticket: Ticket,
    /// The answer.
    pub reply: ControlReply,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ClientReply {
    /// The broker's answer.
    Answered(ControlReply),
    /// There is none. The connection ends with this.
    Refused(Refusal),
}

/// Why control passes nothing on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Refusal {
    /// Who asks is neither root nor a member of the configured group.
    #[error("this account may not ask: be root, or a member of the group that [control] names")]
    NotPermitted,
    /// This user, or all users together, have too many connections.
    #[error("too many connections are open: try again")]
    TooMany,
    /// The request does not decode.
    #[error("the request was not understood: are qfilexchgctl and the daemon of one version?")]
    NotUnderstood,
}

/// Where the edge between control and the broker is, seen from the broker.
///
/// | message | may arrive |
/// |---|---|
/// | `Asked` | with a ticket larger than every one before |
/// | `Log` | always |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ControlState {
    last: Option<Ticket>,
}

impl ControlState {
    /// The state after this message, or `None` if it may not arrive now.
    #[must_use]
    pub fn after(self, event: &ControlEvent) -> Option<Self> {
        match event {
            ControlEvent::Asked { ticket, .. } => {
                self.last.is_none_or(|last| *ticket > last).then_some(Self { last: Some(*ticket) })
            }
            ControlEvent::Log(_) => Some(self),
        }
    }
}

/// Whether this reply can answer this request: asked by control of the broker's, and by a client of control's.
#[must_use]
pub fn answers(request: &ControlRequest, reply: &ControlReply) -> bool {
    match (request, reply) {
        (ControlRequest::Status, ControlReply::Status(_))
        | (ControlRequest::Log { .. }, ControlReply::Log(_))
        | (ControlRequest::Pendrives { .. }, ControlReply::Pendrives(_))
        | (ControlRequest::Disposables { .. }, ControlReply::Disposables(_))
        | (ControlRequest::Questions { .. }, ControlReply::Questions(_))
        | (ControlRequest::Answer { .. }, ControlReply::Answer(_))
        | (ControlRequest::Kill { .. }, ControlReply::Kill(_)) => true,
        (
            ControlRequest::Status
            | ControlRequest::Log { .. }
            | ControlRequest::Pendrives { .. }
            | ControlRequest::Disposables { .. }
            | ControlRequest::Questions { .. }
            | ControlRequest::Answer { .. }
            | ControlRequest::Kill { .. },
            ControlReply::Status(_)
            | ControlReply::Log(_)
            | ControlReply::Pendrives(_)
            | ControlReply::Disposables(_)
            | ControlReply::Questions(_)
            | ControlReply::Answer(_)
            | ControlReply::Kill(_),
        ) => false,
    }
}
