//! Datagrams of every edge, behind the number that `edges` knows them by.

use bincode::Encode;
use protocol::attach::{AttachReply, AttachRequest, Attachment, InventoryItem, Order, OrderId, Outcome};
use protocol::codec::{encode, encode_settings};
use protocol::control::{
    AnswerOutcome, ClientReply, ControlCommand, ControlEvent, ControlReply, ControlRequest, LogStart,
    Refusal, Ticket,
};
use protocol::dialog::{DialogCommand, DialogEvent, Notice, Question, QuestionId, QuestionKind, Recipient};
use protocol::launch::{
    DisposableNumber, LaunchFailure, LaunchId, LaunchOrder, LaunchOutcome, LaunchReply, LaunchRequest,
};
use protocol::log::{Level, LogLine, LogText};
use protocol::monitor::MonitorEvent;
use protocol::reply::{Code, Detail, Reply};
use protocol::request::{Request, Verb};
use protocol::runner::{
    Command, JobId, Modified, RunEnd, RunOutput, RunReply, RunRequest, RunnerNotice, RunnerSettings,
};
use protocol::settings::{ControlSettings, DialogSettings, Label, Scale, Theme};
use protocol::supervise::{Ending, Role, SupervisorNotice, SupervisorOrder};
use protocol::types::{Device, Domid, ImageId, ReqId, Seq, SizeMib, VmName};
use protocol::unpack::{ShownName, UnpackNotice, UnpackProgress};

use crate::{Seeds, seed};

#[derive(Default)]
struct Collected(Seeds);

impl Collected {
    fn add(&mut self, which: u8, message: &impl Encode) {
        self.push(which, encode(message).expect("a short message"));
    }

    fn add_settings(&mut self, which: u8, settings: &impl Encode) {
        self.push(which, encode_settings(settings).expect("short settings"));
    }

    fn push(&mut self, which: u8, bytes: Vec<u8>) {
        self.0.push(seed(&format!("{which:02}-{:02}", self.0.len()), [vec![which], bytes].concat()));
    }
}

pub fn edges() -> Seeds {
    let mut seeds = Collected::default();
    for (which, order) in orders().into_iter().map(|order| (0, order)) {
        seeds.add(which, &AttachRequest { id: OrderId(7), order });
    }
    others(&mut seeds);
    with_text(&mut seeds);
    settings(&mut seeds);
    seeds.0
}

pub fn domid() -> Domid {
    Domid::new(5).expect("a guest's number")
}

pub fn name() -> VmName {
    VmName::new(b"work").expect("a name")
}

pub fn image() -> ImageId {
    ImageId([0xAB; 16])
}

pub fn number() -> DisposableNumber {
    DisposableNumber::new(1).expect("a number")
}

fn orders() -> Vec<Order> {
    let (image, domid) = (image(), domid());
    let reply = Reply { reqid: ReqId::new(b"r1").ok(), code: Code::Ok, detail: Detail::Done };
    let place = Attachment::Incoming { source: name(), seq: Seq::new(9).ok(), writable: false };
    vec![
        Order::Inventory,
        Order::Answer { domid, reply },
        Order::Create { image, size: SizeMib::new(64).expect("a size"), label: name() },
        Order::Attach { image, domid, name: name(), boots: true, place },
        Order::Detach { image, domid, device: Device::Outgoing },
        Order::ForgetDomain { domid },
    ]
}

fn others(seeds: &mut Collected) {
    seeds.add(1, &DialogEvent::Answer { id: QuestionId(1), yes: true });
    seeds.add(2, &LaunchRequest { id: LaunchId(3), order: LaunchOrder::Create { number: number() } });
    seeds.add(3, &ControlRequest::Log { from: LogStart::Last(10) });
    seeds.add(3, &ControlRequest::Pendrives { after: Some(image()) });
    seeds.add(4, &RunRequest::Start { job: JobId(1), command: Command::Exists { number: number() } });
    let output = RunOutput::last_of(b"no such domain\n");
    seeds.add(5, &RunReply::Ended { job: JobId(1), how: RunEnd::Code(1), output });
    seeds.add(5, &RunReply::Seen { template: Some(Modified(1, 2)), base: None });
    seeds.add(6, &RunnerNotice::NewLauncher);
    seeds.add(7, &SupervisorNotice::Ended { role: Role::Monitor, how: Ending::Signal(31) });
    seeds.add(8, &SupervisorOrder::Restart { role: Role::Gate });
}

fn with_text(seeds: &mut Collected) {
    let line = LogLine::new(Level::Warning, "a line");
    let request =
        Request { verb: Verb::Send { to: name(), seq: Seq::new(7).ok() }, reqid: ReqId::new(b"r1").ok() };
    seeds.add(10, &MonitorEvent::RequestSeen { domid: domid(), request, digest: 1 });
    seeds.add(10, &MonitorEvent::Log(line.clone()));
    let item = InventoryItem { image: image(), holder: Some((domid(), Device::Incoming)) };
    seeds.add(11, &AttachReply::Finished { id: OrderId(1), outcome: Outcome::Inventory(vec![item]) });
    let (source, target, rule) = (name(), Recipient::Vm(name()), LogText::new("90-default.policy:1"));
    let notice =
        Notice::Decided { allowed: true, source: source.clone(), target: target.clone(), rule: rule.clone() };
    seeds.add(12, &DialogCommand::Tell(notice));
    let (id, kind) = (QuestionId(1), QuestionKind::Transfer);
    let (size_mib, used_mib, age_ms, expires_ms) = (64, 3, 0, 60_000);
    let question = Question { id, kind, source, target, size_mib, used_mib, age_ms, rule, expires_ms };
    seeds.add(12, &DialogCommand::Ask(question));
    let outcome = LaunchOutcome::Failed(LaunchFailure::NoMemory);
    seeds.add(13, &LaunchReply::Finished { id: LaunchId(3), outcome });
    let (ticket, request) = (Ticket(1), ControlRequest::Kill { image: image() });
    seeds.add(14, &ControlEvent::Asked { ticket, uid: 0, request });
    seeds.add(15, &ControlCommand { ticket, reply: ControlReply::Answer(AnswerOutcome::Taken) });
    seeds.add(16, &ClientReply::Refused(Refusal::TooMany));
    seeds.add(17, &UnpackNotice::Renamed(ShownName::new("a").expect("a name that may be shown")));
    seeds.add(17, &UnpackNotice::Progress(UnpackProgress { files: 1, directories: 2, bytes: 3 }));
    seeds.add(18, &line);
}

fn settings(seeds: &mut Collected) {
    seeds.add_settings(22, &ControlSettings::Accounts { uid: 1, gid: 2, group: Some(3) });
    let labels = vec![(name(), Label::Red)];
    let (scale, theme) = (Scale::Double, Theme::Dark);
    seeds.add_settings(23, &DialogSettings { display: 0, screen: 0, scale, theme, labels });
    let words = ["/bin/true", "{name}"].map(str::to_owned).to_vec();
    seeds.add_settings(24, &RunnerSettings { create: words, ..RunnerSettings::default() });
    let rules = b"copy work @anyvm ask\n".to_vec();
    let policy = policy::load(&[("p.policy".to_owned(), rules)], ("tags", b"work red\n")).expect("a policy");
    seeds.add_settings(25, &policy);
}
