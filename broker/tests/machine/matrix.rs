//! Every message of every worker in every state of its edge: what the broker makes of it stands in `matrix.txt`.
//!
//! A message that is added to the protocol does not compile here until it has a name, and a name without a row fails.

use std::fmt::Write;

use broker::machine::Event;
use protocol::attach::{AttachFailure, AttachReply, IMAGES_MAX, InventoryItem, Order, OrderId, Outcome};
use protocol::control::{ControlEvent, ControlRequest, LogStart, Ticket};
use protocol::dialog::{DialogEvent, QuestionId};
use protocol::launch::{DisposableNumber, LaunchFailure, LaunchId, LaunchOrder, LaunchOutcome, LaunchReply};
use protocol::log::{Level, LogLine};
use protocol::monitor::MonitorEvent;
use protocol::request::{Request, Verb};
use protocol::supervise::{Ending, Role};
use protocol::types::{ImageId, Seq};

use crate::world::{Fate, World, domid, name};

const OTHER: u64 = 999_999;

/// A state of an edge: its name, and a world that is in it.
type State = (&'static str, fn() -> World);

/// `END`: the worker breaks its protocol and is ended. `drop`: it is late, and nothing happens.
fn verdict(mut world: World, role: Role, event: Event) -> &'static str {
    let (before, lines) = (world.restarts.len(), world.log.len());
    world.event(event);
    if world.restarts.get(before..).unwrap().contains(&role) {
        "END"
    } else if world.log[lines..].iter().any(|line| line == "a late answer was dropped") {
        "drop"
    } else {
        "ok"
    }
}

/// The part of the table for one edge. Each message is made for the world that it is said in.
fn table<M: Clone>(
    role: Role,
    states: &[State],
    names: &[&str],
    name_of: fn(&M, &World) -> &'static str,
    messages: fn(&World) -> Vec<M>,
    event: fn(M) -> Event,
) -> String {
    let mut text = format!("{role}\n");
    let mut rows: Vec<(String, Vec<&str>)> = names.iter().map(|name| ((*name).to_owned(), vec![])).collect();
    for (_, state) in states {
        let world = state();
        let all = messages(&world);
        for (name, verdicts) in &mut rows {
            let of_this_name: Vec<&M> = all.iter().filter(|it| name_of(it, &world) == name).collect();
            assert!(!of_this_name.is_empty(), "{role}: no example of {name}");
            let mut seen: Vec<&str> =
                of_this_name.iter().map(|it| verdict(state(), role, event((*it).clone()))).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 1, "{role}: examples of {name} differ: {seen:?}");
            verdicts.extend(seen);
        }
        assert!(all.iter().all(|it| names.contains(&name_of(it, &world))), "{role}: a message has no row");
    }
    let width = names.iter().map(|name| name.len()).max().unwrap();
    let titles: Vec<&str> = states.iter().map(|(title, _)| *title).collect();
    writeln!(text, "  {:width$}  {}", "", titles.join("  ")).unwrap();
    for (name, verdicts) in rows {
        let cells: Vec<String> = verdicts
            .iter()
            .zip(&titles)
            .map(|(verdict, title)| format!("{verdict:width$}", width = title.len()))
            .collect();
        writeln!(text, "  {}", format!("{name:width$}  {}", cells.join("  ")).trim_end()).unwrap();
    }
    text
}

fn line() -> LogLine {
    LogLine::new(Level::Info, "a line")
}

fn ended(role: Role) -> World {
    let mut world = World::new(&["work", "vault"]);
    world.event(Event::Ended(role, Ending::Signal(9)));
    world
}

fn monitor() -> String {
    fn listing() -> World {
        let mut world = ended(Role::Monitor);
        world.event(Event::Started(Role::Monitor));
        world
    }
    let states: [State; 3] = [
        ("ended", || ended(Role::Monitor)),
        ("listing", listing),
        ("following", || World::new(&["work", "vault"])),
    ];
    let names = [
        "DomainSeen",
        "NameUnfit",
        "DomainGone",
        "QpenMissing",
        "RequestSeen",
        "RequestUnparsable",
        "Synced",
        "Log",
    ];
    fn name_of(event: &MonitorEvent, _: &World) -> &'static str {
        match event {
            MonitorEvent::DomainSeen { .. } => "DomainSeen",
            MonitorEvent::NameUnfit { .. } => "NameUnfit",
            MonitorEvent::DomainGone { .. } => "DomainGone",
            MonitorEvent::QpenMissing { .. } => "QpenMissing",
            MonitorEvent::RequestSeen { .. } => "RequestSeen",
            MonitorEvent::RequestUnparsable { .. } => "RequestUnparsable",
            MonitorEvent::Synced => "Synced",
            MonitorEvent::Log(_) => "Log",
        }
    }
    fn messages(_: &World) -> Vec<MonitorEvent> {
        // Of a domain that runs, and of one that was never seen.
        let mut all = vec![MonitorEvent::Synced, MonitorEvent::Log(line())];
        for domid in [domid(1), domid(77)] {
            let request = Request { verb: Verb::Umount, reqid: None };
            all.extend([
                MonitorEvent::DomainSeen { domid, name: name("other") },
                MonitorEvent::NameUnfit { domid },
                MonitorEvent::DomainGone { domid },
                MonitorEvent::QpenMissing { domid },
                MonitorEvent::RequestSeen { domid, request, digest: 1 },
                MonitorEvent::RequestUnparsable { domid, reqid: None, digest: 1 },
            ]);
        }
        all
    }
    table(Role::Monitor, &states, &names, name_of, messages, Event::Monitor)
}

/// A world in which the attacher has this order, and which one it is.
fn ordered(is_it: fn(&Order) -> bool) -> World {
    for policy in ["", "copy * * allow"] {
        let mut world = World::with_policy(&["work", "vault"], policy);
        let steps: [&dyn Fn(&mut World); 6] = [
            &|world| world.ask(1, Verb::New { size: None }, "n"),
            &|world| world.ask(1, Verb::Send { to: name("vault"), seq: None }, "s"),
            &|world| world.ask(2, Verb::Umount, "u"),
            &|world| world.event(Event::Monitor(MonitorEvent::QpenMissing { domid: domid(1) })),
            &|world| world.gone(2),
            &|world| world.worker_dies(Role::Attacher),
        ];
        for step in steps {
            step(&mut world);
            loop {
                if let Some(index) = world.orders.iter().position(|request| is_it(&request.order)) {
                    world.orders.swap(0, index);
                    return world;
                }
                if !world.carry_out(Fate::Done) {
                    break;
                }
            }
        }
    }
    panic!("no such order was given")
}

fn attacher() -> String {
    let states: [State; 11] = [
        ("ended", || ended(Role::Attacher)),
        ("idle", || World::new(&["work", "vault"])),
        ("Inventory", || ordered(|order| matches!(order, Order::Inventory))),
        ("MakeQpen", || ordered(|order| matches!(order, Order::MakeQpen { .. }))),
        ("Answer", || ordered(|order| matches!(order, Order::Answer { .. }))),
        ("Create", || ordered(|order| matches!(order, Order::Create { .. }))),
        ("Attach", || ordered(|order| matches!(order, Order::Attach { .. }))),
        ("Detach", || ordered(|order| matches!(order, Order::Detach { .. }))),
        ("Measure", || ordered(|order| matches!(order, Order::Measure { .. }))),
        ("Destroy", || ordered(|order| matches!(order, Order::Destroy { .. }))),
        ("ForgetDomain", || ordered(|order| matches!(order, Order::ForgetDomain { .. }))),
    ];
    let names = [
        "Finished, Done",
        "Finished, Inventory",
        "Finished, Inventory with one image too many",
        "Finished, Measured",
        "Finished, Failed",
        "Finished, of no open order",
        "Log",
    ];
    fn name_of(reply: &AttachReply, _: &World) -> &'static str {
        match reply {
            AttachReply::Finished { id, .. } if id.0 == OTHER => "Finished, of no open order",
            AttachReply::Finished { outcome: Outcome::Done, .. } => "Finished, Done",
            AttachReply::Finished { outcome: Outcome::Inventory(items), .. } if items.len() > IMAGES_MAX => {
                "Finished, Inventory with one image too many"
            }
            AttachReply::Finished { outcome: Outcome::Inventory(_), .. } => "Finished, Inventory",
            AttachReply::Finished { outcome: Outcome::Measured { .. }, .. } => "Finished, Measured",
            AttachReply::Finished { outcome: Outcome::Failed(_), .. } => "Finished, Failed",
            AttachReply::Log(_) => "Log",
        }
    }
    fn messages(world: &World) -> Vec<AttachReply> {
        // Where no order is open, one that was answered before.
        let open = world.orders.front().map_or(OrderId(1), |request| request.id);
        let item = InventoryItem { image: ImageId([0; 16]), holder: None };
        let outcomes = [
            Outcome::Done,
            Outcome::Inventory(vec![]),
            Outcome::Inventory(vec![item; IMAGES_MAX + 1]),
            Outcome::Measured { used_mib: 1 },
            Outcome::Failed(AttachFailure::Io),
        ];
        let mut all = vec![AttachReply::Log(line())];
        for outcome in outcomes {
            all.push(AttachReply::Finished { id: OrderId(OTHER), outcome: outcome.clone() });
            all.push(AttachReply::Finished { id: open, outcome });
        }
        all
    }
    table(Role::Attacher, &states, &names, name_of, messages, Event::Attacher)
}

fn dialog() -> String {
    fn asked() -> World {
        let mut world = World::new(&["work", "vault"]);
        world.new_pendrive(1, "n");
        world.send(1, "vault", "s");
        world
    }
    fn settled() -> World {
        let mut world = asked();
        world.person_says(false);
        world
    }
    let states: [State; 4] = [
        ("ended", || ended(Role::Dialog)),
        ("nothing asked", || World::new(&["work", "vault"])),
        ("a question open", asked),
        ("all settled", settled),
    ];
    let names = ["Answer, to the open question", "Answer, to another", "Log"];
    fn name_of(event: &DialogEvent, world: &World) -> &'static str {
        match event {
            DialogEvent::Answer { id, .. } if Some(id) == open_question(world).as_ref() => {
                "Answer, to the open question"
            }
            DialogEvent::Answer { .. } => "Answer, to another",
            DialogEvent::Log(_) => "Log",
        }
    }
    /// Where there is none, the one that is or would be the first.
    fn open_question(world: &World) -> Option<QuestionId> {
        Some(world.questions.keys().next().copied().unwrap_or(QuestionId(1000)))
    }
    fn messages(world: &World) -> Vec<DialogEvent> {
        let mut all = vec![DialogEvent::Log(line())];
        for yes in [false, true] {
            all.extend(open_question(world).map(|id| DialogEvent::Answer { id, yes }));
            all.extend([1, OTHER].map(|id| DialogEvent::Answer { id: QuestionId(id), yes }));
        }
        all
    }
    table(Role::Dialog, &states, &names, name_of, messages, Event::Dialog)
}

fn launcher() -> String {
    fn creating() -> World {
        let mut world = World::with_policy(&["work", "vault"], "dvm * * allow");
        world.new_pendrive(1, "n");
        world.ask(1, Verb::SendDisposable { seq: Seq::new(1).unwrap() }, "s");
        while world.carry_out(Fate::Done) {}
        world
    }
    fn rebuilding() -> World {
        let mut world = creating();
        let id = world.launches.front().unwrap().id;
        world.event(Event::Launcher(LaunchReply::Rebuilding { id }));
        world
    }
    fn destroying() -> World {
        let mut world = creating();
        world.gone(1);
        let done = |order: &LaunchOrder| matches!(order, LaunchOrder::Destroy { .. });
        while !world.launches.front().is_some_and(|request| done(&request.order)) {
            assert!(world.carry_out_launch(Ok(())));
        }
        world
    }
    let states: [State; 5] = [
        ("ended", || ended(Role::Launcher)),
        ("idle", || World::new(&["work", "vault"])),
        ("Create", creating),
        ("Create, rebuilding", rebuilding),
        ("Destroy", destroying),
    ];
    let names = [
        "Rebuilding, of the open order",
        "Rebuilding, of none",
        "Finished, Done",
        "Finished, Failed",
        "Finished, of no open order",
        "Log",
    ];
    fn name_of(reply: &LaunchReply, _: &World) -> &'static str {
        match reply {
            LaunchReply::Rebuilding { id } if id.0 == OTHER => "Rebuilding, of none",
            LaunchReply::Rebuilding { .. } => "Rebuilding, of the open order",
            LaunchReply::Finished { id, .. } if id.0 == OTHER => "Finished, of no open order",
            LaunchReply::Finished { outcome: LaunchOutcome::Done, .. } => "Finished, Done",
            LaunchReply::Finished { outcome: LaunchOutcome::Failed(_), .. } => "Finished, Failed",
            LaunchReply::Log(_) => "Log",
        }
    }
    fn messages(world: &World) -> Vec<LaunchReply> {
        let open = world.launches.front().map_or(LaunchId(0), |request| request.id);
        let mut all = vec![LaunchReply::Log(line())];
        for id in [open, LaunchId(OTHER)] {
            all.push(LaunchReply::Rebuilding { id });
            all.push(LaunchReply::Finished { id, outcome: LaunchOutcome::Done });
            all.extend(
                LaunchFailure::ALL
                    .map(|failure| LaunchReply::Finished { id, outcome: LaunchOutcome::Failed(failure) }),
            );
        }
        all
    }
    table(Role::Launcher, &states, &names, name_of, messages, Event::Launcher)
}

fn control() -> String {
    fn heard() -> World {
        let mut world = World::new(&["work", "vault"]);
        let request = ControlRequest::Status;
        world.event(Event::Control(ControlEvent::Asked { ticket: Ticket(500), uid: 0, request }));
        world
    }
    let states: [State; 3] = [
        ("ended", || ended(Role::Control)),
        ("nothing heard", || World::new(&["work", "vault"])),
        ("ticket 500 heard", heard),
    ];
    let names = ["Asked, ticket 499", "Asked, ticket 500", "Asked, ticket 501", "Log"];
    fn name_of(event: &ControlEvent, _: &World) -> &'static str {
        match event {
            ControlEvent::Asked { ticket: Ticket(..500), .. } => "Asked, ticket 499",
            ControlEvent::Asked { ticket: Ticket(500), .. } => "Asked, ticket 500",
            ControlEvent::Asked { ticket: Ticket(501..), .. } => "Asked, ticket 501",
            ControlEvent::Log(_) => "Log",
        }
    }
    fn messages(_: &World) -> Vec<ControlEvent> {
        let requests = [
            ControlRequest::Status,
            ControlRequest::Log { from: LogStart::Last(1) },
            ControlRequest::Pendrives { after: None },
            ControlRequest::Disposables { after: DisposableNumber::new(1).ok() },
            ControlRequest::Questions { after: None },
            ControlRequest::Answer { id: QuestionId(OTHER), yes: true },
            ControlRequest::Kill { image: ImageId([0; 16]) },
        ];
        let mut all = vec![ControlEvent::Log(line())];
        for ticket in [499, 500, 501].map(Ticket) {
            all.extend(requests.map(|request| ControlEvent::Asked { ticket, uid: 0, request }));
        }
        all
    }
    table(Role::Control, &states, &names, name_of, messages, Event::Control)
}

#[test]
fn every_message_in_every_state_has_the_verdict_that_is_written_down() {
    let tables = [monitor(), attacher(), dialog(), launcher(), control()].join("\n");
    let written = include_str!("matrix.txt");
    let written: Vec<&str> = written.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(
        tables.lines().eq(written.iter().copied().skip_while(|line| line.is_empty())),
        "it is now:\n{tables}"
    );
}
