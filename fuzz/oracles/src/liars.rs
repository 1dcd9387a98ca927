//! The broker among processes that were taken over: xs-monitor, the dialog, control and dvm-launcher say whatever their
//! edges can carry. The attacher alone is honest, since it holds the images anyway.

use std::collections::{BTreeMap, VecDeque};

use broker::journal::{Past, Record};
use broker::machine::{Action, Event, Machine, Surroundings};
use policy::Policy;
use protocol::attach::{
    AttachFailure, AttachReply, AttachRequest, InventoryItem, ORDERS_OPEN_MAX, Order, Outcome, answers,
};
use protocol::control::{ControlEvent, ControlRequest, Ticket};
use protocol::dialog::{DialogCommand, DialogEvent, QuestionId};
use protocol::journald::{self, Note};
use protocol::launch::{LaunchFailure, LaunchId, LaunchOutcome, LaunchReply};
use protocol::log::{Level, LogLine};
use protocol::monitor::MonitorEvent;
use protocol::request::{Request, Verb};
use protocol::supervise::{Ending, Role};
use protocol::types::{Device, Domid, ImageId, ReqId, Seq, SizeMib, VmName};

use crate::broker::settings;
use crate::bytes::Bytes;

/// Events of one input.
const EVENTS_MAX: usize = 300;
/// A journal of more records is replaced by a checkpoint.
const JOURNAL_RECORDS_MAX: usize = 64;
/// Names of the domains that run, by number from 1.
const RUNNING: [&str; 4] = ["red", "green", "blue", "disp1"];

/// What the attacher and the disk know.
struct Host {
    machine: Machine,
    now: u64,
    images_made: u128,
    images: BTreeMap<ImageId, Option<(Domid, Device)>>,
    orders: VecDeque<AttachRequest>,
    journal: Vec<Record>,
    /// Questions that are open, and those that were answered with yes.
    open: Vec<QuestionId>,
    last_ticket: u64,
}

/// The input says what happens.
pub(crate) fn run(mut bytes: Bytes<'_>) {
    let machine = Machine::new(settings(), Policy::default(), Past::default(), 1);
    let journal = machine.snapshot();
    let mut host = Host {
        machine,
        now: 1000,
        images_made: 0,
        images: BTreeMap::new(),
        orders: VecDeque::new(),
        journal,
        open: Vec::new(),
        last_ticket: 0,
    };
    for role in [Role::Attacher, Role::Monitor, Role::Dialog, Role::Control, Role::Launcher, Role::Notifier] {
        host.event(Event::Started(role));
    }
    for _ in 0..EVENTS_MAX {
        if bytes.is_empty() {
            break;
        }
        host.step(&mut bytes);
    }
    host.settle();
}

impl Host {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        // As the broker does with its file.
        if self.journal.len() > JOURNAL_RECORDS_MAX {
            self.journal = self.machine.snapshot();
        }
        match bytes.below(12) {
            0..=3 => self.event(Event::Monitor(monitor_says(bytes))),
            4 => {
                let id = QuestionId(u64::from(bytes.byte() % 16));
                self.event(Event::Dialog(DialogEvent::Answer { id, yes: bytes.flag() }));
            }
            5 => {
                let id = LaunchId(u64::from(bytes.byte() % 8));
                self.event(Event::Launcher(launcher_says(id, bytes)));
            }
            6 => self.control_says(bytes),
            7 => {
                let roles = [Role::Attacher, Role::Monitor, Role::Dialog, Role::Launcher, Role::Control];
                let role = roles[bytes.below(roles.len())];
                if role == Role::Attacher {
                    self.orders.clear();
                }
                self.event(Event::Ended(role, Ending::Signal(31)));
                self.event(Event::Started(role));
            }
            8 => {
                self.now += u64::from(bytes.half()) * 4;
                self.event(Event::Tick);
            }
            _ => self.carry_out(bytes.below(16) == 15),
        }
    }

    fn control_says(&mut self, bytes: &mut Bytes<'_>) {
        let image = self.images.keys().nth(bytes.below(4)).copied().unwrap_or(ImageId([9; 16]));
        let request = match bytes.below(4) {
            0 => ControlRequest::Kill { image },
            1 => ControlRequest::Answer { id: QuestionId(u64::from(bytes.byte() % 16)), yes: bytes.flag() },
            2 => ControlRequest::Pendrives { after: Some(image) },
            _ => ControlRequest::Status,
        };
        // Sometimes one that was there already.
        self.last_ticket += u64::from(bytes.below(8) != 7);
        let ticket = Ticket(self.last_ticket);
        self.event(Event::Control(ControlEvent::Asked { ticket, uid: 0, request }));
    }

    fn event(&mut self, event: Event) {
        let made = &mut self.images_made;
        let mut fresh_image = || {
            *made += 1;
            ImageId(made.to_be_bytes())
        };
        let actions =
            self.machine.step(event, &mut Surroundings { now: self.now, fresh_image: &mut fresh_image });
        for action in actions {
            self.execute(action);
        }
        self.check();
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Record(record) => self.journal.push(record),
            Action::Order(request) => self.orders.push_back(request),
            Action::Dialog(DialogCommand::Ask(question)) => self.open.push(question.id),
            Action::Dialog(DialogCommand::Withdraw { id }) => self.open.retain(|open| *open != id),
            Action::Log(level, note) => logged(level, &note),
            Action::Restart(Role::Attacher) => {
                // It keeps to its protocol, so only too long a silence is a reason.
                self.orders.clear();
                self.event(Event::Ended(Role::Attacher, Ending::Signal(9)));
                self.event(Event::Started(Role::Attacher));
            }
            Action::Restart(role) => {
                self.event(Event::Ended(role, Ending::Signal(9)));
                self.event(Event::Started(role));
            }
            Action::Dialog(DialogCommand::Tell(_))
            | Action::Notify(_)
            | Action::Launch(_)
            | Action::Control(_)
            | Action::TellLog { .. }
            | Action::Ready => {}
        }
    }

    /// Whatever anybody says: bounded, and the journal knows what the machine knows.
    fn check(&self) {
        assert!(self.orders.len() <= ORDERS_OPEN_MAX, "{} orders", self.orders.len());
        assert!(self.images.len() <= usize::try_from(settings().images_max).expect("a small number"));
        let boot_id = settings().boot_id;
        let written = Past::from_records(&self.journal, boot_id);
        let known = Past::from_records(&self.machine.snapshot(), boot_id);
        assert_eq!(written.pendrives, known.pendrives);
        assert_eq!(written.disposables, known.disposables);
    }

    /// The attacher does what it is told to, or cannot.
    fn carry_out(&mut self, fails: bool) {
        let Some(AttachRequest { id, order }) = self.orders.pop_front() else { return };
        let outcome = if fails && order != Order::Inventory {
            if let Order::Create { image, .. } = &order {
                assert!(!self.images.contains_key(image), "l3: an image is made once");
            }
            Outcome::Failed(AttachFailure::Io)
        } else {
            self.obey(&order)
        };
        assert!(answers(&order, &outcome));
        self.event(Event::Attacher(AttachReply::Finished { id, outcome }));
    }

    fn obey(&mut self, order: &Order) -> Outcome {
        match order {
            Order::Inventory => {
                let item = |(image, holder): (&ImageId, &_)| InventoryItem { image: *image, holder: *holder };
                Outcome::Inventory(self.images.iter().map(item).collect())
            }
            Order::Create { image, .. } => {
                assert!(self.images.insert(*image, None).is_none(), "l3: an image is made once");
                Outcome::Done
            }
            Order::Attach { image, domid, name, place, .. } => {
                let wanted = (*domid, place.device());
                let running = RUNNING.get(usize::from(domid.get()).wrapping_sub(1));
                match running {
                    None => return Outcome::Failed(AttachFailure::DomainGone),
                    Some(running) if *running != name.as_str() => {
                        return Outcome::Failed(AttachFailure::OtherName);
                    }
                    Some(_) => {}
                }
                let occupied = self.images.iter().any(|(other, at)| other != image && *at == Some(wanted));
                let holder = self.images.get_mut(image).expect("an image that exists");
                assert!(holder.is_none_or(|holder| holder == wanted), "two holders of {image}");
                if occupied {
                    return Outcome::Failed(AttachFailure::InUse);
                }
                *holder = Some(wanted);
                Outcome::Done
            }
            Order::Detach { image, domid, device } => {
                if let Some(holder) = self.images.get_mut(image) {
                    assert!(holder.is_none_or(|holder| holder == (*domid, *device)), "another's {image}");
                    *holder = None;
                }
                Outcome::Done
            }
            Order::Destroy { image } => {
                assert_eq!(
                    self.images.remove(image).flatten(),
                    None,
                    "{image} is destroyed while it is held"
                );
                Outcome::Done
            }
            Order::Measure { image } if self.images.contains_key(image) => Outcome::Measured { used_mib: 1 },
            Order::Measure { .. } => Outcome::Failed(AttachFailure::NoSuchImage),
            Order::MakeQpen { .. } | Order::Answer { .. } | Order::ForgetDomain { .. } => Outcome::Done,
        }
    }

    /// When nobody lies any longer and every VM goes, every image is released.
    fn settle(&mut self) {
        for role in [Role::Monitor, Role::Launcher] {
            self.event(Event::Ended(role, Ending::Signal(9)));
            self.event(Event::Started(role));
        }
        self.event(Event::Monitor(MonitorEvent::Synced));
        for number in 1..=16 {
            let domid = Domid::new(number).expect("a guest's number");
            self.event(Event::Monitor(MonitorEvent::DomainGone { domid }));
        }
        for _ in 0..40 {
            while !self.orders.is_empty() {
                self.carry_out(false);
            }
            if self.machine.next_deadline().is_none() {
                break;
            }
            self.now += 60_000;
            self.event(Event::Tick);
        }
        assert!(self.images.is_empty(), "left over: {:?}", self.images);
    }
}

/// One line of text that shows as it is, and an entry for journald with no field but the known ones.
fn logged(level: Level, note: &Note) {
    assert!(note.text.is_ascii() && !note.text.contains('\n'), "{note:?}");
    let entry = journald::entry(level, note);
    let mut rest = entry.as_slice();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a field ends");
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        if line == b"MESSAGE" {
            let text = note.text.as_bytes();
            let length = (text.len() as u64).to_le_bytes();
            assert_eq!(after, [&length, text, b"\n"].concat());
            return;
        }
        let known = ["PRIORITY=", "SYSLOG_IDENTIFIER=", "QFILEXCHG_"];
        assert!(known.iter().any(|field| line.starts_with(field.as_bytes())), "{note:?}");
        rest = after;
    }
}

fn name(bytes: &mut Bytes<'_>) -> VmName {
    let text = ["red", "green", "blue", "disp1", "disp2", "dom0"][bytes.below(6)];
    VmName::new(text.as_bytes()).expect("a name")
}

fn monitor_says(bytes: &mut Bytes<'_>) -> MonitorEvent {
    let domid = Domid::new(u16::from(bytes.byte() % 6) + 1).expect("a guest's number");
    let digest = u64::from(bytes.byte());
    let reqid = (digest > 8).then(|| ReqId::new(digest.to_string().as_bytes()).expect("an id"));
    match bytes.below(10) {
        0 | 1 => MonitorEvent::DomainSeen { domid, name: name(bytes) },
        2 => MonitorEvent::NameUnfit { domid },
        3 => MonitorEvent::DomainGone { domid },
        4 => MonitorEvent::QpenMissing { domid },
        5 => MonitorEvent::RequestUnparsable { domid, reqid, digest },
        6 => MonitorEvent::Synced,
        7 => MonitorEvent::Log(LogLine::new(Level::Info, &String::from_utf8_lossy(bytes.take(8)))),
        _ => {
            let seq = Seq::new(u32::from(bytes.byte() % 3) + 1).expect("a number");
            let verb = match bytes.below(8) {
                0 | 1 => Verb::New { size: SizeMib::new(u32::from(bytes.byte()) + 33).ok() },
                2 | 3 => Verb::Send { to: name(bytes), seq: bytes.flag().then_some(seq) },
                4 => Verb::SendDisposable { seq },
                5 | 6 => Verb::Umount,
                _ => Verb::Killme,
            };
            MonitorEvent::RequestSeen { domid, request: Request { verb, reqid }, digest }
        }
    }
}

fn launcher_says(id: LaunchId, bytes: &mut Bytes<'_>) -> LaunchReply {
    match bytes.below(4) {
        0 => LaunchReply::Rebuilding { id },
        1 => {
            let why = LaunchFailure::ALL[bytes.below(LaunchFailure::ALL.len())];
            LaunchReply::Finished { id, outcome: LaunchOutcome::Failed(why) }
        }
        2 => LaunchReply::Log(LogLine::new(Level::Info, "x")),
        _ => LaunchReply::Finished { id, outcome: LaunchOutcome::Done },
    }
}
