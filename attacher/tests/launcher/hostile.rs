//! Ends of either process at the wrong moment, and what a launcher that was taken over can say.

use std::time::Instant;

use protocol::channel::Channel;
use protocol::launch::{DISPOSABLE_NUMBER_MAX, LaunchOutcome};
use protocol::runner::{Command, JobId, RunEnd, RunReply, RunRequest};
use sys::spawn::Ended;

use crate::rig::{ANSWER_TIME_MAX, Configured, Rig, number, raw_edge, wait, wait_for_end};

/// Leaves a trace, and goes on until it is ended.
const ENDLESS: &str = "echo $$ > running; exec sleep 1000";

/// What the runner says next, or `None` when it has closed the edge.
fn heard(edge: &mut Channel<RunRequest, RunReply>) -> Option<RunReply> {
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    loop {
        match edge.receive() {
            Ok(Some(reply)) => return Some(reply),
            Ok(None) => wait(edge, deadline),
            Err(_) => return None,
        }
    }
}

#[test]
fn a_launcher_that_is_killed_takes_its_commands_along_and_the_next_one_works() {
    let configured = Configured { create: ENDLESS, destroy: "exit 0", ..Configured::default() };
    let mut rig = Rig::start(&configured);
    rig.create(1);
    rig.trace("running");
    rig.launcher.as_ref().unwrap().kill().unwrap();
    rig.expect_gone("running");
    rig.start_launcher();
    let id = rig.destroy(1);
    assert_eq!(rig.answer(id), LaunchOutcome::Done);
}

#[test]
fn a_new_launcher_ends_what_the_one_before_has_open() {
    let mut rig = Rig::start(&Configured { create: ENDLESS, ..Configured::default() });
    rig.create(1);
    rig.trace("running");
    let _announced = rig.announce();
    rig.expect_gone("running");
    // The first one has lost its edge.
    assert_eq!(rig.next(), None);
    assert_eq!(wait_for_end(rig.launcher.as_mut().unwrap()), Ended::Code(1));
    assert_eq!(rig.logged, ["the launcher ends: the edge to dvm-runner: the peer closed the edge"]);
}

#[test]
fn the_end_of_the_supervisor_ends_the_runner_and_every_command() {
    let mut rig = Rig::start(&Configured { create: ENDLESS, ..Configured::default() });
    rig.create(1);
    rig.trace("running");
    rig.lose_supervisor();
    assert_eq!(wait_for_end(rig.runner.as_mut().unwrap()), Ended::Code(0));
    rig.expect_gone("running");
}

#[test]
fn a_runner_that_is_killed_takes_its_commands_along() {
    let mut rig = Rig::start(&Configured { create: ENDLESS, ..Configured::default() });
    rig.create(1);
    rig.trace("running");
    rig.runner = None;
    rig.expect_gone("running");
    assert_eq!(rig.next(), None);
    assert_eq!(wait_for_end(rig.launcher.as_mut().unwrap()), Ended::Code(1));
}

#[test]
fn l19_the_runner_takes_numbers_within_bounds_and_nothing_else() {
    let mut rig = Rig::without_launcher(&Configured { create: "echo $1 > made", ..Configured::default() });
    for (number, fits) in
        [(0, false), (1, true), (DISPOSABLE_NUMBER_MAX, true), (DISPOSABLE_NUMBER_MAX + 1, false)]
    {
        let socket = rig.announce();
        // Variant `Start`, the job, variant `Create`, the number.
        let bytes: Vec<u8> = [0, 1, 0, number].into_iter().flat_map(u32::to_le_bytes).collect();
        rustix::io::write(&socket, &bytes).unwrap();
        let ended = RunReply::Ended { job: JobId(1), how: RunEnd::Code(0), output: Default::default() };
        assert_eq!(heard(&mut raw_edge(socket)), fits.then_some(ended), "{number}");
        let expected = if number == 0 { None } else { Some(format!("disp{}\n", number.min(9_999))) };
        assert_eq!(std::fs::read_to_string(rig.path("made")).ok(), expected);
    }
}

#[test]
fn bytes_that_are_no_request_end_the_launcher_and_not_the_runner() {
    let mut rig = Rig::without_launcher(&Configured { create: ENDLESS, ..Configured::default() });
    let start = [0_u32, 1, 0, 1];
    let whole: Vec<u8> = start.into_iter().flat_map(u32::to_le_bytes).collect();
    let longer = [&whole[..], &[0]].concat();
    let path = [&whole[..], b"/bin/sh\0-c\0id"].concat();
    let unknown = [9_u32, 0].into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
    let huge = vec![0x2F; 60_000];
    for bytes in [&whole[..15], &longer, &path, &unknown, &huge, b"create disp1\n"] {
        let socket = rig.announce();
        rustix::io::write(&socket, bytes).unwrap();
        assert_eq!(heard(&mut raw_edge(socket)), None, "{} bytes", bytes.len());
        assert!(!rig.path("running").exists());
    }
    let mut edge = raw_edge(rig.announce());
    edge.send(&RunRequest::Look).unwrap();
    assert_eq!(heard(&mut edge), Some(RunReply::Seen { template: None, base: None }));
}

#[test]
fn what_no_launcher_asks_for_ends_it_with_its_commands() {
    let mut rig = Rig::without_launcher(&Configured { create: ENDLESS, ..Configured::default() });
    let create = |job| RunRequest::Start { job: JobId(job), command: Command::Create { number: number(1) } };
    let breaches = [
        // A number that is in use, and commands that are not configured.
        create(1),
        RunRequest::Start { job: JobId(2), command: Command::Rebuild },
        RunRequest::Start { job: JobId(2), command: Command::Destroy { number: number(1) } },
    ];
    for breach in breaches {
        let mut edge = raw_edge(rig.announce());
        edge.send(&create(1)).unwrap();
        rig.trace("running");
        // One that has ended already, or never was, is no breach.
        edge.send(&RunRequest::End { job: JobId(77) }).unwrap();
        edge.send(&breach).unwrap();
        assert_eq!(heard(&mut edge), None);
        rig.expect_gone("running");
        std::fs::remove_file(rig.path("running")).unwrap();
    }
}

#[test]
fn l19_more_commands_than_may_run_are_not_started() {
    let mut rig = Rig::without_launcher(&Configured { create: "exec sleep 1000", ..Configured::default() });
    let mut edge = raw_edge(rig.announce());
    let max = u32::try_from(protocol::runner::JOBS_MAX).unwrap();
    for job in 1..=max + 1 {
        let command = Command::Create { number: number(job) };
        edge.send(&RunRequest::Start { job: JobId(job), command }).unwrap();
    }
    let not_started = RunEnd::NotStarted(rustix::io::Errno::AGAIN.raw_os_error());
    let expected = RunReply::Ended { job: JobId(max + 1), how: not_started, output: Default::default() };
    assert_eq!(heard(&mut edge), Some(expected));
    edge.send(&RunRequest::End { job: JobId(1) }).unwrap();
    let ended = RunReply::Ended { job: JobId(1), how: RunEnd::Signal(9), output: Default::default() };
    assert_eq!(heard(&mut edge), Some(ended));
}
