//! The full matrix: each state of a place, each event, what is done and which state follows.

use super::*;

/// A way into each state, for the place and the image of these tests.
fn states() -> Vec<(&'static str, Machine)> {
    let mut connecting = machine();
    connecting.step(attach(1, IMAGE, 5, Attachment::Outgoing), 0);
    let mut attached = machine();
    attached.step(attach(1, IMAGE, 5, Attachment::Outgoing), 0);
    attached.step(Event::BackEnd { place: place(), state: BackState::Connected }, 0);
    let found = |connected| {
        let places = vec![FoundPlace { place: place(), image: IMAGE, connected }];
        let (mut machine, _) = Machine::new(limits(), Found { images: vec![(IMAGE, 1), (OTHER, 1)], places });
        machine.step(Event::SpareMade(true), 0);
        machine
    };
    let mut closing = found(true);
    closing.step(detach(1, IMAGE), 0);
    let mut releasing = found(true);
    releasing.step(detach(1, IMAGE), 0);
    releasing.step(Event::BackEnd { place: place(), state: BackState::Closed }, 0);
    releasing.step(Event::Removed { place: place(), result: Ok(()) }, 0);
    releasing.step(Event::Released { place: place(), unbound: Ok(false) }, 0);
    let mut undone = machine();
    undone.step(attach(1, IMAGE, 5, Attachment::Outgoing), 0);
    undone.step(Event::Tick, CONNECT_MS);
    undone.step(Event::Removed { place: place(), result: Ok(()) }, CONNECT_MS);
    undone.step(Event::Released { place: place(), unbound: Ok(false) }, 0);
    let mut leftover = found(true);
    leftover.step(order(1, Order::ForgetDomain { domid: domid(5) }), 0);
    leftover.step(Event::Removed { place: place(), result: Ok(()) }, 0);
    leftover.step(Event::Released { place: place(), unbound: Ok(false) }, 0);
    let mut stuck = found(true);
    stuck.step(detach(1, IMAGE), 0);
    stuck.step(Event::BackEnd { place: place(), state: BackState::Closed }, 0);
    stuck.step(Event::Removed { place: place(), result: Err(AttachFailure::Xenstore) }, 0);
    vec![
        ("free", machine()),
        ("connecting", connecting),
        ("attached", attached),
        ("found attached", found(true)),
        ("found half-made", found(false)),
        ("closing", closing),
        ("releasing", releasing),
        ("undone", undone),
        ("leftover", leftover),
        ("stuck", stuck),
    ]
}

fn events() -> Vec<(&'static str, Event)> {
    let back_end = |state| Event::BackEnd { place: place(), state };
    vec![
        ("attach the same", attach(9, IMAGE, 5, Attachment::Outgoing)),
        ("attach another image there", attach(9, OTHER, 5, Attachment::Outgoing)),
        ("attach it at the other device", attach(9, IMAGE, 5, incoming())),
        ("attach it elsewhere", attach(9, IMAGE, 6, Attachment::Outgoing)),
        ("detach", detach(9, IMAGE)),
        ("detach another image", detach(9, OTHER)),
        ("measure", order(9, Order::Measure { image: IMAGE })),
        ("measured", Event::Measured { id: OrderId(9), used_mib: Ok(3) }),
        ("destroy", order(9, Order::Destroy { image: IMAGE })),
        ("forget its domain", order(9, Order::ForgetDomain { domid: domid(5) })),
        ("back end opening", back_end(BackState::Opening)),
        ("back end connected", back_end(BackState::Connected)),
        ("back end closing", back_end(BackState::Closing)),
        ("back end closed", back_end(BackState::Closed)),
        ("back end gone", back_end(BackState::Gone)),
        ("nodes not made", Event::Connecting { place: place(), result: Err(AttachFailure::Xenstore) }),
        ("nothing to wait for", Event::Closing { place: place(), told: false }),
        ("nodes removed", Event::Removed { place: place(), result: Ok(()) }),
        ("nodes not removed", Event::Removed { place: place(), result: Err(AttachFailure::Xenstore) }),
        ("device free", Event::Released { place: place(), unbound: Ok(true) }),
        ("device not free", Event::Released { place: place(), unbound: Ok(false) }),
        ("device broken", Event::Released { place: place(), unbound: Err(AttachFailure::Io) }),
        ("long after", Event::Tick),
    ]
}

fn word(action: &Action) -> String {
    match action {
        Action::Answered(id, Outcome::Done) => format!("{} done", id.0),
        Action::Answered(id, Outcome::Failed(failure)) => format!("{} {failure:?}", id.0),
        Action::Answered(id, Outcome::Measured { used_mib }) => format!("{} {used_mib} MiB", id.0),
        Action::Answered(id, Outcome::Inventory(_)) => format!("{} inventory", id.0),
        Action::Log(..) => "log".to_owned(),
        Action::Create { .. } => "create".to_owned(),
        Action::MakeSpare => "spare".to_owned(),
        Action::ReleasePiece(_) => "piece".to_owned(),
        Action::Connect { .. } => "connect".to_owned(),
        Action::Measure(..) => "measure".to_owned(),
        Action::Unwatch(_) => "unwatch".to_owned(),
        Action::Close { .. } => "close".to_owned(),
        Action::Remove(_) => "remove".to_owned(),
        Action::Release { .. } => "release".to_owned(),
        Action::MakeQpen(..) => "make keys".to_owned(),
        Action::Answer(..) => "write".to_owned(),
        Action::Forget(..) => "forget".to_owned(),
    }
}

fn state_word(machine: &Machine) -> &'static str {
    match machine.places.get(&place()).map(|holding| holding.state) {
        None => "free",
        Some(State::Connecting { .. }) => "connecting",
        Some(State::Attached) => "attached",
        Some(State::Half) => "half",
        Some(State::Closing { .. }) => "closing",
        Some(State::Releasing { .. }) => "releasing",
        Some(State::Stuck) => "stuck",
    }
}

#[test]
fn every_state_answers_every_event_as_the_table_says() {
    let mut table = String::new();
    for (state, _) in states() {
        table.push_str(&format!("{state}\n"));
        for (event, _) in events() {
            // Neither clones: a machine is made anew for each cell.
            let (_, mut machine) = states().into_iter().find(|(name, _)| *name == state).unwrap();
            let (_, happened) = events().into_iter().find(|(name, _)| *name == event).unwrap();
            let actions: Vec<String> = machine.step(happened, 100_000).iter().map(word).collect();
            let actions = if actions.is_empty() { "-".to_owned() } else { actions.join(", ") };
            table.push_str(&format!("  {event}: {actions} -> {}\n", state_word(&machine)));
        }
    }
    let expected = include_str!("matrix.txt");
    for (got, wanted) in table.lines().zip(expected.lines()) {
        assert_eq!(got, wanted, "\n{table}");
    }
    assert_eq!(table.lines().count(), expected.lines().count(), "\n{table}");
}
