//! A transfer from `send` to the receiver's device: questions, busy receivers, and VMs that vanish.

use protocol::dialog::{DialogCommand, DialogState, QUESTIONS_OPEN_MAX, Question, QuestionId, QuestionKind};
use protocol::journald::{Event as Happened, Note};
use protocol::log::{Level, LogText};
use protocol::reply::{Code, Detail};
use protocol::types::{Device, Domid, ImageId};

use super::{Action, Asker, Machine, Pendrive, Place, Receiver, Surroundings, Target};
use crate::journal::Record;

impl Machine {
    /// Asks the person whether the receiver may have the pendrive.
    pub(super) fn ask_transfer(
        &mut self,
        image: ImageId,
        to: Target,
        asker: Asker,
        rule: &str,
        around: &mut Surroundings<'_>,
    ) {
        if !self.can_ask() {
            return self.answer(&asker, Code::Denied, Detail::NobodyToAsk, around);
        }
        if self.deadlines.len() >= QUESTIONS_OPEN_MAX {
            return self.answer(&asker, Code::Busy, Detail::LimitReached, around);
        }
        let (at, rule) = (asker.domid, LogText::new(rule));
        let place = Place::Measuring { at, to, permitted: false, ticket: 0, rule, asker: asker.clone() };
        self.place(image, place, around);
        self.answer(&asker, Code::Pending, Detail::AskingPerson, around);
    }

    /// The transfer may take place: at once, or after the receiver let go of what it holds.
    pub(super) fn permitted(
        &mut self,
        image: ImageId,
        to: Target,
        asker: Asker,
        around: &mut Surroundings<'_>,
    ) {
        let at = asker.domid;
        let to = match to {
            Target::NewDisposable { seq } => return self.launch(image, seq, asker, around),
            Target::Vm(receiver) => receiver,
        };
        if self.incoming(to.domid).is_none() {
            return self.place(image, Place::Leaving { at, to, asker }, around);
        }
        if !self.can_ask() || self.deadlines.len() >= QUESTIONS_OPEN_MAX {
            self.place(image, Place::Clean { at }, around);
            return self.answer(&asker, Code::Busy, Detail::ReceiverBusy, around);
        }
        let ticket = self.next_ticket;
        self.next_ticket = self.next_ticket.saturating_add(1);
        let (to, rule) = (Target::Vm(to), LogText::new("receiver busy"));
        let place = Place::Measuring { at, to, permitted: true, ticket, rule, asker: asker.clone() };
        self.place(image, place, around);
        self.answer(&asker, Code::Pending, Detail::WaitingForReceiver, around);
    }

    /// What the pendrive occupies is known, and the question can be put.
    pub(super) fn measured(&mut self, image: ImageId, used_mib: u32, around: &mut Surroundings<'_>) {
        let Some(pendrive) = self.pendrives.get(&image).cloned() else { return };
        let Place::Measuring { at, to, permitted, ticket, rule, asker } = pendrive.place else { return };
        if !self.can_ask() {
            return self.refuse(image, at, &asker, permitted, Detail::NobodyToAsk, around);
        }
        let id = QuestionId(self.next_question);
        self.next_question = self.next_question.saturating_add(1);
        let expires_ms = self.settings.question_ms_max;
        self.deadlines.insert(id, around.now.saturating_add(u64::from(expires_ms)));
        if let Some(vm) = self.vms.get(&at) {
            let question = Question {
                id,
                kind: if permitted { QuestionKind::WaitForReceiver } else { QuestionKind::Transfer },
                source: vm.name.clone(),
                target: to.recipient(),
                size_mib: pendrive.size.mib(),
                used_mib,
                age_ms: vm.age_ms(&asker.key, around.now),
                rule,
                expires_ms,
            };
            self.desk.asked(question.clone(), &self.deadlines);
            if self.dialog.is_some() {
                self.dialog = Some(DialogState::Asked);
                self.actions.push(Action::Dialog(DialogCommand::Ask(question)));
            }
        }
        self.place(image, Place::Asking { at, to, question: id, permitted, ticket, asker }, around);
    }

    /// What the pendrive occupies cannot be found out.
    pub(super) fn not_measured(&mut self, image: ImageId, around: &mut Surroundings<'_>) {
        if let Some(Place::Measuring { at, asker, .. }) =
            self.pendrives.get(&image).map(|pendrive| pendrive.place.clone())
        {
            self.place(image, Place::Clean { at }, around);
            self.answer(&asker, Code::Failed, Detail::DeviceTrouble, around);
        }
    }

    pub(super) fn can_ask(&self) -> bool {
        self.settings.asks_control || (self.settings.has_dialog && self.dialog.is_some())
    }

    /// The person answered a question, perhaps one that is settled by now (L13).
    pub(super) fn person_answered(&mut self, id: QuestionId, yes: bool, around: &mut Surroundings<'_>) {
        if self.deadlines.remove(&id).is_none() {
            let text = String::from("a late answer was dropped");
            return self.log(Level::Info, Note::new(Happened::Answer, text));
        }
        let Some(Asked { image, at, to, permitted, ticket, asker }) = self.asked_about(id) else { return };
        let source = self.name_of(at);
        let target = to.recipient();
        let text = format!("{source} -> {target}: the person says {}", if yes { "yes" } else { "no" });
        self.log_of_vm(Level::Info, Happened::Answer, at, text);
        match (yes, permitted) {
            (true, false) => self.permitted(image, to, asker, around),
            (true, true) => self.wait_for(image, to, ticket, asker, around),
            (false, _) => {
                self.refuse(image, at, &asker, permitted, Detail::ByPerson, around);
            }
        }
    }

    fn wait_for(
        &mut self,
        image: ImageId,
        to: Target,
        ticket: u64,
        asker: Asker,
        around: &mut Surroundings<'_>,
    ) {
        // Nobody waits for a DisposableVM that does not exist yet.
        let Target::Vm(to) = to else { return };
        let receiver = to.domid;
        let deadline = around.now.saturating_add(u64::from(self.settings.wait_ms_max));
        let place = Place::Waiting { at: asker.domid, to, deadline, ticket, asker };
        self.place(image, place, around);
        self.receiver_is_free(receiver, around);
    }

    /// Ends a `send` without moving anything: the sender keeps its pendrive as it was.
    fn refuse(
        &mut self,
        image: ImageId,
        at: Domid,
        asker: &Asker,
        was_permitted: bool,
        detail: Detail,
        around: &mut Surroundings<'_>,
    ) {
        self.place(image, Place::Clean { at }, around);
        let (code, detail) =
            if was_permitted { (Code::Busy, Detail::ReceiverBusy) } else { (Code::Denied, detail) };
        self.answer(asker, code, detail, around);
    }

    fn asked_about(&self, id: QuestionId) -> Option<Asked> {
        self.pendrives.values().find_map(|pendrive| {
            let Place::Asking { at, to, question, permitted, ticket, asker } = &pendrive.place else {
                return None;
            };
            (*question == id).then(|| Asked {
                image: pendrive.image,
                at: *at,
                to: to.clone(),
                permitted: *permitted,
                ticket: *ticket,
                asker: asker.clone(),
            })
        })
    }

    pub(super) fn questions_expire(&mut self, around: &mut Surroundings<'_>) {
        let due: Vec<QuestionId> =
            self.deadlines.iter().filter(|(_, when)| **when <= around.now).map(|(id, _)| *id).collect();
        for id in due {
            self.unasked(id, Detail::TimedOut, around);
        }
    }

    /// The dialog is gone: every open question is answered with *no*.
    pub(super) fn nobody_to_ask(&mut self, around: &mut Surroundings<'_>) {
        let open: Vec<QuestionId> = self.deadlines.keys().copied().collect();
        for id in open {
            self.unasked(id, Detail::NobodyToAsk, around);
        }
    }

    fn unasked(&mut self, id: QuestionId, detail: Detail, around: &mut Surroundings<'_>) {
        self.withdraw(id);
        if let Some(Asked { image, at, permitted, asker, .. }) = self.asked_about(id) {
            self.refuse(image, at, &asker, permitted, detail, around);
        }
    }

    pub(super) fn withdraw(&mut self, id: QuestionId) {
        self.deadlines.remove(&id);
        if self.dialog.is_some() {
            self.actions.push(Action::Dialog(DialogCommand::Withdraw { id }));
        }
    }

    pub(super) fn waits_expire(&mut self, around: &mut Surroundings<'_>) {
        let is_due = |place: &Place| place.gives_up_at().is_some_and(|when| when <= around.now);
        let due: Vec<(ImageId, Place)> = self
            .pendrives
            .values()
            .filter(|pendrive| is_due(&pendrive.place))
            .map(|pendrive| (pendrive.image, pendrive.place.clone()))
            .collect();
        for (image, place) in due {
            if let Place::Waiting { at, asker, .. } = place {
                self.refuse(image, at, &asker, true, Detail::ReceiverBusy, around);
            }
        }
    }

    /// The receiver can take a pendrive: the one that waits longest goes on, and the question whether to
    /// wait for this receiver is moot.
    pub(super) fn receiver_is_free(&mut self, to: Domid, around: &mut Surroundings<'_>) {
        if self.incoming(to).is_some() || !self.vms.contains_key(&to) {
            return;
        }
        let first = self
            .pendrives
            .values()
            .filter_map(|pendrive| queued_for(pendrive, to))
            .min_by_key(|queued| queued.ticket);
        if let Some(Queued { image, to, asker, question, .. }) = first {
            if let Some(question) = question {
                self.withdraw(question);
            }
            self.place(image, Place::Leaving { at: asker.domid, to, asker }, around);
        }
    }

    /// A domain does not run any longer: nothing of it stays, and whoever waits for it is told.
    pub(super) fn domain_gone(&mut self, domid: Domid, around: &mut Surroundings<'_>) {
        let Some(vm) = self.vms.remove(&domid) else { return };
        let text = format!("domain {domid} ({}) is gone", vm.name);
        self.log(Level::Info, Note::about_vm(Happened::VmGone, domid, Some(vm.name.clone()), text));
        self.record(Record::VmGone { domid });
        self.owed.retain(|(asker, _)| asker.domid != domid);
        self.qpen_missing.remove(&domid);
        self.disposables_without(domid, around);
        // Told first, so that an order which waits for this guest ends at once.
        self.to_forget.insert(domid);
        self.give_side_orders(around);
        let all: Vec<(ImageId, Place)> =
            self.pendrives.values().map(|pendrive| (pendrive.image, pendrive.place.clone())).collect();
        for (image, place) in all {
            self.holder_gone(image, place, domid, around);
        }
    }

    fn holder_gone(&mut self, image: ImageId, place: Place, gone: Domid, around: &mut Surroundings<'_>) {
        if let Place::Asking { question, at, to, .. } = &place
            && (*at == gone || to.domid() == Some(gone))
        {
            self.withdraw(*question);
        }
        match place {
            Place::Clean { at }
            | Place::Measuring { at, .. }
            | Place::Asking { at, .. }
            | Place::Launching { at, .. }
            | Place::Waiting { at, .. }
                if at == gone =>
            {
                self.retreat(image, Some((at, Device::Outgoing)), around);
            }
            Place::Loaded { at } if at == gone => {
                self.retreat(image, Some((at, Device::Incoming)), around);
            }
            Place::Measuring { at, to: Target::Vm(to), asker, .. }
            | Place::Asking { at, to: Target::Vm(to), asker, .. }
            | Place::Waiting { at, to, asker, .. }
                if to.domid == gone =>
            {
                self.place(image, Place::Clean { at }, around);
                self.answer(&asker, Code::Failed, Detail::OtherVmGone, around);
            }
            // An order is open, and its answer finds the domain gone.
            Place::Creating { .. }
            | Place::Connecting { .. }
            | Place::Leaving { .. }
            | Place::Arriving { .. }
            | Place::Returning { .. }
            | Place::Retreating { .. }
            | Place::Destroying { .. }
            // Not concerned.
            | Place::Clean { .. }
            | Place::Measuring { .. }
            | Place::Asking { .. }
            | Place::Launching { .. }
            | Place::Waiting { .. }
            | Place::Loaded { .. } => {}
        }
    }
}

/// An open question, and what it is about.
struct Asked {
    image: ImageId,
    at: Domid,
    to: Target,
    permitted: bool,
    ticket: u64,
    asker: Asker,
}

/// A permitted transfer whose receiver is busy.
struct Queued {
    image: ImageId,
    to: Receiver,
    asker: Asker,
    ticket: u64,
    /// The question whether to wait, if it is still open.
    question: Option<QuestionId>,
}

/// What the pendrive waits for, if it is this receiver.
fn queued_for(pendrive: &Pendrive, receiver: Domid) -> Option<Queued> {
    let (to, asker, ticket, question) = match &pendrive.place {
        Place::Waiting { to, asker, ticket, .. }
        | Place::Measuring { to: Target::Vm(to), permitted: true, asker, ticket, .. } => {
            (to, asker, ticket, None)
        }
        Place::Asking { to: Target::Vm(to), permitted: true, asker, ticket, question, .. } => {
            (to, asker, ticket, Some(*question))
        }
        Place::Measuring { .. }
        | Place::Asking { .. }
        | Place::Creating { .. }
        | Place::Connecting { .. }
        | Place::Clean { .. }
        | Place::Launching { .. }
        | Place::Leaving { .. }
        | Place::Arriving { .. }
        | Place::Loaded { .. }
        | Place::Returning { .. }
        | Place::Retreating { .. }
        | Place::Destroying { .. } => return None,
    };
    let queued =
        Queued { image: pendrive.image, to: to.clone(), asker: asker.clone(), ticket: *ticket, question };
    (to.domid == receiver).then_some(queued)
}
