//! What dvm-launcher is told, and what its answers change.

use std::collections::BTreeMap;

use protocol::dialog::Notice;
use protocol::launch::{
    DisposableNumber, LAUNCHES_OPEN_MAX, LaunchFailure, LaunchId, LaunchOrder, LaunchOutcome, LaunchReply,
    LaunchRequest,
};
use protocol::log::Level;
use protocol::supervise::Role;

use super::{Action, Machine, Matter, ORDER_MS_MAX, Stage, Surroundings};

/// How long the broker waits before it orders again to destroy what is still there, in milliseconds.
pub const LAUNCH_AGAIN_MS: u64 = 5_000;
/// After so many failures a DisposableVM that nobody sees is taken for gone.
const DESTROY_TRIES_MAX: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct OpenLaunch {
    order: LaunchOrder,
    deadline: u64,
    /// Whether it was told that the template is being rebuilt.
    rebuilding: bool,
}

/// A DisposableVM that could not be destroyed, or that is still seen afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Lingering {
    again_at: u64,
    tries: u32,
}

/// The edge to dvm-launcher, and its open orders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Launches {
    is_up: bool,
    open: BTreeMap<LaunchId, OpenLaunch>,
    lingering: BTreeMap<DisposableNumber, Lingering>,
    next: u64,
}

impl Launches {
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let orders = self.open.values().map(|open| open.deadline);
        orders.chain(self.lingering.values().map(|lingering| lingering.again_at)).min()
    }

    /// What makes a difference to what follows; see `digest.rs`.
    #[cfg(feature = "model")]
    pub(super) fn digest(&self, now: u64, into: &mut impl std::hash::Hasher) {
        use super::digest::{ahead, each_ahead};
        use std::hash::Hash;

        let Self { is_up, open, lingering, next: _ } = self;
        (is_up, open.len()).hash(into);
        for OpenLaunch { order, deadline, rebuilding } in open.values() {
            (order, ahead(*deadline, now), rebuilding).hash(into);
        }
        lingering.values().for_each(|lingering| lingering.tries.hash(into));
        each_ahead(lingering.iter().map(|(number, lingering)| (number, &lingering.again_at)), now, into);
    }

    fn destroys(&self, number: DisposableNumber) -> bool {
        self.open.values().any(|open| open.order == LaunchOrder::Destroy { number })
    }

    fn creates(&self, number: DisposableNumber) -> bool {
        self.open.values().any(|open| open.order == LaunchOrder::Create { number })
    }
}

impl Machine {
    pub(super) fn launcher_started(&mut self, around: &mut Surroundings<'_>) {
        self.launches = Launches { is_up: true, next: self.launches.next, ..Launches::default() };
        let ending: Vec<DisposableNumber> = self
            .disposables
            .values()
            .filter(|disposable| matches!(disposable.stage, Stage::Ending { .. }))
            .map(|disposable| disposable.number)
            .collect();
        for number in ending {
            self.destroy(number, around);
        }
    }

    /// The launcher is gone, and with it every open order.
    pub(super) fn launcher_lost(&mut self, around: &mut Surroundings<'_>) {
        self.launches = Launches { next: self.launches.next, ..Launches::default() };
        let launching: Vec<DisposableNumber> = self
            .disposables
            .values()
            .filter(|disposable| matches!(disposable.stage, Stage::Launching { made: false, .. }))
            .map(|disposable| disposable.number)
            .collect();
        for number in launching {
            self.creation_failed(number, LaunchFailure::Interrupted, around);
        }
    }

    /// Orders to destroy a DisposableVM, unless that is ordered already. Without a launcher it is ordered when there
    /// is one again. While it is still being made the launcher would refuse: it is ordered when that has been answered.
    pub(super) fn destroy(&mut self, number: DisposableNumber, around: &Surroundings<'_>) {
        if !self.launches.destroys(number) && !self.launches.creates(number) {
            self.order_launch(LaunchOrder::Destroy { number }, around);
        }
    }

    /// Gives an order. Says whether there is somebody to carry it out.
    pub(super) fn order_launch(&mut self, order: LaunchOrder, around: &Surroundings<'_>) -> bool {
        if !self.launches.is_up || self.launches.open.len() >= LAUNCHES_OPEN_MAX {
            return false;
        }
        let id = LaunchId(self.launches.next);
        self.launches.next = self.launches.next.saturating_add(1);
        let patience = ORDER_MS_MAX.saturating_add(u64::from(self.settings.launch_ms_max));
        let deadline = around.now.saturating_add(patience);
        self.launches.open.insert(id, OpenLaunch { order, deadline, rebuilding: false });
        self.actions.push(Action::Launch(LaunchRequest { id, order }));
        true
    }

    pub(super) fn launcher_said(&mut self, reply: LaunchReply, around: &mut Surroundings<'_>) {
        match reply {
            LaunchReply::Log(line) => self.said(Role::Launcher, &line),
            LaunchReply::Rebuilding { id } => self.rebuilding(id, around),
            LaunchReply::Finished { id, outcome } => match self.launches.open.remove(&id) {
                Some(open) => self.launched(open.order, outcome, around),
                None => self.violated(Role::Launcher, "an answer to an order that is not open"),
            },
        }
    }

    fn rebuilding(&mut self, id: LaunchId, around: &mut Surroundings<'_>) {
        let number = match self.launches.open.get_mut(&id) {
            Some(OpenLaunch { order: LaunchOrder::Create { number }, rebuilding, .. }) if !*rebuilding => {
                *rebuilding = true;
                *number
            }
            Some(_) | None => return self.violated(Role::Launcher, "a rebuild that nothing asked for"),
        };
        self.log_of_disposable(
            Level::Info,
            number,
            format!("the template is rebuilt before {number} is made"),
        );
        if let Some(owner) = self.disposables.get(&number).map(|disposable| disposable.owner) {
            self.tell_person(owner, Matter::Rebuild, around, |_| Notice::TemplateBeingRebuilt);
        }
    }

    fn launched(&mut self, order: LaunchOrder, outcome: LaunchOutcome, around: &mut Surroundings<'_>) {
        match (order, outcome) {
            (LaunchOrder::Create { number }, LaunchOutcome::Done) => self.made(number, around),
            (LaunchOrder::Create { number }, LaunchOutcome::Failed(failure)) => {
                match self.disposables.get(&number).map(|disposable| disposable.stage) {
                    Some(Stage::Launching { .. }) => self.creation_failed(number, failure, around),
                    // Given up before; parts of it may exist by now.
                    Some(Stage::Ending { .. }) => self.destroy(number, around),
                    Some(Stage::Running { .. }) | None => {}
                }
            }
            (LaunchOrder::Destroy { number }, LaunchOutcome::Done) => self.destroyed(number, None, around),
            (LaunchOrder::Destroy { number }, LaunchOutcome::Failed(failure)) => {
                self.destroyed(number, Some(failure), around);
            }
        }
    }

    /// An order to destroy has ended.
    fn destroyed(
        &mut self,
        number: DisposableNumber,
        failure: Option<LaunchFailure>,
        around: &mut Surroundings<'_>,
    ) {
        let Some(disposable) = self.disposables.get(&number) else { return };
        let is_seen = disposable.domid().is_some();
        let tries = self.launches.lingering.get(&number).map_or(0, |lingering| lingering.tries);
        let tries = tries.saturating_add(u32::from(failure.is_some()));
        if let Some(failure) = failure {
            self.log_of_disposable(
                Level::Warning,
                number,
                format!("{number} could not be destroyed: {failure}"),
            );
        }
        if !is_seen && (failure.is_none() || tries >= DESTROY_TRIES_MAX) {
            self.launches.lingering.remove(&number);
            return self.forget_disposable(number);
        }
        let again_at = around.now.saturating_add(LAUNCH_AGAIN_MS);
        self.launches.lingering.insert(number, Lingering { again_at, tries });
    }

    /// The monitor does not see it any longer: if the launcher has said that it is destroyed, all is over.
    pub(super) fn forget_if_destroyed(&mut self, number: DisposableNumber) {
        let said = self.launches.lingering.get(&number).is_some_and(|lingering| lingering.tries == 0);
        if said && !self.launches.destroys(number) {
            self.launches.lingering.remove(&number);
            self.forget_disposable(number);
        }
    }

    pub(super) fn launches_expire(&mut self, around: &mut Surroundings<'_>) {
        if self.launches.open.values().any(|open| open.deadline <= around.now) {
            self.launches.open.clear();
            self.violated(Role::Launcher, "no answer to an order");
        }
        let late: Vec<(DisposableNumber, bool)> = self
            .disposables
            .values()
            .filter_map(|disposable| match disposable.stage {
                Stage::Launching { made, deadline } if deadline <= around.now => {
                    Some((disposable.number, made))
                }
                Stage::Launching { .. } | Stage::Running { .. } | Stage::Ending { .. } => None,
            })
            .collect();
        for (number, made) in late {
            let reason = if made { LaunchFailure::NotSeen } else { LaunchFailure::TimedOut };
            self.creation_failed(number, reason, around);
        }
        let lingering = &mut self.launches.lingering;
        let due: Vec<DisposableNumber> =
            lingering.iter().filter(|(_, at)| at.again_at <= around.now).map(|(number, _)| *number).collect();
        for number in due {
            // Counted on, and asked again only after the answer.
            if let Some(lingering) = self.launches.lingering.get_mut(&number) {
                lingering.again_at = around.now.saturating_add(LAUNCH_AGAIN_MS);
            }
            self.destroy(number, around);
        }
    }
}
