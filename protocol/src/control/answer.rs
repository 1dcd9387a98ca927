//! What the broker answers. Everything in it is bounded and safe on any terminal: names that fit the contract,
//! numbers, escaped text.

use bincode::{Decode, Encode};

use super::Page;
use crate::dialog::{Question, Recipient};
use crate::launch::DisposableNumber;
use crate::log::{LogLine, LogText};
use crate::supervise::Role;
use crate::types::{Device, Domid, ImageId, Seq, SizeMib, VmName};

/// Most lines of the log in one answer.
pub const LOG_LINES_PER_PAGE_MAX: usize = 32;
/// Most pendrives in one answer.
pub const PENDRIVES_PER_PAGE_MAX: usize = 32;
/// Most DisposableVMs in one answer.
pub const DISPOSABLES_PER_PAGE_MAX: usize = 64;
/// Most questions in one answer.
pub const QUESTIONS_PER_PAGE_MAX: usize = 16;
/// Most workers that a daemon can have.
pub const WORKERS_MAX: usize = 16;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlReply {
    /// How the daemon is.
    Status(Status),
    /// Lines of the log.
    Log(Page<LogItem, LOG_LINES_PER_PAGE_MAX>),
    /// Pendrives.
    Pendrives(Page<PendriveItem, PENDRIVES_PER_PAGE_MAX>),
    /// DisposableVMs.
    Disposables(Page<DisposableItem, DISPOSABLES_PER_PAGE_MAX>),
    /// Open questions; `expires_ms` is what is left of their time.
    Questions(Page<Question, QUESTIONS_PER_PAGE_MAX>),
    /// What became of an answer.
    Answer(AnswerOutcome),
    /// What became of an order to kill.
    Kill(KillOutcome),
}

/// How the daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// Its version.
    pub version: LogText,
    /// Whether requests of VMs are decided now.
    pub serving: bool,
    /// Milliseconds since the broker was started.
    pub uptime_ms: u64,
    /// Whether questions can be put to somebody now.
    pub can_ask: bool,
    /// The other processes.
    pub workers: Page<WorkerItem, WORKERS_MAX>,
    /// VMs that take part.
    pub vms: u32,
    /// Open questions.
    pub questions: u32,
    /// Orders that the attacher has not answered yet.
    pub orders: u32,
    /// DisposableVMs of this daemon.
    pub disposables: u32,
    /// Pendrives.
    pub pendrives: Quota,
    /// MiB of all pendrives, as the VMs asked for them.
    pub mib: Quota,
    /// Most pendrives that one VM's requests may have made.
    pub pendrives_per_vm_max: u32,
    /// Most MiB of the pendrives that one VM's requests made.
    pub mib_per_vm_max: u32,
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Quota {
    /// What is used now.
    pub used: u64,
    /// The limit.
    pub max: u64,
}

/// A process of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct WorkerItem {
    /// Which.
    pub role: Role,
    /// Whether it runs and keeps to its protocol.
    pub up: bool,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LogItem {
    /// Its number, counted since the broker was started.
    pub number: u64,
    /// Milliseconds since it was written.
    pub age_ms: u64,
    /// The line.
    pub line: LogLine,
}

/// A pendrive.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PendriveItem {
    /// Its identity.
    pub image: ImageId,
    /// Its size.
    pub size: SizeMib,
    /// The VM whose request made it.
    pub maker: VmName,
    /// What is being done with it.
    pub state: PendriveState,
    /// Who may hold it now.
    pub holder: Option<Holder>,
    /// Who it is, or would be, sent to.
    pub to: Option<Recipient>,
    /// Milliseconds since it was asked for; not known of one from before a restart.
    pub age_ms: Option<u64>,
}

/// Who holds a pendrive.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Holder {
    /// The domain.
    pub domid: Domid,
    /// Its name, while it runs.
    pub name: Option<VmName>,
    /// The device that it is there.
    pub device: Device,
}

/// What is being done with a pendrive (`broker/src/machine.rs` has the picture).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum PendriveState {
    /// It is being made.
    Creating,
    /// It is being attached to the VM that asked for it.
    Connecting,
    /// It is at `xvdg`, and nothing is asked for.
    Clean,
    /// It is at `xvdg`, and its space is found out for the question about it.
    Measuring,
    /// It is at `xvdg`, and a question about it is open.
    Asking,
    /// It is at `xvdg`, and the DisposableVM that is to get it is being made.
    Launching,
    /// It is at `xvdg`, and its receiver is busy.
    Waiting,
    /// It is being detached from the sender.
    Leaving,
    /// It is being attached to the receiver.
    Arriving,
    /// It is at `xvdh`.
    Loaded,
    /// It is being detached from the receiver, which has asked for that.
    Returning,
    /// It is being taken away.
    Retreating,
    /// Its space is being released.
    Destroying,
}

impl PendriveState {
    /// Every state.
    pub const ALL: [Self; 13] = [
        Self::Creating,
        Self::Connecting,
        Self::Clean,
        Self::Measuring,
        Self::Asking,
        Self::Launching,
        Self::Waiting,
        Self::Leaving,
        Self::Arriving,
        Self::Loaded,
        Self::Returning,
        Self::Retreating,
        Self::Destroying,
    ];

    /// The word for it, which does not change.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Connecting => "connecting",
            Self::Clean => "clean",
            Self::Measuring => "measuring",
            Self::Asking => "asking",
            Self::Launching => "launching",
            Self::Waiting => "waiting",
            Self::Leaving => "leaving",
            Self::Arriving => "arriving",
            Self::Loaded => "loaded",
            Self::Returning => "returning",
            Self::Retreating => "retreating",
            Self::Destroying => "destroying",
        }
    }
}

/// A DisposableVM of this daemon.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DisposableItem {
    /// Its number, which makes its name.
    pub number: DisposableNumber,
    /// Its domain, once it runs.
    pub domid: Option<Domid>,
    /// The VM that it was made for.
    pub source: VmName,
    /// The transaction that its answer belongs to.
    pub seq: Seq,
    /// Milliseconds since it was asked for; not known of one from before a restart.
    pub age_ms: Option<u64>,
    /// What is being done with it.
    pub state: DisposableState,
}

/// What is being done with a DisposableVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum DisposableState {
    /// It is being made.
    Creating,
    /// It runs.
    Running,
    /// It is being destroyed.
    Destroying,
}

impl DisposableState {
    /// The word for it, which does not change.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Destroying => "destroying",
        }
    }
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum AnswerOutcome {
    /// It counts.
    Taken,
    /// No question of that number is open any longer, or there never was one (L13).
    NotOpen,
}

/// What became of an order to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum KillOutcome {
    /// It is being taken away and destroyed.
    Begun,
    /// It was being destroyed already.
    UnderWay,
    /// There is no such pendrive, perhaps any longer.
    NoSuchPendrive,
    /// The daemon has not yet found out what exists: try again.
    NotReady,
}
