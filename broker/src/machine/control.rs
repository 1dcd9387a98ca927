//! What `qfilexchgctl` asks, as control passes it on: each request is answered at once.
//!
//! Two requests change something. An answer counts like the dialog's. To kill a pendrive is to take it from whoever
//! holds it, as if that VM had gone; where an order is open at that moment, its answer comes first.

use std::collections::{BTreeMap, BTreeSet};

use protocol::control::{
    AnswerOutcome, ControlCommand, ControlEvent, ControlReply, ControlRequest, ControlState, DisposableItem,
    DisposableState, Holder, KillOutcome, Page, PendriveItem, PendriveState, Quota, Status, Ticket,
    WorkerItem,
};
use protocol::dialog::{DialogCommand, Question, QuestionId, Recipient};
use protocol::journald::{Event as Happened, Note};
use protocol::launch::DisposableNumber;
use protocol::log::{Level, LogText};
use protocol::reply::{Code, Detail};
use protocol::supervise::Role;
use protocol::types::{Device, Domid, ImageId};

use super::disposables::{Disposable, Stage};
use super::{Action, Asker, Machine, Pendrive, Place, Surroundings};

/// What only `qfilexchgctl` wants to know, and which pendrives it killed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Desk {
    pub(super) edge: Option<ControlState>,
    /// Every worker that was ever started, and whether it runs.
    pub(super) workers: BTreeMap<Role, bool>,
    /// What was asked; those that are settled are forgotten at the next question.
    pub(super) questions: BTreeMap<QuestionId, Question>,
    /// When each pendrive was asked for.
    pub(super) made: BTreeMap<ImageId, u64>,
    /// When each DisposableVM was ordered.
    pub(super) launched: BTreeMap<DisposableNumber, u64>,
    /// Pendrives to be taken away as soon as their open order is answered.
    pub(super) doomed: BTreeSet<ImageId>,
}

impl Desk {
    pub(super) fn started(&mut self, role: Role) {
        self.workers.insert(role, true);
        if role == Role::Control {
            self.edge = Some(ControlState::default());
        }
    }

    pub(super) fn ended(&mut self, role: Role) {
        self.workers.insert(role, false);
        if role == Role::Control {
            self.edge = None;
        }
    }

    pub(super) fn made(&mut self, image: ImageId, now: u64) {
        self.made.insert(image, now);
    }

    pub(super) fn launched(&mut self, number: DisposableNumber, now: u64) {
        self.launched.insert(number, now);
    }

    pub(super) fn ended_disposable(&mut self, number: DisposableNumber) {
        self.launched.remove(&number);
    }

    pub(super) fn forget(&mut self, image: ImageId) {
        self.made.remove(&image);
        self.doomed.remove(&image);
    }

    /// Keeps a question as long as it is one of the open ones.
    pub(super) fn asked(&mut self, question: Question, open: &BTreeMap<QuestionId, u64>) {
        self.questions.retain(|id, _| open.contains_key(id));
        self.questions.insert(question.id, question);
    }
}

impl Machine {
    pub(super) fn control_said(&mut self, event: ControlEvent, around: &mut Surroundings<'_>) {
        let Some(next) = self.desk.edge.and_then(|state| state.after(&event)) else {
            return self.violated(Role::Control, "a message that its state does not permit");
        };
        self.desk.edge = Some(next);
        match event {
            ControlEvent::Asked { ticket, uid, request } => self.control_asked(ticket, uid, request, around),
            ControlEvent::Log(line) => self.said(Role::Control, &line),
        }
    }

    fn control_asked(
        &mut self,
        ticket: Ticket,
        uid: u32,
        request: ControlRequest,
        around: &mut Surroundings<'_>,
    ) {
        let reply = match request {
            ControlRequest::Status => ControlReply::Status(self.status(around.now)),
            ControlRequest::Log { from } => {
                return self.actions.push(Action::TellLog { ticket, from });
            }
            ControlRequest::Pendrives { after } => ControlReply::Pendrives(Page::first_of(
                self.pendrives
                    .values()
                    .filter(|pendrive| after.is_none_or(|after| pendrive.image > after))
                    .map(|pendrive| self.pendrive_item(pendrive, around.now)),
            )),
            ControlRequest::Disposables { after } => ControlReply::Disposables(Page::first_of(
                self.disposables
                    .values()
                    .filter(|disposable| after.is_none_or(|after| disposable.number > after))
                    .map(|disposable| self.disposable_item(disposable, around.now)),
            )),
            ControlRequest::Questions { after } => ControlReply::Questions(Page::first_of(
                self.open_questions(around.now)
                    .filter(|question| after.is_none_or(|after| question.id > after)),
            )),
            ControlRequest::Answer { id, yes } => {
                ControlReply::Answer(self.control_answers(uid, id, yes, around))
            }
            ControlRequest::Kill { image } => ControlReply::Kill(self.kill(uid, image, around)),
        };
        self.actions.push(Action::Control(ControlCommand { ticket, reply }));
    }

    fn status(&self, now: u64) -> Status {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let mib = self.pendrives.values().fold(0_u64, |sum, it| sum.saturating_add(u64::from(it.size.mib())));
        let workers = self.desk.workers.iter().map(|(role, up)| WorkerItem { role: *role, up: *up });
        Status {
            version: LogText::new(env!("CARGO_PKG_VERSION")),
            serving: self.is_serving(),
            uptime_ms: now,
            can_ask: self.can_ask(),
            workers: Page::first_of(workers),
            vms: count(self.vms.len()),
            questions: count(self.deadlines.len()),
            orders: count(self.orders.len()),
            disposables: count(self.disposables.len()),
            pendrives: Quota {
                used: u64::from(count(self.pendrives.len())),
                max: u64::from(self.settings.images_max),
            },
            mib: Quota { used: mib, max: u64::from(self.settings.total_mib_max) },
            pendrives_per_vm_max: self.settings.images_per_vm_max,
            mib_per_vm_max: self.settings.total_per_vm_mib_max,
        }
    }

    fn pendrive_item(&self, pendrive: &Pendrive, now: u64) -> PendriveItem {
        let name = |domid: Domid| self.vms.get(&domid).map(|vm| vm.name.clone());
        let holder = pendrive.place.holder();
        PendriveItem {
            image: pendrive.image,
            size: pendrive.size,
            maker: pendrive.maker.clone(),
            state: state_of(&pendrive.place),
            holder: holder.map(|(domid, device)| Holder { domid, name: name(domid), device }),
            to: recipient_of(&pendrive.place),
            age_ms: self.desk.made.get(&pendrive.image).map(|made| now.saturating_sub(*made)),
        }
    }

    fn disposable_item(&self, disposable: &Disposable, now: u64) -> DisposableItem {
        DisposableItem {
            number: disposable.number,
            domid: disposable.domid(),
            source: disposable.owner_name.clone(),
            seq: disposable.seq,
            age_ms: self.desk.launched.get(&disposable.number).map(|began| now.saturating_sub(*began)),
            state: match disposable.stage {
                Stage::Launching { .. } => DisposableState::Creating,
                Stage::Running { .. } => DisposableState::Running,
                Stage::Ending { .. } => DisposableState::Destroying,
            },
        }
    }

    fn open_questions(&self, now: u64) -> impl Iterator<Item = Question> {
        self.deadlines.iter().filter_map(move |(id, deadline)| {
            let question = self.desk.questions.get(id)?;
            let left_ms = u32::try_from(deadline.saturating_sub(now)).unwrap_or(u32::MAX);
            let passed_ms = question.expires_ms.saturating_sub(left_ms);
            let age_ms = question.age_ms.saturating_add(passed_ms);
            Some(Question { age_ms, expires_ms: left_ms, ..question.clone() })
        })
    }

    /// The person answers here instead of at the dialog, if the question is still open (L13).
    fn control_answers(
        &mut self,
        uid: u32,
        id: QuestionId,
        yes: bool,
        around: &mut Surroundings<'_>,
    ) -> AnswerOutcome {
        if self.deadlines.get(&id).is_none_or(|deadline| *deadline <= around.now) {
            return AnswerOutcome::NotOpen;
        }
        let word = if yes { "yes" } else { "no" };
        let text = format!("uid {uid} answers question {} by qfilexchgctl: {word}", id.0);
        self.log(Level::Info, Note::new(Happened::Answer, text));
        if self.dialog.is_some() {
            self.actions.push(Action::Dialog(DialogCommand::Withdraw { id }));
        }
        self.person_answered(id, yes, around);
        AnswerOutcome::Taken
    }

    fn kill(&mut self, uid: u32, image: ImageId, around: &mut Surroundings<'_>) -> KillOutcome {
        // Before the domains of an earlier process are compared with those that run, nobody could be told.
        if self.remembered.is_some() {
            return KillOutcome::NotReady;
        }
        let Some(pendrive) = self.pendrives.get(&image) else { return KillOutcome::NoSuchPendrive };
        let place = pendrive.place.clone();
        match place {
            Place::Returning { .. } | Place::Retreating { .. } | Place::Destroying { .. } => {
                return KillOutcome::UnderWay;
            }
            // An order is open, and its answer finds the pendrive doomed.
            Place::Creating { .. }
            | Place::Connecting { .. }
            | Place::Leaving { .. }
            | Place::Arriving { .. } => {
                if !self.desk.doomed.insert(image) {
                    return KillOutcome::UnderWay;
                }
            }
            Place::Clean { at } => self.retreat(image, Some((at, Device::Outgoing)), around),
            Place::Loaded { at } => self.retreat(image, Some((at, Device::Incoming)), around),
            Place::Asking { at, question, asker, .. } => {
                self.withdraw(question);
                self.retreat(image, Some((at, Device::Outgoing)), around);
                self.taken_away(&asker, around);
            }
            Place::Measuring { at, asker, .. } | Place::Waiting { at, asker, .. } => {
                self.retreat(image, Some((at, Device::Outgoing)), around);
                self.taken_away(&asker, around);
            }
            Place::Launching { at, number, asker } => {
                self.retreat(image, Some((at, Device::Outgoing)), around);
                self.taken_away(&asker, around);
                self.end_disposable(number, around);
            }
        }
        let text = format!("uid {uid} kills pendrive {image} by qfilexchgctl");
        self.log(Level::Warning, Note::new(Happened::PendriveLost, text));
        KillOutcome::Begun
    }

    fn taken_away(&mut self, asker: &Asker, around: &mut Surroundings<'_>) {
        self.answer(asker, Code::Failed, Detail::TakenAway, around);
    }

    /// The order of a pendrive has been carried out. If it was killed meanwhile, it goes no further: `true`.
    pub(super) fn was_doomed(&mut self, pendrive: &Pendrive, around: &mut Surroundings<'_>) -> bool {
        if !self.desk.doomed.remove(&pendrive.image) {
            return false;
        }
        let image = pendrive.image;
        match pendrive.place.clone() {
            Place::Creating { asker, .. } => {
                self.retreat(image, None, around);
                self.taken_away(&asker, around);
            }
            Place::Connecting { at, asker } => {
                self.retreat(image, Some((at, Device::Outgoing)), around);
                self.taken_away(&asker, around);
                self.serve_deferred(at, around);
            }
            Place::Leaving { to, asker, .. } => {
                self.retreat(image, None, around);
                self.taken_away(&asker, around);
                self.receiver_is_free(to.domid, around);
                self.serve_deferred(asker.domid, around);
                self.end_disposable_at(to.domid, around);
            }
            Place::Arriving { to, asker } => {
                self.retreat(image, Some((to.domid, Device::Incoming)), around);
                self.taken_away(&asker, around);
                self.serve_deferred(to.domid, around);
                self.serve_deferred(asker.domid, around);
                self.end_disposable_at(to.domid, around);
            }
            // It was taken away for another reason.
            Place::Clean { .. }
            | Place::Measuring { .. }
            | Place::Asking { .. }
            | Place::Launching { .. }
            | Place::Waiting { .. }
            | Place::Loaded { .. }
            | Place::Returning { .. }
            | Place::Retreating { .. }
            | Place::Destroying { .. } => return false,
        }
        true
    }
}

fn state_of(place: &Place) -> PendriveState {
    match place {
        Place::Creating { .. } => PendriveState::Creating,
        Place::Connecting { .. } => PendriveState::Connecting,
        Place::Clean { .. } => PendriveState::Clean,
        Place::Measuring { .. } => PendriveState::Measuring,
        Place::Asking { .. } => PendriveState::Asking,
        Place::Launching { .. } => PendriveState::Launching,
        Place::Waiting { .. } => PendriveState::Waiting,
        Place::Leaving { .. } => PendriveState::Leaving,
        Place::Arriving { .. } => PendriveState::Arriving,
        Place::Loaded { .. } => PendriveState::Loaded,
        Place::Returning { .. } => PendriveState::Returning,
        Place::Retreating { .. } => PendriveState::Retreating,
        Place::Destroying { .. } => PendriveState::Destroying,
    }
}

fn recipient_of(place: &Place) -> Option<Recipient> {
    match place {
        Place::Measuring { to, .. } | Place::Asking { to, .. } => Some(to.recipient()),
        Place::Launching { number, .. } => number.name().ok().map(Recipient::Vm),
        Place::Waiting { to, .. } | Place::Leaving { to, .. } | Place::Arriving { to, .. } => {
            Some(Recipient::Vm(to.name.clone()))
        }
        Place::Creating { .. }
        | Place::Connecting { .. }
        | Place::Clean { .. }
        | Place::Loaded { .. }
        | Place::Returning { .. }
        | Place::Retreating { .. }
        | Place::Destroying { .. } => None,
    }
}
