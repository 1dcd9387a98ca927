//! The loop against a small xenstore in a thread, and a broker that is the test itself.

use super::{Ended, Shell};
use protocol::channel::{Channel, ChannelError};
use protocol::monitor::MonitorEvent;
use protocol::types::{Domid, VmName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use xenstore::wire::{Frame, FrameReader, Kind};

/// Nodes, watches, and everything that was asked for.
struct Store {
    stream: UnixStream,
    nodes: BTreeMap<String, Vec<u8>>,
    watches: Vec<(String, String)>,
    asked: Vec<(Kind, String)>,
}

impl Store {
    fn send(&mut self, kind: Kind, request_id: u32, payload: &[u8]) {
        let frame = Frame::new(kind.number(), request_id, 0, payload.to_vec()).unwrap();
        // The monitor may have ended already.
        drop(self.stream.write_all(&frame.encode()));
    }

    fn fire(&mut self, changed: &str) {
        for (path, token) in self.watches.clone() {
            if changed == path || changed.starts_with(&format!("{path}/")) {
                self.send(Kind::WatchEvent, 0, format!("{changed}\0{token}\0").as_bytes());
            }
        }
    }

    fn children(&self, path: &str) -> String {
        let mut names: Vec<&str> = self
            .nodes
            .keys()
            .filter_map(|key| key.strip_prefix(path)?.strip_prefix('/')?.split('/').next())
            .collect();
        names.dedup();
        names.iter().map(|name| format!("{name}\0")).collect()
    }

    fn serve(&mut self, frame: &Frame) {
        let kind = Kind::of_number(frame.header.kind).unwrap();
        let text = String::from_utf8(frame.payload.clone()).unwrap();
        let words: Vec<&str> = text.trim_end_matches('\0').split('\0').collect();
        let (path, token) = (words[0].to_owned(), words.get(1).unwrap_or(&"").to_string());
        self.asked.push((kind, path.clone()));
        let id = frame.header.request_id;
        if kind == Kind::Read {
            match self.nodes.get(&path).cloned() {
                Some(value) => self.send(kind, id, &value),
                None => self.send(Kind::Error, id, b"ENOENT\0"),
            }
        } else if kind == Kind::Directory {
            let names = self.children(&path);
            self.send(kind, id, names.as_bytes());
        } else if kind == Kind::Watch {
            self.watches.push((path.clone(), token.clone()));
            self.send(kind, id, b"OK\0");
            self.send(Kind::WatchEvent, 0, format!("{path}\0{token}\0").as_bytes());
        } else {
            assert_eq!(kind, Kind::Unwatch);
            self.watches.retain(|watch| *watch != (path.clone(), token.clone()));
            self.send(kind, id, b"OK\0");
        }
    }
}

/// The store, the far end of the edge, and the monitor in its thread.
struct Host {
    store: Arc<Mutex<Store>>,
    broker: Channel<u8, MonitorEvent>,
    monitor: JoinHandle<Ended>,
}

impl Host {
    fn start(domains: &[(u16, &str)]) -> Self {
        let (near, far) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let (edge, broker) = protocol::channel::pair().unwrap();
        let mut stream = UnixStream::from(far);
        let store = Store {
            stream: stream.try_clone().unwrap(),
            nodes: BTreeMap::new(),
            watches: Vec::new(),
            asked: Vec::new(),
        };
        let store = Arc::new(Mutex::new(store));
        for (number, name) in domains {
            let nodes = &mut store.lock().unwrap().nodes;
            nodes.insert(format!("/local/domain/{number}/name"), name.as_bytes().to_vec());
            nodes.insert(format!("/local/domain/{number}/device/qpen"), Vec::new());
        }
        let served = Arc::clone(&store);
        std::thread::spawn(move || {
            let mut reader = FrameReader::default();
            let mut buffer = [0; 4096];
            while let Ok(received @ 1..) = stream.read(&mut buffer) {
                reader.push(&buffer[..received]);
                while let Some(frame) = reader.next_frame().unwrap() {
                    served.lock().unwrap().serve(&frame);
                }
            }
        });
        let monitor = std::thread::spawn(move || Shell::new(edge, near).unwrap().serve());
        Self { store, broker: Channel::new(broker), monitor }
    }

    fn write(&self, path: &str, value: &[u8]) {
        let mut store = self.store.lock().unwrap();
        store.nodes.insert(path.to_owned(), value.to_vec());
        store.fire(path);
    }

    /// The next message, within ten seconds.
    fn next(&mut self) -> MonitorEvent {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(event) = self.broker.receive().unwrap() {
                return event;
            }
            assert!(Instant::now() < deadline, "the monitor says nothing");
            self.wait(100);
        }
    }

    fn wait(&self, ms: u64) {
        let timeout = Timespec::try_from(Duration::from_millis(ms)).unwrap();
        poll(&mut [PollFd::from_borrowed_fd(self.broker.as_fd(), PollFlags::IN)], Some(&timeout)).unwrap();
    }

    fn until_synced(&mut self) -> Vec<MonitorEvent> {
        let mut told = Vec::new();
        while told.last() != Some(&MonitorEvent::Synced) {
            told.push(self.next());
        }
        told
    }
}

fn verb_of(event: &MonitorEvent) -> &'static str {
    let MonitorEvent::RequestSeen { request, .. } = event else { panic!("no request: {event:?}") };
    request.verb.word()
}

#[test]
fn requests_arrive_at_the_broker() {
    let mut host = Host::start(&[(1, "work"), (2, "vault")]);
    let seen = |number, name: &str| MonitorEvent::DomainSeen {
        domid: Domid::new(number).unwrap(),
        name: VmName::new(name.as_bytes()).unwrap(),
    };
    assert_eq!(host.until_synced(), [seen(1, "work"), seen(2, "vault"), MonitorEvent::Synced]);
    host.write("/local/domain/1/device/qpen", b"new #a");
    assert_eq!(verb_of(&host.next()), "new");
    host.write("/local/domain/2/device/qpen", b"\xff\xfe #b");
    assert!(matches!(host.next(), MonitorEvent::RequestUnparsable { reqid: Some(_), .. }));
}

#[test]
fn domains_that_come_and_go_are_told() {
    let mut host = Host::start(&[(1, "work")]);
    host.until_synced();
    {
        let mut store = host.store.lock().unwrap();
        store.nodes.insert("/local/domain/9/name".to_owned(), b"late".to_vec());
        store.fire("@introduceDomain");
    }
    assert!(matches!(host.next(), MonitorEvent::DomainSeen { domid, .. } if domid.get() == 9));
    assert!(matches!(host.next(), MonitorEvent::QpenMissing { domid } if domid.get() == 9));
    {
        let mut store = host.store.lock().unwrap();
        store.nodes.retain(|path, _| !path.starts_with("/local/domain/1/"));
        store.fire("@releaseDomain");
    }
    assert!(matches!(host.next(), MonitorEvent::DomainGone { domid } if domid.get() == 1));
    let deadline = Instant::now() + Duration::from_secs(10);
    while host.store.lock().unwrap().watches.iter().any(|(path, _)| path.starts_with("/local/domain/1/")) {
        assert!(Instant::now() < deadline, "the watches of a domain that is gone stay");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn l16_nothing_is_read_but_the_list_of_domains_their_names_and_their_requests() {
    let mut host = Host::start(&[(1, "work")]);
    {
        let nodes = &mut host.store.lock().unwrap().nodes;
        nodes.insert("/local/domain/1/device/vbd/51808/backend".to_owned(), b"/local/domain/0/evil".to_vec());
        nodes.insert("/local/domain/1/data/evil".to_owned(), b"/local/domain/0/evil".to_vec());
    }
    host.until_synced();
    host.write("/local/domain/1/device/qpen/backend", b"/local/domain/0/evil");
    host.write("/local/domain/1/device/qpen", b"send ../0/evil");
    assert!(matches!(host.next(), MonitorEvent::RequestUnparsable { .. }));
    let permitted = [
        (Kind::Watch, "@introduceDomain"),
        (Kind::Watch, "@releaseDomain"),
        (Kind::Directory, "/local/domain"),
        (Kind::Watch, "/local/domain/1/name"),
        (Kind::Watch, "/local/domain/1/device/qpen"),
        (Kind::Read, "/local/domain/1/name"),
        (Kind::Read, "/local/domain/1/device/qpen"),
    ];
    for (kind, path) in &host.store.lock().unwrap().asked {
        assert!(permitted.contains(&(*kind, path.as_str())), "{kind:?} {path}");
    }
}

#[test]
fn l18_a_broker_that_does_not_read_loses_no_request_of_a_quiet_vm() {
    let domains: Vec<(u16, String)> = (1..=600).map(|number| (number, format!("vm{number}"))).collect();
    let domains: Vec<(u16, &str)> = domains.iter().map(|(number, name)| (*number, name.as_str())).collect();
    let mut host = Host::start(&domains);
    // Far more than an edge holds, all before the broker reads anything.
    std::thread::sleep(Duration::from_millis(200));
    for round in 0..3 {
        for (number, _) in &domains {
            let request = format!("send vault {}", round + 1);
            host.write(&format!("/local/domain/{number}/device/qpen"), request.as_bytes());
        }
    }
    let newest = crate::request::digest(b"send vault 3");
    let mut waiting: Vec<u16> = domains.iter().map(|(number, _)| *number).collect();
    while !waiting.is_empty() {
        if let MonitorEvent::RequestSeen { domid, digest, .. } = host.next()
            && digest == newest
        {
            waiting.retain(|number| *number != domid.get());
        }
    }
}

#[test]
fn the_end_of_either_side_ends_the_monitor() {
    let mut host = Host::start(&[]);
    host.until_synced();
    drop(host.broker);
    assert!(matches!(host.monitor.join().unwrap(), Ended::Broker(ChannelError::Closed)));
    let mut host = Host::start(&[]);
    host.until_synced();
    host.store.lock().unwrap().stream.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(matches!(host.monitor.join().unwrap(), Ended::Xenstore(xenstore::Error::Closed)));
}

#[test]
fn a_broker_that_speaks_ends_the_monitor() {
    let mut host = Host::start(&[]);
    host.until_synced();
    host.broker.send(&1).unwrap();
    assert!(matches!(host.monitor.join().unwrap(), Ended::Broker(ChannelError::Codec(_))));
}
