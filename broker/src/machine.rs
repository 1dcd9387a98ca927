//! The state machine: an event in, actions out. It knows no descriptor, no clock and no randomness.
//!
//! ```text
//!            new                          send, permitted                 detached        attached
//! (none) --> Creating --> Connecting --> Clean --> [Asking] --> [Waiting] --> Leaving --> Arriving --> Loaded
//!                                          ^  no, late, dead dialog |                                    | umount
//!                                          +------------------------+         (none) <-- Destroying <-- Returning
//!
//! a holder vanishes, or an order fails: --> Retreating --> Destroying --> (none)
//! ```
//!
//! What is asked of the attacher follows from a pendrive's [`Place`] alone (`orders::wanted`). So after the
//! restart of either side the same function gives the same order again, and the attacher's orders are
//! idempotent.

mod about;
mod control;
#[cfg(feature = "model")]
mod digest;
mod disposables;
mod launches;
mod notes;
mod orders;
mod recovery;
mod requests;
mod state;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};

use policy::Policy;
use protocol::attach::{AttachReply, AttachRequest, ORDERS_OPEN_MAX, Order, OrderId};
use protocol::control::{ControlCommand, ControlEvent, LogStart, Ticket};
use protocol::dialog::{self, DialogCommand, DialogEvent, DialogState, Notice, QuestionId};
use protocol::journald::{Event as Happened, Note};
use protocol::launch::{DisposableNumber, LaunchReply, LaunchRequest};
use protocol::log::Level;
use protocol::monitor::{self, MonitorEvent, MonitorState};
use protocol::reply::{Code, Detail, Reply};
use protocol::settings::BrokerSettings;
use protocol::supervise::{Ending, Role};
use protocol::types::{Domid, ImageId, VmName};

use crate::journal::{Past, Record};
use launches::Launches;

pub use about::About;
pub use disposables::{Disposable, SEEN_MS_MAX, Stage};
pub use launches::LAUNCH_AGAIN_MS;
pub use requests::{NOTICE_MS_MIN, SIZE_MIB_MIN};
pub use state::{
    ANSWERED_PER_VM_MAX, Asker, Deferred, Matter, Pendrive, Place, Receiver, RequestKey, Target, Vm,
};

/// Most running VMs that take part; the monitor has its own, equal limit.
pub const VMS_MAX: usize = 1024;
/// How long the attacher may take for one order, in milliseconds, beyond the times it gives guests.
pub const ORDER_MS_MAX: u64 = 60_000;
/// Most orders that may be open when owed replies are given: the rest stays for orders that move pendrives.
pub const REPLIES_OPEN_MAX: usize = ORDERS_OPEN_MAX / 2;
/// Most orders that may be open when those about domains are given: as with replies, whoever invents domains must not
/// take what pendrives need.
pub const SIDE_ORDERS_OPEN_MAX: usize = REPLIES_OPEN_MAX + 128;
/// How long xs-monitor may take until it has named every domain, in milliseconds.
pub const LISTING_MS_MAX: u64 = 60_000;
/// How long the broker waits before it gives more owed replies, in milliseconds.
pub const REPLIES_AGAIN_MS: u64 = 100;
/// How long the broker waits before it orders again what failed, in milliseconds.
pub const RETRY_MS: u64 = 2_000;

/// Most final replies of one VM that are not known to be given.
pub const OWED_PER_VM_MAX: usize = 8;

/// What can happen.
#[derive(Debug, Clone)]
pub enum Event {
    /// xs-monitor says something.
    Monitor(MonitorEvent),
    /// The attacher says something.
    Attacher(AttachReply),
    /// The dialog says something.
    Dialog(DialogEvent),
    /// dvm-launcher says something.
    Launcher(LaunchReply),
    /// control says something.
    Control(ControlEvent),
    /// A worker has been started.
    Started(Role),
    /// A worker has ended.
    Ended(Role, Ending),
    /// Time has passed.
    Tick,
}

/// What the shell around the machine is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Keep this, before any later action that reaches outside.
    Record(Record),
    /// Give the attacher an order.
    Order(AttachRequest),
    /// Tell the dialog.
    Dialog(DialogCommand),
    /// Have a notice shown on the desktop.
    Notify(Notice),
    /// Give dvm-launcher an order.
    Launch(LaunchRequest),
    /// Tell control.
    Control(ControlCommand),
    /// Tell control these lines of the log, which the shell keeps.
    TellLog {
        /// Which request asks for them.
        ticket: Ticket,
        /// Where they begin.
        from: LogStart,
    },
    /// Have this worker ended and started anew: it broke its protocol.
    Restart(Role),
    /// Requests are served from now on.
    Ready,
    /// Write to the log. The text holds nothing that a VM chose but names that fit the contract.
    Log(Level, Note),
}

/// What a step may know of the world.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct Surroundings<'a> {
    /// Milliseconds since the broker was started, by a clock that only goes forward.
    pub now: u64,
    /// Gives an identity that no image ever had.
    pub fresh_image: &'a mut dyn FnMut() -> ImageId,
}

/// Where the edge to the attacher is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum AttacherState {
    /// It does not run.
    Down,
    /// It runs; its inventory has been asked for.
    TakingStock,
    /// Its inventory has been compared with what the broker knows.
    Serving,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OpenOrder {
    order: Order,
    deadline: u64,
}

/// The broker's whole knowledge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    settings: BrokerSettings,
    policy: Policy,
    vms: BTreeMap<Domid, Vm>,
    pendrives: BTreeMap<ImageId, Pendrive>,
    /// DisposableVMs of this daemon, from the order to make one until it is known to be gone.
    disposables: BTreeMap<DisposableNumber, Disposable>,
    launches: Launches,
    /// Final replies that are not known to have reached xenstore.
    owed: Vec<(Asker, Reply)>,
    orders: BTreeMap<OrderId, OpenOrder>,
    /// When a pendrive's order is to be given again after it failed.
    retries: BTreeMap<ImageId, u64>,
    /// When replies are to be given again that could not be given.
    replies_again: Option<u64>,
    /// When an open question becomes a *no*.
    deadlines: BTreeMap<QuestionId, u64>,
    /// Domains without `device/qpen`, and domains that are gone: told to the attacher once it serves.
    qpen_missing: BTreeSet<Domid>,
    to_forget: BTreeSet<Domid>,
    attacher: AttacherState,
    monitor: Option<MonitorState>,
    /// When a monitor that still lists is ended.
    listing_ends: Option<u64>,
    dialog: Option<DialogState>,
    has_notifier: bool,
    desk: control::Desk,
    /// What the journal said of the VMs of the previous process, until the monitor has listed them all.
    remembered: Option<Past>,
    ready_told: bool,
    next_order: u64,
    next_question: u64,
    next_ticket: u64,
    actions: Vec<Action>,
}

impl Machine {
    /// Starts with what the journal says of this run of the host. Questions are numbered from `first_question`: a
    /// number that differs each time, so that an answer to a question of an earlier process fits none of this one.
    #[must_use]
    pub fn new(settings: BrokerSettings, policy: Policy, past: Past, first_question: u64) -> Self {
        let pendrives = past.pendrives.clone();
        let disposables = past.disposables.clone();
        Self {
            settings,
            policy,
            vms: BTreeMap::new(),
            pendrives,
            disposables,
            launches: Launches::default(),
            owed: past.decided.clone(),
            orders: BTreeMap::new(),
            retries: BTreeMap::new(),
            replies_again: None,
            deadlines: BTreeMap::new(),
            qpen_missing: BTreeSet::new(),
            to_forget: BTreeSet::new(),
            attacher: AttacherState::Down,
            monitor: None,
            listing_ends: None,
            dialog: None,
            has_notifier: false,
            desk: control::Desk::default(),
            remembered: Some(past),
            ready_told: false,
            next_order: 1,
            next_question: first_question,
            next_ticket: 1,
            actions: Vec::new(),
        }
    }

    /// Takes one event. Never fails: what a worker must not say has it restarted.
    pub fn step(&mut self, event: Event, around: &mut Surroundings<'_>) -> Vec<Action> {
        match event {
            Event::Monitor(event) => self.monitor_said(event, around),
            Event::Attacher(reply) => self.attacher_said(reply, around),
            Event::Dialog(event) => self.dialog_said(event, around),
            Event::Launcher(reply) => self.launcher_said(reply, around),
            Event::Control(event) => self.control_said(event, around),
            Event::Started(role) => self.started(role, around),
            Event::Ended(role, how) => self.ended(role, how, around),
            Event::Tick => {}
        }
        self.time_passed(around);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let waits = self.pendrives.values().filter_map(|pendrive| pendrive.place.gives_up_at());
        let orders = self.orders.values().map(|open| open.deadline);
        waits
            .chain(orders)
            .chain(self.retries.values().copied())
            .chain(self.replies_again)
            .chain(self.listing_ends)
            .chain(self.deadlines.values().copied())
            .chain(self.launches.next_deadline())
            .chain(self.disposables.values().filter_map(Disposable::gives_up_at))
            .min()
    }

    /// Everything that the journal must hold, for a checkpoint.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        let mut records = vec![Record::Host { boot_id: self.settings.boot_id }];
        if let Some(past) = &self.remembered {
            for (domid, (name, answered)) in &past.vms {
                if !self.vms.contains_key(domid) {
                    records.push(Record::Vm { domid: *domid, name: name.clone() });
                    records.extend(
                        answered.iter().map(|key| Record::Answered { domid: *domid, key: key.clone() }),
                    );
                }
            }
        }
        for (domid, vm) in &self.vms {
            records.push(Record::Vm { domid: *domid, name: vm.name.clone() });
            let open = |key: &RequestKey| self.is_open(*domid, key);
            let answered = vm.answered.iter().filter(|key| !open(key));
            records.extend(answered.map(|key| Record::Answered { domid: *domid, key: key.clone() }));
        }
        records.extend(self.pendrives.values().cloned().map(Record::Pendrive));
        records.extend(self.disposables.values().cloned().map(Record::Disposable));
        records.extend(self.owed.iter().map(|(asker, reply)| Record::Decided {
            domid: asker.domid,
            key: asker.key.clone(),
            reply: reply.clone(),
        }));
        records
    }

    fn monitor_said(&mut self, event: MonitorEvent, around: &mut Surroundings<'_>) {
        if !self.monitor.is_some_and(|state| monitor::permitted(state, &event)) {
            return self.violated(Role::Monitor, "a message that its state does not permit");
        }
        match event {
            MonitorEvent::DomainSeen { domid, name } => self.domain_seen(domid, name, around),
            MonitorEvent::NameUnfit { domid } => {
                let text = format!("domain {domid} takes no part: its name does not fit");
                self.log(Level::Warning, Note::about_vm(Happened::VmUnfit, domid, None, text));
                self.domain_gone(domid, around);
            }
            MonitorEvent::DomainGone { domid } => self.domain_gone(domid, around),
            MonitorEvent::QpenMissing { domid } => {
                if self.vms.contains_key(&domid) {
                    self.qpen_missing.insert(domid);
                    self.give_side_orders(around);
                }
            }
            MonitorEvent::RequestSeen { domid, request, digest } => {
                let key = RequestKey { reqid: request.reqid.clone(), digest };
                self.request_seen(domid, request, key, around);
            }
            MonitorEvent::RequestUnparsable { domid, reqid, digest } => {
                self.unparsable_seen(domid, &RequestKey { reqid, digest }, around);
            }
            MonitorEvent::Synced => {
                self.listing_ends = None;
                self.monitor = Some(MonitorState::Following);
                self.all_listed(around);
            }
            MonitorEvent::Log(line) => self.said(Role::Monitor, &line),
        }
    }

    fn dialog_said(&mut self, event: DialogEvent, around: &mut Surroundings<'_>) {
        if !self.dialog.is_some_and(|state| dialog::permitted(state, &event)) {
            return self.violated(Role::Dialog, "an answer although nothing was asked");
        }
        match event {
            DialogEvent::Answer { id, yes } => self.person_answered(id, yes, around),
            DialogEvent::Log(line) => self.said(Role::Dialog, &line),
        }
    }

    fn started(&mut self, role: Role, around: &mut Surroundings<'_>) {
        self.desk.started(role);
        match role {
            Role::Attacher => self.take_stock(around),
            Role::Monitor => {
                self.monitor = Some(MonitorState::Listing);
                self.listing_ends = Some(around.now.saturating_add(LISTING_MS_MAX));
                self.vms.values_mut().for_each(|vm| vm.listed = false);
            }
            Role::Dialog => self.dialog = Some(DialogState::NothingAsked),
            Role::Notifier => self.has_notifier = true,
            Role::Launcher => self.launcher_started(around),
            Role::Gate | Role::Broker | Role::Control => {}
        }
    }

    fn ended(&mut self, role: Role, how: Ending, around: &mut Surroundings<'_>) {
        let text = format!("{role} ended with {how}");
        self.log(Level::Error, Note::about_process(Happened::ProcessEnded, role, text));
        self.desk.ended(role);
        match role {
            Role::Attacher => self.attacher_lost(),
            Role::Monitor => (self.monitor, self.listing_ends) = (None, None),
            Role::Dialog => {
                self.dialog = None;
                self.nobody_to_ask(around);
            }
            Role::Notifier => self.has_notifier = false,
            Role::Launcher => self.launcher_lost(around),
            Role::Gate | Role::Broker | Role::Control => {}
        }
    }

    fn time_passed(&mut self, around: &mut Surroundings<'_>) {
        self.questions_expire(around);
        self.waits_expire(around);
        self.launches_expire(around);
        if self.orders.values().any(|open| open.deadline <= around.now) {
            self.violated(Role::Attacher, "no answer to an order");
        }
        if self.listing_ends.is_some_and(|when| when <= around.now) {
            self.violated(Role::Monitor, "it has not named every domain in time");
        }
        if self.replies_again.is_some_and(|when| when <= around.now) {
            self.give_owed_replies(around);
        }
        let due: Vec<ImageId> =
            self.retries.iter().filter(|(_, when)| **when <= around.now).map(|(image, _)| *image).collect();
        for image in due {
            self.retries.remove(&image);
            self.give_order(image, around);
        }
    }

    /// A worker broke its protocol: it is ended, and what it said is dropped.
    fn violated(&mut self, role: Role, what: &str) {
        let text = format!("{role} is restarted: {what}");
        self.log(Level::Error, Note::about_process(Happened::ProcessEnded, role, text));
        self.desk.ended(role);
        match role {
            Role::Attacher => self.attacher_lost(),
            Role::Monitor | Role::Gate => (self.monitor, self.listing_ends) = (None, None),
            Role::Dialog => self.dialog = None,
            Role::Notifier => self.has_notifier = false,
            // Its end follows, and says what becomes of its orders.
            Role::Launcher | Role::Broker | Role::Control => {}
        }
        self.actions.push(Action::Restart(role));
    }

    fn record(&mut self, record: Record) {
        self.actions.push(Action::Record(record));
    }

    fn name_of(&self, domid: Domid) -> String {
        self.vms.get(&domid).map_or_else(|| format!("domain {domid}"), |vm| vm.name.to_string())
    }

    /// Gives a VM word of one of its requests. A final reply is given once, and remembered as given.
    fn answer(&mut self, asker: &Asker, code: Code, detail: Detail, around: &mut Surroundings<'_>) {
        let Some(vm) = self.vms.get_mut(&asker.domid) else { return };
        vm.remember(asker.key.clone());
        if code.is_final() {
            vm.open_since.retain(|(key, _)| !key.same(&asker.key));
        }
        let name = vm.name.clone();
        let reply = Reply { reqid: asker.key.reqid.clone(), code, detail };
        let text = format!("{name}: {} ({})", code.word(), detail.text());
        self.log_of_vm(Level::Info, Happened::Reply, asker.domid, text);
        if code.is_final() {
            let key = asker.key.clone();
            self.record(Record::Decided { domid: asker.domid, key, reply: reply.clone() });
            self.owe(asker, &reply);
        }
        self.order(Order::Answer { domid: asker.domid, reply }, around);
    }

    /// Keeps a reply until it is known to be given. Xenstore holds only the newest of a VM, so that of many that
    /// pile up while the attacher is down the oldest are worth nothing (L18).
    fn owe(&mut self, asker: &Asker, reply: &Reply) {
        let of_this_vm = |owed: &&(Asker, Reply)| owed.0.domid == asker.domid;
        if self.owed.iter().filter(of_this_vm).count() >= OWED_PER_VM_MAX
            && let Some(oldest) = self.owed.iter().position(|owed| owed.0.domid == asker.domid)
        {
            let (Asker { domid, key }, _) = self.owed.remove(oldest);
            self.record(Record::Answered { domid, key });
        }
        self.owed.push((asker.clone(), reply.clone()));
    }

    /// Whether a final reply to this request is still to come.
    fn is_open(&self, domid: Domid, key: &RequestKey) -> bool {
        let mut askers = self.pendrives.values().filter_map(|pendrive| pendrive.place.asker());
        askers.any(|asker| asker.domid == domid && asker.key.same(key))
    }

    fn vms_named(&self, name: &VmName) -> Vec<Domid> {
        self.vms.iter().filter(|(_, vm)| vm.name == *name).map(|(domid, _)| *domid).collect()
    }

    /// Whether the daemon can decide requests now: it has compared its knowledge with the host's.
    fn is_serving(&self) -> bool {
        self.remembered.is_none()
            && self.attacher == AttacherState::Serving
            && self.monitor == Some(MonitorState::Following)
    }
}
