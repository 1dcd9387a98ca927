//! Requests of VMs: which are repeats, which can be decided now, and the decision.

use policy::{Action as PolicyAction, Decision, Operation, Party};
use protocol::dialog::{DialogCommand, Notice};
use protocol::journald::{Event as Happened, Note};
use protocol::log::{Level, LogText};
use protocol::monitor::MonitorState;
use protocol::reply::{Code, Detail};
use protocol::request::{Request, Verb};
use protocol::types::{Device, Domid, ImageId, Seq, SizeMib, VmName};

use super::{
    Action, Asker, Deferred, Machine, Matter, Pendrive, Place, Receiver, RequestKey, Surroundings, Target,
    VMS_MAX, Vm,
};
use crate::journal::Record;

/// Smallest pendrive that is made, in MiB: FAT32 needs 65525 clusters. A request for less gets this.
pub const SIZE_MIB_MIN: u32 = 33;
/// Shortest time between two notices about one VM, in milliseconds.
pub const NOTICE_MS_MIN: u64 = 5_000;

impl Machine {
    pub(super) fn domain_seen(&mut self, domid: Domid, name: VmName, around: &mut Surroundings<'_>) {
        if let Some(vm) = self.vms.get_mut(&domid) {
            vm.listed = true;
            if vm.name == name {
                return;
            }
            vm.name = name.clone();
        } else if self.vms.len() >= VMS_MAX {
            let text = format!("domain {domid} takes no part: there are too many");
            return self.log(Level::Error, Note::about_vm(Happened::VmUnfit, domid, Some(name), text));
        } else {
            let mut vm = Vm::new(name.clone());
            let past = self.remembered.as_ref().and_then(|past| past.vms.get(&domid));
            if let Some((_, answered)) = past.filter(|(known, _)| *known == name) {
                vm.answered = answered.clone();
                // Requests that the earlier process was at work on are known as well.
                let at_work = self.pendrives.values().filter_map(|pendrive| pendrive.place.asker());
                let askers = at_work.chain(self.owed.iter().map(|(asker, _)| asker));
                askers.filter(|asker| asker.domid == domid).for_each(|asker| vm.remember(asker.key.clone()));
            }
            self.vms.insert(domid, vm);
        }
        self.log_of_vm(Level::Info, Happened::VmSeen, domid, format!("domain {domid} is {name}"));
        self.record(Record::Vm { domid, name });
        self.disposables_seen(around);
    }

    pub(super) fn request_seen(
        &mut self,
        domid: Domid,
        request: Request,
        key: RequestKey,
        around: &mut Surroundings<'_>,
    ) {
        if self.is_repeat(domid, &key, |machine| machine.is_senseless(domid, &request.verb)) {
            return;
        }
        let Some(vm) = self.vms.get_mut(&domid) else { return };
        vm.last_seen = Some(key.clone());
        vm.began(key.clone(), around.now);
        let previous = vm.deferred.take();
        if let Some(previous) = previous {
            let asker = Asker { domid, key: previous.key };
            self.answer(&asker, Code::Busy, Detail::InProgress, around);
        }
        self.serve(domid, request, key, around);
    }

    pub(super) fn unparsable_seen(&mut self, domid: Domid, key: &RequestKey, around: &mut Surroundings<'_>) {
        if self.is_repeat(domid, key, |_| true) {
            return;
        }
        let Some(vm) = self.vms.get_mut(&domid) else { return };
        vm.last_seen = Some(key.clone());
        let asker = Asker { domid, key: key.clone() };
        self.answer(&asker, Code::Invalid, Detail::NotUnderstood, around);
    }

    /// Whether this request was served already and has only been seen again.
    ///
    /// With a REQID that is certain. Without one, a value that was there when the monitor began to look is
    /// one that was served if the journal has its text; later, the same text twice in a row is a repeat only
    /// if asking for it now makes no sense.
    fn is_repeat(&self, domid: Domid, key: &RequestKey, senseless: impl FnOnce(&Self) -> bool) -> bool {
        let Some(vm) = self.vms.get(&domid) else { return true };
        if vm.deferred.as_ref().is_some_and(|deferred| deferred.key.same(key)) {
            return true;
        }
        if key.reqid.is_some() || self.monitor == Some(MonitorState::Listing) {
            return vm.knows(key);
        }
        let same_as_before = vm.last_seen.as_ref().is_some_and(|last| last.same(key));
        same_as_before && vm.knows(key) && senseless(self)
    }

    /// Whether a request could not be granted in the present state, whoever permits it.
    fn is_senseless(&self, domid: Domid, verb: &Verb) -> bool {
        let outgoing = self.outgoing(domid).map(|pendrive| &pendrive.place);
        match verb {
            Verb::New { .. } => outgoing.is_some(),
            Verb::Send { .. } | Verb::SendDisposable { .. } => !matches!(outgoing, Some(Place::Clean { .. })),
            Verb::Umount => {
                !matches!(self.incoming(domid).map(|pendrive| &pendrive.place), Some(Place::Loaded { .. }))
            }
            Verb::Killme => true,
        }
    }

    pub(super) fn serve_deferred(&mut self, domid: Domid, around: &mut Surroundings<'_>) {
        let Some(vm) = self.vms.get_mut(&domid) else { return };
        if let Some(Deferred { request, key }) = vm.deferred.take() {
            self.serve(domid, request, key, around);
        }
    }

    fn serve(&mut self, domid: Domid, request: Request, key: RequestKey, around: &mut Surroundings<'_>) {
        if !self.is_serving() || self.is_on_its_way(domid, &request.verb) {
            if let Some(vm) = self.vms.get_mut(&domid) {
                vm.deferred = Some(Deferred { request, key });
            }
            return;
        }
        let Some(vm) = self.vms.get_mut(&domid) else { return };
        vm.remember(key.clone());
        let name = vm.name.clone();
        self.log_of_vm(
            Level::Info,
            Happened::Request,
            domid,
            format!("{name} asks: {}", request.verb.word()),
        );
        let asker = Asker { domid, key };
        match request.verb {
            Verb::New { size } => self.new_wanted(name, size, asker, around),
            Verb::Send { to, seq } => self.send_wanted(&name, &to, seq, asker, around),
            Verb::SendDisposable { seq } => self.disposable_wanted(&name, seq, asker, around),
            Verb::Umount => self.umount_wanted(asker, around),
            Verb::Killme => self.killme_wanted(&asker, around),
        }
    }

    /// Whether the request can be decided in a moment: a VM can see its device before the broker hears of
    /// it, and what an earlier life of the daemon left at `xvdg` is being cleared away.
    fn is_on_its_way(&self, domid: Domid, verb: &Verb) -> bool {
        let outgoing = self.outgoing(domid).map(|pendrive| &pendrive.place);
        let incoming = self.incoming(domid).map(|pendrive| &pendrive.place);
        match verb {
            Verb::New { .. } => matches!(outgoing, Some(Place::Retreating { .. })),
            Verb::Send { .. } | Verb::SendDisposable { .. } => {
                matches!(outgoing, Some(Place::Connecting { .. }))
            }
            Verb::Umount => matches!(incoming, Some(Place::Arriving { .. })),
            Verb::Killme => false,
        }
    }

    fn new_wanted(
        &mut self,
        name: VmName,
        size: Option<SizeMib>,
        asker: Asker,
        around: &mut Surroundings<'_>,
    ) {
        if let Some(pendrive) = self.outgoing(asker.domid) {
            let is_clean = matches!(pendrive.place, Place::Clean { .. });
            let detail = if is_clean { Detail::HasPendrive } else { Detail::InProgress };
            return self.answer(&asker, Code::Busy, detail, around);
        }
        let size = size.unwrap_or(self.settings.size_default);
        let size = SizeMib::new(SIZE_MIB_MIN).map_or(size, |smallest| size.max(smallest));
        if size > self.settings.size_max {
            return self.answer(&asker, Code::Busy, Detail::SizeNotPermitted, around);
        }
        if !self.quota_permits(&name, size) {
            return self.answer(&asker, Code::Busy, Detail::LimitReached, around);
        }
        let image = (around.fresh_image)();
        self.desk.made(image, around.now);
        let place = Place::Creating { at: asker.domid, asker };
        let pendrive = Pendrive { image, size, maker: name, place: place.clone() };
        self.pendrives.insert(image, pendrive);
        self.place(image, place, around);
    }

    /// Whether one more pendrive of this size is within the limits (L4).
    fn quota_permits(&self, name: &VmName, size: SizeMib) -> bool {
        let all = self.pendrives.values();
        let of_vm = || self.pendrives.values().filter(|pendrive| pendrive.maker == *name);
        let mib = |sum: u64, pendrive: &Pendrive| sum.saturating_add(u64::from(pendrive.size.mib()));
        let wanted = u64::from(size.mib());
        let count_fits =
            |count: usize, limit: u32| u64::try_from(count).is_ok_and(|count| count < u64::from(limit));
        count_fits(all.len(), self.settings.images_max)
            && count_fits(of_vm().count(), self.settings.images_per_vm_max)
            && all.fold(wanted, mib) <= u64::from(self.settings.total_mib_max)
            && of_vm().fold(wanted, mib) <= u64::from(self.settings.total_per_vm_mib_max)
    }

    fn send_wanted(
        &mut self,
        name: &VmName,
        to: &VmName,
        seq: Option<Seq>,
        asker: Asker,
        around: &mut Surroundings<'_>,
    ) {
        if self.is_disposable(asker.domid) {
            return self.answer_wanted(to, seq, asker, around);
        }
        let target = match self.vms_named(to).as_slice() {
            [] => return self.answer(&asker, Code::Unknown, Detail::NoSuchVm, around),
            [only] => *only,
            _ => return self.answer(&asker, Code::Failed, Detail::NameNotUnique, around),
        };
        let image = match self.clean_outgoing(asker.domid) {
            Ok(image) => image,
            Err(detail) => return self.answer(&asker, Code::Busy, detail, around),
        };
        if target == asker.domid {
            return self.answer(&asker, Code::Denied, Detail::SameVm, around);
        }
        let source = Party::Vm { name, disposable: false };
        let disposable = self.is_disposable(target);
        let target = Target::Vm(Receiver { domid: target, name: to.clone(), seq: None });
        let decision = self.policy.decide(Operation::Copy, &source, &Party::Vm { name: to, disposable });
        self.decided(image, decision, target, asker, around);
    }

    /// Does what the policy says of a transfer.
    pub(super) fn decided(
        &mut self,
        image: ImageId,
        decision: Decision,
        target: Target,
        asker: Asker,
        around: &mut Surroundings<'_>,
    ) {
        let recipient = target.recipient();
        let name = self.name_of(asker.domid);
        let origin = decision.origin.map_or_else(|| String::from("default"), |origin| origin.to_string());
        let text = format!("{name} -> {recipient}: {} ({origin})", decision.action.word());
        self.log_of_vm(Level::Info, Happened::Policy, asker.domid, text);
        if decision.notify && decision.action != PolicyAction::Ask {
            let allowed = decision.action == PolicyAction::Allow;
            self.tell_person(asker.domid, Matter::Decision, around, |source| Notice::Decided {
                allowed,
                source,
                target: recipient,
                rule: LogText::new(&origin),
            });
        }
        match decision.action {
            PolicyAction::Deny => self.answer(&asker, Code::Denied, Detail::ByPolicy, around),
            PolicyAction::Allow => self.permitted(image, target, asker, around),
            PolicyAction::Ask => self.ask_transfer(image, target, asker, &origin, around),
        }
    }

    /// Tells the person something about a VM, each matter of each VM at most once in [`NOTICE_MS_MIN`]: a VM that is denied
    /// again and again must not fill the screen (L18).
    pub(super) fn tell_person(
        &mut self,
        about: Domid,
        matter: Matter,
        around: &Surroundings<'_>,
        notice: impl FnOnce(VmName) -> Notice,
    ) {
        let Some(vm) = self.vms.get_mut(&about) else { return };
        let quiet_until = vm.quiet_until.get(&matter).copied().unwrap_or_default();
        if (self.dialog.is_none() && !self.has_notifier) || around.now < quiet_until {
            return;
        }
        vm.quiet_until.insert(matter, around.now.saturating_add(NOTICE_MS_MIN));
        let notice = notice(vm.name.clone());
        if self.has_notifier {
            self.actions.push(Action::Notify(notice.clone()));
        }
        if self.dialog.is_some() {
            self.actions.push(Action::Dialog(DialogCommand::Tell(notice)));
        }
    }

    fn umount_wanted(&mut self, asker: Asker, around: &mut Surroundings<'_>) {
        let at = asker.domid;
        let loaded = self.incoming(at).map(|pendrive| (pendrive.image, pendrive.place.clone()));
        match loaded {
            Some((image, Place::Loaded { .. })) => self.place(image, Place::Returning { at, asker }, around),
            Some((_, Place::Returning { .. } | Place::Retreating { .. })) => {
                self.answer(&asker, Code::Busy, Detail::InProgress, around);
            }
            _ => self.answer(&asker, Code::Busy, Detail::NothingReceived, around),
        }
    }

    pub(super) fn clean_outgoing(&self, domid: Domid) -> Result<ImageId, Detail> {
        match self.outgoing(domid) {
            Some(Pendrive { image, place: Place::Clean { .. }, .. }) => Ok(*image),
            Some(_) => Err(Detail::InProgress),
            None => Err(Detail::NoPendrive),
        }
    }

    /// The pendrive at the VM's `xvdg`.
    pub(super) fn outgoing(&self, domid: Domid) -> Option<&Pendrive> {
        self.pendrives.values().find(|pendrive| pendrive.place.outgoing_of() == Some(domid))
    }

    /// The pendrive that occupies the VM's `xvdh`, or is on the way there.
    pub(super) fn incoming(&self, domid: Domid) -> Option<&Pendrive> {
        self.pendrives.values().find(|pendrive| pendrive.place.incoming_of() == Some(domid))
    }

    /// Takes a pendrive from its holder, and then destroys it.
    pub(super) fn retreat(
        &mut self,
        image: ImageId,
        holder: Option<(Domid, Device)>,
        around: &Surroundings<'_>,
    ) {
        let place = match holder {
            Some((at, device)) => Place::Retreating { at, device },
            None => Place::Destroying { asker: None },
        };
        self.place(image, place, around);
    }
}
