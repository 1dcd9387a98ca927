//! What the attacher is told, and what its answers change.

use protocol::attach::{
    AttachFailure, AttachReply, AttachRequest, Attachment, ORDERS_OPEN_MAX, Order, OrderId, Outcome, answers,
};
use protocol::journald::{Event as Happened, Note};
use protocol::log::Level;
use protocol::reply::{Code, Detail};
use protocol::supervise::Role;
use protocol::types::{Device, Domid, ImageId, VmName};

use super::{
    Action, Asker, AttacherState, Machine, ORDER_MS_MAX, OpenOrder, Pendrive, Place, REPLIES_AGAIN_MS,
    REPLIES_OPEN_MAX, RETRY_MS, Receiver, SIDE_ORDERS_OPEN_MAX, Surroundings,
};
use crate::journal::Record;

/// The order that a pendrive's place asks for, if any.
#[must_use]
fn wanted(pendrive: &Pendrive, machine: &Machine) -> Option<Order> {
    let image = pendrive.image;
    let attach = |domid: Domid, name: &VmName, place| {
        let (name, boots) = (name.clone(), machine.is_disposable(domid));
        Some(Order::Attach { image, domid, name, boots, place })
    };
    match &pendrive.place {
        Place::Creating { .. } => {
            Some(Order::Create { image, size: pendrive.size, label: pendrive.maker.clone() })
        }
        Place::Connecting { at, .. } => attach(*at, &pendrive.maker, Attachment::Outgoing),
        Place::Measuring { .. } => Some(Order::Measure { image }),
        Place::Leaving { at, .. } => Some(Order::Detach { image, domid: *at, device: Device::Outgoing }),
        Place::Arriving { to, .. } => {
            let (source, writable) = (pendrive.maker.clone(), machine.settings.incoming_writable);
            attach(to.domid, &to.name, Attachment::Incoming { source, seq: to.seq, writable })
        }
        Place::Returning { at, .. } => Some(Order::Detach { image, domid: *at, device: Device::Incoming }),
        Place::Retreating { at, device } => Some(Order::Detach { image, domid: *at, device: *device }),
        Place::Destroying { .. } => Some(Order::Destroy { image }),
        Place::Clean { .. }
        | Place::Asking { .. }
        | Place::Launching { .. }
        | Place::Waiting { .. }
        | Place::Loaded { .. } => None,
    }
}

/// The image that an order is about.
fn image_of(order: &Order) -> Option<ImageId> {
    match order {
        Order::Create { image, .. }
        | Order::Attach { image, .. }
        | Order::Detach { image, .. }
        | Order::Destroy { image } => Some(*image),
        // Does not move it.
        Order::Measure { .. }
        | Order::Inventory
        | Order::MakeQpen { .. }
        | Order::Answer { .. }
        | Order::ForgetDomain { .. } => None,
    }
}

impl Machine {
    /// Gives an order if the attacher serves; if not, recovery gives it later.
    pub(super) fn order(&mut self, order: Order, around: &Surroundings<'_>) {
        if self.attacher == AttacherState::Serving {
            self.order_now(order, around);
        }
    }

    pub(super) fn order_now(&mut self, order: Order, around: &Surroundings<'_>) {
        if self.orders.len() >= ORDERS_OPEN_MAX {
            return self.violated(Role::Attacher, "too many orders are not answered");
        }
        let id = OrderId(self.next_order);
        self.next_order = self.next_order.saturating_add(1);
        let deadline = around.now.saturating_add(ORDER_MS_MAX);
        self.orders.insert(id, OpenOrder { order: order.clone(), deadline });
        self.actions.push(Action::Order(AttachRequest { id, order }));
    }

    /// Puts a pendrive into its next place: first on record, then as an order.
    pub(super) fn place(&mut self, image: ImageId, place: Place, around: &Surroundings<'_>) {
        let Some(pendrive) = self.pendrives.get_mut(&image) else { return };
        pendrive.place = place;
        let pendrive = pendrive.clone();
        self.record(Record::Pendrive(pendrive));
        self.give_order(image, around);
    }

    /// Gives the order that the pendrive's place asks for.
    pub(super) fn give_order(&mut self, image: ImageId, around: &Surroundings<'_>) {
        let Some(pendrive) = self.pendrives.get(&image) else { return };
        if let Some(order) = wanted(pendrive, self) {
            self.order(order, around);
        }
    }

    /// The attacher is gone, and with it every open order. A pendrive's order follows from its place; those
    /// that belong to domains are noted again.
    pub(super) fn attacher_lost(&mut self) {
        self.attacher = AttacherState::Down;
        self.retries.clear();
        for open in std::mem::take(&mut self.orders).into_values() {
            match open.order {
                Order::MakeQpen { domid } => drop(self.qpen_missing.insert(domid)),
                Order::ForgetDomain { domid } => drop(self.to_forget.insert(domid)),
                Order::Inventory
                | Order::Answer { .. }
                | Order::Create { .. }
                | Order::Attach { .. }
                | Order::Detach { .. }
                | Order::Measure { .. }
                | Order::Destroy { .. } => {}
            }
        }
    }

    /// Gives the orders that belong to domains and not to pendrives: as many as there is room for, the rest with the
    /// attacher's next answers.
    pub(super) fn give_side_orders(&mut self, around: &Surroundings<'_>) {
        while self.attacher == AttacherState::Serving && self.orders.len() < SIDE_ORDERS_OPEN_MAX {
            let order = if let Some(domid) = self.to_forget.pop_first() {
                Order::ForgetDomain { domid }
            } else if let Some(domid) = self.qpen_missing.pop_first() {
                Order::MakeQpen { domid }
            } else {
                return;
            };
            self.order_now(order, around);
        }
    }

    pub(super) fn attacher_said(&mut self, reply: AttachReply, around: &mut Surroundings<'_>) {
        let (id, outcome) = match reply {
            AttachReply::Finished { id, outcome } => (id, outcome),
            AttachReply::Log(line) => {
                return self.said(Role::Attacher, &line);
            }
        };
        let Some(open) = self.orders.remove(&id) else {
            return self.violated(Role::Attacher, "an answer to an order that is not open");
        };
        if !answers(&open.order, &outcome) {
            return self.violated(Role::Attacher, "an answer that does not fit its order");
        }
        if let Outcome::Failed(failure) = &outcome {
            let text = format!("attacher: {}: {failure}", describe(&open.order));
            let domid = self.asker_of(&open.order);
            let note = Note::about_process(Happened::OrderFailed, Role::Attacher, text);
            self.log(Level::Warning, Note { domid, ..note });
        }
        match (&open.order, outcome) {
            (Order::Inventory, Outcome::Inventory(items)) => self.stock_taken(&items, around),
            (Order::Inventory, Outcome::Done | Outcome::Failed(_) | Outcome::Measured { .. }) => {
                self.violated(Role::Attacher, "no inventory");
            }
            (Order::Answer { domid, reply }, Outcome::Done) if reply.code.is_final() => {
                self.reply_given(*domid, reply);
            }
            (Order::Answer { domid, reply }, Outcome::Failed(failure)) if reply.code.is_final() => {
                if failure == AttachFailure::DomainGone {
                    self.reply_given(*domid, reply);
                } else {
                    self.replies_again = Some(around.now.saturating_add(RETRY_MS));
                }
            }
            (Order::Measure { image }, Outcome::Measured { used_mib }) => {
                self.measured(*image, used_mib, around);
            }
            (Order::Measure { image }, _) => self.not_measured(*image, around),
            (Order::Answer { .. } | Order::MakeQpen { .. } | Order::ForgetDomain { .. }, _) => {}
            (order, Outcome::Done) => {
                if let Some(image) = image_of(order) {
                    self.order_done(image, around);
                }
            }
            (order, Outcome::Failed(failure)) => {
                if let Some(image) = image_of(order) {
                    self.order_failed(image, failure, around);
                }
            }
            (_, Outcome::Inventory(_) | Outcome::Measured { .. }) => {}
        }
        self.give_side_orders(around);
    }

    fn reply_given(&mut self, domid: Domid, reply: &protocol::reply::Reply) {
        let given = self.owed.iter().position(|(asker, owed)| asker.domid == domid && owed == reply);
        if let Some(index) = given {
            let (asker, _) = self.owed.remove(index);
            self.record(Record::Answered { domid, key: asker.key });
        }
    }

    /// Gives the final replies that were decided and are neither given nor on their way.
    pub(super) fn give_owed_replies(&mut self, around: &Surroundings<'_>) {
        self.replies_again = None;
        let owed: Vec<Order> = self
            .owed
            .iter()
            .map(|(asker, reply)| Order::Answer { domid: asker.domid, reply: reply.clone() })
            .filter(|order| !self.orders.values().any(|open| open.order == *order))
            .collect();
        let room = REPLIES_OPEN_MAX.saturating_sub(self.orders.len());
        if owed.len() > room {
            self.replies_again = Some(around.now.saturating_add(REPLIES_AGAIN_MS));
        }
        for order in owed.into_iter().take(room) {
            self.order(order, around);
        }
    }

    /// The order that a pendrive's place asked for has been carried out.
    fn order_done(&mut self, image: ImageId, around: &mut Surroundings<'_>) {
        let Some(pendrive) = self.pendrives.get(&image).cloned() else { return };
        if self.was_doomed(&pendrive, around) {
            return;
        }
        match pendrive.place {
            Place::Creating { at, asker } => {
                let place = if self.vms.contains_key(&at) {
                    Place::Connecting { at, asker }
                } else {
                    Place::Destroying { asker: None }
                };
                self.place(image, place, around);
            }
            Place::Connecting { at, asker } => {
                if self.vms.contains_key(&at) {
                    self.place(image, Place::Clean { at }, around);
                    self.answer(&asker, Code::Ok, Detail::DeviceXvdg, around);
                    self.serve_deferred(at, around);
                } else {
                    self.place(image, Place::Retreating { at, device: Device::Outgoing }, around);
                }
            }
            Place::Leaving { at, to, asker } => self.left(image, at, to, asker, around),
            Place::Arriving { to, asker } => self.arrived(image, to.domid, &asker, around),
            Place::Returning { at, asker } => {
                self.place(image, Place::Destroying { asker: Some(asker) }, around);
                self.receiver_is_free(at, around);
            }
            Place::Retreating { at, device } => {
                self.place(image, Place::Destroying { asker: None }, around);
                match device {
                    Device::Incoming => self.receiver_is_free(at, around),
                    Device::Outgoing => self.serve_deferred(at, around),
                }
            }
            Place::Destroying { asker } => {
                self.forget_pendrive(image);
                if let Some(asker) = asker {
                    self.answer(&asker, Code::Ok, Detail::Done, around);
                }
            }
            Place::Clean { .. }
            | Place::Measuring { .. }
            | Place::Asking { .. }
            | Place::Launching { .. }
            | Place::Waiting { .. }
            | Place::Loaded { .. } => {}
        }
    }

    fn left(&mut self, image: ImageId, at: Domid, to: Receiver, asker: Asker, around: &mut Surroundings<'_>) {
        let receiver = to.domid;
        if self.vms.contains_key(&at) && self.vms.contains_key(&receiver) {
            return self.place(image, Place::Arriving { to, asker }, around);
        }
        self.place(image, Place::Destroying { asker: None }, around);
        self.answer(&asker, Code::Failed, Detail::OtherVmGone, around);
        self.receiver_is_free(receiver, around);
    }

    fn arrived(&mut self, image: ImageId, to: Domid, asker: &Asker, around: &mut Surroundings<'_>) {
        if self.vms.contains_key(&to) {
            self.place(image, Place::Loaded { at: to }, around);
            self.answer(asker, Code::Ok, Detail::Done, around);
            self.serve_deferred(to, around);
            self.answer_has_come(asker.domid, to, around);
        } else {
            self.place(image, Place::Retreating { at: to, device: Device::Incoming }, around);
            self.answer(asker, Code::Failed, Detail::OtherVmGone, around);
        }
        self.serve_deferred(asker.domid, around);
    }

    /// The order that a pendrive's place asked for could not be carried out.
    fn order_failed(&mut self, image: ImageId, failure: AttachFailure, around: &mut Surroundings<'_>) {
        let Some(pendrive) = self.pendrives.get(&image).cloned() else { return };
        match pendrive.place {
            Place::Creating { asker, .. } => {
                self.forget_pendrive(image);
                let (code, detail) = refusal(failure);
                self.answer(&asker, code, detail, around);
            }
            // Whatever the failure says, what may be half attached is taken back before it is destroyed.
            Place::Connecting { asker, at } => {
                self.place(image, Place::Retreating { at, device: Device::Outgoing }, around);
                let (code, detail) = refusal(failure);
                self.answer(&asker, code, detail, around);
            }
            Place::Arriving { to: Receiver { domid: to, .. }, asker } => {
                self.place(image, Place::Retreating { at: to, device: Device::Incoming }, around);
                let gone = !self.vms.contains_key(&to);
                let (code, detail) =
                    if gone { (Code::Failed, Detail::OtherVmGone) } else { refusal(failure) };
                self.answer(&asker, code, detail, around);
                self.end_disposable_at(to, around);
                self.serve_deferred(to, around);
                self.serve_deferred(asker.domid, around);
            }
            Place::Leaving { at, to: Receiver { domid: to, .. }, asker } => {
                self.place_later(image, Place::Retreating { at, device: Device::Outgoing }, around);
                self.answer(&asker, Code::Failed, Detail::DeviceTrouble, around);
                self.end_disposable_at(to, around);
                self.receiver_is_free(to, around);
            }
            Place::Returning { at, asker } => {
                self.place_later(image, Place::Retreating { at, device: Device::Incoming }, around);
                self.answer(&asker, Code::Failed, Detail::DeviceTrouble, around);
            }
            Place::Destroying { asker: Some(asker) } => {
                self.place_later(image, Place::Destroying { asker: None }, around);
                self.answer(&asker, Code::Failed, Detail::DeviceTrouble, around);
            }
            Place::Retreating { .. } | Place::Destroying { asker: None } => {
                self.retries.insert(image, around.now.saturating_add(RETRY_MS));
            }
            Place::Clean { .. }
            | Place::Measuring { .. }
            | Place::Asking { .. }
            | Place::Launching { .. }
            | Place::Waiting { .. }
            | Place::Loaded { .. } => {}
        }
    }

    /// Puts a pendrive into a place whose order is given only after a pause.
    fn place_later(&mut self, image: ImageId, place: Place, around: &Surroundings<'_>) {
        let Some(pendrive) = self.pendrives.get_mut(&image) else { return };
        pendrive.place = place;
        let pendrive = pendrive.clone();
        self.record(Record::Pendrive(pendrive));
        self.retries.insert(image, around.now.saturating_add(RETRY_MS));
    }

    pub(super) fn forget_pendrive(&mut self, image: ImageId) {
        self.pendrives.remove(&image);
        self.retries.remove(&image);
        self.desk.forget(image);
        self.record(Record::PendriveGone { image });
    }
}

/// What a VM is told of a failure.
fn refusal(failure: AttachFailure) -> (Code, Detail) {
    match failure {
        AttachFailure::NoSpace => (Code::Busy, Detail::LimitReached),
        AttachFailure::NoLoopDevice => (Code::Failed, Detail::NoSpace),
        AttachFailure::GuestSilent => (Code::Failed, Detail::GuestSilent),
        AttachFailure::NoSuchImage
        | AttachFailure::InUse
        | AttachFailure::DomainGone
        | AttachFailure::OtherName
        | AttachFailure::Xenstore
        | AttachFailure::Io
        | AttachFailure::Conflict => (Code::Failed, Detail::DeviceTrouble),
    }
}

/// The order in words, for the log.
fn describe(order: &Order) -> String {
    match order {
        Order::Inventory => String::from("inventory"),
        Order::MakeQpen { domid } => format!("make device/qpen of domain {domid}"),
        Order::Answer { domid, .. } => format!("answer domain {domid}"),
        Order::Create { image, size, .. } => format!("create {image} of {size}"),
        Order::Attach { image, domid, place, .. } => {
            format!("attach {image} to domain {domid} as {}", place.device().name())
        }
        Order::Detach { image, domid, device } => {
            format!("detach {image} from domain {domid}, {}", device.name())
        }
        Order::Measure { image } => format!("measure {image}"),
        Order::Destroy { image } => format!("destroy {image}"),
        Order::ForgetDomain { domid } => format!("forget domain {domid}"),
    }
}
