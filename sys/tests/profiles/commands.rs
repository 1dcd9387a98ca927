//! Starting programs of the host by their path.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use sys::spawn::{Child, Command, Ended, SpawnError, Stage};

pub const TESTS: &[(&str, fn())] = &[
    ("a_command_has_its_environment_and_nothing_else", environment),
    ("a_command_has_three_descriptors_and_its_own_session", descriptors_and_session),
    ("a_command_may_be_an_interpreters_script", script),
    ("a_command_that_is_missing_or_not_absolute_is_an_error_of_start", missing),
    ("a_session_that_is_killed_takes_everything_along", session),
];

fn start(program: &str, args: &[&str], output: &impl AsFd) -> Result<Child, SpawnError> {
    let null = File::open("/dev/null").unwrap();
    let args: Vec<&std::ffi::OsStr> = args.iter().map(std::convert::AsRef::as_ref).collect();
    let environment = ["PATH=/usr/bin:/bin".as_ref(), "LANG=C".as_ref()];
    let stdio = [null.as_fd(), output.as_fd(), output.as_fd()];
    Command { program, args: &args, environment: &environment, stdio }.start()
}

fn output_of(program: &str, args: &[&str]) -> (String, Ended) {
    let (mut output, writer) = std::io::pipe().unwrap();
    let mut child = start(program, args, &writer).unwrap();
    drop(writer);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    (text, child.wait().unwrap())
}

fn environment() {
    let (text, ended) = output_of("/bin/cat", &["/proc/self/environ"]);
    assert_eq!((text.as_str(), ended), ("PATH=/usr/bin:/bin\0LANG=C\0", Ended::Code(0)));
}

fn descriptors_and_session() {
    let (text, _) = output_of("/bin/sh", &["-c", "ls /proc/$$/fd; cat /proc/$$/stat; echo $$"]);
    let mut lines = text.lines();
    assert_eq!(lines.by_ref().take(3).collect::<Vec<_>>(), ["0", "1", "2"], "{text}");
    let stat: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let own = lines.next().unwrap();
    // Its own number, its process group, its session: proc_pid_stat(5).
    assert_eq!((stat[0], stat[4], stat[5]), (own, own, own), "{text}");
}

fn script() {
    let path = std::env::temp_dir().join(format!("script-{}", std::process::id()));
    std::fs::write(&path, "#!/bin/sh\necho \"$0 $1\"\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let text = path.to_str().unwrap().to_owned();
    let result = output_of(&text, &["name=\"disp1\""]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(result, (format!("{text} name=\"disp1\"\n"), Ended::Code(0)));
}

fn missing() {
    let null = File::open("/dev/null").unwrap();
    let result = start("/nowhere/at/all", &[], &null);
    assert!(matches!(result, Err(SpawnError::Child { stage: Stage::Exec, .. })), "{result:?}");
    let result = start("/dev/null", &[], &null);
    assert!(matches!(result, Err(SpawnError::Child { stage: Stage::Exec, .. })), "{result:?}");
    let result = start("true", &[], &null);
    assert!(matches!(result, Err(SpawnError::NotAbsolute(_))), "{result:?}");
    let result = start("/bin/true\0", &[], &null);
    assert!(matches!(result, Err(SpawnError::Argument(_))), "{result:?}");
}

fn session() {
    let (mut output, writer) = std::io::pipe().unwrap();
    let mut child = start("/bin/sh", &["-c", "sleep 1000 & echo on; wait"], &writer).unwrap();
    drop(writer);
    let mut first = [0; 3];
    output.read_exact(&mut first).unwrap();
    child.kill_session().unwrap();
    // Both held the pipe.
    assert_eq!(output.read(&mut first).unwrap(), 0);
    assert_eq!(child.wait().unwrap(), Ended::Signal(libc::SIGKILL));
    child.kill_session().unwrap();
}
