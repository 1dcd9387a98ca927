//! For the model checker alone: what of a machine, and of its journal, makes a difference to what follows.
//!
//! Two machines with one digest do the same from here on. So the numbers of orders count by their sequence alone and
//! times by how far ahead they are; what is only shown to a person or to `qfilexchgctl` (ages, and settled questions)
//! does not count. Settings and policy do not change while a machine runs.

use std::hash::{Hash, Hasher};

use super::control::Desk;
use super::{Disposable, Machine, Pendrive, Place, Stage, Vm};
use crate::journal::Past;

impl Machine {
    /// Feeds everything that makes a difference into a hash. `now` is the time of the machine's last event.
    pub fn digest(&self, now: u64, into: &mut impl Hasher) {
        // Named one by one, so that a new field cannot be forgotten here.
        let Self {
            settings: _,
            policy: _,
            vms,
            pendrives,
            disposables,
            launches,
            owed,
            orders,
            retries,
            replies_again,
            deadlines,
            qpen_missing,
            to_forget,
            attacher,
            monitor,
            listing_ends,
            dialog,
            has_notifier,
            desk,
            remembered,
            ready_told,
            next_order: _,
            next_question,
            next_ticket,
            actions: _,
        } = self;
        (vms.len(), pendrives.len(), disposables.len(), orders.len()).hash(into);
        for (domid, vm) in vms {
            domid.hash(into);
            vm.digest(now, into);
        }
        pendrives.values().for_each(|pendrive| pendrive.digest(now, into));
        disposables.values().for_each(|disposable| disposable.digest(now, into));
        orders.values().for_each(|open| (&open.order, ahead(open.deadline, now)).hash(into));
        launches.digest(now, into);
        (owed, replies_again.map(|when| ahead(when, now))).hash(into);
        listing_ends.map(|when| ahead(when, now)).hash(into);
        each_ahead(retries.iter(), now, into);
        each_ahead(deadlines.iter(), now, into);
        (qpen_missing, to_forget, attacher, monitor, dialog, has_notifier).hash(into);
        desk.digest(into);
        remembered.is_some().hash(into);
        if let Some(past) = remembered {
            past.digest(now, into);
        }
        (ready_told, next_question, next_ticket).hash(into);
    }
}

impl Past {
    /// Feeds everything that makes a difference to the next process into a hash.
    pub fn digest(&self, now: u64, into: &mut impl Hasher) {
        let Self { vms, pendrives, disposables, decided } = self;
        (vms, decided, pendrives.len(), disposables.len()).hash(into);
        pendrives.values().for_each(|pendrive| pendrive.digest(now, into));
        disposables.values().for_each(|disposable| disposable.digest(now, into));
    }
}

impl Vm {
    fn digest(&self, now: u64, into: &mut impl Hasher) {
        let Self { name, listed, last_seen, answered, deferred, quiet_until, open_since } = self;
        (name, listed, last_seen, answered, deferred, open_since.len()).hash(into);
        each_ahead(quiet_until.iter().filter(|(_, when)| **when > now), now, into);
        open_since.iter().for_each(|(key, _)| key.hash(into));
    }
}

impl Pendrive {
    fn digest(&self, now: u64, into: &mut impl Hasher) {
        if let Self { image, size, maker, place: Place::Waiting { at, to, deadline, ticket, asker } } = self {
            (image, size, maker, at, to, ahead(*deadline, now), ticket, asker).hash(into);
        } else {
            self.hash(into);
        }
    }
}

impl Disposable {
    fn digest(&self, now: u64, into: &mut impl Hasher) {
        if let Self { number, owner, owner_name, seq, stage: Stage::Launching { made, deadline } } = self {
            (number, owner, owner_name, seq, made, ahead(*deadline, now)).hash(into);
        } else {
            self.hash(into);
        }
    }
}

impl Desk {
    fn digest(&self, into: &mut impl Hasher) {
        let Self { edge, workers, questions: _, made: _, launched: _, doomed } = self;
        (edge, workers, doomed).hash(into);
    }
}

/// How far ahead a time is, in milliseconds.
pub(super) fn ahead(when: u64, now: u64) -> u64 {
    when.saturating_sub(now)
}

pub(super) fn each_ahead<'a, Key: Hash + 'a>(
    times: impl Iterator<Item = (&'a Key, &'a u64)>,
    now: u64,
    into: &mut impl Hasher,
) {
    let mut count = 0_usize;
    for (key, when) in times {
        (key, ahead(*when, now)).hash(into);
        count = count.saturating_add(1);
    }
    count.hash(into);
}
