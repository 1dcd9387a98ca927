//! The store as its clients see it: requests in, replies and events out.

use super::limits::{
    GUEST_NODES_MAX, GUEST_PERMISSIONS_MAX, GUEST_TRANSACTIONS_MAX, GUEST_VALUE_BYTES_MAX, GUEST_WATCHES_MAX,
    OUT_QUEUE_BYTES_MAX, PAYLOAD_BYTES_MAX,
};
use super::wire::{ERROR, Header, WATCH_EVENT};
use super::*;

const DIRECTORY: u32 = 1;
const READ: u32 = 2;
const GET_PERMS: u32 = 3;
const WATCH: u32 = 4;
const UNWATCH: u32 = 5;
const TRANSACTION_START: u32 = 6;
const TRANSACTION_END: u32 = 7;
const GET_DOMAIN_PATH: u32 = 10;
const WRITE: u32 = 11;
const MKDIR: u32 = 12;
const RM: u32 = 13;
const SET_PERMS: u32 = 14;
const IS_DOMAIN_INTRODUCED: u32 = 17;
const RESET_WATCHES: u32 = 21;
const DIRECTORY_PART: u32 = 22;

/// A store with domain 0 and two guests, as the toolstack leaves it.
struct Lab {
    store: Store,
    dom0: ConnectionId,
    guest: ConnectionId,
    other: ConnectionId,
    /// Events that came before a reply, as they do for a change that the client itself made.
    early: Vec<(ConnectionId, Vec<u8>)>,
}

impl Lab {
    fn new() -> Self {
        let mut store = Store::new();
        let (dom0, guest, other) = (store.connect(0), store.connect(5), store.connect(6));
        let mut lab = Self { store, dom0, guest, other, early: Vec::new() };
        for domid in [5, 6] {
            let home = home(domid);
            lab.ok(dom0, MKDIR, format!("{home}\0"));
            lab.ok(dom0, SET_PERMS, format!("{home}\0n0\0r{domid}\0"));
            lab.ok(dom0, MKDIR, format!("{home}/device\0"));
            lab.ok(dom0, MKDIR, format!("{home}/data\0"));
            lab.ok(dom0, SET_PERMS, format!("{home}/data\0n{domid}\0"));
        }
        lab
    }

    /// One request outside transactions.
    fn ask(&mut self, who: ConnectionId, kind: u32, payload: impl AsRef<[u8]>) -> Result<Vec<u8>, String> {
        self.ask_in(who, 0, kind, payload)
    }

    fn ask_in(
        &mut self,
        who: ConnectionId,
        transaction_id: u32,
        kind: u32,
        payload: impl AsRef<[u8]>,
    ) -> Result<Vec<u8>, String> {
        let payload = payload.as_ref();
        let payload_bytes = u32::try_from(payload.len()).unwrap();
        let header = Header { kind, request_id: 77, transaction_id, payload_bytes };
        self.store.handle(who, &header, payload);
        loop {
            let reply = self.store.next_message(who).expect("every request is answered");
            if reply.header.kind == WATCH_EVENT {
                self.early.push((who, reply.payload));
                continue;
            }
            assert_eq!((reply.header.request_id, reply.header.transaction_id), (77, transaction_id));
            if reply.header.kind == ERROR {
                let name = String::from_utf8(reply.payload).unwrap();
                return Err(name.trim_end_matches('\0').to_owned());
            }
            assert_eq!(reply.header.kind, kind);
            return Ok(reply.payload);
        }
    }

    fn ok(&mut self, who: ConnectionId, kind: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
        self.ask(who, kind, payload).unwrap()
    }

    fn fails(&mut self, who: ConnectionId, kind: u32, payload: impl AsRef<[u8]>) -> String {
        self.ask(who, kind, payload).unwrap_err()
    }

    fn begin(&mut self, who: ConnectionId) -> u32 {
        let reply = self.ok(who, TRANSACTION_START, b"\0");
        String::from_utf8(reply).unwrap().trim_end_matches('\0').parse().unwrap()
    }

    fn events(&mut self, who: ConnectionId) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let early = self.early.extract_if(.., |(whose, _)| *whose == who);
        let mut events: Vec<(String, String)> = early
            .map(|(_, payload)| {
                let mut parts = payload.split(|byte| *byte == 0).map(text);
                (parts.next().unwrap(), parts.next().unwrap())
            })
            .collect();
        events.extend(
            std::iter::from_fn(|| self.store.next_event(who))
                .map(|(path, token)| (text(&path), text(&token))),
        );
        events
    }

    fn event_paths(&mut self, who: ConnectionId) -> Vec<String> {
        self.events(who).into_iter().map(|(path, _)| path).collect()
    }
}

#[test]
fn a_value_is_read_back_and_parents_are_made() {
    let mut lab = Lab::new();
    assert_eq!(lab.ok(lab.dom0, WRITE, b"/a/b/c\0value \0 with nul"), b"OK\0");
    assert_eq!(lab.ok(lab.dom0, READ, b"/a/b/c\0"), b"value \0 with nul");
    assert_eq!(lab.ok(lab.dom0, READ, b"/a/b\0"), b"");
    assert_eq!(lab.ok(lab.dom0, DIRECTORY, b"/a\0"), b"b\0");
    assert_eq!(lab.ok(lab.dom0, DIRECTORY, b"/a/b/c\0"), b"");
    assert_eq!(lab.fails(lab.dom0, READ, b"/a/x\0"), "ENOENT");
    lab.ok(lab.dom0, MKDIR, b"/a/b/c\0");
    assert_eq!(lab.ok(lab.dom0, READ, b"/a/b/c\0"), b"value \0 with nul");
    lab.ok(lab.dom0, WRITE, b"/a/b/c\0");
    assert_eq!(lab.ok(lab.dom0, READ, b"/a/b/c\0"), b"");
}

#[test]
fn malformed_requests_are_refused_by_name() {
    let mut lab = Lab::new();
    assert_eq!(lab.fails(lab.dom0, READ, b"/local"), "ENOENT");
    assert_eq!(lab.fails(lab.dom0, READ, b"local/\0"), "EINVAL");
    assert_eq!(lab.fails(lab.dom0, WRITE, b"/a"), "EINVAL");
    assert_eq!(lab.fails(lab.dom0, WRITE, b"@introduceDomain\0x"), "EINVAL");
    assert_eq!(lab.fails(lab.dom0, WATCH, b"/a\0"), "EINVAL");
    assert_eq!(lab.fails(lab.dom0, WATCH, b"/a\0t\0u\0"), "EINVAL");
    assert_eq!(lab.fails(lab.dom0, SET_PERMS, b"/local\0"), "EINVAL");
    assert_eq!(lab.fails(lab.dom0, SET_PERMS, b"/local\0q1\0"), "EINVAL");
    assert_eq!(lab.fails(lab.dom0, TRANSACTION_END, b"T\0"), "ENOENT");
    assert_eq!(lab.fails(lab.dom0, TRANSACTION_END, b"X\0"), "EINVAL");
    assert_eq!(lab.fails(lab.dom0, RM, b"/\0"), "EINVAL");
    for unknown in [15, 16, 20, 23, u32::MAX] {
        assert_eq!(lab.fails(lab.dom0, unknown, b"/a\0"), "ENOSYS");
    }
    assert_eq!(lab.ask_in(lab.dom0, 9, READ, b"/local\0"), Err("ENOENT".to_owned()));
}

#[test]
fn removal_takes_the_whole_tree_and_a_missing_node_counts_as_removed() {
    let mut lab = Lab::new();
    lab.ok(lab.dom0, WRITE, b"/a/b/c\0x");
    lab.ok(lab.dom0, RM, b"/a/b\0");
    assert_eq!(lab.fails(lab.dom0, READ, b"/a/b/c\0"), "ENOENT");
    assert_eq!(lab.ok(lab.dom0, DIRECTORY, b"/a\0"), b"");
    assert_eq!(lab.ok(lab.dom0, RM, b"/a/b\0"), b"OK\0");
    assert_eq!(lab.fails(lab.dom0, RM, b"/a/b/c\0"), "ENOENT");
}

#[test]
fn a_guest_reads_its_home_and_writes_only_what_it_was_given() {
    let mut lab = Lab::new();
    assert_eq!(lab.ok(lab.guest, DIRECTORY, b"device\0"), b"");
    assert_eq!(lab.fails(lab.guest, WRITE, b"device/qpen\0new"), "EACCES");
    assert_eq!(lab.fails(lab.guest, MKDIR, b"device/qpen\0"), "EACCES");
    assert_eq!(lab.fails(lab.guest, READ, b"device/qpen\0"), "ENOENT");
    lab.ok(lab.guest, WRITE, b"data/x\0value");
    assert_eq!(lab.ok(lab.dom0, READ, b"/local/domain/5/data/x\0"), b"value");
    assert_eq!(lab.ok(lab.dom0, GET_PERMS, b"/local/domain/5/data/x\0"), b"n5\0");
}

#[test]
fn a_guest_can_tell_nothing_about_another() {
    let mut lab = Lab::new();
    lab.ok(lab.guest, WRITE, b"data/x\0value");
    for path in ["", "/data", "/data/x", "/data/missing"] {
        let path = format!("/local/domain/5{path}\0");
        assert_eq!(lab.fails(lab.other, READ, &path), "EACCES");
        assert_eq!(lab.fails(lab.other, DIRECTORY, &path), "EACCES");
        assert_eq!(lab.fails(lab.other, GET_PERMS, &path), "EACCES");
        assert_eq!(lab.fails(lab.other, MKDIR, path.replace('\0', "/new\0")), "EACCES");
        assert_eq!(lab.fails(lab.other, RM, &path), "EACCES");
        assert_eq!(lab.fails(lab.other, SET_PERMS, format!("{path}b6\0")), "EACCES");
    }
    assert_eq!(lab.fails(lab.other, DIRECTORY, b"/local/domain\0"), "EACCES");
    assert_eq!(lab.fails(lab.other, WRITE, b"/local/domain/5/data/x\0y"), "EACCES");
    assert_eq!(lab.fails(lab.other, WRITE, b"/new\0y"), "EACCES");
}

#[test]
fn a_key_that_dom0_shares_can_be_written_and_removed_but_not_made_again() {
    let mut lab = Lab::new();
    lab.ok(lab.dom0, WRITE, b"/local/domain/5/device/qpen\0");
    assert_eq!(lab.ok(lab.dom0, GET_PERMS, b"/local/domain/5/device/qpen\0"), b"n0\0r5\0");
    lab.ok(lab.dom0, SET_PERMS, b"/local/domain/5/device/qpen\0n0\0b5\0");
    lab.ok(lab.guest, WRITE, b"device/qpen\0new");
    assert_eq!(lab.fails(lab.guest, SET_PERMS, b"device/qpen\0b5\0"), "EACCES");
    lab.ok(lab.guest, RM, b"device/qpen\0");
    assert_eq!(lab.fails(lab.guest, WRITE, b"device/qpen\0new"), "EACCES");
}

#[test]
fn an_owner_may_change_permissions_but_not_the_owner() {
    let mut lab = Lab::new();
    lab.ok(lab.guest, WRITE, b"data/x\0value");
    lab.ok(lab.guest, SET_PERMS, b"data/x\0n5\0r6\0");
    assert_eq!(lab.ok(lab.other, READ, b"/local/domain/5/data/x\0"), b"value");
    assert_eq!(lab.fails(lab.other, WRITE, b"/local/domain/5/data/x\0y"), "EACCES");
    assert_eq!(lab.fails(lab.guest, SET_PERMS, b"data/x\0n6\0"), "EPERM");
    assert_eq!(lab.fails(lab.guest, SET_PERMS, b"data/x\0n0\0"), "EPERM");
    lab.ok(lab.dom0, SET_PERMS, b"/local/domain/5/data/x\0n6\0");
    lab.ok(lab.other, WRITE, b"/local/domain/5/data/x\0y");
}

#[test]
fn toolstack_requests_of_a_guest_are_refused() {
    let mut lab = Lab::new();
    lab.store.introduce(5);
    for privileged in [0, 8, 9, IS_DOMAIN_INTRODUCED, 18, 19] {
        assert_eq!(lab.fails(lab.guest, privileged, b"5\0"), "EACCES");
    }
    assert_eq!(lab.ok(lab.dom0, IS_DOMAIN_INTRODUCED, b"5\0"), b"T\0");
    assert_eq!(lab.ok(lab.dom0, IS_DOMAIN_INTRODUCED, b"9\0"), b"F\0");
    assert_eq!(lab.fails(lab.dom0, 8, b"5\0"), "ENOSYS");
    assert_eq!(lab.ok(lab.guest, GET_DOMAIN_PATH, b"12\0"), b"/local/domain/12\0");
    assert_eq!(lab.fails(lab.guest, GET_DOMAIN_PATH, b"x\0"), "EINVAL");
}

#[test]
fn values_of_a_guest_are_bounded_at_the_byte_and_those_of_dom0_are_not() {
    let mut lab = Lab::new();
    for (bytes, result) in [(0, None), (1, None), (GUEST_VALUE_BYTES_MAX, None)] {
        let request = [&b"data/x\0"[..], &vec![b'v'; bytes]].concat();
        assert_eq!(lab.ask(lab.guest, WRITE, request).err(), result);
    }
    let request = [&b"data/x\0"[..], &vec![b'v'; GUEST_VALUE_BYTES_MAX + 1]].concat();
    assert_eq!(lab.fails(lab.guest, WRITE, request), "ENOSPC");
    assert_eq!(lab.ok(lab.guest, READ, b"data/x\0").len(), GUEST_VALUE_BYTES_MAX);
    lab.ok(lab.dom0, WRITE, [&b"/big\0"[..], &[b'v'; 3000]].concat());
}

#[test]
fn nodes_of_a_guest_are_counted_with_their_parents() {
    let mut lab = Lab::new();
    // The guest owns `data` already.
    for number in 2..GUEST_NODES_MAX {
        lab.ok(lab.guest, WRITE, format!("data/{number}\0"));
    }
    assert_eq!(lab.fails(lab.guest, WRITE, b"data/a/b\0"), "ENOSPC");
    assert_eq!(lab.fails(lab.guest, READ, b"data/a\0"), "ENOENT");
    lab.ok(lab.guest, MKDIR, b"data/a\0");
    assert_eq!(lab.fails(lab.guest, MKDIR, b"data/b\0"), "ENOSPC");
    lab.ok(lab.guest, RM, b"data/a\0");
    lab.ok(lab.guest, MKDIR, b"data/b\0");
    lab.ok(lab.other, WRITE, b"data/x\0");
}

#[test]
fn transactions_together_cannot_exceed_the_quota() {
    let mut lab = Lab::new();
    for number in 3..=GUEST_NODES_MAX {
        lab.ok(lab.guest, WRITE, format!("data/{number}\0"));
    }
    let inside = lab.begin(lab.guest);
    lab.ask_in(lab.guest, inside, MKDIR, b"data/3/a\0").unwrap();
    lab.ok(lab.guest, MKDIR, b"data/4/b\0");
    assert_eq!(lab.ask_in(lab.guest, inside, TRANSACTION_END, b"T\0"), Err("ENOSPC".to_owned()));
}

#[test]
fn watches_transactions_and_list_entries_of_a_guest_are_bounded() {
    let mut lab = Lab::new();
    for number in 0..GUEST_WATCHES_MAX {
        lab.ok(lab.guest, WATCH, format!("data\0{number}\0"));
    }
    assert_eq!(lab.fails(lab.guest, WATCH, b"data\0more\0"), "E2BIG");
    lab.ok(lab.guest, UNWATCH, b"data\x000\0");
    lab.ok(lab.guest, WATCH, b"data\0more\0");
    for _ in 0..GUEST_TRANSACTIONS_MAX {
        lab.begin(lab.guest);
    }
    assert_eq!(lab.fails(lab.guest, TRANSACTION_START, b"\0"), "ENOSPC");
    lab.ok(lab.guest, RESET_WATCHES, b"\0");
    lab.begin(lab.guest);
    lab.ok(lab.guest, WATCH, b"data\0again\0");
    let entries = |count: usize| format!("data\0n5\0{}", "r6\0".repeat(count - 1));
    lab.ok(lab.guest, SET_PERMS, entries(GUEST_PERMISSIONS_MAX));
    assert_eq!(lab.fails(lab.guest, SET_PERMS, entries(GUEST_PERMISSIONS_MAX + 1)), "ENOSPC");
    for number in 0..=GUEST_WATCHES_MAX {
        lab.ok(lab.dom0, WATCH, format!("/a\0{number}\0"));
    }
}

#[test]
fn a_transaction_is_seen_at_once_or_not_at_all() {
    let mut lab = Lab::new();
    let inside = lab.begin(lab.dom0);
    lab.ask_in(lab.dom0, inside, WRITE, b"/a/b\0one").unwrap();
    lab.ask_in(lab.dom0, inside, WRITE, b"/a/c\0two").unwrap();
    assert_eq!(lab.ask_in(lab.dom0, inside, READ, b"/a/b\0").unwrap(), b"one");
    assert_eq!(lab.fails(lab.dom0, READ, b"/a/b\0"), "ENOENT");
    assert_eq!(lab.ask_in(lab.dom0, inside, TRANSACTION_START, b"\0"), Err("EBUSY".to_owned()));
    lab.ask_in(lab.dom0, inside, TRANSACTION_END, b"T\0").unwrap();
    assert_eq!(lab.ok(lab.dom0, DIRECTORY, b"/a\0"), b"b\0c\0");
    let abandoned = lab.begin(lab.dom0);
    lab.ask_in(lab.dom0, abandoned, RM, b"/a\0").unwrap();
    lab.ask_in(lab.dom0, abandoned, TRANSACTION_END, b"F\0").unwrap();
    assert_eq!(lab.ok(lab.dom0, READ, b"/a/c\0"), b"two");
    assert_eq!(lab.ask_in(lab.dom0, abandoned, READ, b"/a/c\0"), Err("ENOENT".to_owned()));
}

#[test]
fn a_transaction_sees_the_store_as_it_was() {
    let mut lab = Lab::new();
    lab.ok(lab.dom0, WRITE, b"/a\0old");
    let inside = lab.begin(lab.dom0);
    lab.ok(lab.dom0, WRITE, b"/a\0new");
    assert_eq!(lab.ask_in(lab.dom0, inside, READ, b"/a\0").unwrap(), b"old");
    assert_eq!(lab.ask_in(lab.dom0, inside, TRANSACTION_END, b"T\0"), Err("EAGAIN".to_owned()));
}

#[test]
fn a_transaction_conflicts_with_every_change_of_what_it_touched() {
    let touches: [(u32, &[u8]); 6] = [
        (READ, b"/a/x\0"),
        (READ, b"/a/missing\0"),
        (WRITE, b"/a/x\0mine"),
        (RM, b"/a/x\0"),
        (DIRECTORY, b"/a\0"),
        (SET_PERMS, b"/a/x\0r0\0"),
    ];
    let others: [(u32, &[u8], &[usize]); 4] = [
        (WRITE, b"/a/x\0other", &[0, 2, 3, 5]),
        (WRITE, b"/a/missing\0other", &[1, 3, 4]),
        (SET_PERMS, b"/a/x\0b0\0", &[0, 2, 3, 5]),
        (WRITE, b"/b\0other", &[]),
    ];
    for (kind, payload, conflicts) in others {
        for (number, (touch, what)) in touches.iter().enumerate() {
            let mut lab = Lab::new();
            lab.ok(lab.dom0, WRITE, b"/a/x\0value");
            lab.ok(lab.dom0, WRITE, b"/b\0value");
            let inside = lab.begin(lab.dom0);
            let _ = lab.ask_in(lab.dom0, inside, *touch, what);
            lab.ok(lab.dom0, kind, payload);
            let committed = lab.ask_in(lab.dom0, inside, TRANSACTION_END, b"T\0").is_ok();
            assert_eq!(
                committed,
                !conflicts.contains(&number),
                "{kind} {payload:?} against {touch} {what:?}"
            );
        }
    }
}

#[test]
fn a_watch_fires_once_when_set_and_for_everything_below() {
    let mut lab = Lab::new();
    lab.ok(lab.dom0, WATCH, b"/local/domain/5/data\0token\0");
    assert_eq!(lab.events(lab.dom0), [("/local/domain/5/data".to_owned(), "token".to_owned())]);
    lab.ok(lab.guest, WRITE, b"data/x/y\0value");
    assert_eq!(lab.event_paths(lab.dom0), ["/local/domain/5/data/x/y"]);
    lab.ok(lab.guest, MKDIR, b"data/x/y\0");
    lab.ok(lab.dom0, WRITE, b"/local/domain/5/database\0");
    assert!(lab.events(lab.dom0).is_empty());
    lab.ok(lab.guest, RM, b"data/x\0");
    assert_eq!(lab.event_paths(lab.dom0), ["/local/domain/5/data/x"]);
    lab.ok(lab.guest, SET_PERMS, b"data\0n5\0r6\0");
    assert_eq!(lab.event_paths(lab.dom0), ["/local/domain/5/data"]);
    assert_eq!(lab.fails(lab.dom0, WATCH, b"/local/domain/5/data\0token\0"), "EEXIST");
    lab.ok(lab.dom0, UNWATCH, b"/local/domain/5/data\0token\0");
    assert_eq!(lab.fails(lab.dom0, UNWATCH, b"/local/domain/5/data\0token\0"), "ENOENT");
    lab.ok(lab.guest, WRITE, b"data/x\0value");
    assert!(lab.events(lab.dom0).is_empty());
}

#[test]
fn removing_a_directory_fires_the_watches_inside_it() {
    let mut lab = Lab::new();
    lab.ok(lab.dom0, WRITE, b"/a/b/c\0");
    for path in ["/a", "/a/b/c", "/a/b/missing"] {
        lab.ok(lab.dom0, WATCH, format!("{path}\0t\0"));
    }
    lab.events(lab.dom0);
    lab.ok(lab.dom0, RM, b"/a/b\0");
    assert_eq!(lab.event_paths(lab.dom0), ["/a/b/c", "/a/b"]);
}

#[test]
fn a_relative_watch_gives_relative_paths() {
    let mut lab = Lab::new();
    lab.ok(lab.guest, WATCH, b"data\0t\0");
    assert_eq!(lab.event_paths(lab.guest), ["data"]);
    lab.ok(lab.guest, WRITE, b"data/x\0value");
    assert_eq!(lab.event_paths(lab.guest), ["data/x"]);
    assert_eq!(lab.fails(lab.guest, WATCH, b"/local/domain/5/data\0t\0"), "EEXIST");
}

#[test]
fn only_who_may_read_a_node_is_told_of_it() {
    let mut lab = Lab::new();
    lab.ok(lab.other, WATCH, b"/local/domain/5/data/x\0t\0");
    assert_eq!(lab.events(lab.other).len(), 1, "every watch fires when it is set");
    lab.ok(lab.guest, WRITE, b"data/x\0value");
    assert!(lab.events(lab.other).is_empty());
    lab.ok(lab.guest, SET_PERMS, b"data/x\0n5\0r6\0");
    lab.ok(lab.guest, WRITE, b"data/x\0value2");
    lab.ok(lab.guest, SET_PERMS, b"data/x\0n5\0");
    assert_eq!(lab.events(lab.other).len(), 1, "identical events that wait are one");
    lab.ok(lab.guest, RM, b"data/x\0");
    assert!(lab.events(lab.other).is_empty());
}

#[test]
fn events_of_a_transaction_come_with_its_commit() {
    let mut lab = Lab::new();
    lab.ok(lab.dom0, WATCH, b"/a\0t\0");
    lab.events(lab.dom0);
    let inside = lab.begin(lab.dom0);
    lab.ask_in(lab.dom0, inside, WRITE, b"/a/x\0one").unwrap();
    lab.ask_in(lab.dom0, inside, WRITE, b"/a/y\0two").unwrap();
    assert!(lab.events(lab.dom0).is_empty());
    lab.store.commit(lab.dom0, inside).unwrap();
    assert_eq!(lab.event_paths(lab.dom0), ["/a/x", "/a/y"]);
}

#[test]
fn special_watches_are_for_dom0_alone() {
    let mut lab = Lab::new();
    for who in [lab.dom0, lab.guest] {
        lab.ok(who, WATCH, b"@introduceDomain\0i\0");
        lab.ok(who, WATCH, b"@releaseDomain\0r\0");
        assert_eq!(lab.events(who).len(), 2);
    }
    lab.store.introduce(9);
    assert_eq!(lab.event_paths(lab.dom0), [INTRODUCE_DOMAIN]);
    lab.store.release(9);
    assert_eq!(lab.event_paths(lab.dom0), [RELEASE_DOMAIN]);
    assert!(lab.events(lab.guest).is_empty());
}

#[test]
fn a_domain_that_ends_takes_its_nodes_and_its_permissions_with_it() {
    let mut lab = Lab::new();
    lab.ok(lab.dom0, WRITE, b"/local/domain/0/backend/vbd/5/51808/state\x004");
    lab.ok(lab.dom0, SET_PERMS, b"/local/domain/0/backend/vbd/5/51808\0n0\0r5\0");
    lab.ok(lab.guest, WRITE, b"data/x\0value");
    lab.store.release(5);
    assert_eq!(lab.fails(lab.dom0, READ, b"/local/domain/5/data\0"), "ENOENT");
    assert_eq!(lab.ok(lab.dom0, READ, b"/local/domain/0/backend/vbd/5/51808/state\0"), b"4");
    assert_eq!(lab.ok(lab.dom0, GET_PERMS, b"/local/domain/0/backend/vbd/5/51808\0"), b"n0\0");
}

#[test]
fn a_large_directory_is_read_in_parts() {
    let mut lab = Lab::new();
    let names: Vec<String> = (0..600).map(|number| format!("node-{number:04}")).collect();
    for name in &names {
        lab.ok(lab.dom0, WRITE, format!("/big/{name}\0"));
    }
    assert_eq!(lab.fails(lab.dom0, DIRECTORY, b"/big\0"), "E2BIG");
    let (mut list, mut generations) = (Vec::new(), Vec::new());
    loop {
        let reply = lab.ok(lab.dom0, DIRECTORY_PART, format!("/big\0{}\0", list.len()));
        let nul = reply.iter().position(|byte| *byte == 0).unwrap();
        generations.push(reply[..nul].to_vec());
        list.extend_from_slice(&reply[nul + 1..]);
        if list.ends_with(b"\0\0") {
            break;
        }
        assert!(list.ends_with(b"\0") && reply.len() > PAYLOAD_BYTES_MAX - 20);
    }
    list.pop();
    let read: Vec<&[u8]> = list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    assert_eq!(read, names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>());
    generations.dedup();
    assert_eq!(generations.len(), 1);
    let behind = lab.ok(lab.dom0, DIRECTORY_PART, b"/big\099999\0");
    assert!(behind.ends_with(b"\0\0"));
    assert_eq!(
        lab.ok(lab.guest, DIRECTORY_PART, b"device\x000\0").iter().filter(|byte| **byte == 0).count(),
        2
    );
}

#[test]
fn a_client_that_never_reads_is_found_out() {
    let mut lab = Lab::new();
    lab.ok(lab.dom0, WATCH, b"/local/domain/5/data\0t\0");
    let mut number = 0;
    while !lab.store.is_stuck(lab.dom0) {
        number += 1;
        lab.ok(lab.guest, WRITE, format!("data/{}\0", "a".repeat(1 + number % 1900)));
        lab.ok(lab.guest, RM, format!("data/{}\0", "a".repeat(1 + number % 1900)));
        assert!(number * 16 < OUT_QUEUE_BYTES_MAX, "the queue is bounded");
    }
    assert!(lab.store.is_slow(lab.dom0) && !lab.store.is_slow(lab.guest));
}
