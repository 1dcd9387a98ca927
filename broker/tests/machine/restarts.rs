//! Restarts of the daemon and of its workers, and workers that lie.

use broker::machine::{Event, LISTING_MS_MAX, SIDE_ORDERS_OPEN_MAX};
use protocol::attach::{AttachReply, Order, Outcome};
use protocol::dialog::DialogEvent;
use protocol::monitor::MonitorEvent;
use protocol::reply::Code::{Failed, Invalid, Ok as Granted, Pending};
use protocol::request::Verb;
use protocol::supervise::{Ending, Role};
use protocol::types::Device;

use crate::world::{Fate, World, domid, name, order_id, settings};

#[test]
fn each_restart_of_the_attacher_during_a_transfer_ends_in_one_reply_and_no_leak() {
    for steps in 0..14 {
        let mut world = World::with_policy(&["work", "vault"], "copy * * allow");
        let mut done = 0;
        let mut crash = |world: &mut World| {
            while !world.orders.is_empty() {
                if done == steps {
                    world.worker_dies(Role::Attacher);
                }
                done += 1;
                world.carry_out(Fate::Done);
            }
        };
        world.ask(1, Verb::New { size: None }, "n");
        crash(&mut world);
        if world.codes(1, "n") == [Failed] {
            world.new_pendrive(1, "n2");
        }
        world.ask(1, Verb::Send { to: name("vault"), seq: None }, "s");
        crash(&mut world);
        assert_eq!(world.codes(1, "s"), [Granted], "crash before order {steps}");
        world.ask(2, Verb::Umount, "u");
        crash(&mut world);
        assert_eq!(world.codes(2, "u"), [Granted], "crash before order {steps}");
        assert!(world.images.is_empty(), "crash before order {steps}");
    }
}

#[test]
fn each_restart_of_the_daemon_during_a_transfer_ends_in_one_reply_and_no_leak() {
    for steps in 0..14 {
        let mut world = World::with_policy(&["work", "vault"], "copy * * allow");
        let mut done = 0;
        let mut crash = |world: &mut World| {
            while !world.orders.is_empty() {
                if done == steps {
                    world.boot();
                }
                done += 1;
                world.carry_out(Fate::Done);
            }
        };
        world.ask(1, Verb::New { size: None }, "n");
        crash(&mut world);
        assert_eq!(world.codes(1, "n").len(), 1, "crash before order {steps}");
        if world.codes(1, "n") == [Failed] {
            world.new_pendrive(1, "n2");
        }
        world.ask(1, Verb::Send { to: name("vault"), seq: None }, "s");
        crash(&mut world);
        assert_eq!(world.codes(1, "s"), [Granted], "crash before order {steps}");
        world.ask(2, Verb::Umount, "u");
        crash(&mut world);
        assert_eq!(world.codes(2, "u"), [Granted], "crash before order {steps}");
        assert!(world.images.is_empty(), "crash before order {steps}");
    }
}

#[test]
fn a_monitor_that_gives_a_number_another_name_after_the_yes_leads_nothing_elsewhere() {
    let mut world = World::new(&["work", "evil"]);
    let tell = |world: &mut World, called: &str| {
        let (domid, name) = (domid(2), name(called));
        world.event(Event::Monitor(MonitorEvent::DomainSeen { domid, name }));
    };
    tell(&mut world, "vault");
    world.new_pendrive(1, "n");
    world.ask(1, Verb::Send { to: name("vault"), seq: None }, "s");
    world.work();
    let id = *world.questions.keys().next().unwrap();
    world.answers(id, true);
    tell(&mut world, "evil");
    world.work();
    assert_eq!(world.codes(1, "s"), [Pending, Failed]);
    assert!(world.images.is_empty(), "it has left work, and reached nobody");
}

#[test]
fn a_yes_is_not_carried_over_a_restart() {
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    let asked = *world.questions.keys().next().unwrap();
    world.boot();
    world.work();
    assert_eq!(world.codes(1, "s"), [Pending, Failed]);
    world.event(Event::Dialog(DialogEvent::Answer { id: asked, yes: true }));
    world.work();
    assert_eq!(world.holders(), [(domid(1), Device::Outgoing)]);
}

#[test]
fn a_value_that_was_there_before_the_daemon_is_a_request_unless_it_was_served() {
    let mut world = World::new(&["work"]);
    world.new_pendrive(1, "");
    assert_eq!(world.codes(1, ""), [Granted]);
    world.boot();
    world.work();
    assert_eq!(world.codes(1, ""), [Granted], "served before");
    world.journal.clear();
    world.boot();
    world.work();
    assert_eq!(world.codes(1, ""), [Granted, Granted], "a lost journal knows of no request and no image");
    assert_eq!(world.images.len(), 1);
}

#[test]
fn l3_images_of_an_earlier_run_of_the_host_are_destroyed() {
    let mut world = World::new(&["work"]);
    world.new_pendrive(1, "n");
    let old = *world.images.keys().next().unwrap();
    let mut settings = settings();
    settings.boot_id = [8; 16];
    let mut next = World::with(&["work"], "", settings);
    next.images.insert(old, None);
    next.journal = world.journal.clone();
    next.boot();
    next.work();
    assert!(next.images.is_empty());
}

#[test]
fn a_vm_that_went_while_the_daemon_was_down_leaves_nothing() {
    for sent in [false, true] {
        let mut world = World::with_policy(&["work", "vault"], "copy * * allow");
        world.new_pendrive(1, "n");
        if sent {
            world.send(1, "vault", "s");
        }
        world.vms.clear();
        world.boot();
        world.work();
        assert!(world.images.is_empty());
    }
}

#[test]
fn an_attacher_that_lies_is_restarted() {
    let mut world = World::new(&["work"]);
    let reply = AttachReply::Finished { id: order_id(999_999), outcome: Outcome::Done };
    world.event(Event::Attacher(reply));
    assert_eq!(world.restarts, [Role::Attacher]);
    let mut world = World::new(&["work"]);
    world.ask(1, Verb::New { size: None }, "n");
    let id = world.orders.front().unwrap().id;
    world.event(Event::Attacher(AttachReply::Finished { id, outcome: Outcome::Inventory(vec![]) }));
    assert_eq!(world.restarts, [Role::Attacher]);
}

#[test]
fn an_attacher_that_is_silent_is_restarted() {
    let mut world = World::new(&["work"]);
    world.ask(1, Verb::New { size: None }, "n");
    world.now += broker::machine::ORDER_MS_MAX;
    world.event(Event::Tick);
    assert_eq!(world.restarts, [Role::Attacher]);
    world.worker_dies(Role::Attacher);
    world.work();
    assert_eq!(world.codes(1, "n"), [Failed]);
    assert!(world.images.is_empty());
}

#[test]
fn l18_a_flood_while_the_attacher_is_away_piles_up_nothing_and_ends_nothing() {
    let mut world = World::new(&["work", "vault"]);
    world.event(Event::Ended(Role::Attacher, Ending::Signal(9)));
    world.orders.clear();
    for number in 0..5000_u64 {
        let reqid = protocol::types::ReqId::new(format!("f{number}").as_bytes()).ok();
        let event = MonitorEvent::RequestUnparsable { domid: domid(1), reqid, digest: number };
        world.event(Event::Monitor(event));
    }
    assert!(world.machine.snapshot().len() < 100, "owed replies are bounded");
    world.event(Event::Started(Role::Attacher));
    world.work();
    assert!(world.restarts.is_empty());
    world.new_pendrive(2, "n");
    assert_eq!(world.codes(2, "n"), [Granted]);
    assert_eq!(world.codes(1, "f4999"), [Invalid]);
}

#[test]
fn l18_thousands_of_domains_that_come_and_go_end_nothing_and_cost_nobody_the_key() {
    let mut world = World::new(&["work", "vault"]);
    for number in 2_000..6_000_u16 {
        let name = name(&format!("invented{number}"));
        world.event(Event::Monitor(MonitorEvent::DomainSeen { domid: domid(number), name }));
        world.event(Event::Monitor(MonitorEvent::DomainGone { domid: domid(number) }));
    }
    world.event(Event::Monitor(MonitorEvent::QpenMissing { domid: domid(1) }));
    assert!(world.orders.len() <= SIDE_ORDERS_OPEN_MAX, "{}", world.orders.len());
    let (mut forgotten, mut keys) = (0, 0);
    while let Some(request) = world.orders.front() {
        forgotten += usize::from(matches!(request.order, Order::ForgetDomain { .. }));
        keys += usize::from(request.order == Order::MakeQpen { domid: domid(1) });
        world.carry_out(Fate::Done);
    }
    assert_eq!((forgotten, keys), (4_000, 1));
    assert!(world.restarts.is_empty());
}

#[test]
fn a_monitor_that_does_not_come_to_an_end_with_its_list_is_restarted() {
    let mut world = World::new(&["work"]);
    world.event(Event::Ended(Role::Monitor, Ending::Signal(9)));
    world.event(Event::Started(Role::Monitor));
    world.now += LISTING_MS_MAX - 1;
    world.event(Event::Tick);
    assert!(world.restarts.is_empty());
    assert_eq!(world.machine.next_deadline(), Some(world.now + 1));
    world.now += 1;
    world.event(Event::Tick);
    assert_eq!(world.restarts, [Role::Monitor]);
    assert!(
        world.log.iter().any(|line| line == "xs-monitor is restarted: it has not named every domain in time")
    );
    // The next one is waited for anew, and one that has come to the end may be silent.
    world.event(Event::Ended(Role::Monitor, Ending::Signal(9)));
    world.monitor_starts();
    world.later(LISTING_MS_MAX);
    assert_eq!(world.restarts, [Role::Monitor]);
}

#[test]
fn a_monitor_that_syncs_twice_is_restarted() {
    let mut world = World::new(&["work"]);
    world.event(Event::Monitor(MonitorEvent::Synced));
    assert_eq!(world.restarts, [Role::Monitor]);
}

#[test]
fn a_restarted_monitor_repeats_everything_and_changes_nothing() {
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "");
    world.send(1, "vault", "s");
    world.worker_dies(Role::Monitor);
    world.work();
    assert_eq!(world.codes(1, "s"), [Pending]);
    assert_eq!(world.questions.len(), 1);
    world.person_says(true);
    assert_eq!(world.codes(1, "s"), [Pending, Granted]);
}

#[test]
fn a_missing_key_is_made_again() {
    let mut world = World::new(&["work"]);
    world.event(Event::Monitor(MonitorEvent::QpenMissing { domid: domid(1) }));
    assert_eq!(
        world.orders.front().map(|request| request.order.clone()),
        Some(Order::MakeQpen { domid: domid(1) })
    );
    world.worker_dies(Role::Attacher);
    assert!(world.carry_out(Fate::Done), "the inventory comes first");
    assert_eq!(
        world.orders.front().map(|request| request.order.clone()),
        Some(Order::MakeQpen { domid: domid(1) })
    );
}
