//! The daemon as a service manager meets it: what it says at NOTIFY_SOCKET, and what journald hears of it.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use e2e::{Host, PATIENCE, programs};
use rustix::process::{Pid, Signal, kill_process};

/// The watchdog's time in the tests, in microseconds.
const WATCHDOG_USEC: &str = "200000";
/// Many times of it.
const LONG: Duration = Duration::from_secs(2);

/// Runs the rest of its arguments with the folder `$1` where journald's socket is.
const WITH_JOURNAL: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal
mount --bind "$1" /run/systemd/journal
shift
exec "$@"
"#;

/// A daemon on a host that was started without one. Ended when dropped.
struct Daemon(Child);

impl Daemon {
    fn command(host: &Host) -> Command {
        let top = host.path().display();
        let config = format!(
            "[host]\nkind = \"simulated\"\nxenstored_socket = \"{top}/xenstored\"\nboot_id_file = \"{top}/boot_id\"\n\
             [images]\ndirectory = \"{top}/images\"\n[journal]\ndirectory = \"{top}/journal\"\n\
             [policy]\ndirectory = \"{top}/policy.d\"\ntags_file = \"{top}/tags\"\n[dialog]\nkind = \"none\"\n\
             [control]\nsocket = \"{top}/qfilexchgd.control\"\n"
        );
        let file = host.path().join("service.toml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(programs().join("qfilexchgd"));
        command.arg("--config").arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
            command.env_remove(name);
        }
        command
    }

    fn start(host: &Host, socket: &OsStr) -> Self {
        let mut command = Self::command(host);
        command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", WATCHDOG_USEC);
        Self(command.stderr(File::create(host.path().join("stderr")).unwrap()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn broker(&self) -> Pid {
        let broker = e2e::processes(self.0.id()).into_iter().find(|process| process.name == "broker");
        Pid::from_raw(i32::try_from(broker.unwrap().pid).unwrap()).unwrap()
    }

    fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The next datagram, as text.
fn next(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 8192];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Waits for a datagram that begins like this, whatever comes before, and gives it.
fn wait_for(socket: &UnixDatagram, start: &str) -> String {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        let said = next(socket);
        if said.starts_with(start) {
            return said;
        }
    }
}

/// Takes what is there.
fn drain(socket: &UnixDatagram) {
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 8192]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
}

#[test]
fn the_service_manager_hears_of_each_step_and_signs_of_life_of_daemon_and_broker_together() {
    let host = Host::up_without_daemon(&["work"]);
    let path = host.path().join("notified");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut daemon = Daemon::start(&host, path.as_os_str());
    assert_eq!(wait_for(&socket, "READY=1"), "READY=1\nSTATUS=Requests are served.");
    for _ in 0..3 {
        assert_eq!(wait_for(&socket, "WATCHDOG"), "WATCHDOG=1");
    }

    // The daemon's first process goes on; alone it is no sign of life.
    let broker = daemon.broker();
    kill_process(broker, Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", broker.as_raw_nonzero());
    host.wait_for("a stopped broker", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    drain(&socket);
    // An answer may have been on its way.
    std::thread::sleep(LONG / 4);
    drain(&socket);
    socket.set_read_timeout(Some(LONG)).unwrap();
    assert!(socket.recv(&mut [0; 8192]).is_err(), "no sign of life without a broker");
    kill_process(broker, Signal::CONT).unwrap();
    assert_eq!(wait_for(&socket, "WATCHDOG"), "WATCHDOG=1");

    kill_process(broker, Signal::KILL).unwrap();
    let said = wait_for(&socket, "STATUS");
    assert_eq!(said, "STATUS=The broker has ended. Everything is started anew.");
    assert_eq!(wait_for(&socket, "READY=1"), "READY=1\nSTATUS=Requests are served.");
    assert_eq!(wait_for(&socket, "WATCHDOG"), "WATCHDOG=1");

    daemon.signal(Signal::TERM);
    assert_eq!(wait_for(&socket, "STOPPING"), "STOPPING=1\nSTATUS=Told to end.");
    assert!(daemon.ended().success());
}

#[test]
fn an_abstract_socket_is_told_and_one_where_nobody_listens_stops_nothing() {
    let host = Host::up_without_daemon(&["work"]);
    let name = format!("qfilexchgd-e2e-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let mut daemon = Daemon::start(&host, OsStr::new(&format!("@{name}")));
    let _ = wait_for(&socket, "READY=1");
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().success());

    drop(socket);
    let daemon = Daemon::start(&host, OsStr::new(&format!("@{name}")));
    let said = || std::fs::read_to_string(host.path().join("stderr")).unwrap();
    host.wait_for("the complaint", || {
        said().contains("cannot tell READY=1 to NOTIFY_SOCKET: Connection refused")
    });
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    drop(daemon);
}

/// The fields of an entry of journald's native protocol.
fn fields(entry: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut rest = entry;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let line = std::str::from_utf8(&rest[..end]).unwrap();
        rest = &rest[end + 1..];
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let (length, after) = rest.split_at(8);
                let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
                rest = &after[length + 1..];
                (line, String::from_utf8(after[..length].to_vec()).unwrap())
            }
        };
        assert!(fields.insert(name.to_owned(), value).is_none(), "{name} twice");
    }
    fields
}

/// A daemon whose stderr is the journal, as systemd would start it: its socket, and the other end of its stderr.
fn with_journal(host: &Host, folder: &Path) -> (Daemon, UnixDatagram, OwnedFd) {
    let socket = UnixDatagram::bind(folder.join("socket")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (theirs, ours) = std::os::unix::net::UnixStream::pair().unwrap();
    let found = rustix::fs::fstat(theirs.as_fd()).unwrap();
    let inner = Daemon::command(host);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", WITH_JOURNAL, "sh"]);
    command.arg(folder).arg(inner.get_program()).args(inner.get_args());
    command.env("JOURNAL_STREAM", format!("{}:{}", found.st_dev, found.st_ino));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(OwnedFd::from(theirs));
    (Daemon(command.spawn().unwrap()), socket, ours.into())
}

/// The entries up to one of this event, that one too.
fn until(socket: &UnixDatagram, event: &str) -> Vec<BTreeMap<String, String>> {
    let mut entries = Vec::new();
    loop {
        let mut buffer = [0; 8192];
        let length =
            socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{event}: {error}: {entries:#?}"));
        let entry = fields(&buffer[..length]);
        let is_it = entry["QFILEXCHG_EVENT"] == event;
        entries.push(entry);
        if is_it {
            return entries;
        }
    }
}

#[test]
fn l7_journald_hears_what_happens_to_whom_in_fields_that_no_vm_can_make() {
    if !rustix::process::geteuid().is_root() {
        return testkit::skip("playing journald needs root");
    }
    if !testkit::require_tools(&["xenstore-write", "xenstore-read", "unshare", "mount"]) {
        return;
    }
    let host = Host::up_without_daemon(&["work", "vault"]);
    let folder = tempfile::tempdir().unwrap();
    let (daemon, socket, stderr) = with_journal(&host, folder.path());

    let mut entries = until(&socket, "serving");
    assert_eq!(entries[0]["QFILEXCHG_EVENT"], "starting");
    assert!(entries[0]["MESSAGE"].contains("on a simulated host"), "{:?}", entries[0]);
    let seen = entries.iter().find(|entry| entry.get("QFILEXCHG_VM").is_some_and(|vm| vm == "work")).unwrap();
    let domid = seen["QFILEXCHG_DOMID"].clone();
    assert_eq!(seen["MESSAGE"], format!("domain {domid} is work"));

    host.write_request("work", "new #x\nQFILEXCHG_VM=vault\nPRIORITY=0");
    entries.extend(until(&socket, "reply"));
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    entries.extend(until(&socket, "request"));
    let request = entries.last().unwrap();
    assert_eq!((&request["QFILEXCHG_VM"], &request["QFILEXCHG_DOMID"]), (&"work".to_owned(), &domid));
    assert_eq!((request["PRIORITY"].as_str(), request["MESSAGE"].as_str()), ("6", "work asks: new"));
    entries.extend(until(&socket, "reply"));

    kill_process(daemon.broker(), Signal::KILL).unwrap();
    // Those that it takes along may be reported before it.
    let since = until(&socket, "serving");
    let ended: Vec<(&str, &str)> = since
        .iter()
        .filter(|entry| entry["QFILEXCHG_EVENT"] == "process-ended")
        .map(|entry| (entry["QFILEXCHG_PROCESS"].as_str(), entry["PRIORITY"].as_str()))
        .collect();
    assert_eq!(ended.iter().filter(|end| **end == ("broker", "3")).count(), 1, "{ended:?}");
    entries.extend(since);

    let known =
        ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "QFILEXCHG_EVENT", "QFILEXCHG_DOMID", "QFILEXCHG_VM"];
    for entry in &entries {
        assert!(entry.keys().all(|name| known.contains(&name.as_str()) || name == "QFILEXCHG_PROCESS"));
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "qfilexchgd");
        if entry.get("QFILEXCHG_VM").is_some_and(|vm| vm == "vault") {
            assert!(["vm-seen", "reply"].contains(&entry["QFILEXCHG_EVENT"].as_str()), "{entry:?}");
            assert_ne!(entry["QFILEXCHG_EVENT"], "reply", "vault asked for nothing");
        }
    }

    // When journald is gone, what happens is still said, on stderr.
    drop(socket);
    assert_eq!(host.request("work", "umount #u"), "busy there is no pendrive at xvdh");
    daemon.signal(Signal::TERM);
    drop(daemon);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut std::os::unix::net::UnixStream::from(stderr), &mut said).unwrap();
    assert!(said.contains("qfilexchgd info: work asks: umount\n"), "{said}");
}

/// Without a right of its own the daemon runs in a user namespace of this test, which is what an ordinary user has.
fn in_a_user_namespace(host: &Host, first: &str) -> Daemon {
    let whole = Daemon::command(host);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &format!("{first}exec \"$@\""), "sh"]);
    command.arg(whole.get_program()).args(whole.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, _) in whole.get_envs() {
        command.env_remove(name);
    }
    Daemon(command.stderr(File::create(host.path().join("stderr")).unwrap()).spawn().unwrap())
}

fn said(host: &Host) -> String {
    std::fs::read_to_string(host.path().join("stderr")).unwrap()
}

#[test]
fn without_user_namespaces_the_start_is_refused_with_the_reason() {
    if !testkit::require_tools(&["unshare"]) {
        return;
    }
    let host = Host::up_without_daemon(&["work"]);
    // In this namespace no other one may be made, as on a host where that is forbidden.
    let mut daemon = in_a_user_namespace(&host, "echo 0 > /proc/sys/user/max_user_namespaces; ");
    let status = daemon.ended();
    let text = said(&host);
    assert!(!status.success(), "{text}");
    assert!(text.contains("unprivileged user namespaces must be permitted"), "{text}");
    assert!(!text.contains("Requests are served") && e2e::processes(daemon.0.id()).is_empty());
}

#[test]
fn where_the_workers_share_one_user_id_the_start_says_so() {
    if !testkit::require_tools(&["unshare", "xenstore-write", "xenstore-read"]) {
        return;
    }
    let host = Host::up_without_daemon(&["work"]);
    let daemon = in_a_user_namespace(&host, "");
    host.wait_for("the broker", || said(&host).contains("serv"));
    assert!(
        said(&host).contains("not able to change accounts, so the workers share this uid"),
        "{}",
        said(&host)
    );
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    let uids: std::collections::BTreeSet<String> =
        e2e::processes(daemon.0.id()).into_iter().map(|process| process.status["Uid"].clone()).collect();
    assert_eq!(uids.len(), 1, "{uids:?}");
}
