//! What must outlive the process: where each pendrive is, and which requests are answered.
//!
//! A record says what holds from now on. It is written before the order that makes it so (the intent) and
//! the next record follows the attacher's answer (the result); so whoever reads the journal after a crash
//! knows the last intent and asks the attacher how far it came.
//!
//! Two files, given as descriptors, are used in turn. A checkpoint writes the whole present state into the
//! idle one with the next generation number and empties the other, so there is no instant without a whole
//! journal. On disk: 8 bytes magic, 8 bytes generation; then for each record 4 bytes length, 4 bytes CRC-32
//! of the payload, payload. A record that is cut off or damaged ends the journal: it was never acted on,
//! because acting waits for the record to be on disk.

mod file;
mod fold;

pub use file::{JOURNAL_BYTES_MAX, Journal, JournalError};
pub use fold::Past;

use bincode::{Decode, Encode};
use protocol::launch::DisposableNumber;
use protocol::reply::{Code, Reply};
use protocol::types::{Domid, ImageId, VmName};

use crate::machine::{Disposable, Pendrive, RequestKey};

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Record {
    /// Domain numbers in what follows are those of this run of the host.
    Host {
        /// Identifies the run.
        boot_id: [u8; 16],
    },
    /// A domain number belongs to this name.
    Vm {
        /// The number.
        domid: Domid,
        /// The name.
        name: VmName,
    },
    /// A domain is gone.
    VmGone {
        /// The number.
        domid: Domid,
    },
    /// This is where a pendrive is.
    Pendrive(Pendrive),
    /// A DisposableVM of this daemon exists, or is about to.
    Disposable(Disposable),
    /// A DisposableVM does not exist any longer.
    DisposableGone {
        /// Which one.
        number: DisposableNumber,
    },
    /// A pendrive does not exist any longer.
    PendriveGone {
        /// Which one.
        image: ImageId,
    },
    /// The final reply to a request has been decided.
    Decided {
        /// Who asked.
        domid: Domid,
        /// Which request.
        key: RequestKey,
        /// The reply.
        reply: Reply,
    },
    /// The final reply to a request has been given.
    Answered {
        /// Who asked.
        domid: Domid,
        /// Which request.
        key: RequestKey,
    },
}

impl Record {
    /// Whether nothing that follows may be done before this record is on disk.
    #[must_use]
    pub fn must_be_durable(&self) -> bool {
        match self {
            Self::Host { .. } | Self::Pendrive(_) | Self::Disposable(_) => true,
            // A refusal changed nothing. It outlives the process all the same, and a flood of them costs no disk (L18).
            Self::Decided { reply, .. } => matches!(reply.code, Code::Ok | Code::Failed | Code::Denied),
            // Losing one of these costs a repeated step, never a wrong one.
            Self::Vm { .. }
            | Self::VmGone { .. }
            | Self::PendriveGone { .. }
            | Self::DisposableGone { .. }
            | Self::Answered { .. } => false,
        }
    }
}
