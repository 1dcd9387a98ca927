//! Sequences of events, one choice a byte.

use crate::{Seeds, seed};

const WORK: u8 = 18;

pub fn broker() -> Seeds {
    let copy: [&[u8]; 12] = [
        &[0, 0, 0],
        &[WORK, WORK, WORK],
        &[1, 0, 1],
        &[WORK, WORK],
        &[9, 0, 1],
        &[WORK, WORK, WORK, WORK],
        &[4, 0],
        &[2, 1],
        &[WORK, WORK, WORK],
        &[12, 0],
        &[17, 0, 255],
        &[13, 0],
    ];
    let document: [&[u8]; 11] = [
        &[0, 0, 0],
        &[WORK, WORK, WORK],
        &[3, 0, 1],
        &[WORK, WORK],
        &[9, 0, 1],
        &[7, WORK, WORK, WORK, WORK],
        &[5, 0, 0, 0, WORK, WORK, WORK],
        &[5, 0, 1, 0, WORK, WORK, WORK],
        &[5, 0, 2, 0, WORK, WORK, WORK, WORK],
        &[5, 0, 4, 0, 7],
        &[2, 0, WORK, WORK],
    ];
    let crashes: [&[u8]; 10] = [
        &[0, 0, 0, WORK, WORK],
        &[15, 0, WORK, WORK, WORK],
        &[1, 0, 1, WORK],
        &[15, 2],
        &[10, 0, 1, WORK],
        &[16, WORK, WORK, WORK, WORK],
        &[6, 1],
        &[11, 0, WORK],
        &[14, 0],
        &[15, 1, 8, 0],
    ];
    let told = |what: &[u8]| [&[0][..], what].concat();
    let liars = [
        // A VM that runs is seen, all are listed, it asks for a pendrive, which is made.
        told(&[0, 9, 0, 0]),
        told(&[0, 9, 6]),
        vec![11, 0, 11, 0, 11, 0],
        told(&[0, 20, 8, 0, 0, 64]),
        vec![11, 0, 11, 0, 11, 0],
        told(&[1, 9, 0, 1]),
        told(&[0, 21, 8, 0, 2, 1, 0]),
        vec![11, 0, 11, 0],
        vec![4, 1, 1, 11, 0, 11, 0, 11, 0],
        // Its number gets another name, and it vanishes.
        told(&[0, 9, 0, 2]),
        told(&[0, 9, 3]),
        vec![7, 1, 8, 255, 0, 6, 0, 0, 0],
    ];
    vec![
        seed("copy", copy.concat()),
        seed("document", document.concat()),
        seed("crashes", crashes.concat()),
        seed("liars", [&[1][..], &liars.concat()].concat()),
    ]
}

pub fn machines() -> Seeds {
    let with = |which: u8, bytes: &[u8]| [&[which][..], bytes].concat();
    // Domain, node, event: listed with "1" and "2", watches fire, name and request are read.
    let monitor = [
        &[0, 0, 7, 0][..],
        &[0, 0, 1, 2, 1, b'1', 1, b'2'],
        &[0, 1, 4, 0, 1, 7, 0, 0, 0, 5, 3, 0, 2],
        b"red",
        &[0, 0, 4, 0, 0, 7, 0, 0, 0, 5, 6, 0, 2],
        b"umount",
        &[0, 0, 0, 0, 0, 7, 0],
    ];
    let launcher = [
        // All that can be configured is.
        &[1, 1, 1, 1, 1][..],
        &[0, 0, 1, 2, 0, 1, 2, 0, 0],
        &[7, 0, 0, 5, 0, 0],
        &[2, 1, 9, 1, 1],
        &[7, 0, 0, 5, 4, 0],
        b"512\n",
        &[7, 0, 0, 5, 0, 0],
        &[1, 0, 0, 7, 0, 1, 2, 3, 0],
        b"no\n",
        &[3, 255, 255],
    ];
    let desk =
        [&[0, 0, 1, 3][..], &[0, 0, 1, 3], &[0, 1], &[0; 17], &[1], &[0, 4, 0], &[0, 3, 0], &[0, 5, 255]];
    let mut bus = vec![5, b'p', b':', b'<', b'&', b'9', 1];
    bus.extend(b"l\x02\x01\x01\x04\0\0\0\x01\0\0\0\x08\0\0\0\x05\x01u\0\x01\0\0\0\x07\0\0\0");
    bus.extend(b"l\x03\x01\x01\0\0\0\0\x02\0\0\0\0\0\0\0");
    vec![
        seed("monitor", with(0, &monitor.concat())),
        seed("launcher", with(1, &launcher.concat())),
        seed("desk", with(2, &desk.concat())),
        seed("bus", with(3, &bus)),
        seed("bus-lines", with(3, b"\0\0DATA\r\nOK 1234\r\n")),
    ]
}
