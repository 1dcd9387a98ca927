//! What can happen next.

use protocol::attach::Order;
use protocol::dialog::QuestionId;
use protocol::supervise::Role;
use protocol::types::{Domid, ImageId};

use crate::config::{Config, Want};
use crate::step;
use crate::world::{Life, State, World};

/// The workers that can die one by one.
pub const WORKERS: [Role; 5] = [Role::Attacher, Role::Monitor, Role::Dialog, Role::Launcher, Role::Control];
/// Of so many open orders each may or may not have been carried out when the attacher ends.
const UNTOLD_MAX: usize = 3;

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A VM writes a request.
    Ask(Domid, Want),
    /// The watch of a VM's newest request fires once more.
    Repeat(Domid),
    /// A VM ends.
    Dies(Domid),
    /// The broker hears what the monitor says next.
    Hear,
    /// The attacher carries out one of its orders, by its place among them, and says so.
    Carry(usize),
    /// It cannot, and says so.
    Fail(usize),
    /// The launcher carries out one of its orders.
    Launch(usize),
    /// The launcher says how one of its orders ended.
    TellLaunch(usize),
    /// The launcher cannot carry out one of its orders, and says so.
    FailLaunch(usize),
    /// A worker answers an order that is not open.
    AnswerTwice(Role),
    /// The person answers at the dialog.
    Person(QuestionId, bool),
    /// A dialog says *yes* to a question that is settled.
    LateYes(QuestionId),
    /// The person answers by `qfilexchgctl`.
    Control(QuestionId, bool),
    /// Somebody takes a pendrive away by `qfilexchgctl`.
    Kill(ImageId),
    /// Time passes until the broker has something to do about it.
    Later,
    /// A worker ends. The orders in the set were carried out, and nobody was told.
    Crash(Role, u8),
    /// A worker ends that the broker wanted ended.
    End(Role, u8),
    /// A worker is started anew.
    Start(Role),
    /// The broker ends, and with it all workers; all are started anew. The set is as above.
    CrashBroker(u8),
    /// The broker ends after so many of the actions that the event asks for, and everything as above.
    Cut(Box<Act>, usize, u8),
}

/// Everything that can happen in this state.
pub fn all(config: &Config, state: &State, acts: &mut Vec<Act>) {
    let world = &state.world;
    if world.wrong.is_some() {
        return;
    }
    workers_come_and_go(world, acts);
    events(config, state, acts);
    mishaps(world, acts);
    if world.budget.broker_crashes > 0 {
        let events: Vec<Act> = acts.iter().filter(|act| is_event(act)).cloned().collect();
        for act in events {
            let (count, orders) = step::count(config, state, &act);
            for cut in 1..count {
                acts.push(Act::Cut(Box::new(act.clone()), cut, 0));
                if orders > 0 {
                    acts.push(Act::Cut(Box::new(act.clone()), cut, u8::MAX));
                }
            }
        }
        acts.extend(untold(world).map(Act::CrashBroker));
    }
}

/// What workers and VMs do when all is well.
fn events(config: &Config, state: &State, acts: &mut Vec<Act>) {
    let world = &state.world;
    for (domid, vm) in &world.vms {
        let waits = config.is_patient && vm.requests.last().is_some_and(|asked| asked.answer.is_none());
        if vm.asks_left > 0 && !waits {
            let guest = if vm.is_disposable {
                Some(&config.disposable)
            } else {
                config.guests.get(usize::from(domid.get()).saturating_sub(1))
            };
            let wants = guest.map(|guest| guest.wants.as_slice()).unwrap_or_default();
            acts.extend(wants.iter().map(|want| Act::Ask(*domid, *want)));
        }
    }
    if world.life(Role::Monitor) == Life::Up && !world.monitor.is_empty() {
        acts.push(Act::Hear);
    }
    if world.life(Role::Attacher) == Life::Up {
        acts.extend((0..world.orders.len()).filter(|nth| is_next(world, *nth)).map(Act::Carry));
    }
    if world.life(Role::Launcher) == Life::Up {
        for (nth, launch) in world.launches.iter().enumerate() {
            acts.push(if launch.outcome.is_some() { Act::TellLaunch(nth) } else { Act::Launch(nth) });
        }
    }
    if world.life(Role::Dialog) == Life::Up {
        for id in world.questions.keys() {
            acts.push(Act::Person(*id, true));
            if config.person_refuses {
                acts.push(Act::Person(*id, false));
            }
        }
    }
    let may_pass = world.is_idle() || world.budget.delays > 0;
    if may_pass
        && state.machine.next_deadline().is_some()
        && (config.person_refuses || world.questions.is_empty())
    {
        acts.push(Act::Later);
    }
}

fn workers_come_and_go(world: &World, acts: &mut Vec<Act>) {
    for role in WORKERS {
        match world.life(role) {
            Life::Up => {}
            Life::Down if world.lives.contains_key(&role) => acts.push(Act::Start(role)),
            Life::Down => {}
            Life::Condemned if role == Role::Attacher => {
                acts.extend(untold(world).map(|set| Act::End(role, set)));
            }
            Life::Condemned => acts.push(Act::End(role, 0)),
        }
    }
}

/// What goes wrong, as long as the budget lasts.
fn mishaps(world: &World, acts: &mut Vec<Act>) {
    let budget = world.budget;
    let is_up = |role: Role| world.life(role) == Life::Up;
    if budget.deaths > 0 {
        acts.extend(world.vms.keys().copied().map(Act::Dies));
    }
    if budget.crashes > 0 {
        for role in WORKERS.into_iter().filter(|role| is_up(*role)) {
            // A launcher that has carried out an order and not told it is a state of its own.
            if role == Role::Attacher {
                acts.extend(untold(world).map(|set| Act::Crash(role, set)));
            } else {
                acts.push(Act::Crash(role, 0));
            }
        }
    }
    if budget.failures > 0 {
        if is_up(Role::Attacher) {
            acts.extend((0..world.orders.len()).filter(|nth| can_fail(world, *nth)).map(Act::Fail));
        }
        if is_up(Role::Launcher) {
            let open = world.launches.iter().enumerate().filter(|(_, launch)| launch.outcome.is_none());
            acts.extend(open.map(|(nth, _)| Act::FailLaunch(nth)));
        }
    }
    if budget.repeats > 0 {
        let asked = world.vms.iter().filter(|(domid, vm)| {
            !vm.requests.is_empty() && is_up(Role::Monitor) && world.watched.contains(domid)
        });
        acts.extend(asked.map(|(domid, _)| Act::Repeat(*domid)));
        for role in [Role::Attacher, Role::Launcher] {
            if is_up(role) {
                acts.push(Act::AnswerTwice(role));
            }
        }
        if is_up(Role::Dialog) {
            acts.extend(world.settled.keys().copied().map(Act::LateYes));
        }
    }
    if budget.controls > 0 && is_up(Role::Control) {
        for id in world.questions.keys().chain(world.settled.keys()) {
            acts.extend([Act::Control(*id, true), Act::Control(*id, false)]);
        }
        acts.extend(world.images.keys().copied().map(Act::Kill));
    }
}

/// Whether the attacher may do this now: replies to one VM are written in the order in which they were given.
pub fn is_next(world: &World, nth: usize) -> bool {
    let whose = |order: &Order| match order {
        Order::Answer { domid, .. } => Some(*domid),
        Order::Inventory
        | Order::MakeQpen { .. }
        | Order::Create { .. }
        | Order::Attach { .. }
        | Order::Detach { .. }
        | Order::Measure { .. }
        | Order::Destroy { .. }
        | Order::ForgetDomain { .. } => None,
    };
    let Some(domid) = world.orders.get(nth).and_then(|request| whose(&request.order)) else { return true };
    !world.orders.iter().take(nth).any(|request| whose(&request.order) == Some(domid))
}

fn can_fail(world: &World, nth: usize) -> bool {
    is_next(world, nth) && world.orders.get(nth).is_some_and(|request| request.order != Order::Inventory)
}

/// The sets of open orders that can have been carried out without the broker's knowing, as bits.
fn untold(world: &World) -> impl Iterator<Item = u8> + use<> {
    let count = step::effects(world).count().min(UNTOLD_MAX);
    0..1_u8.checked_shl(u32::try_from(count).unwrap_or_default()).unwrap_or(1)
}

/// Whether the broker hears of it.
fn is_event(act: &Act) -> bool {
    match act {
        Act::Ask(..)
        | Act::Repeat(_)
        | Act::Hear
        | Act::Carry(_)
        | Act::Fail(_)
        | Act::TellLaunch(_)
        | Act::FailLaunch(_)
        | Act::Person(..)
        | Act::LateYes(_)
        | Act::Control(..)
        | Act::Kill(_)
        | Act::Later
        | Act::Start(_)
        | Act::Crash(..)
        | Act::End(..) => true,
        Act::Dies(_) | Act::Launch(_) | Act::AnswerTwice(_) | Act::CrashBroker(_) | Act::Cut(..) => false,
    }
}
