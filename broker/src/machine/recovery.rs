//! After a start of the daemon or of the attacher: what is believed meets what is.

use std::collections::BTreeMap;

use protocol::attach::{InventoryItem, Order};
use protocol::journald::{Event as Happened, Note};
use protocol::log::Level;
use protocol::reply::{Code, Detail};
use protocol::types::{Device, Domid, ImageId, SizeMib, VmName};

use super::{Action, Asker, AttacherState, Machine, Pendrive, Place, Surroundings};
use crate::journal::Record;

impl Machine {
    /// The attacher runs: what it holds is asked for before anything else.
    pub(super) fn take_stock(&mut self, around: &Surroundings<'_>) {
        self.attacher_lost();
        self.attacher = AttacherState::TakingStock;
        if self.remembered.is_none() || self.monitor_has_listed() {
            self.order_now(Order::Inventory, around);
        }
    }

    fn monitor_has_listed(&self) -> bool {
        self.monitor == Some(protocol::monitor::MonitorState::Following)
    }

    /// The monitor named every running domain: those that it did not name are gone.
    pub(super) fn all_listed(&mut self, around: &mut Surroundings<'_>) {
        let unlisted: Vec<Domid> =
            self.vms.iter().filter(|(_, vm)| !vm.listed).map(|(domid, _)| *domid).collect();
        for domid in unlisted {
            self.domain_gone(domid, around);
        }
        if self.remembered.is_some() {
            self.settle_the_past(around);
            if self.attacher == AttacherState::TakingStock {
                self.order_now(Order::Inventory, around);
            }
        } else {
            self.serve_all_deferred(around);
        }
    }

    /// The domains of an earlier process are compared with those that run now.
    fn settle_the_past(&mut self, around: &mut Surroundings<'_>) {
        let Some(past) = self.remembered.take() else { return };
        for (domid, (name, _)) in &past.vms {
            let still_runs = self.vms.get(domid).is_some_and(|vm| vm.name == *name);
            if !still_runs {
                self.to_forget.insert(*domid);
                self.record(Record::VmGone { domid: *domid });
                self.owed.retain(|(asker, _)| asker.domid != *domid);
            }
        }
        let known = |domid: Domid| self.vms.contains_key(&domid) && !self.to_forget.contains(&domid);
        let mut lost = Vec::new();
        for pendrive in self.pendrives.values() {
            if pendrive.place.holder().is_some_and(|(domid, _)| !known(domid)) {
                lost.push(pendrive.image);
            }
        }
        // A domain number that belongs to another VM by now must not be forgotten but cleared.
        self.to_forget.retain(|domid| !self.vms.contains_key(domid));
        let open: Vec<(ImageId, Place)> =
            self.pendrives.values().map(|pendrive| (pendrive.image, pendrive.place.clone())).collect();
        for (image, place) in open {
            if lost.contains(&image) {
                self.interrupt(place.asker().cloned(), around);
                self.retreat(image, place.holder(), around);
            } else {
                self.interrupt_question(image, place, around);
            }
        }
        self.settle_disposables(around);
    }

    /// A question cannot outlive the process that asked it: no yes is carried over.
    fn interrupt_question(&mut self, image: ImageId, place: Place, around: &mut Surroundings<'_>) {
        if let Place::Measuring { at, asker, .. }
        | Place::Asking { at, asker, .. }
        | Place::Launching { at, asker, .. }
        | Place::Waiting { at, asker, .. } = place
        {
            self.place(image, Place::Clean { at }, around);
            self.interrupt(Some(asker), around);
        }
    }

    fn interrupt(&mut self, asker: Option<Asker>, around: &mut Surroundings<'_>) {
        if let Some(asker) = asker {
            self.answer(&asker, Code::Failed, Detail::Interrupted, around);
        }
    }

    /// The attacher says what exists. Afterwards every pendrive's open order is given (again).
    pub(super) fn stock_taken(&mut self, items: &[InventoryItem], around: &mut Surroundings<'_>) {
        self.attacher = AttacherState::Serving;
        let existing: BTreeMap<ImageId, Option<(Domid, Device)>> =
            items.iter().map(|item| (item.image, item.holder)).collect();
        let believed: Vec<Pendrive> = self.pendrives.values().cloned().collect();
        self.give_side_orders(around);
        self.give_owed_replies(around);
        for pendrive in believed {
            match existing.get(&pendrive.image) {
                Some(holder) => self.meet(&pendrive, *holder, around),
                None => self.missing(&pendrive, around),
            }
        }
        for (image, holder) in existing {
            if !self.pendrives.contains_key(&image) {
                self.stray(image, holder, around);
            }
        }
        if !self.ready_told && self.is_serving() {
            self.ready_told = true;
            self.actions.push(Action::Ready);
        }
        self.serve_all_deferred(around);
    }

    /// A pendrive that both sides know.
    fn meet(&mut self, pendrive: &Pendrive, holder: Option<(Domid, Device)>, around: &mut Surroundings<'_>) {
        let image = pendrive.image;
        match &pendrive.place {
            Place::Creating { asker, .. } => {
                // How much of it was made is not known, so it is made away with.
                self.interrupt(Some(asker.clone()), around);
                self.retreat(image, holder, around);
            }
            Place::Clean { .. }
            | Place::Measuring { .. }
            | Place::Asking { .. }
            | Place::Launching { .. }
            | Place::Waiting { .. }
            | Place::Loaded { .. } => {
                if holder != pendrive.place.holder() {
                    let text = format!("{image} is not where it was, and is destroyed");
                    self.log(Level::Error, Note::new(Happened::PendriveLost, text));
                    if let Place::Asking { question, .. } = &pendrive.place {
                        self.deadlines.remove(question);
                        self.actions.push(Action::Dialog(protocol::dialog::DialogCommand::Withdraw {
                            id: *question,
                        }));
                    }
                    if let Some(asker) = pendrive.place.asker() {
                        self.answer(asker, Code::Failed, Detail::DeviceTrouble, around);
                    }
                    self.retreat(image, holder, around);
                } else {
                    self.give_order(image, around);
                }
            }
            Place::Destroying { .. } if holder.is_some() => self.retreat(image, holder, around),
            Place::Connecting { .. }
            | Place::Leaving { .. }
            | Place::Arriving { .. }
            | Place::Returning { .. }
            | Place::Retreating { .. }
            | Place::Destroying { .. } => self.give_order(image, around),
        }
    }

    /// A pendrive that only the broker knows.
    fn missing(&mut self, pendrive: &Pendrive, around: &mut Surroundings<'_>) {
        self.forget_pendrive(pendrive.image);
        let was_ending = matches!(pendrive.place, Place::Destroying { .. });
        let (code, detail) =
            if was_ending { (Code::Ok, Detail::Done) } else { (Code::Failed, Detail::Interrupted) };
        if let Some(asker) = pendrive.place.asker() {
            self.answer(asker, code, detail, around);
        }
    }

    /// An image that only the attacher knows: what an earlier run of the host left behind.
    fn stray(&mut self, image: ImageId, holder: Option<(Domid, Device)>, around: &Surroundings<'_>) {
        let (Ok(size), Ok(maker)) = (SizeMib::new(1), VmName::new(b"unknown")) else { return };
        let text = format!("{image} belongs to nobody, and is destroyed");
        self.log(Level::Warning, Note::new(Happened::PendriveLost, text));
        let place = Place::Destroying { asker: None };
        self.pendrives.insert(image, Pendrive { image, size, maker, place });
        self.retreat(image, holder, around);
    }

    fn serve_all_deferred(&mut self, around: &mut Surroundings<'_>) {
        if self.is_serving() {
            let all: Vec<Domid> = self.vms.keys().copied().collect();
            for domid in all {
                self.serve_deferred(domid, around);
            }
        }
    }
}
