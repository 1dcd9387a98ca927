//! DisposableVMs: each is made for one `send disposable`, may send one thing back to the VM that it was made for, and
//! is destroyed.
//!
//! ```text
//!        permitted               made, and seen               answer came, killme, owner gone, gone itself
//! (none) ---------> Launching ------------------> Running ------------------------------------------------+
//!                       |                                                                                 v
//!                       +--- failed, too late, the sender gone ----------------------------------> Ending --> (none)
//! ```
//!
//! The record of a DisposableVM is on disk before it is ordered, and is dropped only after the launcher says that the
//! VM is destroyed and the monitor names it no longer. So one that outlives its transfer, or the daemon, is found again.

use bincode::{Decode, Encode};
use policy::{Action as PolicyAction, Operation, Party};
use protocol::dialog::Notice;
use protocol::journald::{Event as Happened, Note};
use protocol::launch::{
    DISPOSABLE_NUMBER_MAX, DISPOSABLES_MAX, DisposableNumber, LaunchFailure, LaunchOrder,
};
use protocol::log::Level;
use protocol::reply::{Code, Detail};
use protocol::types::{Domid, ImageId, Seq, VmName};

use super::{Asker, Machine, Matter, Place, Receiver, Surroundings, Target};
use crate::journal::Record;

/// How long a domain that the toolstack has made may take to be seen by the monitor, in milliseconds.
pub const SEEN_MS_MAX: u64 = 30_000;

/// One DisposableVM, and the only transfer that it may make.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Disposable {
    /// Which one.
    pub number: DisposableNumber,
    /// The VM that it was made for.
    pub owner: Domid,
    /// The name of that VM.
    pub owner_name: VmName,
    /// The transaction that it may answer.
    pub seq: Seq,
    /// Where it is in its life.
    pub stage: Stage,
}

/// Where a DisposableVM is in its life; the picture is above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Stage {
    /// The launcher was told to make it.
    Launching {
        /// Whether the launcher says that it runs. Then it only has to be seen.
        made: bool,
        /// When it has failed, in milliseconds of the broker's clock.
        deadline: u64,
    },
    /// It runs.
    Running {
        /// Its number in Xen.
        domid: Domid,
    },
    /// It is being destroyed.
    Ending {
        /// Its number in Xen, as long as the monitor names it.
        domid: Option<Domid>,
    },
}

impl Disposable {
    /// When making it has failed.
    #[must_use]
    pub fn gives_up_at(&self) -> Option<u64> {
        if let Stage::Launching { deadline, .. } = self.stage { Some(deadline) } else { None }
    }

    /// Its number in Xen, if it has been seen.
    #[must_use]
    pub fn domid(&self) -> Option<Domid> {
        match self.stage {
            Stage::Launching { .. } => None,
            Stage::Running { domid } => Some(domid),
            Stage::Ending { domid } => domid,
        }
    }

    fn is_named(&self, name: &VmName) -> bool {
        name.as_str() == self.number.to_string()
    }
}

impl Machine {
    /// Whether this domain is a DisposableVM of this daemon, or has the name of one that is still being made: it can ask
    /// for something before the launcher says that it runs.
    pub(super) fn is_disposable(&self, domid: Domid) -> bool {
        let Some(vm) = self.vms.get(&domid) else { return self.disposable_at(domid).is_some() };
        self.disposables.values().any(|disposable| match disposable.domid() {
            Some(known) => known == domid,
            None => disposable.is_named(&vm.name),
        })
    }

    fn disposable_at(&self, domid: Domid) -> Option<&Disposable> {
        self.disposables.values().find(|disposable| disposable.domid() == Some(domid))
    }

    pub(super) fn disposable_wanted(
        &mut self,
        name: &VmName,
        seq: Seq,
        asker: Asker,
        around: &mut Surroundings<'_>,
    ) {
        if self.is_disposable(asker.domid) {
            return self.answer(&asker, Code::Denied, Detail::OnlyTheAnswer, around);
        }
        let source = Party::Vm { name, disposable: false };
        let decision = self.policy.decide(Operation::Dvm, &source, &Party::NewDisposable);
        let image = match self.clean_outgoing(asker.domid) {
            Ok(image) => image,
            Err(detail) => return self.answer(&asker, Code::Busy, detail, around),
        };
        if !self.settings.has_launcher && decision.action != PolicyAction::Deny {
            return self.answer(&asker, Code::Failed, Detail::NoDisposables, around);
        }
        self.decided(image, decision, Target::NewDisposable { seq }, asker, around);
    }

    /// A DisposableVM is permitted: it is recorded, and then ordered.
    pub(super) fn launch(&mut self, image: ImageId, seq: Seq, asker: Asker, around: &mut Surroundings<'_>) {
        let at = asker.domid;
        let Some(owner_name) = self.vms.get(&at).map(|vm| vm.name.clone()) else { return };
        let Some(number) = self.free_number(&owner_name) else {
            self.place(image, Place::Clean { at }, around);
            return self.answer(&asker, Code::Busy, Detail::LimitReached, around);
        };
        let deadline = around.now.saturating_add(u64::from(self.settings.launch_ms_max));
        let stage = Stage::Launching { made: false, deadline };
        self.log_of_disposable(Level::Info, number, format!("{number} is made for {owner_name}"));
        self.desk.launched(number, around.now);
        self.keep(Disposable { number, owner: at, owner_name, seq, stage });
        self.place(image, Place::Launching { at, number, asker: asker.clone() }, around);
        self.answer(&asker, Code::Pending, Detail::StartingDisposable, around);
        if !self.order_launch(LaunchOrder::Create { number }, around) {
            self.creation_failed(number, LaunchFailure::Interrupted, around);
        }
    }

    /// The lowest number that is nobody's name, if the limits permit one more DisposableVM (L4).
    fn free_number(&self, owner: &VmName) -> Option<DisposableNumber> {
        let within = |count: usize, limit: u32| u32::try_from(count).is_ok_and(|count| count < limit);
        let of_owner = self.disposables.values().filter(|disposable| disposable.owner_name == *owner);
        if self.disposables.len() >= DISPOSABLES_MAX
            || !within(self.disposables.len(), self.settings.disposables_max)
            || !within(of_owner.count(), self.settings.disposables_per_vm_max)
        {
            return None;
        }
        let is_free = |number: &DisposableNumber| {
            !self.disposables.contains_key(number)
                && !self.vms.values().any(|vm| vm.name.as_str() == number.to_string())
        };
        (1..=DISPOSABLE_NUMBER_MAX).filter_map(|number| DisposableNumber::new(number).ok()).find(is_free)
    }

    /// The launcher says that it runs.
    pub(super) fn made(&mut self, number: DisposableNumber, around: &mut Surroundings<'_>) {
        let Some(disposable) = self.disposables.get(&number).cloned() else { return };
        match disposable.stage {
            Stage::Launching { .. } => {
                let stage = Stage::Launching { made: true, deadline: around.now.saturating_add(SEEN_MS_MAX) };
                self.keep(Disposable { stage, ..disposable });
                self.disposables_seen(around);
            }
            // Too late: nobody waits for it any longer.
            Stage::Ending { .. } => self.destroy(number, around),
            Stage::Running { .. } => {}
        }
    }

    /// Compares DisposableVMs that have no domain with the domains that there are.
    pub(super) fn disposables_seen(&mut self, around: &mut Surroundings<'_>) {
        let unseen: Vec<Disposable> =
            self.disposables.values().filter(|disposable| disposable.domid().is_none()).cloned().collect();
        for disposable in unseen {
            let named = |(domid, vm): (&Domid, &super::Vm)| disposable.is_named(&vm.name).then_some(*domid);
            let mut domids = self.vms.iter().filter_map(named);
            let (Some(domid), None) = (domids.next(), domids.next()) else { continue };
            match disposable.stage {
                Stage::Launching { made: true, .. } => self.runs(disposable, domid, around),
                Stage::Ending { .. } => {
                    let number = disposable.number;
                    self.keep(Disposable { stage: Stage::Ending { domid: Some(domid) }, ..disposable });
                    self.destroy(number, around);
                }
                Stage::Launching { made: false, .. } | Stage::Running { .. } => {}
            }
        }
    }

    /// It runs under this number: the pendrive goes there.
    fn runs(&mut self, disposable: Disposable, domid: Domid, around: &mut Surroundings<'_>) {
        let (number, seq) = (disposable.number, disposable.seq);
        let Ok(name) = number.name() else { return };
        let note = Note::about_vm(
            Happened::Disposable,
            domid,
            Some(name.clone()),
            format!("{number} is domain {domid}"),
        );
        self.log(Level::Info, note);
        self.keep(Disposable { stage: Stage::Running { domid }, ..disposable });
        match self.waits_for(number) {
            Some((image, at, asker)) => {
                let to = Receiver { domid, name, seq: Some(seq) };
                self.place(image, Place::Leaving { at, to, asker }, around);
            }
            None => self.end_disposable(number, around),
        }
    }

    /// The pendrive that this DisposableVM is made for.
    fn waits_for(&self, wanted: DisposableNumber) -> Option<(ImageId, Domid, Asker)> {
        self.pendrives.values().find_map(|pendrive| match &pendrive.place {
            Place::Launching { at, number, asker } if *number == wanted => {
                Some((pendrive.image, *at, asker.clone()))
            }
            Place::Launching { .. }
            | Place::Creating { .. }
            | Place::Connecting { .. }
            | Place::Clean { .. }
            | Place::Measuring { .. }
            | Place::Asking { .. }
            | Place::Waiting { .. }
            | Place::Leaving { .. }
            | Place::Arriving { .. }
            | Place::Loaded { .. }
            | Place::Returning { .. }
            | Place::Retreating { .. }
            | Place::Destroying { .. } => None,
        })
    }

    /// It could not be made: the sender keeps its pendrive, the person is told, and what exists of it is destroyed.
    pub(super) fn creation_failed(
        &mut self,
        number: DisposableNumber,
        reason: LaunchFailure,
        around: &mut Surroundings<'_>,
    ) {
        self.log_of_disposable(Level::Error, number, format!("{number} could not be made: {reason}"));
        if let Some((image, at, asker)) = self.waits_for(number) {
            self.place(image, Place::Clean { at }, around);
            self.answer(&asker, Code::Failed, Detail::DisposableFailed, around);
            self.tell_person(at, Matter::Failure, around, |source| Notice::CreationFailed { source, reason });
        }
        self.end_disposable(number, around);
    }

    /// It is of no more use, and is destroyed.
    pub(super) fn end_disposable(&mut self, number: DisposableNumber, around: &mut Surroundings<'_>) {
        let Some(disposable) = self.disposables.get(&number).cloned() else { return };
        match disposable.stage {
            Stage::Ending { .. } => {}
            Stage::Launching { .. } | Stage::Running { .. } => {
                let domid = disposable.domid();
                self.keep(Disposable { stage: Stage::Ending { domid }, ..disposable });
                self.destroy(number, around);
            }
        }
    }

    /// A DisposableVM that does not get its pendrive is of no use.
    pub(super) fn end_disposable_at(&mut self, domid: Domid, around: &mut Surroundings<'_>) {
        let number = self.disposables.values().find(|it| it.domid() == Some(domid)).map(|it| it.number);
        if let Some(number) = number {
            self.end_disposable(number, around);
        }
    }

    /// The only thing that a DisposableVM may send: the answer, to the VM that it was made for, with its number.
    pub(super) fn answer_wanted(
        &mut self,
        to: &VmName,
        seq: Option<Seq>,
        asker: Asker,
        around: &mut Surroundings<'_>,
    ) {
        let Some(disposable) = self.disposable_at(asker.domid) else {
            return self.answer(&asker, Code::Denied, Detail::OnlyTheAnswer, around);
        };
        let (owner, remembered) = (disposable.owner, disposable.seq);
        let runs = matches!(disposable.stage, Stage::Running { .. });
        let is_owner = disposable.owner_name == *to && self.vms.get(&owner).is_some_and(|vm| vm.name == *to);
        if !runs || !is_owner || seq != Some(remembered) {
            return self.answer(&asker, Code::Denied, Detail::OnlyTheAnswer, around);
        }
        match self.clean_outgoing(asker.domid) {
            Ok(image) => {
                let receiver = Receiver { domid: owner, name: to.clone(), seq };
                self.permitted(image, Target::Vm(receiver), asker, around);
            }
            Err(detail) => self.answer(&asker, Code::Busy, detail, around),
        }
    }

    /// A pendrive has arrived. If it is the answer of a DisposableVM, that has done what it was made for.
    pub(super) fn answer_has_come(&mut self, from: Domid, to: Domid, around: &mut Surroundings<'_>) {
        let number = self.disposable_at(from).filter(|sender| sender.owner == to).map(|sender| sender.number);
        if let Some(number) = number {
            self.end_disposable(number, around);
        }
    }

    pub(super) fn killme_wanted(&mut self, asker: &Asker, around: &mut Surroundings<'_>) {
        match self.disposable_at(asker.domid).map(|disposable| disposable.number) {
            Some(number) => {
                self.answer(asker, Code::Ok, Detail::Done, around);
                self.end_disposable(number, around);
            }
            None => self.answer(asker, Code::Denied, Detail::NotDisposable, around),
        }
    }

    /// A domain is gone: its DisposableVMs are destroyed, and if it was one itself nothing of it may stay.
    ///
    /// That it is gone is the word of a process that reads what VMs write, so it is destroyed all the same.
    pub(super) fn disposables_without(&mut self, gone: Domid, around: &mut Surroundings<'_>) {
        let concerned: Vec<Disposable> = self
            .disposables
            .values()
            .filter(|disposable| disposable.owner == gone || disposable.domid() == Some(gone))
            .cloned()
            .collect();
        for disposable in concerned {
            let number = disposable.number;
            let is_gone = disposable.domid() == Some(gone);
            match disposable.stage {
                Stage::Ending { .. } if is_gone => {
                    self.keep(Disposable { stage: Stage::Ending { domid: None }, ..disposable });
                    self.forget_if_destroyed(number);
                }
                Stage::Running { .. } if is_gone => {
                    self.log_of_disposable(Level::Warning, number, format!("{number} ended by itself"));
                    self.keep(Disposable { stage: Stage::Ending { domid: None }, ..disposable });
                    self.destroy(number, around);
                }
                Stage::Launching { .. } | Stage::Running { .. } => self.end_disposable(number, around),
                Stage::Ending { .. } => {}
            }
        }
    }

    /// The DisposableVMs of an earlier process are compared with the domains that run now.
    pub(super) fn settle_disposables(&mut self, around: &mut Surroundings<'_>) {
        let all: Vec<Disposable> = self.disposables.values().cloned().collect();
        for disposable in all {
            let runs = |domid: Domid| self.vms.get(&domid).is_some_and(|vm| disposable.is_named(&vm.name));
            let owner_runs =
                self.vms.get(&disposable.owner).is_some_and(|vm| vm.name == disposable.owner_name);
            let domid = disposable.domid().filter(|domid| runs(*domid));
            let stays = owner_runs && domid.is_some() && matches!(disposable.stage, Stage::Running { .. });
            if !stays {
                let number = disposable.number;
                self.keep(Disposable { stage: Stage::Ending { domid }, ..disposable });
                self.destroy(number, around);
            }
        }
        self.disposables_seen(around);
    }

    pub(super) fn forget_disposable(&mut self, number: DisposableNumber) {
        self.log_of_disposable(Level::Info, number, format!("{number} is gone"));
        self.disposables.remove(&number);
        self.desk.ended_disposable(number);
        self.record(Record::DisposableGone { number });
    }

    fn keep(&mut self, disposable: Disposable) {
        self.record(Record::Disposable(disposable.clone()));
        self.disposables.insert(disposable.number, disposable);
    }
}
