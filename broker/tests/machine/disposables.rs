//! DisposableVMs: made for one file, allowed one answer, and gone afterwards, whatever goes wrong.

use broker::machine::{Event, LAUNCH_AGAIN_MS};
use protocol::attach::{AttachFailure, Attachment, Order};
use protocol::dialog::{Notice, Recipient};
use protocol::launch::{DisposableNumber, LaunchFailure, LaunchId, LaunchOrder, LaunchOutcome, LaunchReply};
use protocol::reply::Code::{Busy, Denied, Failed, Ok as Granted, Pending};
use protocol::request::Verb;
use protocol::supervise::Role;
use protocol::types::Device;

use crate::world::{FIRST_DISPOSABLE, Fate, USED_MIB, World, domid, name, seq, settings};

const DISP: u16 = FIRST_DISPOSABLE;

fn world() -> World {
    World::with_policy(&["mail", "work"], "dvm * * allow\ncopy * * deny")
}

fn number(number: u32) -> DisposableNumber {
    DisposableNumber::new(number).unwrap()
}

impl World {
    fn open_document(&mut self, vm: u16, number: u32, reqid: &str) {
        self.new_pendrive(vm, &format!("n-{reqid}"));
        self.ask(vm, Verb::SendDisposable { seq: seq(number) }, reqid);
        self.work();
    }

    fn answers_with(&mut self, vm: u16, to: &str, number: u32, reqid: &str) {
        self.ask(vm, Verb::Send { to: name(to), seq: Some(seq(number)) }, reqid);
        self.work();
    }
}

#[test]
fn a_document_goes_to_a_disposable_vm_and_comes_back_once_and_the_vm_is_destroyed() {
    let mut world = world();
    world.open_document(1, 7, "open");
    assert_eq!(world.codes(1, "open"), [Pending, Granted]);
    assert_eq!(world.holders(), [(domid(DISP), Device::Incoming)]);
    world.umount(DISP, "u");
    world.new_pendrive(DISP, "n");
    world.answers_with(DISP, "mail", 7, "back");
    assert_eq!(world.codes(DISP, "back"), [Granted], "without a question, against the policy for copies");
    assert_eq!(world.holders(), [(domid(1), Device::Incoming)]);
    assert!(world.disposables.is_empty() && !world.vms.contains_key(&domid(DISP)));
    world.umount(1, "u");
    assert!(world.images.is_empty());
}

#[test]
fn the_receiver_is_told_the_number_and_the_sender_in_both_directions() {
    let mut world = world();
    world.new_pendrive(1, "n");
    world.ask(1, Verb::SendDisposable { seq: seq(7) }, "open");
    let mut told = Vec::new();
    let mut play = |world: &mut World| {
        while !world.orders.is_empty() || world.carry_out_launch(Ok(())) {
            if let Some(Order::Attach { place: Attachment::Incoming { source, seq, .. }, name, .. }) =
                world.orders.front().map(|request| &request.order)
            {
                told.push((source.to_string(), name.to_string(), *seq));
            }
            world.carry_out(Fate::Done);
        }
    };
    play(&mut world);
    world.umount(DISP, "u");
    world.new_pendrive(DISP, "n");
    world.ask(DISP, Verb::Send { to: name("mail"), seq: Some(seq(7)) }, "back");
    play(&mut world);
    let there = (String::from("mail"), String::from("disp1"), Some(seq(7)));
    let back = (String::from("disp1"), String::from("mail"), Some(seq(7)));
    assert_eq!(told, [there, back]);
}

#[test]
fn a_disposable_vm_may_send_nothing_but_its_answer() {
    let mut world = World::with_policy(&["mail", "work"], "* * * allow");
    world.open_document(1, 7, "open");
    world.umount(DISP, "u");
    world.new_pendrive(DISP, "n");
    world.answers_with(DISP, "work", 7, "other-vm");
    world.answers_with(DISP, "mail", 8, "other-number");
    world.send(DISP, "mail", "no-number");
    world.send(DISP, "nobody", "nobody");
    world.ask(DISP, Verb::SendDisposable { seq: seq(7) }, "one-more");
    world.work();
    for refused in ["other-vm", "other-number", "no-number", "nobody", "one-more"] {
        assert_eq!(world.codes(DISP, refused), [Denied], "{refused}");
    }
    assert_eq!(world.holders(), [(domid(DISP), Device::Outgoing)]);
    world.answers_with(DISP, "mail", 7, "right");
    assert_eq!(world.codes(DISP, "right"), [Granted]);
}

#[test]
fn the_number_of_another_vms_document_opens_no_way() {
    let mut world = world();
    world.open_document(1, 7, "mails");
    world.open_document(2, 9, "works");
    world.umount(DISP, "u");
    world.new_pendrive(DISP, "n");
    world.answers_with(DISP, "work", 9, "back");
    assert_eq!(world.codes(DISP, "back"), [Denied]);
    world.answers_with(1, "work", 9, "posing");
    assert_ne!(world.codes(1, "posing").last(), Some(&Granted), "an ordinary VM is no DisposableVM");
}

#[test]
fn a_vm_that_took_the_owners_name_gets_no_answer() {
    let mut world = world();
    world.open_document(1, 7, "open");
    world.umount(DISP, "u");
    world.new_pendrive(DISP, "n");
    world.gone(1);
    world.appears(3, "mail");
    world.answers_with(DISP, "mail", 7, "back");
    assert!(!world.holders().contains(&(domid(3), Device::Incoming)));
    assert!(world.disposables.is_empty(), "its owner is gone, so it is destroyed");
}

#[test]
fn l5_killme_destroys_a_disposable_vm_and_nobody_else() {
    let mut world = world();
    world.open_document(1, 7, "open");
    world.ask(1, Verb::Killme, "k");
    world.work();
    assert_eq!(world.codes(1, "k"), [Denied]);
    world.ask(DISP, Verb::Killme, "k");
    world.work();
    assert_eq!(world.codes(DISP, "k"), [Granted]);
    assert!(world.disposables.is_empty() && world.images.is_empty());
}

#[test]
fn the_person_is_asked_where_the_policy_says_so_and_sees_what_is_used() {
    let mut world = World::new(&["mail"]);
    world.open_document(1, 7, "open");
    let question = world.questions.values().next().unwrap();
    assert_eq!((question.target.clone(), question.used_mib), (Recipient::NewDisposable, USED_MIB));
    assert!(world.disposables.is_empty(), "nothing is made before the yes");
    world.person_says(false);
    assert_eq!(world.codes(1, "open"), [Pending, Denied]);
    world.ask(1, Verb::SendDisposable { seq: seq(8) }, "again");
    world.work();
    world.person_says(true);
    assert_eq!(world.codes(1, "again"), [Pending, Pending, Granted]);
}

#[test]
fn l6_each_failure_of_the_launcher_is_told_and_the_sender_keeps_its_pendrive() {
    for failure in LaunchFailure::ALL {
        let mut world = world();
        world.new_pendrive(1, "n");
        world.ask(1, Verb::SendDisposable { seq: seq(7) }, "open");
        world.carry_out_launch(Err(failure));
        world.work();
        assert_eq!(world.codes(1, "open"), [Pending, Failed]);
        assert_eq!(world.holders(), [(domid(1), Device::Outgoing)]);
        let told = Notice::CreationFailed { source: name("mail"), reason: failure };
        assert_eq!(world.notices, [told]);
        world.ask(1, Verb::SendDisposable { seq: seq(8) }, "again");
        world.work();
        assert_eq!(world.codes(1, "again"), [Pending, Granted], "{failure}");
    }
}

#[test]
fn one_that_does_not_get_its_document_is_destroyed() {
    let fails = |order: &Order| {
        matches!(order, Order::Detach { domid: at, .. } if *at == domid(1))
            || matches!(order, Order::Attach { domid: at, .. } if *at == domid(DISP))
    };
    for failing in 0..2 {
        let mut world = world();
        world.new_pendrive(1, "n");
        world.ask(1, Verb::SendDisposable { seq: seq(7) }, "open");
        let mut seen = 0;
        while !world.orders.is_empty() || world.carry_out_launch(Ok(())) {
            let is_moving = world.orders.front().is_some_and(|request| fails(&request.order));
            let fate = if is_moving && seen == failing { Fate::Fails(AttachFailure::Io) } else { Fate::Done };
            seen += usize::from(is_moving);
            world.carry_out(fate);
        }
        assert_eq!(world.codes(1, "open"), [Pending, Failed], "{failing}");
        world.later(LAUNCH_AGAIN_MS);
        assert!(world.disposables.is_empty(), "{failing}: it stays, and could answer what it never had");
        assert!(world.images.is_empty(), "{failing}");
    }
}

#[test]
fn a_host_without_a_launcher_says_so() {
    let mut settings = settings();
    settings.has_launcher = false;
    let mut world = World::with(&["mail"], "dvm * * allow", settings);
    world.open_document(1, 7, "open");
    assert_eq!(world.codes(1, "open"), [Failed]);
}

#[test]
fn l4_disposable_vms_are_limited_for_each_vm_and_in_all() {
    let mut settings = settings();
    (settings.disposables_max, settings.disposables_per_vm_max) = (3, 2);
    (settings.images_max, settings.images_per_vm_max) = (20, 20);
    (settings.total_per_vm_mib_max, settings.total_mib_max) = (20_480, 40_960);
    let mut world = World::with(&["mail", "work"], "dvm * * allow", settings);
    let last = |world: &World, vm: u16, reqid: &str| *world.codes(vm, reqid).last().unwrap();
    world.open_document(1, 1, "a");
    world.open_document(1, 2, "b");
    world.open_document(1, 3, "c");
    assert_eq!((last(&world, 1, "b"), last(&world, 1, "c")), (Granted, Busy));
    world.open_document(2, 1, "a");
    world.open_document(2, 2, "b");
    assert_eq!((last(&world, 2, "a"), last(&world, 2, "b")), (Granted, Busy));
    world.ask(DISP, Verb::Killme, "k");
    world.work();
    world.ask(2, Verb::SendDisposable { seq: seq(4) }, "d");
    world.work();
    assert_eq!(last(&world, 2, "d"), Granted);
    assert!(world.disposables.contains_key(&number(1)), "the lowest free number is taken again");
}

#[test]
fn a_number_whose_name_a_vm_has_already_is_not_taken() {
    let mut world = World::with_policy(&["mail", "disp1"], "dvm * * allow");
    world.open_document(1, 7, "open");
    assert_eq!(world.disposables.keys().copied().collect::<Vec<_>>(), [number(2)]);
}

#[test]
fn a_domain_that_takes_the_name_early_gets_nothing_before_the_launcher_says_that_it_runs() {
    let mut world = world();
    world.new_pendrive(1, "n");
    world.ask(1, Verb::SendDisposable { seq: seq(7) }, "open");
    world.appears(50, "disp1");
    while world.carry_out(Fate::Done) {}
    assert_eq!(world.holders(), [(domid(1), Device::Outgoing)]);
    // Two of one name: which is meant is not known, and not guessed.
    world.work();
    assert_eq!(world.holders(), [(domid(1), Device::Outgoing)]);
    world.later(broker::machine::SEEN_MS_MAX);
    assert_eq!(world.codes(1, "open"), [Pending, Failed]);
}

#[test]
fn the_death_of_owner_or_disposable_vm_at_any_step_leaves_nothing() {
    for steps in 0..24 {
        for dies in [1, DISP] {
            let mut world = world();
            let mut done = 0;
            let mut play = |world: &mut World| {
                for _ in 0..200 {
                    if done == steps && world.vms.contains_key(&domid(dies)) {
                        world.gone(dies);
                    }
                    if !world.carry_out(Fate::Done) && !world.carry_out_launch(Ok(())) {
                        return;
                    }
                    done += 1;
                }
            };
            world.ask(1, Verb::New { size: None }, "n");
            play(&mut world);
            world.ask(1, Verb::SendDisposable { seq: seq(7) }, "open");
            play(&mut world);
            if world.vms.contains_key(&domid(DISP)) {
                world.ask(DISP, Verb::Umount, "u");
                play(&mut world);
                world.ask(DISP, Verb::New { size: None }, "n");
                play(&mut world);
                world.ask(DISP, Verb::Send { to: name("mail"), seq: Some(seq(7)) }, "back");
                play(&mut world);
            }
            if world.vms.contains_key(&domid(1)) {
                world.gone(1);
            }
            for _ in 0..4 {
                world.work();
                world.later(LAUNCH_AGAIN_MS);
            }
            let left = (&world.images, &world.disposables);
            assert!(left.0.is_empty() && left.1.is_empty(), "{dies} dies after {steps} steps: {left:?}");
        }
    }
}

#[test]
fn each_restart_of_daemon_attacher_or_launcher_at_any_step_is_answered_once_and_leaves_nothing() {
    for steps in 0..24 {
        for role in [None, Some(Role::Attacher), Some(Role::Launcher)] {
            let mut world = world();
            let mut done = 0;
            let mut play = |world: &mut World| {
                for _ in 0..200 {
                    if done == steps {
                        match role {
                            Some(role) => world.worker_dies(role),
                            None => world.boot(),
                        }
                    }
                    done += 1;
                    if !world.carry_out(Fate::Done) && !world.carry_out_launch(Ok(())) {
                        return;
                    }
                }
            };
            world.ask(1, Verb::New { size: None }, "n");
            play(&mut world);
            if world.codes(1, "n") != [Granted] {
                world.new_pendrive(1, "n2");
            }
            world.ask(1, Verb::SendDisposable { seq: seq(7) }, "open");
            play(&mut world);
            let codes = world.codes(1, "open");
            assert_eq!(codes.iter().filter(|code| code.is_final()).count(), 1, "{role:?} {steps}: {codes:?}");
            if codes.last() == Some(&Granted) {
                world.ask(DISP, Verb::Killme, "k");
                play(&mut world);
            }
            world.gone(1);
            for _ in 0..4 {
                world.work();
                world.later(LAUNCH_AGAIN_MS);
            }
            let left = (&world.images, &world.disposables);
            assert!(left.0.is_empty() && left.1.is_empty(), "{role:?} after {steps} steps: {left:?}");
        }
    }
}

#[test]
fn one_that_outlived_the_daemon_is_found_and_destroyed() {
    let mut world = world();
    world.open_document(1, 7, "open");
    world.vms.remove(&domid(1));
    world.boot();
    world.work();
    world.later(LAUNCH_AGAIN_MS);
    assert!(world.disposables.is_empty() && world.images.is_empty());
}

#[test]
fn one_that_is_at_work_survives_a_restart_of_the_daemon() {
    let mut world = world();
    world.open_document(1, 7, "open");
    world.boot();
    world.work();
    world.umount(DISP, "u");
    world.new_pendrive(DISP, "n");
    world.answers_with(DISP, "mail", 7, "back");
    assert_eq!(world.codes(DISP, "back"), [Granted]);
}

#[test]
fn one_that_cannot_be_destroyed_is_tried_again_for_as_long_as_it_is_seen() {
    let mut world = world();
    world.open_document(1, 7, "open");
    world.ask(DISP, Verb::Killme, "k");
    while world.carry_out(Fate::Done) {}
    for _ in 0..5 {
        assert!(world.carry_out_launch(Err(LaunchFailure::CommandFailed)));
        assert!(world.launches.is_empty(), "not at once");
        world.now += LAUNCH_AGAIN_MS;
        world.event(Event::Tick);
    }
    world.work();
    assert!(world.disposables.is_empty());
    world.later(LAUNCH_AGAIN_MS);
    assert!(world.launches.is_empty() && world.orders.is_empty(), "and then no more");
}

#[test]
fn one_that_the_monitor_calls_dead_is_destroyed_all_the_same() {
    let mut world = world();
    world.open_document(1, 7, "open");
    let lie = protocol::monitor::MonitorEvent::DomainGone { domid: domid(DISP) };
    world.event(Event::Monitor(lie));
    let destroy = LaunchOrder::Destroy { number: number(1) };
    assert!(world.launches.iter().any(|request| request.order == destroy));
}

#[test]
fn a_launcher_that_says_what_nothing_asked_for_is_ended() {
    let id = LaunchId(77);
    let lies = [LaunchReply::Finished { id, outcome: LaunchOutcome::Done }, LaunchReply::Rebuilding { id }];
    for lie in lies {
        let mut world = world();
        world.event(Event::Launcher(lie));
        assert_eq!(world.restarts, [Role::Launcher]);
    }
    let mut world = world();
    world.new_pendrive(1, "n");
    world.ask(1, Verb::SendDisposable { seq: seq(7) }, "open");
    let id = world.launches.front().unwrap().id;
    world.event(Event::Launcher(LaunchReply::Rebuilding { id }));
    assert_eq!(
        (world.restarts.as_slice(), world.notices.as_slice()),
        (&[][..], &[Notice::TemplateBeingRebuilt][..])
    );
    let outcome = LaunchOutcome::Failed(LaunchFailure::RebuildFailed);
    world.launches.clear();
    world.event(Event::Launcher(LaunchReply::Finished { id, outcome }));
    let failed = Notice::CreationFailed { source: name("mail"), reason: LaunchFailure::RebuildFailed };
    assert_eq!(world.notices, [Notice::TemplateBeingRebuilt, failed], "the one does not hide the other");
    world.event(Event::Launcher(LaunchReply::Rebuilding { id }));
    assert_eq!(world.restarts, [Role::Launcher], "not after the order's end");
}

#[test]
fn a_launcher_that_never_answers_is_ended_and_the_request_fails() {
    let mut world = world();
    world.new_pendrive(1, "n");
    world.ask(1, Verb::SendDisposable { seq: seq(7) }, "open");
    while world.carry_out(Fate::Done) {}
    world.now += u64::from(settings().launch_ms_max);
    world.event(Event::Tick);
    while world.carry_out(Fate::Done) {}
    assert_eq!(world.codes(1, "open"), [Pending, Failed]);
    world.now += broker::machine::ORDER_MS_MAX;
    world.event(Event::Tick);
    assert_eq!(world.restarts, [Role::Launcher]);
}
