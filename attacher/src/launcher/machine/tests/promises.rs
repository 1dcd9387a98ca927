//! What holds across many steps.

use proptest::prelude::*;

use super::*;
use crate::launcher::machine::words::MEMORY_DIGITS_MAX;

#[test]
fn without_template_and_memory_a_vm_is_made_at_once() {
    let mut machine = Machine::new(plain());
    assert_eq!(words(&machine.step(create(1), 0)), "create of disp1 as job 1");
    assert_eq!(words(&machine.step(create(2), 0)), "create of disp2 as job 2");
    assert_eq!(words(&machine.step(well(2), 0)), "2 done");
    assert_eq!(words(&machine.step(well(1), 0)), "1 done");
    assert_eq!(words(&machine.step(destroy(3, 1), 0)), "destroy of disp1 as job 3");
    assert_eq!(words(&machine.step(ran(3, RunEnd::Code(1), ""), 0)), "3 CommandFailed");
    assert_eq!(machine.deadline_ms(), None);
}

#[test]
fn orders_at_once_share_one_look_one_rebuild_and_one_weighing() {
    let mut machine = Machine::new(settings());
    assert_eq!(words(&machine.step(create(1), 0)), "look");
    assert_eq!(words(&machine.step(create(2), 0)), "-");
    assert_eq!(words(&machine.step(stale(), 0)), "1 rebuilding, 2 rebuilding, rebuild as job 1");
    // One that comes while the file is written does not look at it.
    assert_eq!(words(&machine.step(create(3), 0)), "3 rebuilding");
    assert_eq!(words(&machine.step(well(1), 0)), "look");
    assert_eq!(words(&machine.step(create(4), 0)), "-");
    assert_eq!(words(&machine.step(good(), 0)), "free_memory as job 2");
    let made = "create of disp1 as job 3, create of disp2 as job 4, create of disp3 as job 5, 4 NoMemory";
    assert_eq!(words(&machine.step(free(2, 399), 0)), made);
}

#[test]
fn a_rebuild_that_fails_fails_every_order_that_waits_and_the_next_tries_again() {
    let mut machine = Machine::new(settings());
    machine.step(create(1), 0);
    machine.step(create(2), 0);
    machine.step(stale(), 0);
    let actions = machine.step(ran(1, RunEnd::Code(3), "no space\n"), 0);
    assert_eq!(words(&actions), "1 RebuildFailed, 2 RebuildFailed");
    assert_eq!(logged(&actions), ["rebuild ended with code 3: no space"]);
    assert_eq!(words(&machine.step(create(3), 0)), "look");
    assert_eq!(words(&machine.step(seen(None, Some(1)), 0)), "3 rebuilding, rebuild as job 2");
    let actions = machine.step(Event::Tick, u64::from(REBUILD_MS));
    assert_eq!(words(&actions), "end job 2");
    assert_eq!(logged(&actions), ["rebuild took too long and is ended"]);
    assert_eq!(words(&machine.step(ran(2, RunEnd::Signal(9), ""), 0)), "3 RebuildFailed");
}

#[test]
fn without_a_rebuild_a_template_that_cannot_be_used_is_a_refusal() {
    let cases = [
        (stale(), "the template is older than its base"),
        (seen(None, Some(1)), "the template is missing"),
        (seen(None, None), "the base of the template is missing"),
    ];
    for (event, reason) in cases {
        let mut machine = Machine::new(LauncherSettings { has_rebuild: false, ..settings() });
        machine.step(create(1), 0);
        let actions = machine.step(event, 0);
        assert_eq!(words(&actions), "1 NoTemplate");
        assert_eq!(logged(&actions), [reason]);
    }
    // A template that is made from nothing in particular is never too old.
    let mut machine = Machine::new(LauncherSettings { has_base: false, ..settings() });
    machine.step(create(1), 0);
    assert_eq!(words(&machine.step(seen(Some(1), None), 0)), "free_memory as job 1");
}

#[test]
fn memory_for_what_is_still_being_made_is_counted() {
    let mut machine = Machine::new(LauncherSettings { has_template: false, ..settings() });
    machine.step(create(1), 0);
    machine.step(free(1, 250), 0);
    assert_eq!(words(&machine.step(create(2), 0)), "free_memory as job 3");
    // The first is ready, but the number may have been read before it took its memory.
    machine.step(well(2), 0);
    assert_eq!(words(&machine.step(free(3, 199), 0)), "2 NoMemory");
    assert_eq!(words(&machine.step(create(3), 0)), "free_memory as job 4");
    assert_eq!(words(&machine.step(free(4, 100), 0)), "create of disp3 as job 5");
}

#[test]
fn l19_the_free_memory_is_one_bounded_number_on_the_last_line() {
    let read = |text: &str| read_memory(&RunOutput::last_of(text.as_bytes()));
    assert_eq!(read("0\n"), Some(0));
    assert_eq!(read("1234"), Some(1234));
    assert_eq!(read("a warning\n 1234 \n"), Some(1234));
    assert_eq!(read(&"9".repeat(MEMORY_DIGITS_MAX)), Some(999_999_999_999));
    let too_long = "9".repeat(MEMORY_DIGITS_MAX + 1);
    for bad in ["", "\n", "1234 MiB\n", "-1\n", "+1\n", "1234\nafter\n", "12\u{661}\n", too_long.as_str()] {
        assert_eq!(read(bad), None, "{bad:?}");
    }
    assert_eq!(read_memory(&RunOutput::last_of(&[0xFF, b'\n', b'1'])), None);
    let mut machine = Machine::new(LauncherSettings { has_template: false, ..settings() });
    machine.step(create(1), 0);
    assert_eq!(words(&machine.step(ran(1, RunEnd::Code(0), "plenty\n"), 0)), "1 CommandFailed");
}

#[test]
fn a_command_that_takes_too_long_is_ended_and_then_given_up() {
    let mut machine = Machine::new(plain());
    machine.step(create(1), 7);
    let late = 7 + u64::from(CREATE_MS);
    assert_eq!(machine.deadline_ms(), Some(late));
    assert_eq!(words(&machine.step(Event::Tick, late - 1)), "-");
    let actions = machine.step(Event::Tick, late);
    assert_eq!(words(&actions), "end job 1");
    assert_eq!(logged(&actions), ["create of disp1 took too long and is ended"]);
    assert_eq!(machine.deadline_ms(), Some(late + END_MS_MAX));
    assert_eq!(words(&machine.step(Event::Tick, late + END_MS_MAX)), "1 TimedOut");
    assert_eq!(machine.deadline_ms(), None);
    // Its number is free for the order that cleans up, and its end is no surprise.
    assert_eq!(words(&machine.step(destroy(2, 1), late)), "destroy of disp1 as job 2");
    assert_eq!(words(&machine.step(ran(1, RunEnd::Signal(9), ""), late)), "-");
    assert_eq!(words(&machine.step(ran(1, RunEnd::Signal(9), ""), late)), "give up");
}

#[test]
fn what_does_not_exist_is_destroyed_and_what_is_not_known_is_not() {
    let ended = |how| {
        let mut machine = Machine::new(settings());
        machine.step(destroy(1, 5), 0);
        assert_eq!(words(&machine.step(ran(1, RunEnd::Code(1), ""), 0)), "exists of disp5 as job 2");
        words(&machine.step(ran(2, how, ""), 0))
    };
    assert_eq!(ended(RunEnd::Code(1)), "1 done");
    for how in [RunEnd::Code(0), RunEnd::Signal(9), RunEnd::NotStarted(2)] {
        assert_eq!(ended(how), "1 CommandFailed");
    }
    let mut machine = Machine::new(settings());
    machine.step(destroy(1, 5), 0);
    machine.step(ran(1, RunEnd::Code(1), ""), 0);
    assert_eq!(words(&machine.step(Event::Tick, u64::from(ASK_MS))), "end job 2");
    assert_eq!(words(&machine.step(ran(2, RunEnd::Code(1), ""), 0)), "1 CommandFailed");
}

#[test]
fn l19_orders_beyond_the_limit_are_refused() {
    let mut machine = Machine::new(plain());
    let max = u64::try_from(LAUNCHES_OPEN_MAX).unwrap();
    for id in 1..=max {
        assert_eq!(words(&machine.step(create(id), 0)), format!("create of disp{id} as job {id}"));
    }
    assert_eq!(words(&machine.step(create(max + 1), 0)), format!("{} Conflict", max + 1));
    machine.step(well(1), 0);
    let number = DISPOSABLE_NUMBER_MAX;
    let expected = format!("destroy of disp{number} as job {}", max + 1);
    assert_eq!(words(&machine.step(destroy(max + 2, number), 0)), expected);
}

#[test]
fn l7_what_a_command_printed_is_logged_escaped_and_bounded() {
    let mut machine = Machine::new(plain());
    machine.step(create(1), 0);
    let printed = "\u{1b}]0;owned\u{7}\n".repeat(OUTPUT_BYTES_MAX);
    let actions = machine.step(ran(1, RunEnd::Code(1), &printed), 0);
    let lines = logged(&actions);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("create of disp1 ended with code 1: "), "{lines:?}");
    assert!(lines[0].bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{lines:?}");
    // The end of a message is what matters, and it is there.
    machine.step(create(2), 0);
    let actions = machine.step(ran(2, RunEnd::Signal(15), &("x".repeat(999) + "the end\n")), 0);
    assert!(logged(&actions)[0].ends_with("xthe end"), "{:?}", logged(&actions));
}

#[test]
fn a_runner_that_does_not_answer_is_given_up() {
    let mut machine = Machine::new(settings());
    machine.step(create(1), 0);
    assert_eq!(machine.deadline_ms(), Some(u64::from(ASK_MS)));
    assert_eq!(words(&machine.step(Event::Tick, u64::from(ASK_MS))), "give up");
    let mut machine = Machine::new(settings());
    assert_eq!(words(&machine.step(good(), 0)), "give up");
}

/// What the random test plays besides the machine.
#[derive(Default)]
struct Played {
    given: Vec<LaunchId>,
    answered: Vec<LaunchId>,
    jobs: Vec<JobId>,
    is_asked: bool,
    now_ms: u64,
}

impl Played {
    /// An event of this kind, if it can happen now; else time passes.
    fn event(&mut self, machine: &Machine, (kind, small, value): (u8, u32, u32)) -> Event {
        match kind {
            0 | 1 => {
                let id = LaunchId(u64::try_from(self.given.len()).unwrap());
                self.given.push(id);
                let number = number(1 + small);
                let order = match kind {
                    0 => LaunchOrder::Create { number },
                    _ => LaunchOrder::Destroy { number },
                };
                Event::Order(LaunchRequest { id, order })
            }
            2 if self.is_asked => {
                self.is_asked = false;
                seen(Some(i64::from(value)), Some(200))
            }
            3 | 4 if !self.jobs.is_empty() => {
                let job = self.jobs.remove(usize::try_from(small).unwrap() % self.jobs.len());
                if kind == 3 { free(job.0, value) } else { ran(job.0, RunEnd::Code(1), "") }
            }
            _ if self.is_asked => {
                self.is_asked = false;
                good()
            }
            _ => {
                self.now_ms = machine.deadline_ms().unwrap_or(self.now_ms);
                Event::Tick
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Tell(LaunchReply::Finished { id, .. }) => self.answered.push(*id),
            Action::Run(RunRequest::Start { job, .. }) => self.jobs.push(*job),
            Action::Run(RunRequest::Look) => self.is_asked = true,
            Action::Tell(_) | Action::Run(RunRequest::End { .. }) => {}
            Action::GiveUp(why) => panic!("{why}"),
        }
    }
}

proptest! {
    /// Whatever happens in whatever order, each order is answered once, and none is open for ever.
    #[test]
    fn every_order_is_answered_once(
        configured in any::<[bool; 5]>(),
        steps in proptest::collection::vec((0_u8..6, 0_u32..8, 0_u32..400), 0..80),
    ) {
        let [has_exists, has_rebuild, has_free_memory, has_template, has_base] = configured;
        let settings = LauncherSettings {
            has_exists,
            has_rebuild,
            has_free_memory,
            has_template,
            has_base: has_base && has_template,
            ..settings()
        };
        let mut machine = Machine::new(settings);
        let mut played = Played::default();
        // Whatever is open after the random steps ends by time alone.
        for step in steps.into_iter().chain([(5, 0, 0); 400]) {
            let event = played.event(&machine, step);
            for action in machine.step(event, played.now_ms) {
                played.act(&action);
            }
        }
        played.answered.sort();
        prop_assert_eq!(played.answered, played.given);
        prop_assert_eq!(machine.deadline_ms(), None);
    }
}
