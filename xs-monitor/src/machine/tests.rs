//! The state machine against a small world whose nodes are plain maps.

use super::{Action, Event, LIST_RETRY_MS, Monitor};
use crate::bucket::{BURST_READS_MAX, REFILL_MS};
use crate::domains::{DOMAINS_MAX, Node};
use proptest::prelude::*;
use protocol::monitor::MonitorEvent;
use protocol::request::{Request, Verb};
use protocol::types::{Domid, ReqId, VmName};
use std::collections::{BTreeMap, BTreeSet};

fn domid(number: u16) -> Domid {
    Domid::new(number).unwrap()
}

fn seen(number: u16, name: &str) -> MonitorEvent {
    MonitorEvent::DomainSeen { domid: domid(number), name: VmName::new(name.as_bytes()).unwrap() }
}

fn requests(events: &[MonitorEvent]) -> usize {
    events.iter().filter(|event| matches!(event, MonitorEvent::RequestSeen { .. })).count()
}

/// Domains with their nodes, and a monitor that sees them.
struct World {
    monitor: Monitor,
    nodes: BTreeMap<Domid, BTreeMap<Node, Vec<u8>>>,
    watched: BTreeSet<Domid>,
    reads: Vec<(Domid, Node)>,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        Self {
            monitor: Monitor::new(),
            nodes: BTreeMap::new(),
            watched: BTreeSet::new(),
            reads: Vec::new(),
            now_ms: 1_000_000,
        }
    }

    fn with_domain(mut self, number: u16, name: &[u8], qpen: Option<&[u8]>) -> Self {
        let nodes = self.nodes.entry(domid(number)).or_default();
        nodes.insert(Node::Name, name.to_vec());
        nodes.extend(qpen.map(|value| (Node::Qpen, value.to_vec())));
        self
    }

    fn event(&mut self, event: Event) -> Vec<MonitorEvent> {
        let actions = self.monitor.step(event, self.now_ms);
        assert!(actions.len() <= 2 * DOMAINS_MAX + 3);
        actions.into_iter().flat_map(|action| self.perform(action)).collect()
    }

    fn perform(&mut self, action: Action) -> Vec<MonitorEvent> {
        match action {
            Action::Tell(told) => vec![told],
            Action::List => {
                let names = self.nodes.keys().map(|domid| domid.to_string().into_bytes());
                let names = std::iter::once(b"0".to_vec()).chain(names).collect();
                self.event(Event::Listed { names })
            }
            Action::Watch { domid } => {
                self.watched.insert(domid);
                let mut told = self.event(Event::NodeChanged { domid, node: Node::Qpen });
                told.extend(self.event(Event::NodeChanged { domid, node: Node::Name }));
                told
            }
            Action::Unwatch { domid } => {
                self.watched.remove(&domid);
                Vec::new()
            }
            Action::Read { domid, node } => {
                self.reads.push((domid, node));
                let nodes = self.nodes.get(&domid);
                let untrusted_value = nodes.and_then(|nodes| nodes.get(&node)).cloned();
                self.event(Event::NodeRead { domid, node, untrusted_value })
            }
        }
    }

    /// Lets the monitor work until it has nothing more to do at this time.
    fn settle(&mut self) -> Vec<MonitorEvent> {
        let mut told = Vec::new();
        while self.monitor.wake_ms().is_some_and(|wake_ms| wake_ms <= self.now_ms) {
            told.extend(self.event(Event::Turn));
        }
        told
    }

    fn write(&mut self, number: u16, node: Node, value: &[u8]) {
        self.nodes.entry(domid(number)).or_default().insert(node, value.to_vec());
        let told = self.event(Event::NodeChanged { domid: domid(number), node });
        assert_eq!(told, []);
    }
}

#[test]
fn at_the_start_every_domain_and_request_is_told_before_synced() {
    let mut world = World::new().with_domain(1, b"work", Some(b"new #a")).with_domain(2, b"vault", Some(b""));
    let told = world.settle();
    let request = Request { verb: Verb::New { size: None }, reqid: ReqId::new(b"a").ok() };
    let request =
        MonitorEvent::RequestSeen { domid: domid(1), request, digest: crate::request::digest(b"new #a") };
    assert_eq!(told, [seen(1, "work"), seen(2, "vault"), request, MonitorEvent::Synced]);
    assert_eq!(world.watched, [domid(1), domid(2)].into());
    assert_eq!(world.settle(), []);
}

#[test]
fn a_host_without_guests_is_synced_at_once() {
    assert_eq!(World::new().settle(), [MonitorEvent::Synced]);
}

#[test]
fn a_missing_qpen_is_told_only_of_a_domain_that_is_still_there() {
    let mut world = World::new().with_domain(1, b"work", None).with_domain(2, b"vault", Some(b""));
    let missing = MonitorEvent::QpenMissing { domid: domid(1) };
    assert_eq!(world.settle(), [seen(1, "work"), seen(2, "vault"), missing, MonitorEvent::Synced]);
    // Domain 2 ends: its nodes go first, and only then somebody says so.
    world.nodes.remove(&domid(2));
    world.event(Event::NodeChanged { domid: domid(2), node: Node::Qpen });
    assert_eq!(world.settle(), [MonitorEvent::DomainGone { domid: domid(2) }]);
    world.event(Event::DomainsChanged);
    assert_eq!(world.settle(), []);
    assert_eq!(world.watched, [domid(1)].into());
}

#[test]
fn a_qpen_that_the_guest_removed_is_told_each_time() {
    let mut world = World::new().with_domain(1, b"work", Some(b""));
    world.settle();
    for _ in 0..3 {
        world.nodes.get_mut(&domid(1)).unwrap().remove(&Node::Qpen);
        world.event(Event::NodeChanged { domid: domid(1), node: Node::Qpen });
        assert_eq!(world.settle(), [MonitorEvent::QpenMissing { domid: domid(1) }]);
        world.write(1, Node::Qpen, b"");
        assert_eq!(world.settle(), []);
    }
}

#[test]
fn an_unfit_name_is_told_once_and_the_domain_is_asked_nothing() {
    for untrusted_name in [&b""[..], b"-x", b"a b", b"\x1b[2J", b"\xff", &[b'n'; 64]] {
        let mut world = World::new().with_domain(1, untrusted_name, Some(b"new"));
        assert_eq!(world.settle(), [MonitorEvent::NameUnfit { domid: domid(1) }, MonitorEvent::Synced]);
        world.write(1, Node::Name, b"also unfit");
        world.write(1, Node::Qpen, b"umount");
        assert_eq!(world.settle(), []);
        assert!(world.reads.iter().all(|(_, node)| *node == Node::Name));
        world.write(1, Node::Name, b"fits");
        let told = world.settle();
        assert_eq!((told.first(), requests(&told)), (Some(&seen(1, "fits")), 1));
    }
}

#[test]
fn a_name_may_come_later_and_change_later() {
    let mut world = World::new();
    world.nodes.insert(domid(1), [(Node::Qpen, b"new".to_vec())].into());
    assert_eq!(world.settle(), [MonitorEvent::Synced]);
    world.write(1, Node::Name, b"work");
    let told = world.settle();
    assert_eq!((told.first(), requests(&told)), (Some(&seen(1, "work")), 1));
    world.write(1, Node::Name, b"play");
    assert_eq!(world.settle(), [seen(1, "play")]);
    world.write(1, Node::Name, b"play");
    assert_eq!(world.settle(), []);
}

#[test]
fn l1_no_value_of_a_request_node_ends_the_monitor() {
    let mut world = World::new().with_domain(1, b"work", Some(b""));
    world.settle();
    for untrusted_value in [&b" "[..], b"\0 ", b"\xff", &[b' '; 257], &[0; 4096], b"send", b"new 0"] {
        world.now_ms += 1000;
        world.write(1, Node::Qpen, untrusted_value);
        let digest = crate::request::digest(untrusted_value);
        let told = MonitorEvent::RequestUnparsable { domid: domid(1), reqid: None, digest };
        assert_eq!(world.settle(), [told]);
    }
}

#[test]
fn l7_no_byte_that_was_not_parsed_leaves_the_monitor() {
    let marked = b"\x1b]0;MARK\x07\xff";
    let mut world = World::new()
        .with_domain(1, marked, Some(b"new"))
        .with_domain(2, b"work", Some(marked))
        .with_domain(3, b"vault", Some(b"send MARK/../x #id"));
    let told = world.settle();
    assert_eq!(told.len(), 6, "{told:?}");
    let strange = Event::Listed { names: vec![marked.to_vec(), b"1".to_vec(), b"2".to_vec(), b"3".to_vec()] };
    let logged = world.event(strange);
    assert!(matches!(logged.as_slice(), [MonitorEvent::Log(_)]));
    for event in told.iter().chain(&logged) {
        let bytes = protocol::codec::encode(event).unwrap();
        assert!(!bytes.windows(4).any(|window| window == b"MARK"), "{event:?}");
    }
}

#[test]
fn l15_a_value_is_read_once_and_told_from_that_copy() {
    let mut world = World::new().with_domain(1, b"work", Some(b""));
    world.settle();
    world.reads.clear();
    world.write(1, Node::Qpen, b"umount #x");
    let told = world.settle();
    assert_eq!(world.reads, [(domid(1), Node::Qpen)]);
    let [MonitorEvent::RequestSeen { request, digest, .. }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((request.verb.word(), *digest), ("umount", crate::request::digest(b"umount #x")));
}

#[test]
fn l18_a_flood_is_read_at_its_rate_and_only_the_newest_value_counts() {
    let mut world = World::new().with_domain(1, b"work", Some(b""));
    world.settle();
    world.now_ms += 60_000;
    world.reads.clear();
    let mut told = Vec::new();
    for number in 1..=1000 {
        world.write(1, Node::Qpen, format!("send vault {number}").as_bytes());
        told.extend(world.settle());
    }
    assert_eq!(world.reads.len(), usize::try_from(BURST_READS_MAX).unwrap());
    assert_eq!(world.monitor.wake_ms(), Some(world.now_ms + REFILL_MS));
    world.now_ms += REFILL_MS;
    told.extend(world.settle());
    let Some(MonitorEvent::RequestSeen { digest, .. }) = told.last() else { panic!("{told:?}") };
    assert_eq!(*digest, crate::request::digest(b"send vault 1000"));
    assert_eq!(requests(&told), usize::try_from(BURST_READS_MAX).unwrap() + 1);
    assert_eq!(world.monitor.wake_ms(), None);
}

#[test]
fn l18_a_flood_of_one_delays_another_by_at_most_one_read() {
    let mut world = World::new().with_domain(1, b"flood", Some(b"")).with_domain(2, b"calm", Some(b""));
    world.settle();
    for number in 0..200 {
        world.now_ms += REFILL_MS;
        world.write(1, Node::Qpen, format!("send calm {}", number + 1).as_bytes());
        world.write(1, Node::Name, b"flood");
        world.write(2, Node::Qpen, b"umount");
        world.reads.clear();
        world.event(Event::Turn);
        world.event(Event::Turn);
        assert!(world.reads.contains(&(domid(2), Node::Qpen)), "{:?}", world.reads);
        world.settle();
    }
}

#[test]
fn l19_of_1025_domains_the_last_is_logged_once_and_left_alone() {
    let mut world = World::new();
    for number in 1..=u16::try_from(DOMAINS_MAX).unwrap() + 1 {
        world = world.with_domain(number, b"vm", Some(b"new"));
    }
    let told = world.settle();
    let logs =
        |told: &[MonitorEvent]| told.iter().filter(|event| matches!(event, MonitorEvent::Log(_))).count();
    assert_eq!((logs(&told), requests(&told)), (1, DOMAINS_MAX));
    assert_eq!(told.last(), Some(&MonitorEvent::Synced));
    assert_eq!(world.watched.len(), DOMAINS_MAX);
    world.event(Event::DomainsChanged);
    assert_eq!(logs(&world.settle()), 0);
    // Where one goes, the next one that comes is served.
    world.nodes.remove(&domid(7));
    world.event(Event::DomainsChanged);
    assert_eq!(requests(&world.settle()), 1);
}

#[test]
fn domains_that_cannot_be_listed_are_listed_again_a_second_later() {
    let mut monitor = Monitor::new();
    assert_eq!(monitor.step(Event::Turn, 0), [Action::List]);
    let [Action::Tell(MonitorEvent::Log(_))] = monitor.step(Event::ListFailed, 0).as_slice() else {
        panic!()
    };
    assert_eq!(monitor.step(Event::Turn, LIST_RETRY_MS - 1), []);
    assert_eq!(monitor.wake_ms(), Some(LIST_RETRY_MS));
    assert_eq!(monitor.step(Event::Turn, LIST_RETRY_MS), [Action::List]);
    // Said once, not every second.
    assert_eq!(monitor.step(Event::ListFailed, LIST_RETRY_MS), []);
    assert_eq!(monitor.step(Event::Turn, 2 * LIST_RETRY_MS), [Action::List]);
    assert_eq!(
        monitor.step(Event::Listed { names: Vec::new() }, 2 * LIST_RETRY_MS),
        [Action::Tell(MonitorEvent::Synced)]
    );
}

#[test]
fn a_domain_that_cannot_be_watched_is_given_up_and_tried_with_the_next_list() {
    let mut monitor = Monitor::new();
    let listed = Event::Listed { names: vec![b"5".to_vec()] };
    monitor.step(Event::Turn, 0);
    assert_eq!(monitor.step(listed.clone(), 0), [Action::Watch { domid: domid(5) }]);
    let actions = monitor.step(Event::WatchFailed { domid: domid(5) }, 0);
    assert_eq!(actions.first(), Some(&Action::Unwatch { domid: domid(5) }));
    assert_eq!(actions.last(), Some(&Action::Tell(MonitorEvent::Synced)));
    assert_eq!(monitor.step(listed, 0), [Action::Watch { domid: domid(5) }]);
}

fn any_event() -> impl Strategy<Value = Event> {
    let node = || prop_oneof![Just(Node::Name), Just(Node::Qpen)];
    let who = || (1_u16..6).prop_map(domid);
    let value = prop::option::of(prop_oneof![
        Just(b"new".to_vec()),
        Just(b"work".to_vec()),
        prop::collection::vec(any::<u8>(), 0..300),
    ]);
    let name = prop_oneof![
        (0_u16..8).prop_map(|number| number.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop_oneof![
        Just(Event::DomainsChanged),
        prop::collection::vec(name, 0..6).prop_map(|names| Event::Listed { names }),
        Just(Event::ListFailed),
        who().prop_map(|domid| Event::WatchFailed { domid }),
        (who(), node()).prop_map(|(domid, node)| Event::NodeChanged { domid, node }),
        (who(), node(), value).prop_map(|(domid, node, untrusted_value)| Event::NodeRead {
            domid,
            node,
            untrusted_value
        }),
        (who(), node()).prop_map(|(domid, node)| Event::ReadFailed { domid, node }),
        Just(Event::Turn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_order_of_events_breaks_the_rules(events in prop::collection::vec((any_event(), 0_u64..300), 0..200)) {
        let mut monitor = Monitor::new();
        let (mut now_ms, mut synced) = (0, 0);
        let mut watched = BTreeSet::new();
        for (event, later_ms) in events {
            now_ms += later_ms;
            for action in monitor.step(event, now_ms) {
                match action {
                    Action::Watch { domid } => prop_assert!(watched.insert(domid)),
                    Action::Unwatch { domid } => drop(watched.remove(&domid)),
                    // Nothing is asked, and nothing is told, of a domain that is not followed.
                    Action::Read { domid, .. }
                    | Action::Tell(
                        MonitorEvent::DomainSeen { domid, .. }
                        | MonitorEvent::NameUnfit { domid }
                        | MonitorEvent::QpenMissing { domid }
                        | MonitorEvent::RequestSeen { domid, .. }
                        | MonitorEvent::RequestUnparsable { domid, .. },
                    ) => prop_assert!(watched.contains(&domid)),
                    Action::Tell(MonitorEvent::DomainGone { domid }) => prop_assert!(!watched.contains(&domid)),
                    Action::Tell(MonitorEvent::Synced) => synced += 1,
                    Action::Tell(MonitorEvent::Log(_)) | Action::List => {}
                }
            }
        }
        prop_assert!(synced <= 1);
    }
}
