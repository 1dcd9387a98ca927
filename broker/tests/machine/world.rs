//! A world for the state machine: VMs, an attacher, a dialog and a journal that can crash at any moment, and
//! the invariants that hold whatever happens.

use std::collections::{BTreeMap, VecDeque};

use broker::journal::{Past, Record};
use broker::machine::{About, Action, Event, Machine, Surroundings};
use policy::Policy;
use protocol::attach::{
    AttachFailure, AttachReply, AttachRequest, Attachment, InventoryItem, Order, OrderId, Outcome,
};
use protocol::control::{ControlCommand, ControlEvent, ControlReply, ControlRequest, Ticket};
use protocol::dialog::{DialogCommand, DialogEvent, Notice, Question, QuestionId, QuestionKind, Recipient};
use protocol::launch::{
    DisposableNumber, LaunchFailure, LaunchOrder, LaunchOutcome, LaunchReply, LaunchRequest,
};
use protocol::monitor::MonitorEvent;
use protocol::reply::{Code, Reply};
use protocol::request::{Request, Verb};
use protocol::settings::BrokerSettings;
use protocol::supervise::{Ending, Role};
use protocol::types::{Device, Domid, ImageId, ReqId, Seq, SizeMib, VmName};

pub const QUESTION_MS: u32 = 60_000;
pub const WAIT_MS: u32 = 600_000;
/// What every image occupies.
pub const USED_MIB: u32 = 3;
/// Number of the first DisposableVM.
pub const FIRST_DISPOSABLE: u16 = 100;

pub fn domid(number: u16) -> Domid {
    Domid::new(number).unwrap()
}

pub fn name(text: &str) -> VmName {
    VmName::new(text.as_bytes()).unwrap()
}

pub fn settings() -> BrokerSettings {
    BrokerSettings {
        size_default: SizeMib::new(1024).unwrap(),
        size_max: SizeMib::new(4096).unwrap(),
        images_per_vm_max: 4,
        images_max: 6,
        total_per_vm_mib_max: 8192,
        total_mib_max: 10_000,
        question_ms_max: QUESTION_MS,
        wait_ms_max: WAIT_MS,
        incoming_writable: false,
        has_dialog: true,
        has_launcher: true,
        disposables_max: 8,
        disposables_per_vm_max: 4,
        launch_ms_max: 690_000,
        asks_control: false,
        boot_id: [7; 16],
    }
}

/// What the fake attacher does with the next orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Done,
    Fails(AttachFailure),
}

pub struct World {
    pub machine: Machine,
    policy: Policy,
    settings: BrokerSettings,
    pub now: u64,
    images_made: u128,
    pub vms: BTreeMap<Domid, VmName>,
    values: BTreeMap<Domid, MonitorEvent>,
    pub images: BTreeMap<ImageId, Option<(Domid, Device)>>,
    /// Pairs of VM names for which the person said yes, each good for one image.
    permits: Vec<(VmName, Recipient)>,
    arrived: BTreeMap<ImageId, Domid>,
    /// What each DisposableVM may still answer, and to whom.
    given: BTreeMap<(VmName, Option<Seq>), Domid>,
    /// Whether a transfer needs a yes of the person.
    pub needs_yes: bool,
    pub orders: VecDeque<AttachRequest>,
    pub launches: VecDeque<LaunchRequest>,
    /// DisposableVMs that the toolstack has made, and which image each may get and give.
    pub disposables: BTreeMap<DisposableNumber, Domid>,
    next_disposable: u16,
    pub journal: Vec<Record>,
    pub questions: BTreeMap<QuestionId, Question>,
    pub notices: Vec<Notice>,
    /// What was shown on the desktop.
    pub notified: Vec<Notice>,
    pub replies: Vec<(Domid, Reply)>,
    pub log: Vec<String>,
    /// Whose doing each line of the log is.
    pub causes: Vec<About>,
    pub restarts: Vec<Role>,
    pub ready: bool,
    /// What control was told.
    pub told: Vec<ControlCommand>,
    tickets: u64,
}

impl World {
    /// A host on which the daemon serves the named VMs, domids from 1.
    pub fn with_policy(vms: &[&str], policy_text: &str) -> Self {
        Self::with(vms, policy_text, settings())
    }

    pub fn new(vms: &[&str]) -> Self {
        Self::with_policy(vms, "")
    }

    pub fn with(vms: &[&str], policy_text: &str, settings: BrokerSettings) -> Self {
        let files = [(String::from("p.policy"), policy_text.as_bytes().to_vec())];
        let policy = policy::load(&files, ("tags", b"")).unwrap();
        let mut world = Self {
            machine: Machine::new(settings.clone(), policy.clone(), Past::default(), 1),
            policy,
            settings,
            now: 1000,
            images_made: 0,
            vms: BTreeMap::new(),
            values: BTreeMap::new(),
            images: BTreeMap::new(),
            permits: vec![],
            arrived: BTreeMap::new(),
            given: BTreeMap::new(),
            needs_yes: policy_text.is_empty(),
            orders: VecDeque::new(),
            launches: VecDeque::new(),
            disposables: BTreeMap::new(),
            next_disposable: FIRST_DISPOSABLE,
            journal: vec![],
            questions: BTreeMap::new(),
            notices: vec![],
            notified: vec![],
            replies: vec![],
            log: vec![],
            causes: vec![],
            restarts: vec![],
            ready: false,
            told: vec![],
            tickets: 0,
        };
        for (index, vm) in vms.iter().enumerate() {
            world.vms.insert(domid(u16::try_from(index).unwrap() + 1), name(vm));
        }
        world.boot();
        world.work();
        assert!(world.ready, "the daemon serves");
        world
    }

    /// The daemon starts, or starts again, with what the journal holds.
    pub fn boot(&mut self) {
        let past = Past::from_records(&self.journal, self.settings.boot_id);
        self.machine = Machine::new(self.settings.clone(), self.policy.clone(), past, 1000);
        self.journal = self.machine.snapshot();
        self.orders.clear();
        self.launches.clear();
        self.questions.clear();
        self.ready = false;
        self.event(Event::Started(Role::Attacher));
        if self.settings.has_dialog {
            self.event(Event::Started(Role::Dialog));
        }
        self.tickets = 0;
        self.event(Event::Started(Role::Control));
        self.event(Event::Started(Role::Launcher));
        self.monitor_starts();
    }

    pub fn monitor_starts(&mut self) {
        self.event(Event::Started(Role::Monitor));
        for (domid, name) in self.vms.clone() {
            self.event(Event::Monitor(MonitorEvent::DomainSeen { domid, name }));
            if let Some(value) = self.values.get(&domid).cloned() {
                self.event(Event::Monitor(value));
            }
        }
        self.event(Event::Monitor(MonitorEvent::Synced));
    }

    pub fn worker_dies(&mut self, role: Role) {
        if role == Role::Attacher {
            self.orders.clear();
        }
        if role == Role::Dialog {
            self.questions.clear();
        }
        if role == Role::Launcher {
            self.launches.clear();
        }
        if role == Role::Control {
            self.tickets = 0;
        }
        self.event(Event::Ended(role, Ending::Signal(9)));
        if role == Role::Monitor {
            self.monitor_starts();
        } else {
            self.event(Event::Started(role));
        }
    }

    pub fn event(&mut self, event: Event) {
        let made = &mut self.images_made;
        let mut fresh_image = || {
            *made += 1;
            ImageId(made.to_be_bytes())
        };
        let mut around = Surroundings { now: self.now, fresh_image: &mut fresh_image };
        let actions = self.machine.step(event, &mut around);
        for action in actions {
            self.execute(action);
        }
        self.check();
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Record(record) => self.journal.push(record),
            Action::Order(request) => self.orders.push_back(request),
            Action::Launch(request) => self.launches.push_back(request),
            Action::Dialog(DialogCommand::Ask(question)) => {
                self.questions.insert(question.id, question);
            }
            Action::Dialog(DialogCommand::Withdraw { id }) => drop(self.questions.remove(&id)),
            Action::Dialog(DialogCommand::Tell(notice)) => self.notices.push(notice),
            Action::Notify(notice) => self.notified.push(notice),
            Action::Control(command) => self.told.push(command),
            Action::TellLog { .. } => {}
            Action::Restart(role) => self.restarts.push(role),
            Action::Ready => self.ready = true,
            Action::Log(_, note) => {
                self.causes.push(About::of(&note));
                let text = note.text;
                assert!(text.is_ascii() && !text.contains('\n'), "{text:?}");
                self.log.push(text);
            }
        }
    }

    /// What holds after every step.
    fn check(&self) {
        let snapshot = self.machine.snapshot();
        let mut outgoing = BTreeMap::new();
        let mut incoming = BTreeMap::new();
        for record in &snapshot {
            if let Record::Pendrive(pendrive) = record {
                match pendrive.place.holder() {
                    Some((at, Device::Outgoing)) => assert!(outgoing.insert(at, pendrive.image).is_none()),
                    Some((at, Device::Incoming)) => assert!(incoming.insert(at, pendrive.image).is_none()),
                    None => {}
                }
            }
        }
        // The journal is as good as the machine's own memory.
        let from_journal = Past::from_records(&self.journal, self.settings.boot_id);
        let from_snapshot = Past::from_records(&snapshot, self.settings.boot_id);
        assert_eq!(from_journal.pendrives, from_snapshot.pendrives);
        assert_eq!(from_journal.disposables, from_snapshot.disposables);
    }

    /// Carries out one order of dvm-launcher. A VM that is made is seen before that is told, and after it was
    /// destroyed it is seen no longer.
    pub fn carry_out_launch(&mut self, fate: Result<(), LaunchFailure>) -> bool {
        let Some(LaunchRequest { id, order }) = self.launches.pop_front() else { return false };
        if fate.is_ok() {
            match order {
                LaunchOrder::Create { number } => {
                    assert!(!self.disposables.contains_key(&number), "{number} is made twice");
                    let domid = self.next_disposable;
                    self.next_disposable += 1;
                    self.disposables.insert(number, Domid::new(domid).unwrap());
                    self.appears(domid, &number.to_string());
                }
                LaunchOrder::Destroy { number } => {
                    if let Some(domid) = self.disposables.get(&number) {
                        self.gone(domid.get());
                    }
                }
            }
        }
        let outcome = fate.map_or_else(LaunchOutcome::Failed, |()| LaunchOutcome::Done);
        self.event(Event::Launcher(LaunchReply::Finished { id, outcome }));
        true
    }

    /// Carries out one order.
    pub fn carry_out(&mut self, fate: Fate) -> bool {
        let Some(AttachRequest { id, order }) = self.orders.pop_front() else { return false };
        let outcome = match fate {
            Fate::Fails(failure) if order != Order::Inventory => Outcome::Failed(failure),
            Fate::Fails(_) | Fate::Done => self.obey(&order),
        };
        if let (Order::Create { image, .. }, Outcome::Failed(_)) = (&order, &outcome) {
            self.images.remove(image);
        }
        self.event(Event::Attacher(AttachReply::Finished { id, outcome }));
        true
    }

    fn obey(&mut self, order: &Order) -> Outcome {
        match order {
            Order::Inventory => Outcome::Inventory(
                self.images
                    .iter()
                    .map(|(image, holder)| InventoryItem { image: *image, holder: *holder })
                    .collect(),
            ),
            Order::Answer { domid, reply } => {
                self.replies.push((*domid, reply.clone()));
                Outcome::Done
            }
            Order::Create { image, .. } => {
                assert!(!self.images.contains_key(image), "l3: an image is made once");
                self.images.insert(*image, None);
                Outcome::Done
            }
            Order::Attach { image, domid, name, boots, place } => {
                let wanted = (*domid, place.device());
                if self.vms.get(domid).is_some_and(|running| running != name) {
                    return Outcome::Failed(AttachFailure::OtherName);
                }
                let is_new = self.disposables.values().any(|disposable| disposable == domid);
                assert!(*boots == is_new || !self.vms.contains_key(domid), "only a DisposableVM boots");
                if !self.vms.contains_key(domid) {
                    return Outcome::Failed(AttachFailure::DomainGone);
                }
                let occupied = self.images.values().any(|holder| *holder == Some(wanted));
                let holder = self.images.get_mut(image).unwrap_or_else(|| panic!("{image} does not exist"));
                assert!(*holder == Some(wanted) || (holder.is_none() && !occupied), "two holders of {image}");
                *holder = Some(wanted);
                if let Attachment::Incoming { source, seq, .. } = place {
                    self.arrives(*image, source, *domid, *seq);
                }
                Outcome::Done
            }
            Order::Detach { image, domid, device } => {
                if let Some(holder) = self.images.get_mut(image) {
                    assert!(holder.is_none() || *holder == Some((*domid, *device)), "another's {image}");
                    *holder = None;
                }
                Outcome::Done
            }
            Order::Measure { image } if self.images.contains_key(image) => {
                Outcome::Measured { used_mib: USED_MIB }
            }
            Order::Measure { .. } => Outcome::Failed(AttachFailure::NoSuchImage),
            Order::Destroy { image } => {
                let holder = self.images.remove(image).flatten();
                assert_eq!(holder, None, "an image is destroyed only when nobody holds it");
                Outcome::Done
            }
            Order::MakeQpen { .. } | Order::ForgetDomain { .. } => Outcome::Done,
        }
    }

    /// A receiver gets an image: only with a yes, which is then used up, or as the answer of the DisposableVM that was
    /// made for it.
    fn arrives(&mut self, image: ImageId, source: &VmName, to: Domid, seq: Option<Seq>) {
        let is_disposable = |domid: Domid| self.disposables.values().any(|disposable| *disposable == domid);
        let from_disposable = source.as_str().starts_with("disp");
        assert_eq!(seq.is_some(), is_disposable(to) || from_disposable, "only a transaction has a number");
        if let Some(before) = self.arrived.insert(image, to) {
            assert_eq!(before, to, "an image goes to one receiver only");
        } else if from_disposable {
            let given = self.given.remove(&(source.clone(), seq));
            assert_eq!(given, Some(to), "an answer goes, once, to whom the file came from");
        } else if self.needs_yes {
            let recipient = if is_disposable(to) {
                Recipient::NewDisposable
            } else {
                Recipient::Vm(self.vms[&to].clone())
            };
            let pair = (source.clone(), recipient);
            let permit = self.permits.iter().position(|permitted| *permitted == pair);
            self.permits.remove(permit.unwrap_or_else(|| panic!("no yes for {pair:?}")));
        }
        if self.disposables.values().any(|disposable| *disposable == to) && !from_disposable {
            let owner = self.vms.iter().find(|(_, name)| *name == source).map(|(domid, _)| *domid);
            self.given.insert((self.vms[&to].clone(), seq), owner.unwrap_or(to));
        }
    }

    /// Carries out everything that is ordered.
    pub fn work(&mut self) {
        for _ in 0..10_000 {
            if !self.carry_out(Fate::Done) && !self.carry_out_launch(Ok(())) {
                return;
            }
        }
        panic!("orders without end");
    }

    pub fn ask(&mut self, vm: u16, verb: Verb, reqid: &str) {
        let reqid = ReqId::new(reqid.as_bytes()).ok();
        let digest =
            format!("{verb:?}").bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
        let request = Request { verb, reqid };
        let event = MonitorEvent::RequestSeen { domid: domid(vm), request, digest };
        self.values.insert(domid(vm), event.clone());
        self.event(Event::Monitor(event));
    }

    /// The watch fires once more for the value that is there.
    pub fn fires_again(&mut self, vm: u16) {
        if let Some(value) = self.values.get(&domid(vm)).cloned() {
            self.event(Event::Monitor(value));
        }
    }

    pub fn new_pendrive(&mut self, vm: u16, reqid: &str) {
        self.ask(vm, Verb::New { size: None }, reqid);
        self.work();
    }

    pub fn send(&mut self, vm: u16, to: &str, reqid: &str) {
        self.ask(vm, Verb::Send { to: name(to), seq: None }, reqid);
        self.work();
    }

    pub fn umount(&mut self, vm: u16, reqid: &str) {
        self.ask(vm, Verb::Umount, reqid);
        self.work();
    }

    pub fn gone(&mut self, vm: u16) {
        self.vms.remove(&domid(vm));
        self.disposables.retain(|_, disposable| *disposable != domid(vm));
        self.values.remove(&domid(vm));
        self.event(Event::Monitor(MonitorEvent::DomainGone { domid: domid(vm) }));
    }

    pub fn appears(&mut self, vm: u16, text: &str) {
        self.vms.insert(domid(vm), name(text));
        self.event(Event::Monitor(MonitorEvent::DomainSeen { domid: domid(vm), name: name(text) }));
    }

    pub fn person_says(&mut self, yes: bool) {
        let id = *self.questions.keys().next().unwrap_or_else(|| panic!("no question is open"));
        self.answers(id, yes);
        self.work();
    }

    pub fn answers(&mut self, id: QuestionId, yes: bool) {
        let question = self.questions.remove(&id).unwrap();
        if yes && question.kind == QuestionKind::Transfer {
            self.permits.push((question.source, question.target));
        }
        self.event(Event::Dialog(DialogEvent::Answer { id, yes }));
    }

    /// What qfilexchgctl asks, and the answer.
    pub fn control(&mut self, request: ControlRequest) -> ControlReply {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.event(Event::Control(ControlEvent::Asked { ticket, uid: 1000, request }));
        let command = self.told.pop().unwrap();
        assert!(self.told.is_empty() && command.ticket == ticket, "one answer, to this request");
        assert!(protocol::control::answers(&request, &command.reply));
        command.reply
    }

    /// The person answers by qfilexchgctl.
    pub fn control_answers(&mut self, id: QuestionId, yes: bool) -> ControlReply {
        if let Some(question) = self.questions.get(&id)
            && yes
            && question.kind == QuestionKind::Transfer
        {
            self.permits.push((question.source.clone(), question.target.clone()));
        }
        self.control(ControlRequest::Answer { id, yes })
    }

    pub fn later(&mut self, ms: u64) {
        self.now += ms;
        self.event(Event::Tick);
        self.work();
    }

    /// The codes of all replies to this request, in order.
    pub fn codes(&self, vm: u16, reqid: &str) -> Vec<Code> {
        let reqid = ReqId::new(reqid.as_bytes()).ok();
        let mine = self.replies.iter().filter(|(to, reply)| *to == domid(vm) && reply.reqid == reqid);
        mine.map(|(_, reply)| reply.code).collect()
    }

    pub fn holders(&self) -> Vec<(Domid, Device)> {
        self.images.values().filter_map(|holder| *holder).collect()
    }
}

pub fn seq(number: u32) -> Seq {
    Seq::new(number).unwrap()
}

pub fn order_id(number: u64) -> OrderId {
    OrderId(number)
}
