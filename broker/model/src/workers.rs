//! The workers other than the attacher, and how all of them come and go.

use broker::machine::Event;
use protocol::attach::Order;
use protocol::control::{ControlEvent, ControlRequest, Ticket};
use protocol::dialog::{DialogEvent, QuestionId, QuestionKind};
use protocol::launch::{LaunchFailure, LaunchOrder, LaunchOutcome, LaunchRequest};
use protocol::monitor::MonitorEvent;
use protocol::supervise::Role;
use protocol::types::{Domid, ImageId};

use crate::actions::WORKERS;
use crate::step::{self, KILLED, Step};
use crate::world::{Launch, Life, Open, Running, Said, Use, World, Yes};
use crate::{attacher, guests};

/// The domain number of the first DisposableVM.
const FIRST_DISPOSABLE: u16 = 100;

/// The broker hears what the monitor says next.
pub fn hear(step: &mut Step<'_>) -> Option<()> {
    let said = step.world().monitor.pop_front()?;
    match said {
        Said::Domain(domid) => {
            if let Some(name) = guests::name(step.world(), domid) {
                step.world().watched.insert(domid);
                step.feed(Event::Monitor(MonitorEvent::DomainSeen { domid, name }));
                guests::is_seen(step, domid);
            }
        }
        Said::Gone(domid) => step.feed(Event::Monitor(MonitorEvent::DomainGone { domid })),
        Said::Synced => {
            step.world().is_synced = true;
            step.feed(Event::Monitor(MonitorEvent::Synced));
        }
    }
    Some(())
}

/// The launcher gets an order. It refuses one for a number of which another is open.
pub fn ordered(world: &mut World, request: LaunchRequest) {
    let number = |order| match order {
        LaunchOrder::Create { number } | LaunchOrder::Destroy { number } => number,
    };
    let is_taken = world
        .launches
        .iter()
        .any(|open| open.outcome.is_none() && number(open.request.order) == number(request.order));
    let outcome = is_taken.then_some(LaunchOutcome::Failed(LaunchFailure::Conflict));
    world.launches.push(Launch { request, outcome });
}

/// The launcher carries out an order, and has not told it yet.
pub fn launch(step: &mut Step<'_>, nth: usize) -> Option<()> {
    let order = step.world().launches.get(nth)?.request.order;
    match order {
        LaunchOrder::Create { number } => {
            let asks_left = step.config.disposable.asks;
            let world = step.world();
            let made = world.disposables_made;
            let domid = Domid::new(FIRST_DISPOSABLE.saturating_add(made)).ok()?;
            let owner = world.journal.disposables.get(&number).map(|disposable| disposable.owner);
            let name = number.name().ok()?;
            let vm = Running { name, asks_left, requests: Vec::new(), is_disposable: true };
            world.disposables_made = made.saturating_add(1);
            world.vms.insert(domid, vm);
            world.disposables.insert(number, domid);
            world.owners.extend(owner.map(|owner| (domid, owner)));
            guests::appears(world, domid);
        }
        LaunchOrder::Destroy { number } => {
            if let Some(domid) = step.world().disposables.get(&number).copied() {
                guests::dies(step, domid);
            }
        }
    }
    step.world().launches.get_mut(nth)?.outcome = Some(LaunchOutcome::Done);
    Some(())
}

/// The person answers a question at the dialog.
pub fn person(step: &mut Step<'_>, id: QuestionId, yes: bool) -> Option<()> {
    let open = step.world().questions.get(&id).cloned()?;
    step.settle_question(id);
    permit(step.world(), open, yes);
    step.feed(Event::Dialog(DialogEvent::Answer { id, yes }));
    Some(())
}

/// A yes is good for what was asked, and for the requests that it can have been asked for.
fn permit(world: &mut World, open: Open, yes: bool) {
    if !yes || open.kind != QuestionKind::Transfer {
        return;
    }
    let asked = world.vms.get(&open.source).map(|vm| vm.requests.as_slice()).unwrap_or_default();
    let waiting = asked.iter().enumerate().filter(|(_, asked)| asked.answer.is_none());
    let requests = waiting.map(|(index, _)| index).collect();
    let Open { source, image, target, .. } = open;
    world.yes.push(Yes { source, image, target, requests, used: Use::Unused });
}

/// A dialog says yes to what is settled.
pub fn late_yes(step: &mut Step<'_>, id: QuestionId) {
    step.feed(Event::Dialog(DialogEvent::Answer { id, yes: true }));
}

/// The person answers by `qfilexchgctl`, perhaps too late.
pub fn control_answers(step: &mut Step<'_>, id: QuestionId, yes: bool) -> Option<()> {
    if let Some(open) = step.world().questions.get(&id).cloned() {
        permit(step.world(), open, yes);
    }
    control(step, ControlRequest::Answer { id, yes })
}

/// Somebody takes a pendrive away.
pub fn kill(step: &mut Step<'_>, image: ImageId) -> Option<()> {
    control(step, ControlRequest::Kill { image })
}

fn control(step: &mut Step<'_>, request: ControlRequest) -> Option<()> {
    let world = step.world();
    world.budget.controls = world.budget.controls.checked_sub(1)?;
    world.tickets = world.tickets.saturating_add(1);
    let ticket = Ticket(world.tickets);
    step.feed(Event::Control(ControlEvent::Asked { ticket, uid: 0, request }));
    Some(())
}

/// A worker ends. The orders in the set were carried out, and nobody was told.
pub fn ends(step: &mut Step<'_>, role: Role, set: u8) {
    falls(step, role, set);
    step.world().lives.insert(role, Life::Down);
    step.feed(Event::Ended(role, KILLED));
}

fn falls(step: &mut Step<'_>, role: Role, set: u8) {
    match role {
        Role::Attacher => {
            let effects: Vec<usize> = step::effects(step.world()).collect();
            let is_done = |bit: usize| set == u8::MAX || (bit < 8 && set >> bit & 1 == 1);
            let done: Vec<usize> = effects
                .into_iter()
                .enumerate()
                .filter(|(bit, _)| is_done(*bit))
                .map(|(_, nth)| nth)
                .collect();
            for nth in done.iter().copied() {
                // A reply is written only after those that were given before it.
                let is_whole = (0..nth).all(|before| done.contains(&before) || can_follow(step, before, nth));
                let order = step.world().orders.get(nth).map(|request| request.order.clone());
                if let Some(order) = order.filter(|_| is_whole) {
                    attacher::carry_out(step.config, step.world(), &order);
                }
            }
            step.world().orders.clear();
        }
        Role::Monitor => {
            step.world().monitor.clear();
            step.world().watched.clear();
            step.world().is_synced = false;
        }
        Role::Dialog => {
            let open: Vec<QuestionId> = step.world().questions.keys().copied().collect();
            open.into_iter().for_each(|id| step.settle_question(id));
        }
        Role::Launcher => step.world().launches.clear(),
        Role::Control => step.world().tickets = 0,
        Role::Broker | Role::Gate | Role::Notifier => {}
    }
}

/// Whether of two orders the later one may be carried out without the earlier one.
fn can_follow(step: &mut Step<'_>, before: usize, after: usize) -> bool {
    let mut order = |nth: usize| step.world().orders.get(nth).map(|request| request.order.clone());
    match (order(before), order(after)) {
        (Some(Order::Answer { domid: first, .. }), Some(Order::Answer { domid: second, .. })) => {
            first != second
        }
        _ => true,
    }
}

/// A worker is started, and the broker gets its end of the edge.
pub fn starts(step: &mut Step<'_>, role: Role) {
    let world = step.world();
    world.lives.insert(role, Life::Up);
    if role == Role::Monitor {
        world.monitor = world.vms.keys().copied().map(Said::Domain).chain([Said::Synced]).collect();
    }
    step.feed(Event::Started(role));
}

/// The broker ends, and every worker with it. All are started anew.
pub fn broker_ends(step: &mut Step<'_>, set: u8) {
    for role in WORKERS {
        falls(step, role, set);
    }
    step.world().brokers = step.world().brokers.saturating_add(1);
    step.world().is_ready = false;
    all_start(step);
}

/// The daemon starts.
pub fn all_start(step: &mut Step<'_>) {
    step.new_broker();
    for role in [Role::Attacher, Role::Launcher, Role::Monitor, Role::Dialog, Role::Control] {
        if step.world().lives.contains_key(&role) {
            starts(step, role);
        }
    }
}
