//! What a VM may ask for, after it was parsed. The parser is in xs-monitor; here is only what it yields.

use bincode::{Decode, Encode};

use crate::types::{ReqId, Seq, SizeMib, VmName};

/// Longest request in bytes, everything counted (docs/contract.md, "Requests").
pub const REQUEST_BYTES_MAX: usize = 256;

/// One request of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Request {
    /// What is wanted.
    pub verb: Verb,
    /// The VM's own identification of this request, if it gave one.
    pub reqid: Option<ReqId>,
}

/// What a VM wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Verb {
    /// An empty pendrive as `xvdg`.
    New {
        /// Its size, or the configured default.
        size: Option<SizeMib>,
    },
    /// My `xvdg` shall go to the running VM of that name.
    Send {
        /// The receiver.
        to: VmName,
        /// The transaction that this answers, if the sender is a DisposableVM.
        seq: Option<Seq>,
    },
    /// My `xvdg` shall go to a new DisposableVM.
    SendDisposable {
        /// The transaction that the answer will name.
        seq: Seq,
    },
    /// I am done with my `xvdh`.
    Umount,
    /// I am a DisposableVM and finished.
    Killme,
}

impl Verb {
    /// The word that begins the request.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::New { .. } => "new",
            Self::Send { .. } | Self::SendDisposable { .. } => "send",
            Self::Umount => "umount",
            Self::Killme => "killme",
        }
    }
}
