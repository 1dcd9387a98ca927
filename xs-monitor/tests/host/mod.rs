//! A xenstore in a thread, VMs that write into it, and the two workers in front of it.

use protocol::channel::Channel;
use protocol::log::LogLine;
use protocol::monitor::MonitorEvent;
use protocol::types::Domid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use simulated::Simulated;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use sys::profile::Profile;
use sys::spawn::{Child, Spawn};
use xenstore::path::{DomainPath, OwnPath, XsPath};
use xenstore::{Client, Permissions};

#[path = "../../../xenstore/tests/simulated/mod.rs"]
mod simulated;

/// The simulated host.
pub struct Host {
    store: Simulated,
    folder: tempfile::TempDir,
}

impl Host {
    pub fn start() -> Self {
        Self { store: Simulated::start(), folder: tempfile::tempdir().unwrap() }
    }

    /// A domain as the toolstack and the attacher leave it.
    pub fn add_domain(&self, number: u16, name: &str) {
        let domid = Domid::new(number).unwrap();
        let mut client = self.store.client();
        client.write(&DomainPath::name(domid), name.as_bytes()).unwrap();
        client.write(&DomainPath::qpen(domid), b"").unwrap();
        for path in [DomainPath::home(domid), DomainPath::name(domid)] {
            client.set_permissions(&path, &Permissions::guest_reads(domid)).unwrap();
        }
        client
            .set_permissions(&DomainPath::qpen(domid), &Permissions::guest_reads_and_writes(domid))
            .unwrap();
        let listener = UnixListener::bind(self.socket(number)).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.store.run(move |store, server| {
            server.listen(number.into(), listener);
            store.introduce(number.into());
        });
    }

    pub fn remove_domain(&self, number: u16) {
        let mut client = self.store.client();
        client.rm(&DomainPath::home(Domid::new(number).unwrap())).unwrap();
        self.store.run(move |store, server| {
            server.drop_domain(store, number.into());
            store.release(number.into());
        });
    }

    pub fn remove_qpen(&self, number: u16) {
        self.vm(number).rm(&OwnPath::qpen()).unwrap();
    }

    /// Writes a request from inside a VM; with Debian's tool where that is installed and can pass the value.
    pub fn write_as_vm(&self, number: u16, value: &[u8]) {
        let plain = value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        match testkit::tool("xenstore-write").filter(|_| plain) {
            Some(tool) => {
                let mut command = Command::new(tool);
                command.env("XENSTORED_PATH", self.socket(number)).arg(OwnPath::qpen().text());
                let status = command.arg(std::ffi::OsStr::from_bytes(value)).status().unwrap();
                assert!(status.success());
            }
            None => self.vm(number).write(&OwnPath::qpen(), value).unwrap(),
        }
    }

    /// A VM that writes as fast as it can.
    pub fn flood(&self, number: u16) -> Flood {
        let mut client = self.vm(number);
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut written = 0_u32;
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                written += 1;
                client.write(&OwnPath::qpen(), format!("send calm {written}").as_bytes()).unwrap();
            }
        });
        Flood { stop, thread }
    }

    fn vm(&self, number: u16) -> Client {
        let path = self.socket(number);
        Client::new(xenstore::connect::connect_socket(path.as_os_str().as_bytes()).unwrap()).unwrap()
    }

    fn socket(&self, number: u16) -> PathBuf {
        self.folder.path().join(number.to_string())
    }
}

/// A VM that floods until it is stopped.
pub struct Flood {
    stop: Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Flood {
    pub fn stop(self) {
        drop(self.stop);
        self.thread.join().unwrap();
    }
}

/// A program in its sandbox.
pub struct Worker {
    pub child: Child,
}

impl Worker {
    fn start(path: &PathBuf, profile: &Profile, mut descriptors: BTreeMap<&str, OwnedFd>) -> Self {
        let program = File::open(path).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let owned: Vec<OwnedFd> =
            profile.descriptors.iter().map(|name| descriptors.remove(name).unwrap()).collect();
        let borrowed: Vec<BorrowedFd<'_>> = owned.iter().map(AsFd::as_fd).collect();
        let spawn = Spawn {
            program: program.as_fd(),
            argv0: profile.process,
            args: &[],
            stdio: [null.as_fd(), null.as_fd(), null.as_fd()],
            descriptors: &borrowed,
            account: None,
            namespaces: profile.namespaces,
        };
        Self { child: spawn.start().unwrap() }
    }
}

/// A worker and the broker's end of its edge.
pub struct Peer<Message> {
    pub worker: Worker,
    pub edge: Channel<u8, Message>,
}

impl Peer<MonitorEvent> {
    /// The next message, within ten seconds.
    pub fn next(&mut self) -> MonitorEvent {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(event) = self.edge.receive().unwrap() {
                return event;
            }
            assert!(Instant::now() < deadline, "the monitor says nothing");
            let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
            poll(&mut [PollFd::from_borrowed_fd(self.edge.as_fd(), PollFlags::IN)], Some(&timeout)).unwrap();
        }
    }

    pub fn until_synced(&mut self) -> Vec<MonitorEvent> {
        let mut told = Vec::new();
        while told.last() != Some(&MonitorEvent::Synced) {
            told.push(self.next());
        }
        told
    }
}

/// xs-gate and xs-monitor, connected as the supervisor connects them; `None` where they cannot run.
pub fn workers(host: &Host) -> Option<(Peer<LogLine>, Peer<MonitorEvent>)> {
    let monitor = PathBuf::from(env!("CARGO_BIN_EXE_xs-monitor"));
    let gate = monitor.with_file_name("xs-gate");
    if !gate.is_file() {
        testkit::skip("xs-gate is not built: cargo build --package attacher --bin xs-gate");
        return None;
    }
    let (gate_end, monitor_end) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let (gate_edge, near_gate) = protocol::channel::pair().unwrap();
    let (monitor_edge, near_monitor) = protocol::channel::pair().unwrap();
    let descriptors =
        BTreeMap::from([("edge", gate_edge), ("xenstored", host.store.connection()), ("monitor", gate_end)]);
    let gate = Worker::start(&gate, &sandbox_profiles::XS_GATE, descriptors);
    let descriptors = BTreeMap::from([("edge", monitor_edge), ("gate", monitor_end)]);
    let monitor = Worker::start(&monitor, &sandbox_profiles::XS_MONITOR, descriptors);
    let gate = Peer { worker: gate, edge: Channel::new(near_gate) };
    Some((gate, Peer { worker: monitor, edge: Channel::new(near_monitor) }))
}
