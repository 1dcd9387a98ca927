//! What the broker knows of VMs and pendrives.

use std::collections::{BTreeMap, VecDeque};

use bincode::{Decode, Encode};
use protocol::dialog::{QuestionId, Recipient};
use protocol::launch::DisposableNumber;
use protocol::log::LogText;
use protocol::request::Request;
use protocol::types::{Device, Domid, ImageId, ReqId, Seq, SizeMib, VmName};

/// Most answered requests that are remembered for each VM, so that a repeat is recognised.
pub const ANSWERED_PER_VM_MAX: usize = 16;
/// Most unanswered requests of one VM whose age is known: one for each device, and one that waits.
pub const OPEN_PER_VM_MAX: usize = 4;

/// What tells a request of one VM from its others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RequestKey {
    /// The VM's own id, if it gave one: then it alone counts.
    pub reqid: Option<ReqId>,
    /// Digest of the text.
    pub digest: u64,
}

impl RequestKey {
    /// Whether both name the same request.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (&self.reqid, &other.reqid) {
            (Some(left), Some(right)) => left == right,
            (None, None) => self.digest == other.digest,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// A VM that waits for the final reply to one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Asker {
    /// Who asked.
    pub domid: Domid,
    /// Which of its requests.
    pub key: RequestKey,
}

/// A request that came when it could not be decided yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deferred {
    /// The request.
    pub request: Request,
    /// Its key.
    pub key: RequestKey,
}

/// What the person can be told about a VM without being asked. Each has its own pause: a rebuild that was just told must
/// not hide that it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matter {
    /// A decision of the policy.
    Decision,
    /// The template of DisposableVMs is rebuilt.
    Rebuild,
    /// A DisposableVM could not be made.
    Failure,
}

/// A running VM.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Vm {
    /// Its name, which another running VM may have as well.
    pub name: VmName,
    /// Whether the monitor named it since it was started.
    pub listed: bool,
    /// The request that was read last, answered or not.
    pub last_seen: Option<RequestKey>,
    /// Requests that were accepted or answered, the newest last.
    pub answered: VecDeque<RequestKey>,
    /// A request that waits until the daemon can decide it.
    pub deferred: Option<Deferred>,
    /// When the person may be told of each matter about this VM again.
    pub quiet_until: BTreeMap<Matter, u64>,
    /// Requests that wait for their final reply, and when they were first seen.
    pub open_since: Vec<(RequestKey, u64)>,
}

impl Vm {
    /// A VM that has asked for nothing yet.
    #[must_use]
    pub fn new(name: VmName) -> Self {
        Self {
            name,
            listed: true,
            last_seen: None,
            answered: VecDeque::new(),
            deferred: None,
            quiet_until: BTreeMap::new(),
            open_since: Vec::new(),
        }
    }

    /// Remembers a request as accepted or answered.
    pub fn remember(&mut self, key: RequestKey) {
        self.answered.retain(|known| !known.same(&key));
        if self.answered.len() >= ANSWERED_PER_VM_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back(key);
    }

    /// Notes when a request was first seen.
    pub fn began(&mut self, key: RequestKey, now: u64) {
        if self.open_since.len() < OPEN_PER_VM_MAX {
            self.open_since.push((key, now));
        }
    }

    /// How long ago a request was first seen, in milliseconds.
    #[must_use]
    pub fn age_ms(&self, key: &RequestKey, now: u64) -> u32 {
        let began =
            self.open_since.iter().find(|(known, _)| known.same(key)).map_or(now, |(_, began)| *began);
        u32::try_from(now.saturating_sub(began)).unwrap_or(u32::MAX)
    }

    /// Whether this very request was accepted or answered before.
    #[must_use]
    pub fn knows(&self, key: &RequestKey) -> bool {
        self.answered.iter().any(|known| known.same(key))
    }
}

/// A running VM that is to get a pendrive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Receiver {
    /// Its number.
    pub domid: Domid,
    /// Its name when the transfer was decided. The attacher compares it with the toolstack's word, so that whoever
    /// tells the broker which number has which name cannot lead a permitted transfer elsewhere.
    pub name: VmName,
    /// The transaction that it is told of; `None` for a plain copy.
    pub seq: Option<Seq>,
}

/// Who is to get a pendrive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Target {
    /// A running VM.
    Vm(Receiver),
    /// A DisposableVM that is to be made for this transaction.
    NewDisposable {
        /// The transaction.
        seq: Seq,
    },
}

impl Target {
    /// The running VM, if it is one.
    #[must_use]
    pub fn domid(&self) -> Option<Domid> {
        match self {
            Self::Vm(receiver) => Some(receiver.domid),
            Self::NewDisposable { .. } => None,
        }
    }

    /// As the person knows it.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        match self {
            Self::Vm(receiver) => Recipient::Vm(receiver.name.clone()),
            Self::NewDisposable { .. } => Recipient::NewDisposable,
        }
    }
}

/// One pendrive, from the decision to make it until its space is released.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Pendrive {
    /// Its identity.
    pub image: ImageId,
    /// Its size.
    pub size: SizeMib,
    /// The VM whose `new` made it, for the quota and as the sender's name.
    pub maker: VmName,
    /// Where it is, and what is being done with it.
    pub place: Place,
}

/// Where a pendrive is. In the states marked *(order)* the attacher has been told to do something and the
/// state moves only on its answer (L6).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Place {
    /// *(order)* Is being made for `new`.
    Creating {
        /// The VM that asked.
        at: Domid,
        /// Its request.
        asker: Asker,
    },
    /// *(order)* Is being attached as `xvdg`.
    Connecting {
        /// The VM that asked.
        at: Domid,
        /// Its request.
        asker: Asker,
    },
    /// Is at `xvdg`, nothing is asked for.
    Clean {
        /// The holder.
        at: Domid,
    },
    /// *(order)* Is at `xvdg`; before the person is asked, the space that it occupies is found out.
    Measuring {
        /// The holder.
        at: Domid,
        /// The receiver.
        to: Target,
        /// Whether the transfer has been permitted and the question is about waiting.
        permitted: bool,
        /// When this `send` was permitted to queue for its receiver, counted in requests.
        ticket: u64,
        /// The line of the policy that asks.
        rule: LogText,
        /// The request.
        asker: Asker,
    },
    /// Is at `xvdg` while the person decides about `send`.
    Asking {
        /// The holder.
        at: Domid,
        /// The receiver.
        to: Target,
        /// Which question is open.
        question: QuestionId,
        /// Whether the transfer has been permitted and the question is about waiting.
        permitted: bool,
        /// When this `send` was permitted to queue for its receiver, counted in requests.
        ticket: u64,
        /// The request.
        asker: Asker,
    },
    /// Is at `xvdg`; the DisposableVM that is to get it is being made.
    Launching {
        /// The holder.
        at: Domid,
        /// The DisposableVM.
        number: DisposableNumber,
        /// The request.
        asker: Asker,
    },
    /// Is at `xvdg`; the transfer is permitted and waits for the receiver's `umount`.
    Waiting {
        /// The holder.
        at: Domid,
        /// The receiver.
        to: Receiver,
        /// When it gives up, in milliseconds of the broker's clock.
        deadline: u64,
        /// Its turn among those who wait for the same receiver.
        ticket: u64,
        /// The request.
        asker: Asker,
    },
    /// *(order)* Is being detached from the sender.
    Leaving {
        /// The sender.
        at: Domid,
        /// The receiver.
        to: Receiver,
        /// The request.
        asker: Asker,
    },
    /// *(order)* Is being attached to the receiver as `xvdh`.
    Arriving {
        /// The receiver.
        to: Receiver,
        /// The sender's request.
        asker: Asker,
    },
    /// Is at `xvdh`.
    Loaded {
        /// The receiver.
        at: Domid,
    },
    /// *(order)* Is being detached from the receiver after its `umount`.
    Returning {
        /// The receiver.
        at: Domid,
        /// Its request.
        asker: Asker,
    },
    /// *(order)* Is being taken from whoever holds it, to be destroyed.
    Retreating {
        /// The holder.
        at: Domid,
        /// Its device.
        device: Device,
    },
    /// *(order)* Nobody holds it, its space is being released.
    Destroying {
        /// The `umount` that ends with this, if one does.
        asker: Option<Asker>,
    },
}

impl Place {
    /// The VM at whose `xvdg` this pendrive is, will be, or was until its `send` is answered.
    #[must_use]
    pub fn outgoing_of(&self) -> Option<Domid> {
        match self {
            Self::Creating { at, .. }
            | Self::Connecting { at, .. }
            | Self::Clean { at }
            | Self::Measuring { at, .. }
            | Self::Asking { at, .. }
            | Self::Launching { at, .. }
            | Self::Waiting { at, .. }
            | Self::Leaving { at, .. }
            | Self::Retreating { at, device: Device::Outgoing } => Some(*at),
            Self::Arriving { asker, .. } => Some(asker.domid),
            Self::Loaded { .. }
            | Self::Returning { .. }
            | Self::Retreating { device: Device::Incoming, .. }
            | Self::Destroying { .. } => None,
        }
    }

    /// The VM whose `xvdh` is, or is about to be, occupied by this pendrive.
    #[must_use]
    pub fn incoming_of(&self) -> Option<Domid> {
        match self {
            Self::Leaving { to, .. } | Self::Arriving { to, .. } => Some(to.domid),
            Self::Loaded { at }
            | Self::Returning { at, .. }
            | Self::Retreating { at, device: Device::Incoming } => Some(*at),
            Self::Creating { .. }
            | Self::Connecting { .. }
            | Self::Clean { .. }
            | Self::Measuring { .. }
            | Self::Asking { .. }
            | Self::Launching { .. }
            | Self::Waiting { .. }
            | Self::Retreating { device: Device::Outgoing, .. }
            | Self::Destroying { .. } => None,
        }
    }

    /// When waiting for a busy receiver is over.
    #[must_use]
    pub fn gives_up_at(&self) -> Option<u64> {
        if let Self::Waiting { deadline, .. } = self { Some(*deadline) } else { None }
    }

    /// The request that ends with this pendrive's next steps.
    #[must_use]
    pub fn asker(&self) -> Option<&Asker> {
        match self {
            Self::Creating { asker, .. }
            | Self::Connecting { asker, .. }
            | Self::Measuring { asker, .. }
            | Self::Asking { asker, .. }
            | Self::Launching { asker, .. }
            | Self::Waiting { asker, .. }
            | Self::Leaving { asker, .. }
            | Self::Arriving { asker, .. }
            | Self::Returning { asker, .. } => Some(asker),
            Self::Destroying { asker } => asker.as_ref(),
            Self::Clean { .. } | Self::Loaded { .. } | Self::Retreating { .. } => None,
        }
    }

    /// Who may hold the image now, as far as the broker ordered it.
    #[must_use]
    pub fn holder(&self) -> Option<(Domid, Device)> {
        match self {
            Self::Connecting { at, .. }
            | Self::Clean { at }
            | Self::Measuring { at, .. }
            | Self::Asking { at, .. }
            | Self::Launching { at, .. }
            | Self::Waiting { at, .. }
            | Self::Leaving { at, .. } => Some((*at, Device::Outgoing)),
            Self::Arriving { to, .. } => Some((to.domid, Device::Incoming)),
            Self::Loaded { at } | Self::Returning { at, .. } => Some((*at, Device::Incoming)),
            Self::Retreating { at, device } => Some((*at, *device)),
            Self::Creating { .. } | Self::Destroying { .. } => None,
        }
    }
}
