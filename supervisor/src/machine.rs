//! Which processes are started and ended, and when: event in, actions out.
//!
//! Processes come and go in [`Unit`]s. The monitor and its gate are one unit, because the stream between
//! them cannot be picked up in the middle. The broker is a unit of its own, and everything else lives only as
//! long as it does: its end of each edge cannot be given to another broker.
//!
//! | phase | a worker ended | the broker ended | terminate |
//! |---|---|---|---|
//! | `Serving` | the broker is told; its unit is ended, then started anew | everything is ended: `Renewing` | workers are ended: `Stopping` |
//! | `Renewing` | when it was the last: everything is started anew | (it has ended) | `Stopping` |
//! | `Stopping` | when it was the last: the broker is ended | when it is the last: exit | (already) |
//!
//! A dialog whose display is missing is no failure: it does not count, and is tried again from time to time while the
//! daemon serves. So is a notifier without its bus.
//!
//! A broker that cannot enter its sandbox before any has served ends the daemon: the next one could not either.
//!
//! A unit that was started anew more than [`RESTARTS_MAX`] times within [`RESTART_WINDOW_MS`] ends the daemon.

use std::collections::{BTreeMap, VecDeque};

use protocol::dialog::EXIT_NO_DISPLAY;
use protocol::notify::EXIT_NO_BUS;
use protocol::supervise::{Ending, Role, SupervisorNotice, SupervisorOrder};
use sys::worker::EXIT_SANDBOX;

/// Most restarts of one unit within [`RESTART_WINDOW_MS`]. One more, and the daemon gives up.
pub const RESTARTS_MAX: usize = 20;
/// How long a restart counts, in milliseconds.
pub const RESTART_WINDOW_MS: u64 = 60_000;

/// How long after a dialog without a display, or a notifier without a bus, the next one is tried, in milliseconds.
pub const RETRY_MS: u64 = 2_000;
/// The same, at most: a display or bus that takes a connection and refuses it is asked more and more rarely.
pub const RETRY_MS_MAX: u64 = 64_000;
/// A dialog that lived so long, in milliseconds, had a display, and a notifier a bus.
const SEEN_MS: u64 = 10_000;

/// Processes that are started together, and ended when one of them ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// The broker.
    Broker,
    /// The attacher.
    Attacher,
    /// The gate and the monitor behind it.
    Monitoring,
    /// The dialog.
    Dialog,
    /// The launcher of DisposableVMs.
    Launcher,
    /// The process that hears `qfilexchgctl`.
    Control,
    /// The notifier.
    Notifier,
}

impl Unit {
    /// Every unit, in the order in which they are started.
    pub const ALL: [Self; 7] = [
        Self::Broker,
        Self::Attacher,
        Self::Launcher,
        Self::Monitoring,
        Self::Dialog,
        Self::Control,
        Self::Notifier,
    ];

    /// The unit of a process.
    #[must_use]
    pub fn of(role: Role) -> Self {
        match role {
            Role::Broker => Self::Broker,
            Role::Attacher => Self::Attacher,
            Role::Monitor | Role::Gate => Self::Monitoring,
            Role::Dialog => Self::Dialog,
            Role::Launcher => Self::Launcher,
            Role::Control => Self::Control,
            Role::Notifier => Self::Notifier,
        }
    }

    /// Its processes, in the order in which they are started.
    #[must_use]
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Broker => &[Role::Broker],
            Self::Attacher => &[Role::Attacher],
            Self::Monitoring => &[Role::Gate, Role::Monitor],
            Self::Dialog => &[Role::Dialog],
            Self::Launcher => &[Role::Launcher],
            Self::Control => &[Role::Control],
            Self::Notifier => &[Role::Notifier],
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The daemon begins.
    Begin,
    /// A process ended.
    Ended {
        /// Which.
        role: Role,
        /// How.
        how: Ending,
    },
    /// The broker said something.
    Order(SupervisorOrder),
    /// The broker closed its edge, does not read it, or said what is no order.
    BrokerLost,
    /// This process was not started, because what it would be connected to (display, bus) is not there.
    Unconnected(Role),
    /// Time has passed.
    Tick,
    /// Somebody wants the daemon to end.
    Terminate,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start the processes of a unit, and hand the broker its end of each one's edge.
    Start(Unit),
    /// End a process at once.
    Kill(Role),
    /// Tell the broker.
    Tell(SupervisorNotice),
    /// Tell whoever started the daemon that requests are served.
    NotifyReady,
    /// Tell whoever started the daemon that it is about to end.
    NotifyStopping,
    /// Give up: this unit ended too often.
    GiveUp(Unit),
    /// Give up: on this machine the broker cannot be confined.
    Refuse,
    /// Everything is over.
    Exit,
}

/// What the daemon is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Renewing,
    Stopping,
}

/// A process that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    Killed,
}

/// When a unit without its display or bus is tried again.
#[derive(Debug, Default)]
struct Retry {
    due_ms: Option<u64>,
    since_ms: u64,
    /// How long the last wait was; 0 before the first.
    waited_ms: u64,
}

/// Which units besides those that there must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The dialog.
    pub dialog: bool,
    /// The launcher of DisposableVMs.
    pub launcher: bool,
    /// The notifier.
    pub notifier: bool,
}

/// Which processes live, and what the daemon is about.
#[derive(Debug)]
pub struct Machine {
    wanted: Wanted,
    phase: Phase,
    /// Whether requests were served at any time.
    has_served: bool,
    lives: BTreeMap<Role, Life>,
    /// When each unit was started anew, oldest first, at most [`RESTARTS_MAX`] of each.
    restarts_ms: BTreeMap<Unit, VecDeque<u64>>,
    /// Units that were without their display or bus.
    retries: BTreeMap<Unit, Retry>,
}

impl Machine {
    /// A daemon that has not begun.
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        let (lives, restarts_ms, retries) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { wanted, phase: Phase::Serving, has_served: false, lives, restarts_ms, retries }
    }

    /// Whether this end of a process says that the daemon cannot run on this machine. A broker that has served has been
    /// in its sandbox, and what it says at its end is not believed.
    #[must_use]
    pub fn is_refused(&self, role: Role, how: Ending) -> bool {
        let has_no_sandbox = how == Ending::Code(i32::from(EXIT_SANDBOX));
        role == Role::Broker && has_no_sandbox && !self.has_served && self.phase != Phase::Stopping
    }

    /// When [`Event::Tick`] is due.
    #[must_use]
    pub fn next_tick_ms(&self) -> Option<u64> {
        let due_ms = self.retries.values().filter_map(|retry| retry.due_ms).min();
        due_ms.filter(|_| self.phase == Phase::Serving)
    }

    /// What an event means.
    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Begin => self.start_all(&mut actions),
            Event::Ended { role, how } => self.ended(role, how, now_ms, &mut actions),
            Event::Order(order) => self.ordered(order, &mut actions),
            Event::BrokerLost => self.kill(Role::Broker, &mut actions),
            Event::Unconnected(role) => self.unconnected(role, now_ms, &mut actions),
            Event::Tick => self.tick(now_ms, &mut actions),
            Event::Terminate => self.terminate(&mut actions),
        }
        for (unit, retry) in &mut self.retries {
            if actions.contains(&Action::Start(*unit)) {
                retry.since_ms = now_ms;
            }
        }
        actions
    }

    fn ordered(&mut self, order: SupervisorOrder, actions: &mut Vec<Action>) {
        match (self.phase, order) {
            // A broker cannot ask for its own restart: it would end itself. One that asks is broken.
            (_, SupervisorOrder::Restart { role: role @ Role::Broker })
            | (Phase::Serving, SupervisorOrder::Restart { role }) => self.kill(role, actions),
            (Phase::Serving, SupervisorOrder::Ready) => {
                self.has_served = true;
                actions.push(Action::NotifyReady);
            }
            // The watchdog's, not this machine's.
            (_, SupervisorOrder::Alive { .. }) => {}
            // Said before the broker was ended.
            (Phase::Renewing | Phase::Stopping, SupervisorOrder::Restart { .. } | SupervisorOrder::Ready) => {
            }
        }
    }

    fn terminate(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopping => {}
            Phase::Serving | Phase::Renewing => {
                self.phase = Phase::Stopping;
                actions.push(Action::NotifyStopping);
                self.stop(actions);
            }
        }
    }

    fn ended(&mut self, role: Role, how: Ending, now_ms: u64, actions: &mut Vec<Action>) {
        self.lives.remove(&role);
        match self.phase {
            _ if self.is_refused(role, how) => actions.push(Action::Refuse),
            Phase::Serving if role == Role::Broker => {
                self.phase = Phase::Renewing;
                self.kill_workers(actions);
                self.renew(now_ms, actions);
            }
            Phase::Serving => {
                actions.push(Action::Tell(SupervisorNotice::Ended { role, how }));
                let unit = Unit::of(role);
                for sibling in unit.roles() {
                    self.kill(*sibling, actions);
                }
                if lost_its_connection(role, how) {
                    self.connection_lost(unit, now_ms);
                } else if !unit.roles().iter().any(|sibling| self.lives.contains_key(sibling)) {
                    self.restart(unit, now_ms, actions);
                }
            }
            Phase::Renewing => self.renew(now_ms, actions),
            Phase::Stopping => self.stop(actions),
        }
    }

    /// A process has said that its display or bus is gone.
    fn connection_lost(&mut self, unit: Unit, now_ms: u64) {
        let retry = self.retries.entry(unit).or_default();
        let was_seen = now_ms.saturating_sub(retry.since_ms) >= SEEN_MS;
        let longer_ms = retry.waited_ms.saturating_mul(2).clamp(RETRY_MS, RETRY_MS_MAX);
        retry.waited_ms = if was_seen { RETRY_MS } else { longer_ms };
        retry.due_ms = Some(now_ms.saturating_add(retry.waited_ms));
    }

    /// There was none to begin with. The broker does not know of this process.
    fn unconnected(&mut self, role: Role, now_ms: u64, actions: &mut Vec<Action>) {
        self.lives.remove(&role);
        match self.phase {
            Phase::Serving => {
                let due_ms = Some(now_ms.saturating_add(RETRY_MS));
                self.retries.insert(Unit::of(role), Retry { due_ms, ..Retry::default() });
            }
            Phase::Renewing => self.renew(now_ms, actions),
            Phase::Stopping => self.stop(actions),
        }
    }

    fn tick(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if self.phase != Phase::Serving {
            return;
        }
        let is_due = |retry: &Retry| retry.due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let due: Vec<Unit> =
            self.retries.iter().filter(|(_, retry)| is_due(retry)).map(|(unit, _)| *unit).collect();
        for unit in due {
            self.start(unit, actions);
        }
    }

    /// Begins anew once nothing lives any more.
    fn renew(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if self.lives.is_empty() {
            if self.may_restart(Unit::Broker, now_ms) {
                self.phase = Phase::Serving;
                self.start_all(actions);
            } else {
                actions.push(Action::GiveUp(Unit::Broker));
            }
        }
    }

    /// Ends the workers, then the broker, which has the journal, then the daemon.
    fn stop(&mut self, actions: &mut Vec<Action>) {
        self.kill_workers(actions);
        if self.lives.is_empty() {
            actions.push(Action::Exit);
        } else if self.lives.keys().all(|role| *role == Role::Broker) {
            self.kill(Role::Broker, actions);
        }
    }

    fn restart(&mut self, unit: Unit, now_ms: u64, actions: &mut Vec<Action>) {
        if self.may_restart(unit, now_ms) {
            self.start(unit, actions);
        } else {
            actions.push(Action::GiveUp(unit));
        }
    }

    /// Counts one more restart of a unit, if it may have one.
    fn may_restart(&mut self, unit: Unit, now_ms: u64) -> bool {
        let restarts_ms = self.restarts_ms.entry(unit).or_default();
        restarts_ms.retain(|then_ms| now_ms.saturating_sub(*then_ms) < RESTART_WINDOW_MS);
        if restarts_ms.len() >= RESTARTS_MAX {
            return false;
        }
        restarts_ms.push_back(now_ms);
        true
    }

    fn start_all(&mut self, actions: &mut Vec<Action>) {
        for unit in Unit::ALL {
            let is_wanted = match unit {
                Unit::Broker | Unit::Attacher | Unit::Monitoring | Unit::Control => true,
                Unit::Dialog => self.wanted.dialog,
                Unit::Launcher => self.wanted.launcher,
                Unit::Notifier => self.wanted.notifier,
            };
            if is_wanted {
                self.start(unit, actions);
            }
        }
    }

    fn start(&mut self, unit: Unit, actions: &mut Vec<Action>) {
        // Made here, so that the start's time is remembered for a unit that may lose its display or bus.
        if matches!(unit, Unit::Dialog | Unit::Notifier) {
            self.retries.entry(unit).or_default().due_ms = None;
        }
        self.lives.extend(unit.roles().iter().map(|role| (*role, Life::Running)));
        actions.push(Action::Start(unit));
    }

    fn kill_workers(&mut self, actions: &mut Vec<Action>) {
        for role in Role::ALL {
            if role != Role::Broker {
                self.kill(role, actions);
            }
        }
    }

    /// Ends a process once; its end is an event of its own.
    fn kill(&mut self, role: Role, actions: &mut Vec<Action>) {
        if let Some(life @ Life::Running) = self.lives.get_mut(&role) {
            *life = Life::Killed;
            actions.push(Action::Kill(role));
        }
    }
}

/// Whether this end means that the display or the bus is gone.
fn lost_its_connection(role: Role, how: Ending) -> bool {
    match role {
        Role::Dialog => how == Ending::Code(i32::from(EXIT_NO_DISPLAY)),
        Role::Notifier => how == Ending::Code(i32::from(EXIT_NO_BUS)),
        Role::Broker | Role::Monitor | Role::Gate | Role::Attacher | Role::Launcher | Role::Control => false,
    }
}

#[cfg(test)]
mod tests;
