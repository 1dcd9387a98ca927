//! All or nothing, and whom that concerns.

use super::{DIRECTORY, Lab, READ, RM, SET_PERMS, TRANSACTION_END, TRANSACTION_START, WATCH, WRITE};

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
