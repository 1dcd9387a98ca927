//! A reader that accepts nothing but what this crate promises: contiguous chains, two equal FATs, no cluster
//! that belongs to nothing, zeros wherever nothing is stored. It shares no code with the writer.

use std::collections::BTreeSet;

use crate::support::{Content, MODIFIED_S};

struct Volume<'a> {
    bytes: &'a [u8],
    cluster_bytes: usize,
    data: usize,
    fat: Vec<u32>,
    used: BTreeSet<u32>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Reads the written part of a volume of that size, and panics at the first thing that is not as it should
/// be.
pub fn read(bytes: &[u8], size: u64, label: &[u8; 11]) -> Content {
    assert_eq!(u64::from(u32_at(bytes, 32)) * 512, size);
    let reserved = usize::from(u16_at(bytes, 14)) * 512;
    let fat_bytes = u32_at(bytes, 36) as usize * 512;
    let cluster_bytes = usize::from(bytes[13]) * 512;
    let data = reserved + 2 * fat_bytes;
    assert_eq!(bytes[..1024], bytes[6 * 512..8 * 512], "the backups are equal");
    assert!(is_zero(&bytes[1024..6 * 512]) && is_zero(&bytes[8 * 512..reserved]));
    let (first, second) = (&bytes[reserved..reserved + fat_bytes], &bytes[reserved + fat_bytes..data]);
    assert!(first == second, "the FATs are equal");
    assert_eq!((bytes.len() - data) % cluster_bytes, 0);
    let fat: Vec<u32> = first.chunks(4).map(|entry| u32::from_le_bytes(entry.try_into().unwrap())).collect();
    assert_eq!(fat[..2], [0x0FFF_FFF8, 0x0FFF_FFFF]);
    let clusters = (usize::try_from(size).unwrap() - data) / cluster_bytes;

    let mut volume = Volume { bytes, cluster_bytes, data, fat, used: BTreeSet::new() };
    let mut content = Content::new();
    volume.directory(2, None, "", label, &mut content);

    let used = volume.used.len();
    assert_eq!(
        data + used * cluster_bytes,
        bytes.len(),
        "the written part ends with the last cluster in use"
    );
    assert!(volume.used.iter().copied().eq((2..).take(used)), "the clusters in use are the first ones");
    assert!(volume.fat[used + 2..].iter().all(|entry| *entry == 0), "no cluster belongs to nothing");
    assert_eq!(u32_at(bytes, 512 + 488) as usize, clusters - used, "the count of free clusters is right");
    content
}

impl Volume<'_> {
    /// The bytes of a chain, which must be contiguous.
    fn chain(&mut self, first: u32) -> Vec<u8> {
        let mut cluster = first;
        loop {
            assert!(self.used.insert(cluster), "cluster {cluster} is used once");
            match self.fat[cluster as usize] {
                0x0FFF_FFFF => break,
                next => assert_eq!(next, cluster + 1),
            }
            cluster += 1;
        }
        let at = |cluster: u32| self.data + (cluster as usize - 2) * self.cluster_bytes;
        self.bytes[at(first)..at(cluster + 1)].to_vec()
    }

    /// `parent` is what `..` must say; a directory without it is the root.
    fn directory(
        &mut self,
        first: u32,
        parent: Option<u32>,
        path: &str,
        label: &[u8; 11],
        content: &mut Content,
    ) {
        let bytes = self.chain(first);
        let end = bytes.chunks(32).position(|slot| slot[0] == 0).unwrap_or(bytes.len() / 32);
        assert!(is_zero(&bytes[end * 32..]), "zeros behind the end of a directory");
        assert!(bytes.len() - end * 32 < self.cluster_bytes || end == 0, "no cluster too many");
        let mut slots = bytes[..end * 32].chunks(32);
        match parent {
            None => {
                let slot = slots.next().unwrap();
                assert_eq!((&slot[..11], slot[11]), (label.as_slice(), 8));
            }
            Some(parent) => {
                for (name, cluster) in [(b".          ", first), (b"..         ", parent)] {
                    let slot = slots.next().unwrap();
                    assert_eq!((&slot[..11], slot[11], cluster_of(slot)), (name.as_slice(), 0x10, cluster));
                    assert_eq!(u32_at(slot, 28), 0);
                }
            }
        }
        // Long and short names are looked up alike, so no two entries may share any of them.
        let mut names: BTreeSet<String> = BTreeSet::new();
        while let Some((name, slot)) = entry(&mut slots) {
            let path = format!("{path}{name}");
            let short = short_name(slot);
            let long = name.to_uppercase();
            assert!(names.insert(long.clone()), "{path} is there twice");
            assert!(short == long || names.insert(short), "{path} has a short name of its own");
            assert_eq!(modified(slot), MODIFIED_S, "{path}");
            let (cluster, size) = (cluster_of(slot), u32_at(slot, 28) as usize);
            match slot[11] {
                0x10 => {
                    assert_eq!(size, 0);
                    let own = if parent.is_none() { 0 } else { first };
                    self.directory(cluster, Some(own), &format!("{path}/"), label, content);
                    content.insert(path, None);
                }
                0x20 => {
                    let mut bytes = if cluster == 0 { Vec::new() } else { self.chain(cluster) };
                    assert_eq!(bytes.len(), size.next_multiple_of(self.cluster_bytes), "{path}");
                    assert!(is_zero(&bytes[size..]), "zeros behind the end of {path}");
                    bytes.truncate(size);
                    content.insert(path, Some(bytes));
                }
                other => panic!("{path} has the attributes {other:#x}"),
            }
        }
    }
}

/// The next long name and the slot that it belongs to.
fn entry<'a>(slots: &mut impl Iterator<Item = &'a [u8]>) -> Option<(String, &'a [u8])> {
    let first = slots.next()?;
    assert_eq!((first[0] & 0xC0, first[11]), (0x40, 0x0F), "every entry has a long name");
    let count = first[0] & 0x3F;
    assert!((1..=20).contains(&count));
    let mut parts = vec![first];
    for number in (1..count).rev() {
        let slot = slots.next().unwrap();
        assert_eq!((slot[0], slot[11]), (number, 0x0F));
        parts.push(slot);
    }
    let slot = slots.next().unwrap();
    let sum = slot[..11].iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units = Vec::new();
    for part in parts.iter().rev() {
        assert_eq!((part[12], part[13], u16_at(part, 26)), (0, sum, 0));
        let bytes = [&part[1..11], &part[14..26], &part[28..32]].concat();
        units.extend(bytes.chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])));
    }
    if let Some(end) = units.iter().position(|unit| *unit == 0) {
        assert!(units[end + 1..].iter().all(|unit| *unit == 0xFFFF));
        assert!(end > (usize::from(count) - 1) * 13, "no part too many");
        units.truncate(end);
    }
    assert!((1..=255).contains(&units.len()));
    Some((String::from_utf16(&units).unwrap(), slot))
}

fn short_name(slot: &[u8]) -> String {
    let (stem, extension) = (str::from_utf8(&slot[..8]).unwrap(), str::from_utf8(&slot[8..11]).unwrap());
    let name = format!("{}.{}", stem.trim_end(), extension.trim_end());
    let name = name.trim_end_matches('.');
    let allowed =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"!#$%&'()-@^_`{}~.".contains(&byte);
    assert!(name.bytes().all(allowed), "{name}");
    assert!(!stem.starts_with(' '), "{name}");
    name.to_owned()
}

fn cluster_of(slot: &[u8]) -> u32 {
    u32::from(u16_at(slot, 20)) << 16 | u32::from(u16_at(slot, 26))
}

/// Only ever the one time that the tests give to their files, so that no calendar is needed here.
fn modified(slot: &[u8]) -> i64 {
    // 2009-02-13 23:31:30
    assert_eq!(u16_at(slot, 24), (2009 - 1980) << 9 | 2 << 5 | 13);
    assert_eq!(u16_at(slot, 22), 23 << 11 | 31 << 5 | 15);
    MODIFIED_S
}
