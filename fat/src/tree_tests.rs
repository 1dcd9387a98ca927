use super::*;
use crate::geometry::{VOLUME_MIB_MAX, VOLUME_MIB_MIN, VolumeSize};
use crate::label::VolumeLabel;
use crate::layout::LayoutError;
use crate::name::NameFault;
use crate::refusal::REFUSALS_LISTED_MAX;

fn directory(parent: Option<u32>, name: &str) -> Entry {
    Entry { parent, name: name.as_bytes().to_vec(), kind: Kind::Directory, modified_s: 0 }
}

fn file(parent: Option<u32>, name: &str, size: u64) -> Entry {
    Entry { parent, name: name.as_bytes().to_vec(), kind: Kind::File { size }, modified_s: 0 }
}

/// Path and reason of all that is refused; nothing when the tree is taken.
fn refused(entries: Vec<Entry>) -> Vec<(String, Reason)> {
    match Tree::check(entries) {
        Ok(_) => Vec::new(),
        Err(TreeError::Refused(refusals)) => {
            assert_eq!(refusals.more, 0);
            let listed = refusals.listed.into_iter();
            listed
                .map(|refusal| (String::from_utf8_lossy(&refusal.path).into_owned(), refusal.reason))
                .collect()
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn each_bad_name_is_refused_with_its_path() {
    let mut entries = vec![directory(None, "good"), directory(Some(0), "ba:d"), file(Some(1), "fine", 1)];
    entries.push(file(Some(1), "end.", 1));
    entries.push(Entry { name: b"\xff".to_vec(), ..file(Some(0), "", 1) });
    entries.push(directory(None, ".."));
    assert_eq!(
        refused(entries),
        [
            ("good/ba:d".to_owned(), Reason::Name(NameFault::Forbidden(':'))),
            ("good/ba:d/end.".to_owned(), Reason::Name(NameFault::TrailingDotOrSpace)),
            ("good/\u{FFFD}".to_owned(), Reason::Name(NameFault::NotUtf8)),
            ("..".to_owned(), Reason::Name(NameFault::TrailingDotOrSpace)),
        ]
    );
}

#[test]
fn names_equal_but_for_case_are_refused_within_one_directory_alone() {
    let other = |name: &str| Reason::SameName { other: name.as_bytes().to_vec() };
    let entries = vec![
        directory(None, "für"),
        file(Some(0), "Readme", 1),
        file(Some(0), "README", 1),
        file(Some(0), "readme", 1),
        file(None, "readme", 1),
        file(None, "FÜR", 1),
    ];
    assert_eq!(
        refused(entries),
        [
            ("FÜR".to_owned(), other("für")),
            ("für/README".to_owned(), other("Readme")),
            ("für/readme".to_owned(), other("Readme")),
        ]
    );
}

#[test]
fn l19_files_of_4_gib_are_refused_and_smaller_ones_are_not() {
    for size in [0, 1, FILE_BYTES_MAX - 1, FILE_BYTES_MAX] {
        assert!(refused(vec![file(None, "f", size)]).is_empty());
    }
    for bytes in [FILE_BYTES_MAX + 1, u64::MAX] {
        assert_eq!(refused(vec![file(None, "f", bytes)]), [("f".to_owned(), Reason::FileTooLarge { bytes })]);
    }
}

#[test]
fn l19_directories_of_more_slots_than_fit_are_refused() {
    // Each of these names takes two slots; the top has one of its own, other directories have two.
    let full = (DIRECTORY_SLOTS_MAX - 2) / 2;
    let mut entries = vec![directory(None, "d")];
    entries.extend((0..full).map(|number| file(Some(0), &format!("{number}"), 0)));
    // One slot is left, which is none for another entry.
    assert!(refused(entries.clone()).is_empty());
    entries.push(file(Some(0), "x", 0));
    assert_eq!(refused(entries), [("d".to_owned(), Reason::DirectoryTooLarge { slots: 65_536 })]);

    let mut top: Vec<Entry> = (0..full + 1).map(|number| file(None, &format!("{number}"), 0)).collect();
    assert!(refused(top.clone()).is_empty());
    top.push(file(None, "x", 0));
    assert_eq!(refused(top), [(String::new(), Reason::DirectoryTooLarge { slots: 65_537 })]);
}

#[test]
fn l19_depth_ends_at_its_limit() {
    let nested = |count: usize| -> Vec<Entry> {
        let parents = std::iter::once(None).chain((0..).map(Some));
        parents.take(count).map(|parent| directory(parent, "d")).collect()
    };
    assert!(refused(nested(DEPTH_MAX)).is_empty());
    let path = vec!["d"; DEPTH_MAX + 1].join("/");
    assert_eq!(refused(nested(DEPTH_MAX + 1)), [(path.clone(), Reason::TooDeep)]);
    assert_eq!(
        refused(nested(DEPTH_MAX + 50)),
        [(path, Reason::TooDeep)],
        "what lies below is not named again"
    );
}

#[test]
fn l19_paths_end_at_their_limit() {
    // 13 directories of 255 letters and their slashes are 3328 bytes.
    let name = "x".repeat(255);
    let tree = |last: usize| {
        let parents = std::iter::once(None).chain((0..).map(Some));
        let mut entries: Vec<Entry> = parents.take(13).map(|parent| directory(parent, &name)).collect();
        entries.push(file(Some(12), &"y".repeat(last), 1));
        entries
    };
    let room = PATH_BYTES_MAX - 13 * 256;
    assert_eq!(room, 256);
    assert!(refused(tree(255)).is_empty());
    let with_more = |last: usize| {
        let mut entries = tree(1);
        entries.pop();
        entries.extend([directory(Some(12), "e"), file(Some(13), &"y".repeat(last), 1)]);
        refused(entries)
    };
    assert!(with_more(254).is_empty());
    let [(_, reason)] = &with_more(255)[..] else { panic!("one refusal") };
    assert_eq!(reason, &Reason::PathTooLong);
}

#[test]
fn l19_entries_and_directories_end_at_their_limits() {
    // A thousand directories of names as short as they can be hold a million entries.
    let mut entries: Vec<Entry> = (0..1000).map(|number| directory(None, &format!("{number}"))).collect();
    entries.extend(
        (0..u32::try_from(ENTRIES_MAX).unwrap() - 1000)
            .map(|number| file(Some(number % 1000), &format!("{number}"), 0)),
    );
    assert!(Tree::check(entries.clone()).is_ok());
    entries.push(file(None, "x", 0));
    assert_eq!(Tree::check(entries).unwrap_err(), TreeError::TooManyEntries);

    let mut directories: Vec<Entry> = (0..10).map(|number| directory(None, &format!("{number}"))).collect();
    let more = u32::try_from(DIRECTORIES_MAX).unwrap() - 11;
    directories.extend((0..more).map(|number| directory(Some(number % 10), &format!("{number}"))));
    assert_eq!(directories.len() + 1, DIRECTORIES_MAX);
    assert!(Tree::check(directories.clone()).is_ok());
    directories.push(directory(None, "x"));
    assert_eq!(Tree::check(directories).unwrap_err(), TreeError::TooManyDirectories);
}

#[test]
fn a_parent_must_be_an_earlier_directory() {
    for entries in [
        vec![file(Some(0), "own", 1)],
        vec![file(Some(1), "later", 1), directory(None, "d")],
        vec![file(None, "f", 1), file(Some(0), "in a file", 1)],
        vec![file(Some(u32::MAX), "nowhere", 1)],
    ] {
        assert!(matches!(Tree::check(entries).unwrap_err(), TreeError::NoSuchParent { .. }));
    }
}

#[test]
fn l7_refusals_are_listed_up_to_a_bound_and_shown_escaped() {
    let bad = |count: usize| -> Refusals {
        let entries = (0..count).map(|number| file(None, &format!("\x1b[{number}"), 0)).collect();
        let Err(TreeError::Refused(refusals)) = Tree::check(entries) else { panic!("refused") };
        refusals
    };
    assert_eq!(bad(1).to_string(), "\\u{1b}[0: the name has a control character, U+001B");
    assert_eq!(
        (bad(REFUSALS_LISTED_MAX).listed.len(), bad(REFUSALS_LISTED_MAX).more),
        (REFUSALS_LISTED_MAX, 0)
    );
    let many = bad(REFUSALS_LISTED_MAX + 5);
    assert_eq!((many.listed.len(), many.more), (REFUSALS_LISTED_MAX, 5));
    assert!(many.to_string().ends_with("\nand 5 more"));
    assert!(!many.to_string().contains('\x1b'));
}

#[test]
fn the_size_needed_is_the_smallest_that_fits() {
    let fits = |entries: &[Entry], mib| {
        let size = VolumeSize::from_mib(mib).unwrap();
        Tree::check(entries.to_vec()).unwrap().layout(size, VolumeLabel::from_name("x"), 1)
    };
    let mib = 1 << 20;
    for sizes in
        [vec![], vec![1], vec![32 * mib], vec![33 * mib], vec![255 * mib], vec![256 * mib], vec![259 * mib]]
    {
        let entries: Vec<Entry> =
            (0..).zip(&sizes).map(|(number, size)| file(None, &format!("{number}"), *size)).collect();
        let needed = Tree::check(entries.clone()).unwrap().size_needed_mib().unwrap();
        assert!(fits(&entries, needed).is_ok(), "{sizes:?}");
        if needed > VOLUME_MIB_MIN {
            let device_mib = needed - 1;
            let error = LayoutError::DeviceTooSmall { needed_mib: needed, device_mib };
            assert_eq!(fits(&entries, device_mib).unwrap_err(), error, "{sizes:?}");
        }
    }
    // With every size of clusters; the small files fill the larger clusters badly.
    for count in [3, 5, 9, 17, 100, 511] {
        let mut entries: Vec<Entry> =
            (0..count).map(|number| file(None, &format!("{number}"), FILE_BYTES_MAX)).collect();
        entries.extend((0..10_000).map(|number| file(None, &format!("small {number}"), 1)));
        let needed = Tree::check(entries.clone()).unwrap().size_needed_mib().unwrap();
        assert!(fits(&entries, needed).is_ok() && fits(&entries, needed - 1).is_err(), "{count}: {needed}");
    }
}

#[test]
fn l19_a_tree_larger_than_any_volume_is_refused() {
    let large = |count: u32| -> Tree {
        Tree::check((0..count).map(|number| file(None, &format!("{number}"), FILE_BYTES_MAX)).collect())
            .unwrap()
    };
    assert!(large(511).size_needed_mib().is_ok());
    assert_eq!(large(512).size_needed_mib(), Err(LayoutError::TooLarge));
    let size = VolumeSize::from_mib(VOLUME_MIB_MAX).unwrap();
    assert_eq!(large(512).layout(size, VolumeLabel::from_name("x"), 1).unwrap_err(), LayoutError::TooLarge);
    assert_eq!(large(20_000).size_needed_mib(), Err(LayoutError::TooLarge));
}
