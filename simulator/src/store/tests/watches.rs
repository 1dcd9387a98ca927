//! Who is told of what, once.

use super::{Lab, MKDIR, RM, SET_PERMS, UNWATCH, WATCH, WRITE};
use crate::store::limits::OUT_QUEUE_BYTES_MAX;
use crate::store::{INTRODUCE_DOMAIN, RELEASE_DOMAIN};

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
