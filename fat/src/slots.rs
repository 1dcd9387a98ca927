//! Directory slots: 32 bytes each, one for an entry and some in front of it for its long name.

use crate::label::VolumeLabel;
use crate::name::NAME_UNITS_MAX;
use crate::short::ShortName;
use crate::stamp::Stamp;

/// Bytes of a slot.
pub(crate) const SLOT_BYTES: u32 = 32;
/// UTF-16 units of a long name that one slot holds.
const UNITS_PER_SLOT: usize = 13;

const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_FILE: u8 = 0x20; // "archive": changed since the last backup
const ATTRIBUTE_LONG_NAME: u8 = 0x0F;
/// Set in the number of the slot that comes first and holds the end of the name.
const LAST_PART: u8 = 0x40;

pub(crate) type Slot = [u8; SLOT_BYTES as usize];

/// What a slot says of a file or directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) directory: bool,
    /// 0 for an empty file and for a `..` that means the root directory.
    pub(crate) cluster: u32,
    /// 0 for a directory.
    pub(crate) size: u32,
    pub(crate) stamp: Stamp,
}

/// Slots of an entry with this name: its long name's and its own. At most 21.
pub(crate) fn slots_of(name: &str) -> u32 {
    let units = name.encode_utf16().count().min(NAME_UNITS_MAX);
    u32::try_from(units.div_ceil(UNITS_PER_SLOT)).unwrap_or(u32::MAX).saturating_add(1)
}

/// Adds the slots of an entry: the long name, its last part first, then the entry itself.
pub(crate) fn put_entry(directory: &mut Vec<u8>, name: &str, short: ShortName, facts: Facts) {
    let checksum = checksum(short);
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(UNITS_PER_SLOT) {
        units.push(0);
        units.resize(units.len().next_multiple_of(UNITS_PER_SLOT), 0xFFFF);
    }
    let mut last = LAST_PART;
    for (number, part) in (1_u8..).zip(units.chunks(UNITS_PER_SLOT)).collect::<Vec<_>>().into_iter().rev() {
        let mut bytes = part.iter().flat_map(|unit| unit.to_le_bytes());
        directory.push(number | last);
        directory.extend(bytes.by_ref().take(10));
        directory.extend([ATTRIBUTE_LONG_NAME, 0, checksum]);
        directory.extend(bytes.by_ref().take(12));
        directory.extend([0; 2]);
        directory.extend(bytes);
        last = 0;
    }
    directory.extend(slot(short, facts));
}

/// The first two slots of every directory but the root.
pub(crate) fn put_dots(directory: &mut Vec<u8>, own: Facts, parent: Facts) {
    directory.extend(slot(*b".          ", own));
    directory.extend(slot(*b"..         ", parent));
}

/// The slot of the volume's label, the first of the root directory.
pub(crate) fn label_slot(label: VolumeLabel, stamp: Stamp) -> Slot {
    raw_slot(label.bytes(), ATTRIBUTE_LABEL, Facts { directory: false, cluster: 0, size: 0, stamp })
}

fn slot(short: ShortName, facts: Facts) -> Slot {
    raw_slot(short, if facts.directory { ATTRIBUTE_DIRECTORY } else { ATTRIBUTE_FILE }, facts)
}

fn raw_slot(short: ShortName, attributes: u8, facts: Facts) -> Slot {
    let mut slot = [0; SLOT_BYTES as usize];
    let [low_0, low_1, high_0, high_1] = facts.cluster.to_le_bytes();
    let Stamp { time, date } = facts.stamp;
    let fields = short
        .into_iter()
        .chain([attributes, 0, 0]) // no letters in lower case, no tenths of a second
        .chain(time.into_iter().chain(date)) // made
        .chain(date) // last read
        .chain([high_0, high_1])
        .chain(time.into_iter().chain(date)) // last written
        .chain([low_0, low_1])
        .chain(facts.size.to_le_bytes());
    slot.iter_mut().zip(fields).for_each(|(place, byte)| *place = byte);
    slot
}

/// What ties the parts of a long name to the entry behind them.
fn checksum(short: ShortName) -> u8 {
    short.into_iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Vec<[u8; 32]> {
        let facts =
            Facts { directory: false, cluster: 0x0102_0304, size: 0x0506_0708, stamp: Stamp::default() };
        let mut bytes = Vec::new();
        put_entry(&mut bytes, name, *b"ABCDEF~1TXT", facts);
        bytes.chunks(32).map(|slot| slot.try_into().unwrap()).collect()
    }

    #[test]
    fn an_entry_lies_as_the_specification_says() {
        let slots = entry("a long name.txt");
        assert_eq!(slots.len(), 3);
        let sum = checksum(*b"ABCDEF~1TXT");
        assert_eq!(slots[0][..11], [0x42, b'x', 0, b't', 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(slots[0][11..14], [0x0F, 0, sum]);
        assert_eq!(slots[0][14..], [[0xFF; 12].as_slice(), &[0, 0, 0xFF, 0xFF, 0xFF, 0xFF]].concat());
        assert_eq!(slots[1][..11], *b"\x01a\0 \0l\0o\0n\0");
        assert_eq!(slots[1][14..26], *b"g\0 \0n\0a\0m\0e\0");
        assert_eq!(slots[1][26..], *b"\0\0.\0t\0");
        assert_eq!(&slots[2][..12], b"ABCDEF~1TXT\x20");
        assert_eq!(slots[2][20..22], [2, 1]);
        assert_eq!(slots[2][26..], [4, 3, 8, 7, 6, 5]);
    }

    #[test]
    fn l19_a_name_that_fills_its_slots_has_no_end_mark() {
        for (units, count) in [(1, 2), (12, 2), (13, 2), (14, 3), (26, 3), (254, 21), (255, 21)] {
            let name = "x".repeat(units);
            let slots = entry(&name);
            assert_eq!(slots.len(), count, "{units}");
            assert_eq!(slots_of(&name) as usize, count);
            assert_eq!(slots[0][0] as usize, 0x40 | (count - 1));
        }
        assert_eq!(entry(&"x".repeat(13))[0][28..], *b"x\0x\0");
    }
}
