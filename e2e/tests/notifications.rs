//! Notices on the desktop: the whole daemon, Debian's dbus-daemon, and a person's folder that nobody else may enter.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use e2e::{Host, processes};
use testkit::session_bus::{self, Ending};

/// Whose session it is where root runs the test: `nobody`.
const PERSON: u32 = 65_534;

/// A person's session: a folder of mode 0700, where a bus may run.
struct Session {
    folder: tempfile::TempDir,
    is_roots: bool,
}

impl Session {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let session = Self { folder, is_roots: !rustix::process::geteuid().is_root() };
        std::fs::create_dir(session.inner()).unwrap();
        std::fs::set_permissions(session.inner(), std::fs::Permissions::from_mode(0o700)).unwrap();
        session_bus::write_config(&session.config(), &session.socket()).unwrap();
        if !session.is_roots {
            chown(session.inner(), Some(PERSON), Some(PERSON)).unwrap();
        }
        session
    }

    fn inner(&self) -> PathBuf {
        self.folder.path().join("1000")
    }

    fn socket(&self) -> PathBuf {
        self.inner().join("bus")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("bus.conf")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        if !self.is_roots {
            command.uid(PERSON).gid(PERSON);
        }
        command
    }

    fn bus(&self) -> Ending {
        let mut command = self.command("dbus-daemon");
        Ending(session_bus::configured_by(&mut command, &self.config()).spawn().unwrap())
    }

    /// What is said on the bus, in the words of dbus-monitor.
    fn heard(&self, host: &Host) -> (Ending, Arc<Mutex<String>>) {
        let mut command = self.command("dbus-monitor");
        command.arg("--address").arg(format!("unix:path={}", self.socket().display()));
        let mut monitor = Ending(command.stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(monitor.0.stdout.take().unwrap()).lines();
        let all = Arc::new(Mutex::new(String::new()));
        let to = Arc::clone(&all);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| to.lock().unwrap().push_str(&format!("{line}\n")));
        });
        host.wait_for("the monitor of the bus", || all.lock().unwrap().contains("member=NameLost"));
        (monitor, all)
    }
}

fn has_notifier(host: &Host) -> bool {
    processes(host.pid()).iter().any(|process| process.name == "notifier")
}

fn deny(host: &Host, number: u32) {
    assert!(host.request("work", &format!("send vault #d{number}")).starts_with("denied"));
}

#[test]
fn a_decision_is_shown_on_the_desktop_of_a_session_that_begins_later_and_its_end_disturbs_nothing() {
    if !testkit::require_tools(&["dbus-daemon", "dbus-monitor", "xenstore-write", "xenstore-read"]) {
        return;
    }
    let session = Session::new();
    let policy = "copy work vault deny notify=yes\n";
    let host = Host::up_with_notifications(&["work", "vault"], policy, &session.socket());
    assert!(host.output().contains("no session bus at"), "{}", host.output());
    assert!(!has_notifier(&host));
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    deny(&host, 1);

    let bus = session.bus();
    host.wait_for("the notifier", || host.output().contains("there is a session bus") && has_notifier(&host));
    let (_monitor, heard) = session.heard(&host);
    deny(&host, 2);
    host.wait_for("the notification", || heard.lock().unwrap().contains("member=Notify"));
    host.wait_for("its text", || heard.lock().unwrap().contains("int32 -1"));
    let said = heard.lock().unwrap().clone();
    assert!(said.contains("string \"Pendrive denied\""), "{said}");
    assert!(said.contains("work -&gt; vault was denied without a question, by 50-test.policy:1"), "{said}");

    drop(bus);
    host.wait_for("the end of the notifier", || !has_notifier(&host));
    deny(&host, 3);
    assert_eq!(host.request("vault", "new #n"), "ok xvdg");
}

#[test]
fn without_a_bus_in_the_configuration_there_is_no_notifier() {
    let host = Host::up_without_dialog(&["work"]);
    assert!(!has_notifier(&host) && !host.output().contains("session bus"));
}
