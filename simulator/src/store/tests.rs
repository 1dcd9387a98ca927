//! The store as its clients see it: requests in, replies and events out.

mod quotas;
mod transactions;
mod watches;

use super::limits::PAYLOAD_BYTES_MAX;
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
