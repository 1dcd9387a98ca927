//! Each way in which a name can be wrong, one at a time.

use super::builder::{Image, SHORT, directory, file, long_file, long_name};
use super::{names, read};

#[test]
fn hostile_names_become_harmless_and_are_reported() {
    let cases = [
        ("..", "__"),
        (".", "_"),
        ("../x", ".._x"),
        ("a/b", "a_b"),
        ("/", "_"),
        ("a\u{202E}gpj.exe", "a_gpj.exe"),
        ("a\nb\u{1b}[2J", "a_b_[2J"),
        ("\u{FFFD}", "_"),
    ];
    for (name, expected) in cases {
        let mut image = Image::fat12();
        image.root_records(&long_file(name, SHORT, 0, 0));
        let (tree, tally) = read(&image.bytes).unwrap();
        assert_eq!(tree.nodes.keys().collect::<Vec<_>>(), [expected], "{name:?}");
        assert_eq!((tree.renamed, tally.renamed), (vec![expected.to_owned()], 1));
    }
    let mut image = Image::fat12();
    image.root_records(&long_file("con", SHORT, 0, 0));
    let (tree, tally) = read(&image.bytes).unwrap();
    assert_eq!((tree.nodes.keys().next().unwrap().as_str(), tally.renamed), ("con", 0));
}

#[test]
fn short_names_are_sanitised_too() {
    let mut image = Image::fat12();
    image.root_records(&[
        file(b"A/B     ..\x01", 0, 0),
        file(b"../../X    ", 0, 0),
        file(b"           ", 0, 0),
    ]);
    assert_eq!(names(&image), [".._.._X", "A_B..._", "_"]);
}

#[test]
fn l24_two_files_of_one_name_become_two_files() {
    let mut image = Image::fat12();
    image.root_records(&[
        file(b"A       TXT", 0, 0),
        file(b"A       TXT", 0, 0),
        directory(b"A       TXT", 5),
        file(b"B          ", 0, 0),
    ]);
    image.chain(&[5]);
    assert_eq!(names(&image), ["A (2).TXT", "A (3).TXT", "A.TXT", "B"]);
    assert_eq!(read(&image.bytes).unwrap().1.renamed, 2);
}

/// A volume whose one file has these records; its short name is `A~1`.
fn named(records: &[[u8; 32]]) -> (String, u32) {
    let mut image = Image::fat12();
    image.root_records(records);
    let (tree, tally) = read(&image.bytes).expect("a broken name does not break the volume");
    let names: Vec<_> = tree.nodes.into_keys().collect();
    assert_eq!(names.len(), 1);
    (names[0].clone(), tally.renamed)
}

#[test]
fn a_long_name_broken_in_any_way_yields_the_short_one() {
    let name = "a long name of thirty characters";
    let whole = long_file(name, SHORT, 0, 0);
    assert_eq!(whole.len(), 4);
    assert_eq!(named(&whole), (name.to_owned(), 0));
    let broken = ("A~1".to_owned(), 1);
    let change = |index: usize, at: usize, value: u8| {
        let mut records = whole.clone();
        assert_ne!(records[index][at], value);
        records[index][at] = value;
        named(&records)
    };
    assert_eq!(named(&whole[1..]), broken, "the first part is missing");
    assert_eq!(named(&[whole[0], whole[1], whole[3]]), broken, "the last part is missing");
    assert_eq!(named(&[whole[0], whole[2], whole[3]]), broken, "a part in between is missing");
    assert_eq!(named(&[whole[0], whole[2], whole[1], whole[3]]), broken, "parts are exchanged");
    assert_eq!(named(&[whole[0], whole[1], whole[1], whole[2], whole[3]]), broken, "a part comes twice");
    for index in 0..3 {
        assert_eq!(change(index, 13, 0x99), broken, "the checksum of part {index}");
        for number in [0x40, 0x3F, 0x15, 0x55, 0x80, 0x7F] {
            assert_eq!(change(index, 0, number), broken, "number {number:#x} for part {index}");
        }
        assert_eq!(change(index, 12, 1), broken, "the type of part {index}");
        assert_eq!(change(index, 26, 1), broken, "the start of part {index}");
    }
    let mut records = whole.clone();
    records[2][1..3].fill(0);
    assert_eq!(named(&records), broken, "a NUL before the last part");
    let mut records = long_file("short", SHORT, 0, 0);
    records[0][1..3].fill(0);
    assert_eq!(named(&records), broken, "an empty name");
}

#[test]
fn parts_before_a_deleted_file_or_a_label_belong_to_nobody() {
    let whole = long_file("a long name", SHORT, 0, 0);
    let deleted = file(b"\xE5LD        ", 0, 0);
    let mut label = file(b"WORK       ", 0, 0);
    label[11] = 0x08;
    for between in [deleted, label] {
        assert_eq!(named(&[whole[0], between, whole[1]]), ("A~1".to_owned(), 0));
    }
}

#[test]
fn l19_long_names_of_1_255_and_256_units() {
    for (len, whole) in [(1, true), (13, true), (14, true), (255, true), (256, false), (260, false)] {
        let mut image = Image::fat16();
        image.chain(&[5, 6]);
        image.root_records(&[directory(b"D          ", 5)]);
        let records = long_file(&"x".repeat(len), SHORT, 0, 0);
        let (first, second) = records.split_at(records.len().min(16));
        image.cluster_records(5, first);
        image.cluster_records(6, second);
        let expected = if whole { "x".repeat(len) } else { "A~1".to_owned() };
        assert_eq!(names(&image), ["D".to_owned(), format!("D/{expected}")], "{len}");
    }
}

#[test]
fn surrogates_without_partners_are_replaced() {
    for units in [&[0xD800, 0x61][..], &[0x61, 0xDC00], &[0xDC00, 0xD800], &[0xD83D]] {
        let mut records = long_name(units, SHORT);
        records.push(file(SHORT, 0, 0));
        let (name, renamed) = named(&records);
        assert!(name.chars().all(|character| "a_".contains(character)), "{name:?}");
        assert_eq!(renamed, 1);
    }
    assert_eq!(named(&long_file("\u{1F600}", SHORT, 0, 0)), ("\u{1F600}".to_owned(), 0));
}
