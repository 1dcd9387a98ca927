//! The full matrix: each stage of an order, each event, what is done and which stage follows.

use super::*;

/// A way into each stage, for order 1 and its job, which is always the newest.
fn states() -> Vec<(&'static str, Machine, u32)> {
    let after = |name, events: Vec<Event>| {
        let mut machine = Machine::new(settings());
        for event in events {
            machine.step(event, 0);
        }
        let job = machine.next_job - 1;
        (name, machine, job)
    };
    let mut told = after("making, told to end", vec![create(1), good(), free(1, 100)]);
    told.1.step(Event::Tick, u64::from(CREATE_MS));
    let mut given_up = after("making, given up", vec![create(1), good(), free(1, 100)]);
    given_up.1.step(Event::Tick, u64::from(CREATE_MS));
    given_up.1.step(Event::Tick, u64::from(CREATE_MS) + END_MS_MAX);
    vec![
        after("nothing", vec![]),
        after("looking", vec![create(1)]),
        after("rebuilding", vec![create(1), stale()]),
        after("looking again", vec![create(1), stale(), well(1)]),
        after("weighing", vec![create(1), good()]),
        after("making", vec![create(1), good(), free(1, 100)]),
        told,
        given_up,
        after("ending", vec![destroy(1, 1)]),
        after("asking", vec![destroy(1, 1), ran(1, RunEnd::Code(1), "")]),
    ]
}

fn events(job: u32) -> Vec<(&'static str, Event)> {
    let ended = |how| ran(job, how, "what it printed");
    let same = LaunchOrder::Create { number: number(1) };
    vec![
        ("create another", create(2)),
        ("create the same VM", Event::Order(LaunchRequest { id: LaunchId(2), order: same })),
        ("destroy it", destroy(2, 1)),
        ("destroy another", destroy(2, 2)),
        ("the same order", create(1)),
        ("template good", good()),
        ("template as old as base", seen(Some(1), Some(1))),
        ("template stale", stale()),
        ("template missing", seen(None, Some(1))),
        ("base missing", seen(Some(1), None)),
        ("job ends with 0", ended(RunEnd::Code(0))),
        ("job prints enough memory", free(job, 100)),
        ("job prints too little memory", free(job, 99)),
        ("job ends with 1", ended(RunEnd::Code(1))),
        ("job ends by a signal", ended(RunEnd::Signal(9))),
        ("job does not start", ended(RunEnd::NotStarted(2))),
        ("another job ends", well(77)),
        ("long after", Event::Tick),
    ]
}

fn stage_word(machine: &Machine) -> &'static str {
    match machine.orders.get(&LaunchId(1)).map(|open| open.stage) {
        None => "nothing",
        Some(Stage::Looking { rebuilt: false }) => "looking",
        Some(Stage::Looking { rebuilt: true }) => "looking again",
        Some(Stage::Rebuilding) => "rebuilding",
        Some(Stage::Weighing) => "weighing",
        Some(Stage::Making) => "making",
        Some(Stage::Ending) => "ending",
        Some(Stage::Asking) => "asking",
    }
}

#[test]
fn every_stage_answers_every_event_as_the_table_says() {
    let mut table = String::new();
    for (state, _, job) in states() {
        table.push_str(&format!("{state}\n"));
        for (event, _) in events(job) {
            let (_, mut machine, _) = states().into_iter().find(|(name, _, _)| *name == state).unwrap();
            let (_, happened) = events(job).into_iter().find(|(name, _)| *name == event).unwrap();
            let now_ms = if event == "long after" { 100_000 } else { 0 };
            let actions = words(&machine.step(happened, now_ms));
            table.push_str(&format!("  {event}: {actions} -> {}\n", stage_word(&machine)));
        }
    }
    let expected = include_str!("matrix.txt");
    for (got, wanted) in table.lines().zip(expected.lines()) {
        assert_eq!(got, wanted, "\n{table}");
    }
    assert_eq!(table.lines().count(), expected.lines().count(), "\n{table}");
}
