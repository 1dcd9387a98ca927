//! Random trees.

use std::collections::BTreeSet;

use fat::{Entry, Kind, Tree};
use proptest::prelude::*;

use crate::support::{directory, file};
use crate::written::check;

/// What a random entry is made of; [`entries`] makes a tree of many.
#[derive(Clone, Debug)]
struct Seed {
    parent: prop::sample::Index,
    name: String,
    /// `None` for a directory.
    size: Option<u64>,
}

fn name() -> impl Strategy<Value = String> {
    let of = |letters: &'static str, counts: std::ops::RangeInclusive<usize>| {
        let letters: Vec<char> = letters.chars().collect();
        prop::collection::vec(prop::sample::select(letters), counts).prop_map(String::from_iter)
    };
    prop_oneof![
        4 => of("abcXYZ019 ._-~", 1..=12),
        3 => of("aB ._äöüßÄÖÜé€", 1..=30),
        2 => of("日本語漢字かな한글 .1", 1..=80),
        2 => of("😀🎉👩🏽𠜎a .", 1..=60),
        1 => of("xyz.", 250..=255),
        1 => of("語", 84..=85),
        1 => of("simlar ", 1..=40).prop_map(|name| format!("similar long name {name}")),
    ]
}

fn size() -> impl Strategy<Value = u64> {
    let edge = prop::sample::select(vec![512_u64, 1024, 4096, 8192, 1 << 20]);
    prop_oneof![
        1 => Just(0),
        1 => Just(1),
        3 => (edge, 0..3_u64).prop_map(|(edge, more)| edge + more - 1),
        3 => 0..20_000_u64,
    ]
}

fn seeds() -> impl Strategy<Value = Vec<Seed>> {
    let seed = (any::<prop::sample::Index>(), name(), prop::option::weighted(0.7, size()));
    prop::collection::vec(seed.prop_map(|(parent, name, size)| Seed { parent, name, size }), 0..80)
}

/// A tree of those seeds whose names FAT holds, and of those of equal names the first.
fn entries(seeds: Vec<Seed>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut seen = BTreeSet::new();
    for seed in seeds {
        let directories: Vec<Option<u32>> = std::iter::once(None)
            .chain(
                (0..)
                    .zip(&entries)
                    .filter(|(_, entry)| entry.kind == Kind::Directory)
                    .map(|(number, _)| Some(number)),
            )
            .collect();
        let parent = *seed.parent.get(&directories);
        let name = seed.name.trim_end_matches(['.', ' ']);
        if !name.is_empty() && seen.insert((parent, name.to_uppercase())) {
            entries.push(seed.size.map_or_else(|| directory(parent, name), |size| file(parent, name, size)));
        }
    }
    entries
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_reader_finds_what_was_written(seeds in seeds(), more_mib in prop::sample::select(vec![0, 0, 0, 1, 228])) {
        if !testkit::require_tools(&["fsck.vfat", "mcopy"]) {
            return Ok(());
        }
        let entries = entries(seeds);
        let needed_mib = Tree::check(entries.clone()).unwrap().size_needed_mib().unwrap();
        let directory = tempfile::tempdir().unwrap();
        check(&entries, needed_mib + more_mib, &directory.path().join("volume"));
    }
}
