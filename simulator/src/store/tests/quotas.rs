//! What a guest may use of the store, to the byte and to the node.

use super::{
    Lab, MKDIR, READ, RESET_WATCHES, RM, SET_PERMS, TRANSACTION_END, TRANSACTION_START, UNWATCH, WATCH, WRITE,
};
use crate::store::limits::{
    GUEST_NODES_MAX, GUEST_PERMISSIONS_MAX, GUEST_TRANSACTIONS_MAX, GUEST_VALUE_BYTES_MAX, GUEST_WATCHES_MAX,
};

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
