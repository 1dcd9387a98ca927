//! One thing happens: the machine hears of it, and what it then wants is done.

use std::sync::Arc;

use broker::journal::{Past, Record};
use broker::machine::{Action, Event, Machine, Surroundings};
use protocol::attach::{AttachFailure, AttachReply, AttachRequest, Order, OrderId, Outcome};
use protocol::dialog::{DialogCommand, Question, QuestionId};
use protocol::launch::{LaunchFailure, LaunchId, LaunchOutcome, LaunchReply};
use protocol::supervise::{Ending, Role};
use protocol::types::{Device, ImageId};

use crate::actions::Act;
use crate::config::Config;
use crate::world::{Life, Open, State, World, Wrong};
use crate::{attacher, guests, rest, workers};

/// Questions of each broker are numbered from its own thousand.
const QUESTIONS_PER_BROKER: u64 = 1_000;

/// A step under way.
#[derive(Debug)]
pub struct Step<'a> {
    /// What is explored.
    pub config: &'a Config,
    /// What has become of the state so far.
    pub state: State,
    /// After so many more actions the broker ends.
    cut: Option<usize>,
    /// Actions that reached the journal or another process so far, and how many of them were orders of the attacher.
    done: usize,
    ordered: usize,
    /// The worker that the broker wants ended now.
    condemned: Option<Role>,
}

/// The state after something happened; `None` if it cannot happen after all.
#[must_use]
pub fn next(config: &Config, state: &State, act: &Act) -> Option<State> {
    let mut step = Step::new(config, state.clone());
    if let Act::Cut(act, cut, set) = act {
        let budget = &mut step.state.world.budget;
        budget.broker_crashes = budget.broker_crashes.checked_sub(1)?;
        step.cut = Some(*cut);
        step.happen(act)?;
        workers::broker_ends(&mut step, *set);
    } else {
        step.happen(act)?;
    }
    step.settle();
    if let Act::Ask(domid, _) = act
        && rest::is_serving(state)
        && !rest::is_served_alone(config, &step.state, *domid)
    {
        step.world().is_wrong(Wrong::Delayed);
    }
    Some(step.state)
}

/// How many actions that reach the journal or another process follow from an event, and how many of them are orders
/// of the attacher.
#[must_use]
pub fn count(config: &Config, state: &State, act: &Act) -> (usize, usize) {
    let mut step = Step::new(config, state.clone());
    step.happen(act).map_or((0, 0), |()| (step.done, step.ordered))
}

/// The open orders that change something, by their place among the orders.
pub fn effects(world: &World) -> impl Iterator<Item = usize> {
    let changes = |order: &Order| match order {
        Order::Inventory | Order::MakeQpen { .. } | Order::Measure { .. } => false,
        Order::Answer { .. }
        | Order::Create { .. }
        | Order::Attach { .. }
        | Order::Detach { .. }
        | Order::Destroy { .. }
        | Order::ForgetDomain { .. } => true,
    };
    world.orders.iter().enumerate().filter(move |(_, request)| changes(&request.order)).map(|(nth, _)| nth)
}

impl<'a> Step<'a> {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(config: &'a Config, state: State) -> Self {
        Self { config, state, cut: None, done: 0, ordered: 0, condemned: None }
    }

    /// The world around the machine.
    pub fn world(&mut self) -> &mut World {
        &mut self.state.world
    }

    /// Carries out what the event is.
    fn happen(&mut self, act: &Act) -> Option<()> {
        match act {
            Act::Ask(domid, want) => guests::asks(self, *domid, *want),
            Act::Repeat(domid) => {
                self.world().budget.repeats = self.world().budget.repeats.checked_sub(1)?;
                guests::is_seen(self, *domid);
                Some(())
            }
            Act::Dies(domid) => {
                self.world().budget.deaths = self.world().budget.deaths.checked_sub(1)?;
                guests::dies(self, *domid);
                Some(())
            }
            Act::Hear => workers::hear(self),
            Act::Carry(nth) => self.answer_order(*nth, false),
            Act::Fail(nth) => {
                self.world().budget.failures = self.world().budget.failures.checked_sub(1)?;
                self.answer_order(*nth, true)
            }
            Act::Launch(nth) => workers::launch(self, *nth),
            Act::TellLaunch(nth) => self.answer_launch(*nth),
            Act::FailLaunch(nth) => {
                self.world().budget.failures = self.world().budget.failures.checked_sub(1)?;
                let failed = LaunchOutcome::Failed(LaunchFailure::CommandFailed);
                self.world().launches.get_mut(*nth)?.outcome = Some(failed);
                self.answer_launch(*nth)
            }
            Act::AnswerTwice(role) => {
                self.world().budget.repeats = self.world().budget.repeats.checked_sub(1)?;
                self.feed(twice(*role));
                Some(())
            }
            Act::Person(id, yes) => workers::person(self, *id, *yes),
            Act::LateYes(id) => {
                self.world().budget.repeats = self.world().budget.repeats.checked_sub(1)?;
                workers::late_yes(self, *id);
                Some(())
            }
            Act::Control(id, yes) => workers::control_answers(self, *id, *yes),
            Act::Kill(image) => workers::kill(self, *image),
            Act::Later => self.later(),
            Act::Crash(role, set) => {
                self.world().budget.crashes = self.world().budget.crashes.checked_sub(1)?;
                workers::ends(self, *role, *set);
                Some(())
            }
            Act::End(role, set) => {
                workers::ends(self, *role, *set);
                Some(())
            }
            Act::Start(role) => {
                workers::starts(self, *role);
                Some(())
            }
            Act::CrashBroker(set) => {
                self.world().budget.broker_crashes = self.world().budget.broker_crashes.checked_sub(1)?;
                workers::broker_ends(self, *set);
                Some(())
            }
            Act::Cut(..) => None,
        }
    }

    /// The attacher answers one of its orders.
    pub fn answer_order(&mut self, nth: usize, fails: bool) -> Option<()> {
        if nth >= self.world().orders.len() {
            return None;
        }
        let AttachRequest { id, order } = self.world().orders.remove(nth);
        let outcome = if fails {
            Outcome::Failed(AttachFailure::Io)
        } else {
            attacher::carry_out(self.config, &mut self.state.world, &order)
        };
        self.feed(Event::Attacher(AttachReply::Finished { id, outcome }));
        Some(())
    }

    /// The launcher answers one of its orders.
    pub fn answer_launch(&mut self, nth: usize) -> Option<()> {
        let outcome = self.world().launches.get(nth)?.outcome?;
        let launch = self.world().launches.remove(nth);
        self.feed(Event::Launcher(LaunchReply::Finished { id: launch.request.id, outcome }));
        Some(())
    }

    /// Time passes. A worker that is found silent then counts as one that ended.
    pub fn later(&mut self) -> Option<()> {
        let due = self.state.machine.next_deadline()?;
        if !self.world().is_idle() {
            self.world().budget.delays = self.world().budget.delays.checked_sub(1)?;
        }
        self.world().now = self.world().now.max(due);
        self.feed(Event::Tick);
        if self.condemned.is_some() {
            self.world().budget.crashes = self.world().budget.crashes.checked_sub(1)?;
        }
        Some(())
    }

    /// The machine hears of an event, and what it wants is done.
    pub fn feed(&mut self, event: Event) {
        if self.cut == Some(0) {
            return;
        }
        let State { machine, world } = &mut self.state;
        let hint = guests::whom(&event);
        let mut fresh_image = || {
            let made = world.made.entry(hint).or_default();
            *made = made.saturating_add(1);
            let mut bytes = [0; 16];
            bytes[14] = u8::try_from(hint).unwrap_or(u8::MAX);
            bytes[15] = *made;
            ImageId(bytes)
        };
        let mut around = Surroundings { now: world.now, fresh_image: &mut fresh_image };
        let actions = Arc::make_mut(machine).step(event, &mut around);
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        let is_inner = matches!(action, Action::Log(..) | Action::Notify(_) | Action::TellLog { .. });
        if is_inner || self.cut == Some(0) {
            return;
        }
        self.cut = self.cut.map(|left| left.saturating_sub(1));
        self.done = self.done.saturating_add(1);
        match action {
            Action::Record(record) => self.keep(&record),
            Action::Order(request) => {
                self.ordered = self.ordered.saturating_add(1);
                if self.world().life(Role::Attacher) == Life::Up {
                    self.world().orders.push(request);
                }
            }
            Action::Launch(request) => {
                if self.world().life(Role::Launcher) == Life::Up {
                    workers::ordered(self.world(), request);
                }
            }
            Action::Dialog(command) => self.tell_dialog(command),
            Action::Restart(role) => {
                self.condemned = Some(role);
                self.world().lives.insert(role, Life::Condemned);
                if role == Role::Monitor {
                    self.world().monitor.clear();
                }
            }
            Action::Ready => self.world().is_ready = true,
            Action::Control(_) | Action::Notify(_) | Action::TellLog { .. } | Action::Log(..) => {}
        }
    }

    fn keep(&mut self, record: &Record) {
        self.world().journal.apply(record);
    }

    fn tell_dialog(&mut self, command: DialogCommand) {
        match command {
            DialogCommand::Ask(question) => self.asked(question),
            DialogCommand::Withdraw { id } => self.settle_question(id),
            DialogCommand::Tell(_) => {}
        }
    }

    fn asked(&mut self, question: Question) {
        let world = self.world();
        let source = world.vms.iter().find(|(_, vm)| vm.name == question.source).map(|(domid, _)| *domid);
        if let Some(source) = source
            && world.life(Role::Dialog) == Life::Up
        {
            let image = world.held(source, Device::Outgoing);
            let open = Open { kind: question.kind, source, target: question.target, image };
            world.questions.insert(question.id, open);
        }
    }

    /// A question is open no longer.
    pub fn settle_question(&mut self, id: QuestionId) {
        if let Some(open) = self.world().questions.remove(&id) {
            self.world().settled.insert(id, open);
        }
    }

    /// What takes no time in this configuration is done, and what must hold after every step is checked.
    fn settle(&mut self) {
        self.cut = None;
        while !self.config.replies_wait && self.world().life(Role::Attacher) == Life::Up {
            let at_once = |order: &Order| match order {
                Order::Answer { .. } | Order::MakeQpen { .. } | Order::ForgetDomain { .. } => true,
                Order::Inventory
                | Order::Create { .. }
                | Order::Attach { .. }
                | Order::Detach { .. }
                | Order::Measure { .. }
                | Order::Destroy { .. } => false,
            };
            let Some(nth) = self.world().orders.iter().position(|request| at_once(&request.order)) else {
                break;
            };
            if self.answer_order(nth, false).is_none() {
                break;
            }
        }
        self.check_journal();
    }

    /// The journal is as good as the machine's own memory.
    fn check_journal(&mut self) {
        if self.config.budget.broker_crashes == 0 {
            // Nobody will read it.
            return;
        }
        let boot_id = self.config.settings().boot_id;
        let known = Past::from_records(&self.state.machine.snapshot(), boot_id);
        let kept = &self.state.world.journal;
        if kept.pendrives != known.pendrives || kept.disposables != known.disposables {
            self.world().is_wrong(Wrong::JournalBehind);
        }
    }

    /// A broker begins, with what the journal holds.
    pub fn new_broker(&mut self) {
        let first = u64::from(self.world().brokers).saturating_mul(QUESTIONS_PER_BROKER).saturating_add(1);
        let past = self.world().journal.clone();
        let settings = self.config.settings();
        let boot_id = settings.boot_id;
        let machine = Machine::new(settings, self.config.policy(), past, first);
        self.world().journal = Past::from_records(&machine.snapshot(), boot_id);
        self.state.machine = Arc::new(machine);
        self.cut = None;
    }
}

fn twice(role: Role) -> Event {
    if role == Role::Launcher {
        let id = LaunchId(u64::MAX);
        Event::Launcher(LaunchReply::Finished { id, outcome: LaunchOutcome::Done })
    } else {
        Event::Attacher(AttachReply::Finished { id: OrderId(0), outcome: Outcome::Done })
    }
}

/// How a worker ends that was killed.
pub const KILLED: Ending = Ending::Signal(9);
