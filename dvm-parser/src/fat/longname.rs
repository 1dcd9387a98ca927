//! Long names: up to 20 records before a file's own, the last part first.
//!
//! A name counts only if its parts are numbered without a gap down to 1, directly before a short name with
//! the checksum that all of them carry. Anything else is broken, and the short name is used.

use super::RECORD_BYTES;
use super::le;

/// UTF-16 units in one part.
const PART_UNITS: usize = 13;
/// Units in a name, at most.
pub(super) const NAME_UNITS_MAX: usize = 255;
/// Parts of a name of that length.
const PARTS_MAX: usize = NAME_UNITS_MAX.div_ceil(PART_UNITS);
/// Set in the number of the part that comes first on the volume, the name's last.
const FIRST_RECORD: u8 = 0x40;

/// What the records before a short name amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LongName {
    /// There were none.
    None,
    /// There were some, and they are not this file's name.
    Broken,
    /// The name, with U+FFFD in place of surrogates without their partners.
    Name(String),
}

/// Collects parts until the short name comes.
pub(super) struct Collector {
    state: State,
    checksum: u8,
    units: [u16; PARTS_MAX * PART_UNITS],
    len: usize,
}

#[derive(Clone, Copy)]
enum State {
    /// No part since the last short name.
    Empty,
    /// The parts so far do not fit together.
    Broken,
    /// Parts down to this number have come.
    Part(usize),
}

impl Collector {
    pub(super) fn new() -> Self {
        Self { state: State::Empty, checksum: 0, units: [0; PARTS_MAX * PART_UNITS], len: 0 }
    }

    /// The records so far belong to nothing: a deleted file, a label, the directory's end.
    pub(super) fn forget(&mut self) {
        self.state = State::Empty;
    }

    /// Takes the next part, a record whose attributes say that it is one.
    pub(super) fn part(&mut self, record: &[u8; RECORD_BYTES as usize]) {
        self.state = self.next_state(record);
    }

    fn next_state(&mut self, record: &[u8; RECORD_BYTES as usize]) -> State {
        let untrusted_number = le::byte::<0, 32>(record);
        let untrusted_checksum = le::byte::<13, 32>(record);
        let well_formed = le::byte::<12, 32>(record) == 0 && le::half::<26, 32>(record) == 0;
        let part = usize::from(untrusted_number & !FIRST_RECORD);
        if !well_formed || part == 0 || part > PARTS_MAX {
            return State::Broken;
        }
        let first = untrusted_number & FIRST_RECORD != 0;
        match self.state {
            _ if first => {
                self.checksum = untrusted_checksum;
                self.len = part * PART_UNITS;
            }
            State::Part(previous) if previous == part + 1 && self.checksum == untrusted_checksum => {}
            State::Empty | State::Broken | State::Part(_) => return State::Broken,
        }
        let start = (part - 1) * PART_UNITS;
        let new = units_of(record);
        let Some(place) = self.units.get_mut(start..start + PART_UNITS) else {
            return State::Broken;
        };
        place.copy_from_slice(&new);
        // A NUL ends the name within its last part; before that there is none.
        match new.iter().position(|&unit| unit == 0) {
            Some(end) if first => self.len = start + end,
            Some(_) => return State::Broken,
            None => {}
        }
        if self.len == 0 || self.len > NAME_UNITS_MAX { State::Broken } else { State::Part(part) }
    }

    /// The short name has come: what is its long name?
    pub(super) fn finish(&mut self, short: &[u8; 11]) -> LongName {
        match std::mem::replace(&mut self.state, State::Empty) {
            State::Empty => LongName::None,
            State::Part(1) if self.checksum == checksum_of(short) => {
                LongName::Name(String::from_utf16_lossy(self.units.get(..self.len).unwrap_or_default()))
            }
            State::Broken | State::Part(_) => LongName::Broken,
        }
    }
}

/// The 13 units, which lie in three groups between the fields of a short record.
fn units_of(record: &[u8; RECORD_BYTES as usize]) -> [u16; PART_UNITS] {
    [
        le::half::<1, 32>(record),
        le::half::<3, 32>(record),
        le::half::<5, 32>(record),
        le::half::<7, 32>(record),
        le::half::<9, 32>(record),
        le::half::<14, 32>(record),
        le::half::<16, 32>(record),
        le::half::<18, 32>(record),
        le::half::<20, 32>(record),
        le::half::<22, 32>(record),
        le::half::<24, 32>(record),
        le::half::<28, 32>(record),
        le::half::<30, 32>(record),
    ]
}

/// The checksum that ties a long name to its short name.
pub(super) fn checksum_of(short: &[u8; 11]) -> u8 {
    short.iter().fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte))
}
