//! What becomes of a state when no more is asked and nothing more goes wrong.

use std::collections::HashSet;
use std::sync::Mutex;

use protocol::attach::Order;
use protocol::supervise::Role;
use protocol::types::Domid;

use crate::actions::{Act, WORKERS};
use crate::config::{Config, Want};
use crate::guests;
use crate::step::{self, Step};
use crate::world::{Life, State, World};

/// After so many steps something goes round in circles.
const STEPS_MAX: usize = 2_000;

/// States that are known to come to rest as they should.
#[derive(Debug, Default)]
pub struct Known(Mutex<HashSet<u64>>);

impl Known {
    fn has(&self, state: u64) -> bool {
        self.0.lock().is_ok_and(|known| known.contains(&state))
    }

    fn add(&self, states: Vec<u64>) {
        if let Ok(mut known) = self.0.lock() {
            known.extend(states);
        }
    }
}

/// What happens next when nothing goes wrong and the person is away. `None` at rest.
fn onward(state: &State) -> Option<Act> {
    let world = &state.world;
    for role in WORKERS {
        match world.life(role) {
            Life::Up => {}
            Life::Condemned => return Some(Act::End(role, 0)),
            Life::Down if world.lives.contains_key(&role) => return Some(Act::Start(role)),
            Life::Down => {}
        }
    }
    if !world.monitor.is_empty() {
        return Some(Act::Hear);
    }
    if let Some(launch) = world.launches.first() {
        return Some(if launch.outcome.is_some() { Act::TellLaunch(0) } else { Act::Launch(0) });
    }
    if !world.orders.is_empty() {
        return Some(Act::Carry(0));
    }
    state.machine.next_deadline().map(|_| Act::Later)
}

/// Whether nothing happens any more of itself.
#[must_use]
pub fn is_at_rest(state: &State) -> bool {
    onward(state).is_none()
}

/// Whether the state comes to rest, with every request answered and nothing left behind; and whether everything is
/// gone when then all VMs end.
#[must_use]
pub fn comes_to_rest(config: &Config, state: &State, known: &Known) -> bool {
    let mut passed = Vec::new();
    let mut state = state.clone();
    for _ in 0..STEPS_MAX {
        let number = state.number();
        if state.world.wrong.is_some() || known.has(number) {
            known.add(passed);
            return true;
        }
        passed.push(number);
        let Some(act) = onward(&state) else {
            let is_well = all_answered(&state) && nothing_left(&state) && drains(config, &state, known);
            if is_well {
                known.add(passed);
            }
            return is_well;
        };
        let Some(next) = step::next(config, &state, &act) else { return false };
        state = next;
    }
    false
}

/// Whether every request that a running VM can wait for has its final reply.
fn all_answered(state: &State) -> bool {
    state.world.vms.values().all(|vm| {
        let newest = vm.requests.len().saturating_sub(1);
        vm.requests.iter().enumerate().all(|(index, asked)| {
            // A request that was overwritten before it was read was never made; nor was one that a new broker could not
            // read any more.
            let is_lost = index < newest && (!asked.was_read || state.world.brokers > 0);
            asked.answer.is_some() || is_lost
        })
    })
}

/// Whether every image is held by a VM that runs.
fn nothing_left(state: &State) -> bool {
    let runs = |domid: Domid| state.world.vms.contains_key(&domid);
    state.world.images.values().all(|image| image.holder.is_some_and(|(domid, _)| runs(domid)))
}

/// Whether nothing is left after all VMs that the daemon did not make have ended.
fn drains(config: &Config, state: &State, known: &Known) -> bool {
    if state.world.vms.is_empty() {
        return state.world.images.is_empty() && state.world.disposables.is_empty();
    }
    let mut step = Step::new(config, state.clone());
    let all = state.world.vms.iter().filter(|(_, vm)| !vm.is_disposable);
    let all: Vec<Domid> = all.map(|(domid, _)| *domid).collect();
    if all.is_empty() {
        return false;
    }
    all.into_iter().for_each(|domid| guests::dies(&mut step, domid));
    comes_to_rest(config, &step.state, known)
}

/// Whether the broker decides requests at once.
#[must_use]
pub fn is_serving(state: &State) -> bool {
    let world = &state.world;
    let stock = world.orders.iter().any(|request| request.order == Order::Inventory);
    world.is_ready
        && world.is_synced
        && world.life(Role::Attacher) == Life::Up
        && world.life(Role::Monitor) == Life::Up
        && !stock
}

/// Whether a VM's newest request is answered, or pending for a reason, although nobody else does anything: the other
/// VMs' orders are not carried out, no question is answered, and no time passes.
#[must_use]
pub fn is_served_alone(config: &Config, state: &State, domid: Domid) -> bool {
    let mut state = state.clone();
    if state.machine.next_deadline().is_some() && config.budget.failures > state.world.budget.failures {
        // Its own device may be in trouble.
        return true;
    }
    for _ in 0..STEPS_MAX {
        if !state.world.watched.contains(&domid) || state.world.wrong.is_some() {
            return true;
        }
        let Some(asked) = state.world.newest(domid) else { return true };
        let may_wait = match asked.want {
            Want::Send(_) | Want::SendDisposable | Want::Answer(_) | Want::WrongAnswer(_) => true,
            Want::New | Want::Umount | Want::Killme | Want::Nonsense => false,
        };
        if asked.answer.is_some() || (may_wait && asked.is_pending) {
            return true;
        }
        let Some(nth) =
            state.world.orders.iter().position(|request| is_of(&state.world, &request.order, domid))
        else {
            return false;
        };
        let mut step = Step::new(config, state);
        if step.answer_order(nth, false).is_none() {
            return false;
        }
        state = step.state;
    }
    false
}

/// Whether an order is about a VM's own device, or its own request.
fn is_of(world: &World, order: &Order, domid: Domid) -> bool {
    let held_last = |image| world.images.get(image).is_some_and(|image| image.last == Some(domid));
    match order {
        Order::Inventory => false,
        Order::MakeQpen { domid: whose } | Order::ForgetDomain { domid: whose } => *whose == domid,
        Order::Answer { domid: whose, .. } => *whose == domid,
        Order::Create { label, .. } => world.vms.get(&domid).is_some_and(|vm| vm.name == *label),
        Order::Attach { image, domid: whose, .. } | Order::Detach { image, domid: whose, .. } => {
            *whose == domid || held_last(image)
        }
        Order::Measure { image } | Order::Destroy { image } => held_last(image),
    }
}

/// Lets everything happen that happens of itself.
pub fn settle_down(config: &Config, state: &mut State) {
    for _ in 0..STEPS_MAX {
        let next = onward(state).and_then(|act| step::next(config, state, &act));
        match next {
            Some(next) => *state = next,
            None => return,
        }
    }
}
