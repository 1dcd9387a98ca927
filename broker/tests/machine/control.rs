//! What `qfilexchgctl` can do: look, answer, kill; and a control that lies.

use broker::machine::Event;
use protocol::attach::Order;
use protocol::control::{
    AnswerOutcome, ControlEvent, ControlReply, ControlRequest, KillOutcome, PendriveItem, PendriveState,
    Status, Ticket,
};
use protocol::dialog::{Question, QuestionId, Recipient};
use protocol::reply::Code::{self, Denied, Failed, Ok as Granted, Pending};
use protocol::request::Verb;
use protocol::supervise::{Ending, Role};
use protocol::types::{Device, ImageId};

use crate::world::{Fate, QUESTION_MS, World, domid, name, settings};

fn status(world: &mut World) -> Status {
    let ControlReply::Status(status) = world.control(ControlRequest::Status) else { panic!() };
    status
}

fn pendrives(world: &mut World) -> Vec<PendriveItem> {
    let ControlReply::Pendrives(page) = world.control(ControlRequest::Pendrives { after: None }) else {
        panic!()
    };
    page.into_items()
}

fn questions(world: &mut World) -> Vec<Question> {
    let ControlReply::Questions(page) = world.control(ControlRequest::Questions { after: None }) else {
        panic!()
    };
    page.into_items()
}

fn answer(world: &mut World, id: QuestionId, yes: bool) -> AnswerOutcome {
    let ControlReply::Answer(outcome) = world.control_answers(id, yes) else { panic!() };
    world.work();
    outcome
}

fn kill(world: &mut World, image: ImageId) -> KillOutcome {
    let ControlReply::Kill(outcome) = world.control(ControlRequest::Kill { image }) else { panic!() };
    outcome
}

fn only_image(world: &World) -> ImageId {
    assert_eq!(world.images.len(), 1);
    *world.images.keys().next().unwrap()
}

#[test]
fn the_status_counts_what_there_is() {
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    let status = status(&mut world);
    assert!(status.serving && status.can_ask);
    assert_eq!((status.vms, status.questions, status.orders), (2, 1, 0));
    assert_eq!((status.pendrives.used, status.pendrives.max), (1, 6));
    assert_eq!((status.mib.used, status.mib.max), (1024, 10_000));
    let up: Vec<Role> = status.workers.items().iter().filter(|it| it.up).map(|it| it.role).collect();
    assert_eq!(up, [Role::Monitor, Role::Attacher, Role::Dialog, Role::Launcher, Role::Control]);
    world.event(Event::Ended(Role::Attacher, Ending::Signal(9)));
    let status = self::status(&mut world);
    assert!(!status.serving);
    assert!(status.workers.items().iter().any(|it| it.role == Role::Attacher && !it.up));
}

#[test]
fn a_pendrive_is_described_with_its_place_holder_receiver_and_age() {
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    world.now += 700;
    world.send(1, "vault", "s");
    let [item] = pendrives(&mut world).try_into().unwrap();
    assert_eq!((item.state, item.age_ms), (PendriveState::Asking, Some(700)));
    let holder = item.holder.unwrap();
    assert_eq!((holder.domid, holder.name, holder.device), (domid(1), Some(name("work")), Device::Outgoing));
    assert_eq!((item.maker, item.to), (name("work"), Some(Recipient::Vm(name("vault")))));
    world.boot();
    world.work();
    let [item] = pendrives(&mut world).try_into().unwrap();
    assert_eq!((item.state, item.age_ms), (PendriveState::Clean, None));
}

#[test]
fn l13_an_answer_counts_once_and_only_while_the_question_is_open() {
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    world.now += 1_000;
    let [open] = questions(&mut world).try_into().unwrap();
    assert_eq!((open.expires_ms, open.age_ms), (QUESTION_MS - 1_000, 1_000));
    assert_eq!(answer(&mut world, QuestionId(open.id.0 + 1), true), AnswerOutcome::NotOpen);
    assert_eq!(world.codes(1, "s"), [Pending]);
    assert_eq!(answer(&mut world, open.id, true), AnswerOutcome::Taken);
    assert_eq!(world.codes(1, "s"), [Pending, Granted]);
    assert!(world.questions.is_empty(), "the dialog does not show it any longer");
    assert!(world.log.iter().any(|line| line.contains("uid 1000 answers question")));
    assert_eq!(answer(&mut world, open.id, true), AnswerOutcome::NotOpen);
    assert!(questions(&mut world).is_empty());
    world.new_pendrive(1, "n2");
    world.send(1, "vault", "s2");
    let [open] = questions(&mut world).try_into().unwrap();
    world.now += u64::from(QUESTION_MS);
    assert_eq!(answer(&mut world, open.id, true), AnswerOutcome::NotOpen, "too late");
}

#[test]
fn a_no_by_control_leaves_the_sender_its_pendrive() {
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    let open = questions(&mut world).remove(0);
    assert_eq!(answer(&mut world, open.id, false), AnswerOutcome::Taken);
    assert_eq!(world.codes(1, "s"), [Pending, Denied]);
    assert_eq!(pendrives(&mut world)[0].state, PendriveState::Clean);
}

#[test]
fn without_a_dialog_questions_wait_for_control_if_it_is_asked() {
    let mut settings = settings();
    settings.has_dialog = false;
    settings.asks_control = true;
    let mut world = World::with(&["work", "vault"], "", settings);
    world.needs_yes = false;
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    assert_eq!(world.codes(1, "s"), [Pending]);
    assert!(world.questions.is_empty(), "there is no dialog to be told");
    // A restart of control settles nothing.
    world.worker_dies(Role::Control);
    world.work();
    let open = questions(&mut world).remove(0);
    assert_eq!(answer(&mut world, open.id, true), AnswerOutcome::Taken);
    assert_eq!(world.codes(1, "s"), [Pending, Granted]);
    world.new_pendrive(1, "n2");
    world.send(1, "vault", "late");
    let waits = questions(&mut world).remove(0);
    world.later(u64::from(QUESTION_MS));
    assert_eq!(world.codes(1, "late"), [Pending, Denied]);
    assert_eq!(answer(&mut world, waits.id, true), AnswerOutcome::NotOpen);
}

/// Kills the pendrive after each number of carried-out orders of a whole transfer: at whatever place it is then, it is
/// destroyed, held by nobody, and whoever asked for something is answered once.
#[test]
fn a_pendrive_can_be_killed_at_every_place() {
    let mut outcomes = std::collections::BTreeSet::new();
    for steps in 0..12 {
        for asks in [false, true] {
            let mut world = if asks {
                World::new(&["work", "vault"])
            } else {
                World::with_policy(&["work", "vault"], "copy * * allow")
            };
            let mut killed = None;
            let mut done = 0;
            let mut go = |world: &mut World| {
                loop {
                    if done >= steps
                        && killed.is_none()
                        && let Some(item) = pendrives(world).first().cloned()
                    {
                        let outcome = kill(world, item.image);
                        killed = Some((item.state, outcome));
                        let again = kill(world, item.image);
                        assert!(matches!(again, KillOutcome::UnderWay | KillOutcome::NoSuchPendrive));
                    }
                    done += 1;
                    if !world.carry_out(Fate::Done) {
                        return;
                    }
                }
            };
            world.ask(1, Verb::New { size: None }, "n");
            go(&mut world);
            world.ask(1, Verb::Send { to: name("vault"), seq: None }, "s");
            go(&mut world);
            if let Some(id) = world.questions.keys().next().copied() {
                world.answers(id, true);
                go(&mut world);
            }
            world.ask(2, Verb::Umount, "u");
            go(&mut world);
            let Some((state, outcome)) = killed else { continue };
            outcomes.insert((state.word(), format!("{outcome:?}")));
            assert!(world.images.is_empty(), "killed while {state:?}");
            assert!(pendrives(&mut world).is_empty(), "killed while {state:?}");
            for (vm, reqid) in [(1, "n"), (1, "s"), (2, "u")] {
                let codes = world.codes(vm, reqid);
                assert_eq!(
                    codes.iter().filter(|code| code.is_final()).count(),
                    1,
                    "{reqid}: {codes:?}, {state:?}"
                );
            }
            // The sender and the receiver are as good as new.
            world.new_pendrive(1, "n2");
            assert_eq!(world.codes(1, "n2"), [Granted], "killed while {state:?}");
        }
    }
    let begun = ["creating", "connecting", "clean", "asking", "leaving", "arriving", "loaded"];
    for state in begun {
        assert!(outcomes.contains(&(state, String::from("Begun"))), "{state}: {outcomes:?}");
    }
    for state in ["returning", "destroying"] {
        assert!(outcomes.contains(&(state, String::from("UnderWay"))), "{state}: {outcomes:?}");
    }
}

#[test]
fn the_request_that_a_kill_interrupts_fails_with_the_reason() {
    let codes = |world: &World, reqid: &str| -> Vec<Code> { world.codes(1, reqid) };
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    let image = only_image(&world);
    assert_eq!(kill(&mut world, image), KillOutcome::Begun);
    world.work();
    assert_eq!(codes(&world, "s"), [Pending, Failed]);
    assert!(world.questions.is_empty() && world.images.is_empty());
    let detail = world.replies.last().unwrap().1.detail;
    assert_eq!(detail.text(), "the person in dom0 took the pendrive away");
    // One that waits for its receiver.
    let mut world = World::with_policy(&["work", "vault", "mail"], "copy * * allow");
    world.new_pendrive(3, "n");
    world.send(3, "vault", "s");
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    world.person_says(true);
    let waiting = pendrives(&mut world).into_iter().find(|it| it.state == PendriveState::Waiting).unwrap();
    assert_eq!(kill(&mut world, waiting.image), KillOutcome::Begun);
    world.work();
    assert_eq!(codes(&world, "s"), [Pending, Failed]);
    assert_eq!(world.holders(), [(domid(2), Device::Incoming)], "the other one stays");
}

#[test]
fn a_receiver_whose_pendrive_is_killed_gets_the_one_that_waited() {
    let mut world = World::with_policy(&["work", "vault", "mail"], "copy * * allow");
    for vm in [3, 1] {
        world.new_pendrive(vm, "n");
        world.send(vm, "vault", "s");
    }
    world.person_says(true);
    let loaded = pendrives(&mut world).into_iter().find(|it| it.state == PendriveState::Loaded).unwrap();
    assert_eq!(kill(&mut world, loaded.image), KillOutcome::Begun);
    world.work();
    assert_eq!(world.codes(1, "s"), [Pending, Granted]);
    assert_eq!(world.images.len(), 1);
}

#[test]
fn a_kill_while_the_attacher_is_away_is_carried_out_when_it_is_back() {
    for ask in [false, true] {
        let mut world = World::new(&["work", "vault"]);
        world.new_pendrive(1, "n");
        if ask {
            world.send(1, "vault", "s");
        }
        let image = only_image(&world);
        world.orders.clear();
        world.event(Event::Ended(Role::Attacher, Ending::Signal(9)));
        assert_eq!(kill(&mut world, image), KillOutcome::Begun);
        world.event(Event::Started(Role::Attacher));
        world.work();
        assert!(world.images.is_empty());
    }
}

#[test]
fn nothing_is_killed_before_the_daemon_knows_what_there_is() {
    let mut world = World::new(&["work"]);
    world.new_pendrive(1, "n");
    let image = only_image(&world);
    assert_eq!(kill(&mut world, ImageId([9; 16])), KillOutcome::NoSuchPendrive);
    // As in `boot`, before the monitor has listed anything.
    let past = broker::journal::Past::from_records(&world.journal, settings().boot_id);
    world.machine = broker::machine::Machine::new(settings(), policy::Policy::default(), past, 1000);
    world.journal = world.machine.snapshot();
    world.event(Event::Started(Role::Control));
    assert_eq!(kill(&mut world, image), KillOutcome::NotReady);
    assert!(!world.orders.iter().any(|request| matches!(request.order, Order::Detach { .. })));
}

#[test]
fn a_control_that_breaks_its_protocol_is_restarted_and_the_rest_goes_on() {
    let asked =
        |ticket, request| Event::Control(ControlEvent::Asked { ticket: Ticket(ticket), uid: 0, request });
    let mut world = World::new(&["work", "vault"]);
    world.new_pendrive(1, "n");
    world.send(1, "vault", "s");
    // An answer to a question that was never asked is no breach, and changes nothing.
    world.event(asked(7, ControlRequest::Answer { id: QuestionId(999_999), yes: true }));
    assert!(world.restarts.is_empty());
    assert_eq!(world.told.pop().unwrap().reply, ControlReply::Answer(AnswerOutcome::NotOpen));
    // A ticket that was used before is one.
    world.event(asked(7, ControlRequest::Status));
    assert_eq!(world.restarts, [Role::Control]);
    assert!(world.told.is_empty());
    world.worker_dies(Role::Control);
    assert!(status(&mut world).serving);
    // The question is as open as before.
    world.person_says(true);
    assert_eq!(world.codes(1, "s"), [Pending, Granted]);
    // What comes from a control that was not started is not heard.
    world.event(Event::Ended(Role::Control, Ending::Signal(9)));
    world.event(asked(1, ControlRequest::Status));
    assert_eq!(world.restarts, [Role::Control, Role::Control]);
}
