//! The VMs: they ask, they die.

use broker::machine::Event;
use protocol::monitor::MonitorEvent;
use protocol::request::{Request, Verb};
use protocol::supervise::Role;
use protocol::types::{Domid, ReqId, Seq, VmName};

use crate::config::{Want, name_of};
use crate::step::Step;
use crate::world::{Asked, Life, Said, World};

/// A VM writes a request, and the monitor says so if it looks at that VM.
pub fn asks(step: &mut Step<'_>, domid: Domid, want: Want) -> Option<()> {
    let world = step.world();
    let after_crash = world.brokers > 0;
    let vm = world.vms.get_mut(&domid)?;
    vm.asks_left = vm.asks_left.checked_sub(1)?;
    vm.requests.push(Asked { want, was_read: false, is_pending: false, answer: None, after_crash });
    is_seen(step, domid);
    Some(())
}

/// The broker hears of the newest request of a VM.
pub fn is_seen(step: &mut Step<'_>, domid: Domid) {
    let world = &step.state.world;
    if world.life(Role::Monitor) != Life::Up || !world.watched.contains(&domid) {
        return;
    }
    if let Some(event) = newest(world, domid) {
        let vm = step.world().vms.get_mut(&domid);
        if let Some(asked) = vm.and_then(|vm| vm.requests.last_mut()) {
            asked.was_read = true;
        }
        step.feed(Event::Monitor(event));
    }
}

fn newest(world: &World, domid: Domid) -> Option<MonitorEvent> {
    let vm = world.vms.get(&domid)?;
    let index = vm.requests.len().checked_sub(1)?;
    let asked = vm.requests.get(index)?;
    let reqid = ReqId::new(index.to_string().as_bytes()).ok();
    let digest = u64::try_from(index).unwrap_or_default();
    let right = seq(1);
    let verb = match asked.want {
        Want::New => Verb::New { size: None },
        Want::Send(to) => Verb::Send { to: name_of(to), seq: None },
        Want::SendDisposable => Verb::SendDisposable { seq: right? },
        Want::Answer(to) => Verb::Send { to: name_of(to), seq: right },
        Want::WrongAnswer(to) => Verb::Send { to: name_of(to), seq: seq(2) },
        Want::Umount => Verb::Umount,
        Want::Killme => Verb::Killme,
        Want::Nonsense => return Some(MonitorEvent::RequestUnparsable { domid, reqid, digest }),
    };
    Some(MonitorEvent::RequestSeen { domid, request: Request { verb, reqid }, digest })
}

fn seq(number: u32) -> Option<Seq> {
    Seq::new(number).ok()
}

/// A VM ends. What it held stays attached to nobody that lives, until the broker has that cleared.
pub fn dies(step: &mut Step<'_>, domid: Domid) {
    let world = step.world();
    world.vms.remove(&domid);
    world.disposables.retain(|_, disposable| *disposable != domid);
    if world.watched.remove(&domid) {
        world.monitor.push_back(Said::Gone(domid));
    }
}

/// A domain appears.
pub fn appears(world: &mut World, domid: Domid) {
    if world.life(Role::Monitor) == Life::Up {
        world.monitor.push_back(Said::Domain(domid));
    }
}

/// The name of a domain as the monitor says it.
#[must_use]
pub fn name(world: &World, domid: Domid) -> Option<VmName> {
    world.vms.get(&domid).map(|vm| vm.name.clone())
}

/// Whose request an event is; 0 for none. Images are numbered for each VM by itself.
#[must_use]
pub fn whom(event: &Event) -> u16 {
    match event {
        Event::Monitor(MonitorEvent::RequestSeen { domid, .. }) => domid.get(),
        Event::Monitor(_)
        | Event::Attacher(_)
        | Event::Dialog(_)
        | Event::Launcher(_)
        | Event::Control(_)
        | Event::Started(_)
        | Event::Ended(..)
        | Event::Tick => 0,
    }
}
