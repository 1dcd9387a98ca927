//! What the model checker found (docs/model.md), each as the shortest way there.

use protocol::attach::Order;
use protocol::launch::{LaunchFailure, LaunchOrder, LaunchOutcome, LaunchReply};
use protocol::reply::Code::{Busy, Denied, Pending};
use protocol::request::Verb;

use broker::machine::{Event, LAUNCH_AGAIN_MS};

use crate::world::{FIRST_DISPOSABLE, Fate, World, domid, name, seq};

/// A DisposableVM is ordered for `mail`, and the launcher has not said anything yet.
fn ordered(policy: &str) -> World {
    let mut world = World::with_policy(&["mail", "work"], policy);
    world.new_pendrive(1, "n");
    world.ask(1, Verb::SendDisposable { seq: seq(7) }, "open");
    while world.carry_out(Fate::Done) {}
    assert_eq!(world.codes(1, "open"), [Pending]);
    assert_eq!(world.launches.len(), 1);
    world
}

/// The real launcher refuses an order for a number of which another order is open.
fn refuse_conflicting(world: &mut World) {
    while world.launches.len() > 1 {
        let id = world.launches.remove(1).unwrap().id;
        let outcome = LaunchOutcome::Failed(LaunchFailure::Conflict);
        world.event(Event::Launcher(LaunchReply::Finished { id, outcome }));
    }
}

#[test]
fn one_that_is_made_long_after_its_owner_went_is_destroyed() {
    for fate in [Ok(()), Err(LaunchFailure::CommandFailed)] {
        let mut world = ordered("dvm * * allow");
        world.gone(1);
        for _ in 0..4 {
            refuse_conflicting(&mut world);
            while world.carry_out(Fate::Done) {}
            world.now += LAUNCH_AGAIN_MS;
            world.event(Event::Tick);
        }
        refuse_conflicting(&mut world);
        world.carry_out_launch(fate);
        let order = world.launches.front().map(|launch| launch.order);
        assert!(matches!(order, Some(LaunchOrder::Destroy { .. })), "{fate:?}: {order:?}");
        world.later(LAUNCH_AGAIN_MS);
        assert!(world.disposables.is_empty() && world.images.is_empty(), "{fate:?}");
    }
}

#[test]
fn one_that_asks_before_the_launcher_has_answered_is_held_for_no_other_vm() {
    let mut world = ordered("dvm * * allow\ncopy * * allow");
    let made = world.launches.front().copied().unwrap();
    let LaunchOrder::Create { number } = made.order else { panic!("{made:?}") };
    world.disposables.insert(number, domid(FIRST_DISPOSABLE));
    world.appears(FIRST_DISPOSABLE, "disp1");
    world.ask(FIRST_DISPOSABLE, Verb::New { size: None }, "n");
    while world.carry_out(Fate::Done) {}
    world.ask(FIRST_DISPOSABLE, Verb::Send { to: name("work"), seq: None }, "s");
    while world.carry_out(Fate::Done) {}
    assert_eq!(world.codes(FIRST_DISPOSABLE, "s"), [Denied]);
    assert!(world.images.values().all(|holder| holder.is_none_or(|(at, _)| at != domid(2))));
    assert_eq!(world.launches.front(), Some(&made));
}

#[test]
fn a_refusal_that_was_given_right_before_a_crash_is_not_followed_by_another_reply() {
    let mut world = World::new(&["work", "vault"]);
    world.ask(1, Verb::Send { to: name("vault"), seq: None }, "s");
    // Written to xenstore; the broker ends before it hears so.
    let given = match world.orders.pop_front().map(|request| request.order) {
        Some(Order::Answer { reply, .. }) => reply,
        other => panic!("{other:?}"),
    };
    assert_eq!(given.code, Busy);
    world.boot();
    world.ask(1, Verb::Umount, "u");
    world.work();
    let again: Vec<_> = world.replies.iter().filter(|(_, reply)| reply.reqid == given.reqid).collect();
    assert!(again.iter().all(|(_, reply)| *reply == given), "{given:?}, then {again:?}");
    assert_eq!(world.codes(1, "u"), [Busy]);
}
