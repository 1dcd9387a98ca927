//! control's desk: clients that say anything at any time. Each request is passed on once, each answer goes to who asked,
//! and nobody has more places than there are.

use std::collections::BTreeMap;

use control::desk::{Action, CLIENTS_MAX, CLIENTS_PER_UID_MAX, ClientId, Desk, Event};
use protocol::codec::decode;
use protocol::control::{
    AnswerOutcome, ClientReply, ControlCommand, ControlEvent, ControlReply, ControlRequest, KillOutcome,
    Page, Ticket,
};

use crate::bytes::Bytes;

/// Events of one input.
const EVENTS_MAX: usize = 300;

struct Talk {
    desk: Desk,
    now_ms: u64,
    last_client: u64,
    /// Who is connected, and as whom.
    clients: BTreeMap<ClientId, u32>,
    /// Requests that the broker has not answered.
    asked: BTreeMap<Ticket, (ClientId, ControlRequest)>,
    saying: Option<ClientId>,
}

pub(crate) fn run(mut bytes: Bytes<'_>) {
    let mut talk = Talk {
        desk: Desk::default(),
        now_ms: 0,
        last_client: 0,
        clients: BTreeMap::new(),
        asked: BTreeMap::new(),
        saying: None,
    };
    for _ in 0..EVENTS_MAX {
        if bytes.is_empty() {
            break;
        }
        talk.step(&mut bytes);
    }
}

impl Talk {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let which = self.clients.keys().nth(bytes.below(16)).copied();
        match (bytes.below(6), which) {
            (0, _) => {
                self.last_client += 1;
                let id = ClientId(self.last_client);
                let uid = bytes.flag().then(|| u32::from(bytes.byte() % 16));
                self.clients.extend(uid.map(|uid| (id, uid)));
                self.event(Event::Connected(id, uid));
            }
            (1 | 2, Some(id)) => {
                let is_heard = self.desk.is_heard(id, self.now_ms);
                let untrusted_datagram = bytes.take(17);
                let request = decode::<ControlRequest>(untrusted_datagram).ok().or_else(|| request(bytes));
                if is_heard {
                    self.saying = Some(id);
                    self.event(Event::Said(id, request));
                    self.saying = None;
                }
            }
            (3, Some(id)) if bytes.flag() => {
                self.clients.remove(&id);
                self.event(Event::Gone(id));
            }
            (3, Some(id)) => self.event(Event::Served(id)),
            (4, _) => {
                let Some(ticket) = self.asked.keys().nth(bytes.below(8)).copied() else { return };
                let (_, request) = self.asked[&ticket];
                self.event(Event::Answered(ControlCommand { ticket, reply: reply(&request) }));
                self.asked.remove(&ticket);
            }
            _ => {
                self.now_ms += u64::from(bytes.byte()) * 16;
                self.event(Event::Tick);
            }
        }
        assert!(self.clients.len() <= CLIENTS_MAX);
        for uid in self.clients.values() {
            assert!(self.clients.values().filter(|other| *other == uid).count() <= CLIENTS_PER_UID_MAX);
        }
    }

    fn event(&mut self, event: Event) {
        let answered = if let Event::Answered(command) = &event { Some(command.ticket) } else { None };
        for action in self.desk.step(event, self.now_ms) {
            match action {
                Action::Ask(ControlEvent::Asked { ticket, uid, request }) => {
                    let id = self.saying.expect("only what somebody says is passed on");
                    assert_eq!(self.clients[&id], uid, "asked in another's name");
                    let newest = self.asked.last_key_value().is_none_or(|(last, _)| *last < ticket);
                    assert!(newest && self.asked.insert(ticket, (id, request)).is_none());
                }
                Action::Ask(ControlEvent::Log(line)) => panic!("{line:?}"),
                Action::Tell(id, ClientReply::Answered(_)) => {
                    assert_eq!(self.asked[&answered.expect("an answer")].0, id, "another's answer");
                }
                Action::Tell(_, ClientReply::Refused(_)) => {}
                Action::Close(id) => drop(self.clients.remove(&id)),
                Action::End => panic!("the broker has kept to its protocol"),
            }
        }
    }
}

fn request(bytes: &mut Bytes<'_>) -> Option<ControlRequest> {
    let after = None;
    let image = protocol::types::ImageId([1; 16]);
    [
        None,
        Some(ControlRequest::Status),
        Some(ControlRequest::Pendrives { after }),
        Some(ControlRequest::Kill { image }),
    ][bytes.below(4)]
}

/// What a broker that keeps to its protocol answers.
fn reply(request: &ControlRequest) -> ControlReply {
    match request {
        ControlRequest::Status => ControlReply::Status(status()),
        ControlRequest::Log { .. } => ControlReply::Log(Page::first_of([])),
        ControlRequest::Pendrives { .. } => ControlReply::Pendrives(Page::first_of([])),
        ControlRequest::Disposables { .. } => ControlReply::Disposables(Page::first_of([])),
        ControlRequest::Questions { .. } => ControlReply::Questions(Page::first_of([])),
        ControlRequest::Answer { .. } => ControlReply::Answer(AnswerOutcome::NotOpen),
        ControlRequest::Kill { .. } => ControlReply::Kill(KillOutcome::NoSuchPendrive),
    }
}

fn status() -> protocol::control::Status {
    let quota = protocol::control::Quota { used: 0, max: 1 };
    protocol::control::Status {
        version: protocol::log::LogText::new("0"),
        serving: true,
        uptime_ms: 0,
        can_ask: false,
        workers: Page::first_of([]),
        vms: 0,
        questions: 0,
        orders: 0,
        disposables: 0,
        pendrives: quota,
        mib: quota,
        pendrives_per_vm_max: 1,
        mib_per_vm_max: 1,
    }
}
