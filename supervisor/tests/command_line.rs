//! The daemon's command line, and what it says about a configuration that it cannot use.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test itself")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const EXIT_FAILURE: i32 = 1;
const EXIT_USAGE: i32 = 64;
const EXIT_CONFIG: i32 = 78;

fn qfilexchgd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qfilexchgd"))
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory with everything that a configuration names, and that configuration.
fn host() -> (tempfile::TempDir, String) {
    let host = tempfile::tempdir().unwrap();
    let top = host.path().display();
    fs::create_dir(host.path().join("policy.d")).unwrap();
    let config = format!(
        "[host]\nkind = \"simulated\"\nxenstored_socket = \"{top}/xenstored\"\n[images]\ndirectory = \"{top}/images\"\n\
         [journal]\ndirectory = \"{top}/journal\"\n[policy]\ndirectory = \"{top}/policy.d\"\ntags_file = \"{top}/tags\"\n\
         [dialog]\nkind = \"none\"\n"
    );
    let file = host.path().join("c.toml");
    fs::write(&file, config).unwrap();
    let file = file.display().to_string();
    (host, file)
}

fn write(host: &Path, name: &str, text: &str) {
    fs::write(host.join(name), text).unwrap();
}

#[test]
fn help_and_version_are_answers() {
    for (argument, text) in [("--help", "exit codes"), ("-h", "--config FILE"), ("--version", "qfilexchgd 0")]
    {
        let output = qfilexchgd(&[argument]);
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains(text));
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    for arguments in [&["--frob"][..], &["file"], &["--config"], &["--dialog", "x"]] {
        let output = qfilexchgd(arguments);
        assert_eq!(output.status.code(), Some(EXIT_USAGE), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn check_says_that_configuration_and_policy_can_be_used() {
    let (host, config) = host();
    write(host.path(), "policy.d/10.policy", "copy * * ask\n");
    let output = qfilexchgd(&["--check", "--config", &config]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("1 rules"));
    // Checking makes nothing.
    assert!(!host.path().join("images").exists());
}

#[test]
fn a_mistake_is_named_with_its_place_before_anything_is_made() {
    let (host, config) = host();
    let top = host.path().display();
    for check in [true, false] {
        let run = || {
            let words: &[&str] =
                if check { &["--check", "--config", &config] } else { &["--config", &config] };
            let output = qfilexchgd(words);
            assert_eq!(output.status.code(), Some(EXIT_CONFIG));
            assert!(!host.path().join("images").exists());
            said(&output)
        };
        write(host.path(), "policy.d/10.policy", "# mine\ncopy work vault maybe\n");
        assert_eq!(
            run(),
            format!("qfilexchgd: {top}/policy.d/10.policy:2:17: an action is ask, allow or deny\n")
        );
        write(host.path(), "policy.d/10.policy", "");
        write(host.path(), "tags", "work\n");
        assert!(run().starts_with(&format!("qfilexchgd: {top}/tags:1:5: ")));
        fs::remove_file(host.path().join("tags")).unwrap();
        let good = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{good}\nknd = 1\n")).unwrap();
        assert!(run().starts_with(&format!("qfilexchgd: {config}:14:1: unknown field `knd`")));
        fs::write(&config, good).unwrap();
    }
}

#[test]
fn without_xenstored_the_daemon_says_so_and_does_not_start() {
    let (host, config) = host();
    let output = qfilexchgd(&["--config", &config]);
    assert_eq!(output.status.code(), Some(EXIT_FAILURE));
    let xenstored = host.path().join("xenstored").display().to_string();
    let text = said(&output);
    // Where the workers are not built beside the daemon, that is what it says.
    assert!(text.contains(&xenstored) || text.contains("/usr/lib/qfilexchgd"), "{text}");
}

#[test]
fn a_second_daemon_on_the_same_journal_is_refused() {
    let (host, config) = host();
    let journal = host.path().join("journal");
    fs::create_dir(&journal).unwrap();
    let locked = fs::File::open(&journal).unwrap();
    locked.try_lock().unwrap();
    let output = qfilexchgd(&["--config", &config]);
    assert_eq!(output.status.code(), Some(EXIT_FAILURE));
    let text = said(&output);
    assert!(text.contains("another qfilexchgd uses this directory"), "{text}");
    assert!(!host.path().join("images").exists());
}

#[test]
fn an_environment_that_cannot_be_followed_is_an_error_of_the_start() {
    let (_host, config) = host();
    for (name, value, said_of_it) in [
        ("NOTIFY_SOCKET", "run/notify", "NOTIFY_SOCKET in the environment names no socket"),
        ("NOTIFY_SOCKET", "vsock:2:1234", "NOTIFY_SOCKET in the environment names no socket"),
        ("WATCHDOG_USEC", "30s", "WATCHDOG_USEC in the environment is not a number"),
        ("WATCHDOG_USEC", "1000", "WATCHDOG_USEC is less than 100 ms"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qfilexchgd"));
        command.args(["--config", &config]).env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_PID");
        let output = command.env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(EXIT_FAILURE), "{name}={value}");
        assert!(said(&output).contains(said_of_it), "{name}={value}: {}", said(&output));
    }
}

#[test]
fn the_service_manager_is_told_why_the_daemon_does_not_start() {
    let (host, config) = host();
    let path = host.path().join("notified");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    write(host.path(), "policy.d/10.policy", "copy work vault maybe\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_qfilexchgd"));
    let status = command.args(["--config", &config]).env("NOTIFY_SOCKET", &path).output().unwrap().status;
    assert_eq!(status.code(), Some(EXIT_CONFIG));
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).unwrap();
    let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(
        told.starts_with("STATUS=Failed: ") && told.ends_with("an action is ask, allow or deny"),
        "{told}"
    );
}
