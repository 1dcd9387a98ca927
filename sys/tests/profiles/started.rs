//! Starting processes that are not confined: ids, descriptors, ends.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use sys::profile::Namespaces;
use sys::spawn::{Ended, Spawn, SpawnError, Stage};

pub const TESTS: &[(&str, fn())] = &[
    ("a_started_process_has_its_arguments_and_an_empty_environment", arguments_and_environment),
    ("a_started_process_has_exactly_its_descriptors", exactly_its_descriptors),
    ("a_started_process_is_id_zero_and_number_one", id_zero_and_number_one),
    ("exit_codes_and_signals_are_told_apart", exit_codes_and_signals),
    ("a_program_that_cannot_be_executed_is_an_error_of_start", not_executable),
    ("a_process_can_be_started_from_within_a_user_namespace", nested),
    ("a_dropped_child_is_killed", dropped_child_is_killed),
    ("an_account_is_refused_to_who_may_not_change_accounts", account_is_refused),
    ("a_nul_in_an_argument_is_refused", nul_is_refused),
];

/// Runs `sh -c script` and returns what it wrote and how it ended.
fn shell(script: &str, namespaces: Namespaces, descriptors: usize) -> (String, Ended) {
    // A descriptor that can do nothing but name the program is enough.
    let program = File::options().read(true).custom_flags(libc::O_PATH).open("/bin/sh").unwrap();
    let null = File::open("/dev/null").unwrap();
    let (mut output, writer) = std::io::pipe().unwrap();
    let given = vec![null.as_fd(); descriptors];
    let mut child = Spawn {
        program: program.as_fd(),
        argv0: "sh",
        args: &["-c".as_ref(), script.as_ref()],
        stdio: [null.as_fd(), writer.as_fd(), writer.as_fd()],
        descriptors: &given,
        account: None,
        namespaces,
    }
    .start()
    .unwrap();
    drop(writer);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let ended = child.wait().unwrap();
    assert_eq!(child.wait().unwrap(), ended, "a second wait gives the same answer");
    (text, ended)
}

fn arguments_and_environment() {
    // The shell itself sets PWD and the like, so the kernel is asked.
    let script = "tr '\\0' ' ' < /proc/self/environ; echo \"$0\"";
    let (text, ended) = shell(script, Namespaces::NONE, 0);
    assert_eq!(ended, Ended::Code(0));
    assert!(!text.contains("HOME=") && !text.contains("PATH="), "{text}");
    assert!(text.ends_with("sh\n"), "{text}");
}

fn exactly_its_descriptors() {
    for count in [0, 1, 2, 30] {
        // `[` is part of the shell, so it looks at its own descriptors.
        let script = "i=0; while [ $i -lt 60 ]; do [ -e /proc/self/fd/$i ] && echo $i; i=$((i+1)); done";
        let (text, _) = shell(script, Namespaces::NONE, count);
        let open: Vec<usize> = text.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(open, (0..3 + count).collect::<Vec<_>>(), "{text}");
    }
}

fn id_zero_and_number_one() {
    let (text, ended) = shell("id -u; id -g; echo $$; cat /proc/self/uid_map", Namespaces::ALL, 0);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(ended, Ended::Code(0), "{text}");
    assert_eq!(words[..4], ["0", "0", "1", "0"], "{text}");
    assert_eq!(words[4], rustix::process::geteuid().as_raw().to_string());
    assert_eq!(words[5], "1");
}

fn exit_codes_and_signals() {
    assert_eq!(shell("exit 9", Namespaces::NONE, 0).1, Ended::Code(9));
    assert_eq!(shell("kill -TERM $$", Namespaces::NONE, 0).1, Ended::Signal(libc::SIGTERM));
}

fn not_executable() {
    let program = File::open("/proc/version").unwrap();
    let null = File::open("/dev/null").unwrap();
    let result = Spawn {
        program: program.as_fd(),
        argv0: "passwd",
        args: &[],
        stdio: [null.as_fd(); 3],
        descriptors: &[],
        account: None,
        namespaces: Namespaces::ALL,
    }
    .start();
    assert!(matches!(result, Err(SpawnError::Child { stage: Stage::Exec, .. })), "{result:?}");
}

/// The simulated host may run the whole daemon in a user namespace.
fn nested() {
    let program = std::env::current_exe().unwrap();
    let again = format!(
        "exec '{}' a_started_process_is a_worker_runs the_body_of the_kernel_confirms",
        program.display()
    );
    let (text, ended) = shell(&again, Namespaces { pid: false, ..Namespaces::ALL }, 0);
    assert_eq!(ended, Ended::Code(0), "{text}");
    assert!(text.contains("3 passed"), "{text}");
}

fn dropped_child_is_killed() {
    let program = File::open("/bin/sh").unwrap();
    let null = File::open("/dev/null").unwrap();
    let (mut output, writer) = std::io::pipe().unwrap();
    let mut child = Spawn {
        program: program.as_fd(),
        argv0: "sh",
        args: &["-c".as_ref(), "sleep 1000".as_ref()],
        stdio: [null.as_fd(), writer.as_fd(), null.as_fd()],
        descriptors: &[],
        account: None,
        namespaces: Namespaces::ALL,
    }
    .start()
    .unwrap();
    drop(writer);
    assert_eq!(child.try_wait().unwrap(), None);
    drop(child);
    // Everybody in its pid namespace is gone with it, so nobody holds the pipe any more.
    assert_eq!(output.read(&mut [0]).unwrap(), 0);
}

fn nul_is_refused() {
    let null = File::open("/dev/null").unwrap();
    let result = Spawn {
        program: null.as_fd(),
        argv0: "sh",
        args: &["a\0b".as_ref()],
        stdio: [null.as_fd(); 3],
        descriptors: &[],
        account: None,
        namespaces: Namespaces::NONE,
    }
    .start();
    assert!(matches!(result, Err(SpawnError::Argument(_))), "{result:?}");
}

fn account_is_refused() {
    if sys::spawn::can_switch_accounts() {
        return;
    }
    let program = File::open("/bin/sh").unwrap();
    let null = File::open("/dev/null").unwrap();
    let result = Spawn {
        program: program.as_fd(),
        argv0: "sh",
        args: &["-c".as_ref(), "exit 0".as_ref()],
        stdio: [null.as_fd(); 3],
        descriptors: &[],
        account: Some(sys::spawn::Account { uid: 1, gid: 1 }),
        namespaces: Namespaces::ALL,
    }
    .start();
    assert!(matches!(result, Err(SpawnError::Parent { .. })), "{result:?}");
}
