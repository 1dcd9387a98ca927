//! Commands that do what they should, and all that they can do wrong.

use protocol::launch::{DISPOSABLE_NUMBER_MAX, LaunchFailure, LaunchOutcome, LaunchReply};

use crate::rig::{Configured, Rig, failed};

const DONE: LaunchOutcome = LaunchOutcome::Done;

#[test]
fn a_vm_is_made_and_destroyed_by_its_name() {
    let configured = Configured {
        create: "echo \"made $1 with $#\" > made",
        destroy: "echo \"ended $1\" > ended",
        ..Configured::default()
    };
    let mut rig = Rig::start(&configured);
    for number in [1, DISPOSABLE_NUMBER_MAX] {
        let id = rig.create(number);
        assert_eq!(rig.answer(id), DONE);
        assert_eq!(rig.trace("made"), format!("made disp{number} with 1"));
        let id = rig.destroy(number);
        assert_eq!(rig.answer(id), DONE);
        assert_eq!(rig.trace("ended"), format!("ended disp{number}"));
    }
    assert!(rig.logged.is_empty(), "{:?}", rig.logged);
}

#[test]
fn a_command_inherits_no_descriptor_of_the_daemon() {
    // It lists its own descriptors, and fails, so that what it printed is logged.
    let words = ["/bin/ls", "-l", "/proc/self/fd", "/nowhere/{name}"].map(str::to_owned).to_vec();
    let mut rig = Rig::start(&Configured { create_words: words, ..Configured::default() });
    let id = rig.create(3);
    assert_eq!(rig.answer(id), failed(LaunchFailure::CommandFailed));
    let line = &rig.logged[0];
    let links: Vec<&str> = line.split(" -> ").skip(1).filter_map(|rest| rest.split("\\n").next()).collect();
    // No input, one pipe for what it prints, and the directory that it lists.
    assert_eq!(links.len(), 4, "{line}");
    assert_eq!(links[0], "/dev/null", "{line}");
    assert!(links[1].starts_with("pipe:") && links[1] == links[2], "{line}");
    assert!(links[3].starts_with("/proc/"), "{line}");
}

#[test]
fn a_command_inherits_no_environment_and_no_session_of_the_daemon() {
    let script =
        "cat /proc/$$/environ | tr '\\0' '\\n' > environment; cat /proc/$$/stat > stat; echo $$ > number";
    let mut rig = Rig::start(&Configured { create: script, ..Configured::default() });
    let id = rig.create(3);
    assert_eq!(rig.answer(id), DONE);
    let environment = rig.trace("environment");
    let names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert_eq!(names, ["PATH", "LANG"]);
    let (number, stat) = (rig.trace("number"), rig.trace("stat"));
    let fields: Vec<&str> = stat.split(' ').collect();
    // Its process group, and its session: proc_pid_stat(5).
    assert_eq!((fields[4], fields[5]), (number.as_str(), number.as_str()));
}

#[test]
fn a_command_that_fails_is_logged_with_the_end_of_what_it_printed() {
    let script = "echo 'libxl: error: no such thing' >&2; exit 3";
    let mut rig = Rig::start(&Configured { create: script, ..Configured::default() });
    let id = rig.create(1);
    assert_eq!(rig.answer(id), failed(LaunchFailure::CommandFailed));
    assert_eq!(rig.logged, ["create of disp1 ended with code 3: libxl: error: no such thing"]);
}

#[test]
fn l7_control_characters_of_a_command_reach_the_log_escaped() {
    let script = "printf '\\033]0;x\\007\\377\\n'; kill -TERM $$";
    let mut rig = Rig::start(&Configured { create: script, ..Configured::default() });
    let id = rig.create(1);
    assert_eq!(rig.answer(id), failed(LaunchFailure::CommandFailed));
    assert_eq!(rig.logged, ["create of disp1 was ended by signal 15: \\u{1b}]0;x\\u{7}\\u{fffd}"]);
}

#[test]
fn a_command_that_prints_without_end_harms_nobody_and_its_end_is_kept() {
    let script =
        "i=0; while [ $i -lt 4000 ]; do echo 'much much much much much much much much'; i=$((i+1)); done;
        echo the end; exit 1";
    let mut rig = Rig::start(&Configured { create: script, ..Configured::default() });
    let id = rig.create(1);
    assert_eq!(rig.answer(id), failed(LaunchFailure::CommandFailed));
    assert!(rig.logged[0].ends_with("much\\nthe end"), "{:?}", rig.logged);
    assert!(rig.logged[0].len() <= protocol::log::LOG_TEXT_BYTES_MAX);
}

#[test]
fn a_command_that_hangs_is_ended_with_all_that_it_started() {
    let script = "echo $$ > leader; sleep 1000 & echo $! > other; yes > /dev/null";
    let configured =
        Configured { create: script, destroy: "exit 0", create_ms_max: Some(300), ..Configured::default() };
    let mut rig = Rig::start(&configured);
    let id = rig.create(1);
    assert_eq!(rig.answer(id), failed(LaunchFailure::TimedOut));
    assert_eq!(rig.logged, ["create of disp1 took too long and is ended"]);
    rig.expect_gone("leader");
    rig.expect_gone("other");
    let id = rig.destroy(1);
    assert_eq!(rig.answer(id), DONE);
}

/// One of the known limits: nothing tells it from what a command leaves running on purpose.
#[test]
fn what_a_command_that_is_ended_has_moved_into_another_session_is_not_found() {
    let script =
        "setsid sh -c 'echo $$ > daemon; exec sleep 1000' > /dev/null 2>&1 & echo $$ > leader; sleep 1000";
    let configured = Configured { create: script, create_ms_max: Some(1_000), ..Configured::default() };
    let mut rig = Rig::start(&configured);
    let id = rig.create(1);
    let daemon: i32 = rig.trace("daemon").parse().unwrap();
    assert_eq!(rig.answer(id), failed(LaunchFailure::TimedOut));
    rig.expect_gone("leader");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(daemon).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[test]
fn what_a_command_leaves_running_is_left_alone_when_it_succeeds() {
    // As `xl create` leaves a process that waits for the end of the VM.
    let script =
        "setsid sh -c 'echo $$ > daemon; exec sleep 1000' > /dev/null 2>&1 & until [ -s daemon ]; do :; done";
    let mut rig = Rig::start(&Configured { create: script, ..Configured::default() });
    let id = rig.create(1);
    assert_eq!(rig.answer(id), DONE);
    let daemon: i32 = rig.trace("daemon").parse().unwrap();
    let daemon = rustix::process::Pid::from_raw(daemon).unwrap();
    rig.lose_supervisor();
    crate::rig::wait_for_end(rig.runner.as_mut().unwrap());
    rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_command_that_cannot_be_started_is_named() {
    let words = vec!["/nowhere/at/all".to_owned(), "{name}".to_owned()];
    let mut rig = Rig::start(&Configured { create_words: words, ..Configured::default() });
    let id = rig.create(1);
    assert_eq!(rig.answer(id), failed(LaunchFailure::NotStarted));
    assert_eq!(rig.logged, ["create of disp1 cannot be started: error 2: "]);
}

#[test]
fn a_template_that_is_missing_or_too_old_is_made_first() {
    let configured = Configured {
        create: "cat template > made",
        rebuild: "echo rebuilt >> count; cat count > new; touch new; mv new template",
        template: true,
        base: true,
        ..Configured::default()
    };
    let mut rig = Rig::start(&configured);
    let id = rig.create(1);
    assert_eq!(rig.answer(id), failed(LaunchFailure::NoTemplate));
    assert_eq!(rig.logged, ["the base of the template is missing"]);
    std::fs::write(rig.path("base"), "").unwrap();
    let id = rig.create(1);
    assert_eq!(rig.next(), Some(LaunchReply::Rebuilding { id }));
    assert_eq!(rig.answer(id), DONE);
    assert_eq!(rig.trace("made"), "rebuilt");
    let id = rig.create(2);
    assert_eq!(rig.answer(id), DONE);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(100);
    std::fs::File::open(rig.path("base")).unwrap().set_modified(later).unwrap();
    // Too old also after the rebuild: its base is from the future.
    let id = rig.create(3);
    assert_eq!(rig.next(), Some(LaunchReply::Rebuilding { id }));
    assert_eq!(rig.answer(id), failed(LaunchFailure::RebuildFailed));
    assert_eq!(
        rig.logged.last().unwrap(),
        "after the template was rebuilt: the template is older than its base"
    );
    assert_eq!(rig.trace("count"), "rebuilt\nrebuilt");
}

#[test]
fn a_rebuild_that_fails_is_a_refusal_and_makes_nothing() {
    let configured = Configured {
        create: "echo made > made",
        rebuild: "echo no space >&2; exit 1",
        template: true,
        ..Configured::default()
    };
    let mut rig = Rig::start(&configured);
    let id = rig.create(1);
    assert_eq!(rig.next(), Some(LaunchReply::Rebuilding { id }));
    assert_eq!(rig.answer(id), failed(LaunchFailure::RebuildFailed));
    assert_eq!(rig.logged.last().unwrap(), "rebuild ended with code 1: no space");
    assert!(!rig.path("made").exists());
}

#[test]
fn without_enough_memory_nothing_is_made() {
    let configured = Configured {
        create: "echo made > made",
        free_memory: "echo a warning >&2; cat free",
        ..Configured::default()
    };
    let mut rig = Rig::start(&configured);
    for (text, outcome) in [
        ("99\n", failed(LaunchFailure::NoMemory)),
        ("much\n", failed(LaunchFailure::CommandFailed)),
        ("100\n", DONE),
    ] {
        std::fs::write(rig.path("free"), text).unwrap();
        assert!(!rig.path("made").exists());
        let id = rig.create(1);
        assert_eq!(rig.answer(id), outcome, "{text}");
    }
    assert_eq!(rig.logged[0], "99 MiB are free, 100 MiB are needed");
}

#[test]
fn what_does_not_exist_is_as_good_as_destroyed() {
    let configured = Configured { destroy: "exit 1", exists: "[ \"$1\" = disp1 ]", ..Configured::default() };
    let mut rig = Rig::start(&configured);
    let id = rig.destroy(1);
    assert_eq!(rig.answer(id), failed(LaunchFailure::CommandFailed));
    let id = rig.destroy(2);
    assert_eq!(rig.answer(id), DONE);
    assert_eq!(rig.logged.last().unwrap(), "disp2 does not exist");
    let mut rig = Rig::start(&Configured { destroy: "exit 1", ..Configured::default() });
    let id = rig.destroy(2);
    assert_eq!(rig.answer(id), failed(LaunchFailure::CommandFailed));
}
