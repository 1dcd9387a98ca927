//! The state that the checker explores: the broker's machine, and everything around it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use broker::journal::Past;
use broker::machine::Machine;
use protocol::attach::AttachRequest;
use protocol::dialog::{QuestionId, QuestionKind, Recipient};
use protocol::launch::{DisposableNumber, LaunchOutcome, LaunchRequest};
use protocol::reply::{Code, Detail};
use protocol::supervise::Role;
use protocol::types::{Device, Domid, ImageId, VmName};

use crate::config::{Budget, Want};

/// What must never be, and was seen nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// An image at two places, or two images at one.
    TwoHolders,
    /// An image was destroyed while a VM held it.
    DestroyedWhileHeld,
    /// A transfer that neither the person nor the policy permitted.
    NotPermitted,
    /// A transfer with a yes that was for something else, or used before.
    YesMisused,
    /// An image reached a VM that its sender did not send it to, or that was not to have it at all.
    BytesAstray,
    /// A request got a second, different final reply, or a pending one after the final one.
    TwoReplies,
    /// A request had to wait for what another VM, or the person, does.
    Delayed,
    /// What the journal says is not what the broker knows.
    JournalBehind,
}

/// A running VM.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Running {
    /// Its name.
    pub name: VmName,
    /// How many requests it may still make.
    pub asks_left: u8,
    /// Its requests, the newest last; that one is in xenstore.
    pub requests: Vec<Asked>,
    /// Whether it is a DisposableVM.
    pub is_disposable: bool,
}

/// One request, and what its VM heard of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    /// What for.
    pub want: Want,
    /// Whether the broker has heard of it.
    pub was_read: bool,
    /// Whether it heard that it must wait.
    pub is_pending: bool,
    /// The final reply.
    pub answer: Option<(Code, Detail)>,
    /// Whether it was made after the broker had been started anew.
    pub after_crash: bool,
}

/// One image that exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Image {
    /// Where it is attached.
    pub holder: Option<(Domid, Device)>,
    /// The VM that could write it.
    pub maker: Option<Domid>,
    /// The VM that it was attached to last.
    pub last: Option<Domid>,
    /// Whether it was ever given to a receiver.
    pub was_sent: bool,
}

/// An open question, as the person sees it, and what it is about in the real world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Open {
    /// What is asked.
    pub kind: QuestionKind,
    /// The VM whose pendrive it is.
    pub source: Domid,
    /// Who would get it.
    pub target: Recipient,
    /// What the source holds at `xvdg`.
    pub image: Option<ImageId>,
}

/// What became of a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// It may be used for one transfer.
    Unused,
    /// A transfer took place.
    Used,
    /// The request that it was for ended otherwise.
    Void,
}

/// One yes of the person.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Yes {
    /// The VM whose pendrive it is.
    pub source: Domid,
    /// The pendrive.
    pub image: Option<ImageId>,
    /// Who may get it.
    pub target: Recipient,
    /// The requests of the source that it can have been for, by their index.
    pub requests: BTreeSet<usize>,
    /// What became of it.
    pub used: Use,
}

/// What xs-monitor is about to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Said {
    /// A domain runs, and this is its newest request.
    Domain(Domid),
    /// A domain is gone.
    Gone(Domid),
    /// All were named.
    Synced,
}

/// Where a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    /// It runs.
    Up,
    /// The broker has asked for its restart, and does not hear it any longer.
    Condemned,
    /// It has ended, and the broker knows.
    Down,
}

/// An order of the launcher, and how it ended if that is not told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The order.
    pub request: LaunchRequest,
    /// How it ended.
    pub outcome: Option<LaunchOutcome>,
}

/// Everything but the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// Milliseconds of the broker's clock.
    pub now: u64,
    /// The VMs that run.
    pub vms: BTreeMap<Domid, Running>,
    /// The images that exist.
    pub images: BTreeMap<ImageId, Image>,
    /// How many images were made on behalf of each VM: their identities do not depend on other VMs.
    pub made: BTreeMap<u16, u8>,
    /// The workers of this configuration.
    pub lives: BTreeMap<Role, Life>,
    /// Orders that the attacher has not answered, in the order in which they were given.
    pub orders: Vec<AttachRequest>,
    /// The same for the launcher.
    pub launches: Vec<Launch>,
    /// DisposableVMs that the toolstack has made, and that run.
    pub disposables: BTreeMap<DisposableNumber, Domid>,
    /// How many it ever made.
    pub disposables_made: u16,
    /// Which VM each DisposableVM was made for.
    pub owners: BTreeMap<Domid, Domid>,
    /// What xs-monitor says next.
    pub monitor: VecDeque<Said>,
    /// The VMs whose requests the monitor looks at.
    pub watched: BTreeSet<Domid>,
    /// Whether the monitor has named all of them.
    pub is_synced: bool,
    /// Questions that the person sees.
    pub questions: BTreeMap<QuestionId, Open>,
    /// Questions that are not open any longer, of all dialogs that there were.
    pub settled: BTreeMap<QuestionId, Open>,
    /// What the person has permitted.
    pub yes: Vec<Yes>,
    /// How much control has asked since it was started.
    pub tickets: u64,
    /// What the journal says.
    pub journal: Past,
    /// How often the broker was started anew.
    pub brokers: u8,
    /// Whether the broker has said that it serves.
    pub is_ready: bool,
    /// How much may still go wrong.
    pub budget: Budget,
    /// What must never be, if it was seen.
    pub wrong: Option<Wrong>,
}

/// What the checker explores.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The broker's own code.
    pub machine: Arc<Machine>,
    /// Everything around it.
    pub world: World,
}

impl World {
    /// Notes the first thing that went wrong.
    pub fn is_wrong(&mut self, wrong: Wrong) {
        self.wrong = self.wrong.or(Some(wrong));
    }

    /// Whether no worker has anything to do or to say.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.orders.is_empty() && self.launches.is_empty() && self.monitor.is_empty()
    }

    /// Where a worker is.
    #[must_use]
    pub fn life(&self, role: Role) -> Life {
        self.lives.get(&role).copied().unwrap_or(Life::Down)
    }

    /// The newest request of a VM.
    #[must_use]
    pub fn newest(&self, domid: Domid) -> Option<&Asked> {
        self.vms.get(&domid).and_then(|vm| vm.requests.last())
    }

    /// What a VM holds at this device.
    #[must_use]
    pub fn held(&self, domid: Domid, device: Device) -> Option<ImageId> {
        let held = self.images.iter().find(|(_, image)| image.holder == Some((domid, device)));
        held.map(|(id, _)| *id)
    }
}

impl Hash for State {
    /// A canonical digest: times count by how far ahead they are, numbers of orders by their sequence. What no property
    /// and no later step looks at does not count.
    fn hash<H: Hasher>(&self, into: &mut H) {
        let World {
            now,
            vms,
            images,
            made,
            lives,
            orders,
            launches,
            disposables,
            disposables_made,
            owners,
            monitor,
            watched,
            is_synced,
            questions,
            settled,
            yes,
            tickets: _,
            journal,
            brokers,
            is_ready,
            budget,
            wrong,
        } = &self.world;
        self.machine.digest(*now, into);
        (vms, images, made, lives, orders.len()).hash(into);
        orders.iter().for_each(|request| request.order.hash(into));
        launches.len().hash(into);
        launches.iter().for_each(|launch| (launch.request.order, &launch.outcome).hash(into));
        (disposables, disposables_made, owners, monitor, watched, is_synced).hash(into);
        (questions, yes, brokers, is_ready, budget, wrong).hash(into);
        if budget.repeats > 0 || budget.controls > 0 {
            settled.hash(into);
        }
        if budget.broker_crashes > 0 {
            journal.digest(*now, into);
        }
    }
}

impl State {
    /// The digest as a number.
    #[must_use]
    pub fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}
