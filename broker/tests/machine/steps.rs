//! The life of a pendrive, step by step, and what must hold when something goes wrong at each step.

use broker::machine::{About, Event, RETRY_MS};
use protocol::attach::{AttachFailure, Order};
use protocol::dialog::{DialogEvent, Notice, QuestionId, QuestionKind, Recipient};
use protocol::log::LogText;
use protocol::monitor::MonitorEvent;
use protocol::reply::Code::{Busy, Denied, Failed, Invalid, Ok as Granted, Pending, Unknown};
use protocol::reply::Detail;
use protocol::request::Verb;
use protocol::supervise::{Ending, Role};
use protocol::types::{Device, SizeMib};

use crate::world::{Fate, QUESTION_MS, WAIT_MS, World, domid, name, seq, settings};

#[test]
fn a_pendrive_goes_from_one_vm_to_another_after_a_yes_and_ends_with_umount() {
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    assert_eq!(world.codes(1, "n"), [Granted]);
    assert_eq!(world.holders(), [(domid(1), Device::Outgoing)]);
    world.send(1, "vault", "s");
    assert_eq!(world.codes(1, "s"), [Pending]);
    let question = world.questions.values().next().unwrap();
    assert_eq!((question.kind, question.size_mib), (QuestionKind::Transfer, 1024));
    assert_eq!(
        (question.source.clone(), question.target.clone()),
        (name("work"), Recipient::Vm(name("vault")))
    );
    world.person_says(true);
    assert_eq!(world.codes(1, "s"), [Pending, Granted]);
    assert_eq!(world.holders(), [(domid(2), Device::Incoming)]);
    world.umount(2, "u");
    assert_eq!(world.codes(2, "u"), [Granted]);
    assert!(world.images.is_empty());
}

#[test]
fn on_no_on_time_out_and_on_a_dead_dialog_the_sender_keeps_its_pendrive() {
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "no");
    world.person_says(false);
    assert_eq!(world.codes(1, "no"), [Pending, Denied]);
    assert_eq!(world.replies.last().unwrap().1.detail, Detail::ByPerson);
    world.send(1, "vault", "late");
    world.later(u64::from(QUESTION_MS));
    assert_eq!(world.codes(1, "late"), [Pending, Denied]);
    assert_eq!(world.replies.last().unwrap().1.detail, Detail::TimedOut);
    assert!(world.questions.is_empty());
    world.send(1, "vault", "dead");
    world.worker_dies(Role::Dialog);
    world.work();
    assert_eq!(world.codes(1, "dead"), [Pending, Denied]);
    assert_eq!(world.replies.last().unwrap().1.detail, Detail::NobodyToAsk);
    world.send(1, "vault", "yes");
    world.person_says(true);
    assert_eq!(world.codes(1, "yes"), [Pending, Granted]);
}

#[test]
fn without_a_dialog_every_question_is_denied_at_once() {
    let mut settings = settings();
    settings.has_dialog = false;
    let mut world = World::with(&["work", "vault"], "", settings);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    assert_eq!(world.codes(1, "s"), [Denied]);
    assert_eq!(world.replies.last().unwrap().1.detail, Detail::NobodyToAsk);
}

#[test]
fn the_policy_can_allow_and_deny_without_a_question() {
    let mut world = World::with_policy(&["work", "vault", "mail"], "copy work vault allow\ncopy * mail deny");
    world.new_pendrive(1, "n");
    world.send(1, "mail", "d");
    assert_eq!(world.codes(1, "d"), [Denied]);
    world.send(1, "vault", "a");
    assert_eq!(world.codes(1, "a"), [Granted]);
    assert_eq!(world.holders(), [(domid(2), Device::Incoming)]);
}

#[test]
fn l18_the_person_is_told_of_decisions_as_configured_and_not_flooded() {
    let mut world = World::with_policy(
        &["work", "vault", "mail"],
        "copy work vault allow notify=yes\ncopy * mail deny notify=yes\ncopy * * deny",
    );
    world.new_pendrive(1, "n");
    for round in 0..20 {
        world.send(1, "mail", &format!("d{round}"));
    }
    assert_eq!(world.notices.len(), 1);
    assert!(matches!(world.notices[0], Notice::Decided { allowed: false, .. }));
    world.later(broker::machine::NOTICE_MS_MIN);
    world.send(1, "vault", "a");
    assert_eq!(world.notices.len(), 2);
    let rule = LogText::new("p.policy:1");
    let (source, target) = (name("work"), Recipient::Vm(name("vault")));
    assert_eq!(world.notices[1], Notice::Decided { allowed: true, source, target, rule });
    world.new_pendrive(2, "n");
    world.send(2, "work", "quiet");
    assert_eq!(world.notices.len(), 2);
}

#[test]
fn l18_the_desktop_is_told_with_and_without_a_dialog_and_not_flooded() {
    for has_dialog in [true, false] {
        let mut settings = settings();
        settings.has_dialog = has_dialog;
        let policy = "copy work vault deny notify=yes\ncopy * * deny";
        let mut world = World::with(&["work", "vault", "mail"], policy, settings);
        world.new_pendrive(1, "n");
        world.event(Event::Started(Role::Notifier));
        for round in 0..20 {
            world.send(1, "vault", &format!("d{round}"));
        }
        let rule = LogText::new("p.policy:1");
        let (source, target) = (name("work"), Recipient::Vm(name("vault")));
        let told = [Notice::Decided { allowed: false, source, target, rule }];
        assert_eq!(world.notified, told);
        assert_eq!(world.notices, told[..usize::from(has_dialog)]);
        world.event(Event::Ended(Role::Notifier, Ending::Code(69)));
        world.later(broker::machine::NOTICE_MS_MIN);
        world.send(1, "vault", "late");
        assert_eq!(world.notified.len(), 1, "it does not run");
        assert_eq!(world.notices.len(), 2 * usize::from(has_dialog));
    }
}

#[test]
fn requests_that_the_state_does_not_allow_are_refused_each_with_its_code() {
    let mut world = World::new(&["work", "vault", "twin", "twin"]);
    world.send(1, "vault", "early");
    assert_eq!(world.codes(1, "early"), [Busy]);
    world.send(1, "nobody", "who");
    assert_eq!(world.codes(1, "who"), [Unknown]);
    world.send(1, "twin", "which");
    assert_eq!(world.codes(1, "which"), [Failed]);
    world.umount(1, "u");
    assert_eq!(world.codes(1, "u"), [Busy]);
    world.new_pendrive(1, "n");
    world.new_pendrive(1, "again");
    assert_eq!(world.codes(1, "again"), [Busy]);
    world.send(1, "work", "self");
    assert_eq!(world.codes(1, "self"), [Denied]);
    world.ask(2, Verb::SendDisposable { seq: seq(1) }, "dvm");
    world.work();
    assert_eq!(world.codes(2, "dvm"), [Busy]);
    world.event(Event::Monitor(MonitorEvent::RequestUnparsable { domid: domid(1), reqid: None, digest: 1 }));
    world.work();
    assert_eq!(world.codes(1, ""), [Invalid]);
}

#[test]
fn l5_killme_is_refused_from_a_vm_that_this_daemon_did_not_make() {
    let mut world = World::new(&["work"]);
    world.ask(1, Verb::Killme, "k");
    world.work();
    assert_eq!(world.codes(1, "k"), [Denied]);
}

#[test]
fn a_question_says_how_old_its_request_is() {
    let mut world = World::new(&["work", "vault", "mail"]);
    world.new_pendrive(1, "n");
    world.new_pendrive(2, "n");
    world.send(2, "mail", "first");
    assert_eq!(world.questions.values().next().unwrap().age_ms, 0);
    world.person_says(true);
    world.send(1, "mail", "second");
    world.now += 1_500;
    world.person_says(true);
    let waits = world.questions.values().next().unwrap();
    assert_eq!((waits.kind, waits.age_ms), (QuestionKind::WaitForReceiver, 1_500));
}

#[test]
fn l2_an_open_question_delays_nobody_else() {
    let mut world = World::new(&["work", "vault", "mail", "bank"]);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    world.new_pendrive(3, "n");
    world.send(3, "bank", "s");
    assert_eq!(world.codes(3, "n"), [Granted]);
    assert_eq!(world.questions.len(), 2);
    let second = *world.questions.keys().nth(1).unwrap();
    world.answers(second, true);
    world.work();
    assert_eq!(world.codes(3, "s"), [Pending, Granted]);
    assert_eq!(world.codes(1, "s"), [Pending]);
}

#[test]
fn l13_a_late_answer_is_dropped_and_a_yes_is_used_once() {
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s1");
    let first = *world.questions.keys().next().unwrap();
    world.later(u64::from(QUESTION_MS));
    world.send(1, "vault", "s2");
    world.event(Event::Dialog(DialogEvent::Answer { id: first, yes: true }));
    world.work();
    assert_eq!(world.codes(1, "s1"), [Pending, Denied]);
    assert_eq!(world.codes(1, "s2"), [Pending]);
    assert_eq!(world.holders(), [(domid(1), Device::Outgoing)]);
}

#[test]
fn an_answer_although_nothing_was_asked_ends_the_dialog() {
    let mut world = World::new(&["work"]);
    world.event(Event::Dialog(DialogEvent::Answer { id: QuestionId(1), yes: true }));
    assert_eq!(world.restarts, [Role::Dialog]);
}

#[test]
fn l6_the_state_moves_only_on_a_confirmed_result() {
    let mut world = World::with_policy(&["work", "vault"], "copy * * allow");
    world.ask(1, Verb::New { size: None }, "n");
    assert!(world.carry_out(Fate::Done), "created");
    assert!(world.carry_out(Fate::Fails(AttachFailure::GuestSilent)), "not attached");
    world.work();
    assert_eq!(world.codes(1, "n"), [Failed]);
    assert!(world.images.is_empty());
    world.send(1, "vault", "s");
    assert_eq!(world.codes(1, "s"), [Busy]);
}

#[test]
fn an_attach_that_failed_is_taken_back_before_the_image_is_destroyed() {
    for arriving in [false, true] {
        let mut world = World::with_policy(&["work", "vault"], "copy * * allow");
        world.ask(1, Verb::New { size: None }, "n");
        assert!(world.carry_out(Fate::Done), "created");
        if arriving {
            world.work();
            world.ask(1, Verb::Send { to: name("vault"), seq: None }, "s");
            assert!(world.carry_out(Fate::Done), "detached");
            while !matches!(world.orders.front().map(|request| &request.order), Some(Order::Attach { .. })) {
                assert!(world.carry_out(Fate::Done));
            }
        }
        // The attacher says that it failed, and holds it all the same.
        let device = if arriving { Device::Incoming } else { Device::Outgoing };
        let holder = domid(if arriving { 2 } else { 1 });
        world.images.values_mut().for_each(|held| *held = Some((holder, device)));
        assert!(world.carry_out(Fate::Fails(AttachFailure::InUse)));
        world.work();
        assert!(world.images.is_empty(), "arriving: {arriving}");
        assert_eq!(world.codes(1, if arriving { "s" } else { "n" }), [Failed]);
    }
}

#[test]
fn a_detach_that_fails_keeps_the_pendrive_from_the_receiver_and_is_tried_again() {
    let mut world = World::with_policy(&["work", "vault"], "copy * * allow");
    world.new_pendrive(1, "n");
    world.ask(1, Verb::Send { to: name("vault"), seq: None }, "s");
    assert!(world.carry_out(Fate::Fails(AttachFailure::Xenstore)));
    world.work();
    assert_eq!(world.codes(1, "s"), [Failed]);
    assert_eq!(world.holders(), [(domid(1), Device::Outgoing)]);
    world.later(RETRY_MS);
    assert!(world.images.is_empty());
    world.new_pendrive(1, "n2");
    assert_eq!(world.codes(1, "n2"), [Granted]);
}

#[test]
fn a_busy_receiver_is_waited_for_after_a_second_yes() {
    let mut world = World::with_policy(&["work", "vault", "mail"], "copy * * allow");
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    world.new_pendrive(3, "n");
    world.send(3, "vault", "s");
    assert_eq!(world.codes(3, "s"), [Pending]);
    assert_eq!(world.questions.values().next().unwrap().kind, QuestionKind::WaitForReceiver);
    world.person_says(true);
    assert_eq!(world.codes(3, "s"), [Pending]);
    world.umount(2, "u");
    assert_eq!(world.codes(3, "s"), [Pending, Granted]);
    assert_eq!(world.holders(), [(domid(2), Device::Incoming)]);
}

#[test]
fn a_busy_receiver_nobody_wants_to_wait_for_is_busy_and_so_is_one_that_never_unmounts() {
    let mut world = World::with_policy(&["work", "vault", "mail"], "copy * * allow");
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    world.new_pendrive(3, "n");
    world.send(3, "vault", "no");
    world.person_says(false);
    assert_eq!(world.codes(3, "no"), [Pending, Busy]);
    world.send(3, "vault", "yes");
    world.person_says(true);
    world.later(u64::from(WAIT_MS));
    assert_eq!(world.codes(3, "yes"), [Pending, Busy]);
    assert!(world.holders().contains(&(domid(3), Device::Outgoing)));
}

#[test]
fn those_who_wait_for_one_receiver_go_in_the_order_in_which_they_came() {
    let mut world = World::with_policy(&["a", "b", "c", "vault"], "copy * * allow");
    for vm in [1, 3, 2] {
        world.new_pendrive(vm, "n");
        world.send(vm, "vault", "s");
        if vm != 1 {
            world.person_says(true);
        }
    }
    world.umount(4, "u1");
    assert_eq!((world.codes(3, "s"), world.codes(2, "s")), (vec![Pending, Granted], vec![Pending]));
    world.umount(4, "u2");
    assert_eq!(world.codes(2, "s"), [Pending, Granted]);
}

#[test]
fn a_question_about_waiting_is_moot_when_the_receiver_is_free() {
    let mut world = World::with_policy(&["work", "vault", "mail"], "copy * * allow");
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    world.new_pendrive(3, "n");
    world.send(3, "vault", "s");
    world.umount(2, "u");
    assert!(world.questions.is_empty());
    assert_eq!(world.codes(3, "s"), [Pending, Granted]);
}

#[test]
fn a_question_about_a_vm_that_died_disappears() {
    let mut world = World::new(&["work", "vault", "mail"]);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    world.gone(2);
    world.work();
    assert!(world.questions.is_empty());
    assert_eq!(world.codes(1, "s"), [Pending, Failed]);
    world.send(1, "mail", "s2");
    world.gone(1);
    world.work();
    assert!(world.questions.is_empty() && world.images.is_empty());
}

#[test]
fn l4_a_vm_that_dies_at_any_step_leaves_nothing_behind() {
    for victim in [1, 2] {
        for steps in 0..8 {
            let mut world = World::with_policy(&["work", "vault"], "copy * * allow");
            world.ask(1, Verb::New { size: None }, "n");
            let mut done = 0;
            while done < steps && world.carry_out(Fate::Done) {
                done += 1;
                if world.codes(1, "n") == [Granted]
                    && world.codes(1, "s").is_empty()
                    && world.orders.is_empty()
                {
                    world.ask(1, Verb::Send { to: name("vault"), seq: None }, "s");
                }
            }
            world.gone(victim);
            world.work();
            world.later(RETRY_MS);
            let survivor_holds = world.holders().iter().all(|(holder, _)| *holder != domid(victim));
            assert!(survivor_holds, "victim {victim} after {steps} orders: {:?}", world.images);
            if victim == 1 && !world.images.is_empty() {
                world.umount(2, "u");
            }
            if victim == 2 {
                world.gone(1);
                world.work();
            }
            assert!(world.images.is_empty(), "victim {victim} after {steps} orders: {:?}", world.images);
        }
    }
}

#[test]
fn l4_quotas_are_checked_before_new() {
    let mut world = World::with_policy(&["work", "vault", "mail"], "copy * * allow");
    let size = |mib| Verb::New { size: Some(SizeMib::new(mib).unwrap()) };
    world.ask(1, size(4097), "big");
    world.work();
    assert_eq!(world.codes(1, "big"), [Busy]);
    world.ask(1, size(4096), "max");
    world.work();
    assert_eq!(world.codes(1, "max"), [Granted]);
    world.ask(3, size(4096), "max");
    world.work();
    // 4096 + 4096 of 10000 MiB are taken.
    world.ask(2, size(1809), "over");
    world.work();
    assert_eq!(world.codes(2, "over"), [Busy]);
    world.ask(2, size(1808), "fits");
    world.work();
    assert_eq!(world.codes(2, "fits"), [Granted]);
}

#[test]
fn l4_a_vm_cannot_fill_dom0_by_sending_to_many() {
    let names = ["work", "a", "b", "c", "d", "e"];
    let mut world = World::with_policy(&names, "copy * * allow");
    for (index, receiver) in names.iter().enumerate().skip(1) {
        world.ask(1, Verb::New { size: SizeMib::new(64).ok() }, &format!("n{index}"));
        world.work();
        world.send(1, receiver, &format!("s{index}"));
    }
    assert_eq!(world.codes(1, "n4"), [Granted]);
    assert_eq!(world.codes(1, "n5"), [Busy]);
    assert_eq!(world.images.len(), 4);
}

#[test]
fn a_watch_that_fires_twice_serves_once() {
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    world.fires_again(1);
    world.work();
    assert_eq!(world.codes(1, "n"), [Granted]);
    // Without an id the text and the state decide.
    world.send(1, "vault", "");
    world.fires_again(1);
    world.work();
    assert_eq!(world.codes(1, ""), [Pending]);
    world.person_says(false);
    assert_eq!(world.codes(1, ""), [Pending, Denied]);
    // The pendrive is still there, so asking again makes sense.
    world.fires_again(1);
    world.work();
    assert_eq!(world.codes(1, ""), [Pending, Denied, Pending]);
}

#[test]
fn a_device_that_the_vm_uses_before_the_broker_heard_of_it_is_no_error() {
    let mut world = World::with_policy(&["work", "vault"], "copy * * allow");
    world.ask(1, Verb::New { size: None }, "n");
    assert!(world.carry_out(Fate::Done), "created, and being attached");
    world.ask(1, Verb::Send { to: name("vault"), seq: None }, "s");
    assert!(world.carry_out(Fate::Done), "attached, and being detached");
    while world.codes(1, "n").is_empty()
        || !matches!(world.orders.front().map(|request| &request.order), Some(Order::Attach { .. }))
    {
        assert!(world.carry_out(Fate::Done));
    }
    world.ask(2, Verb::Umount, "u");
    world.work();
    assert_eq!((world.codes(1, "s"), world.codes(2, "u")), (vec![Granted], vec![Granted]));
    assert!(world.images.is_empty());
}

#[test]
fn l18_every_line_that_a_request_causes_is_about_its_vm() {
    let mut world = World::with_policy(&["work", "vault"], "copy work vault allow\ncopy * * deny");
    let before = world.causes.len();
    world.new_pendrive(1, "n");
    world.send(1, "work", "denied");
    world.send(1, "vault", "s");
    world.ask(1, Verb::New { size: None }, "again");
    assert!(world.carry_out(Fate::Fails(AttachFailure::NoSpace)));
    world.event(Event::Monitor(MonitorEvent::RequestUnparsable { domid: domid(1), reqid: None, digest: 1 }));
    world.work();
    assert!(world.log.len() >= before + 9, "{:?}", world.log);
    for (cause, line) in world.causes.iter().zip(&world.log).skip(before) {
        assert_eq!(*cause, About::Vm(domid(1)), "{line}");
    }
}
