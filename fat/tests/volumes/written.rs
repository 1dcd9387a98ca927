//! Chosen trees, at the edges of what a volume holds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use fat::{
    DEPTH_MAX, DIRECTORY_SLOTS_MAX, Entry, FILE_BYTES_MAX, Geometry, LayoutError, Tree, VolumeLabel,
    VolumeSize,
};

use crate::support::{Content, ReadOnly, content, directory, fatfs, file, fsck, image, mcopy, plan, written};
use crate::{receiver, strict};

pub const LABEL: &[u8; 11] = b"WORK       ";

/// Writes the tree onto a volume of that size, and has it read by everybody who is here.
pub fn check(entries: &[Entry], mib: u32, path: &Path) {
    let size = u64::from(mib) << 20;
    let expected = content(entries);
    let volume = written(entries, mib);
    assert!(strict::read(&volume, size, LABEL) == expected, "the tests' own reader finds the same");
    assert!(receiver::finds(&volume, size, &expected), "the receiver finds the same");
    image(path, size, &[(0, volume)]);
    assert!(fatfs(path) == expected, "the fatfs crate finds the same");
    if testkit::tool("fsck.vfat").is_some() {
        fsck(path);
    }
    // mtools writes names to Linux, where they end at 255 bytes.
    let suits = !entries.is_empty() && entries.iter().all(|entry| entry.name.len() <= 255);
    let expected = as_mtools_names_it(&expected);
    if testkit::tool("mcopy").is_some() && suits && expected.len() == entries.len() {
        assert!(mcopy(path) == expected, "mtools finds the same");
    }
}

/// mtools knows no characters beyond the BMP: it writes `_` for each half of one. The two other readers know
/// them.
fn as_mtools_names_it(content: &Content) -> Content {
    let name = |letter: char| if letter.len_utf16() == 2 { "__".to_owned() } else { letter.to_string() };
    content.iter().map(|(path, bytes)| (path.chars().map(name).collect(), bytes.clone())).collect()
}

/// Skips what cannot run here, once for each test.
fn volume() -> Option<(tempfile::TempDir, std::path::PathBuf)> {
    if !testkit::require_tools(&["fsck.vfat", "mcopy"]) {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    Some((directory, path))
}

#[test]
fn an_empty_tree_is_an_empty_volume() {
    let Some((_directory, path)) = volume() else { return };
    check(&[], 33, &path);
}

#[test]
fn names_of_many_scripts_and_lengths_are_kept() {
    let Some((_directory, path)) = volume() else { return };
    let names = [
        "a",
        "B",
        "readme.txt",
        "README2.TXT",
        "Mixed.Txt",
        "a b  c.d e",
        " leading",
        ".hidden",
        "...x",
        "two.dots.gz",
        "für Straße",
        "日本語の名前.txt",
        "emoji 😀🎉.png",
        "😀",
        "CON",
        "nul.txt",
        "com1",
        "+,;=[]",
        "a~1",
        "A~2.TXT",
        "#{}%&'()-@^_`!$~",
        "e\u{301}",
        "é",
        "\u{FFFD}",
        "\u{E000}",
    ];
    let mut entries: Vec<Entry> = (0_u64..).zip(names).map(|(size, name)| file(None, name, size)).collect();
    let d = u32::try_from(entries.len()).unwrap();
    entries.push(directory(None, "für Ünïcode 日本 😀"));
    entries.extend(names.iter().map(|name| file(Some(d), name, 3)));
    check(&entries, 33, &path);
}

#[test]
fn l19_names_of_1_to_255_units_are_kept() {
    let Some((_directory, path)) = volume() else { return };
    let ascii: Vec<Entry> = (1..=255).map(|units| file(None, &"x".repeat(units), 1)).collect();
    check(&ascii, 33, &path);
    let edges = [1, 12, 13, 14, 25, 26, 27, 126, 127];
    let mut wide: Vec<Entry> = edges.iter().map(|count| file(None, &"😀".repeat(*count), 1)).collect();
    wide.extend([1, 13, 84, 85, 86, 254, 255].map(|count| directory(None, &"語".repeat(count))));
    wide.extend([1, 127, 128, 255].map(|count| file(None, &"ü".repeat(count), 1)));
    check(&wide, 33, &path);
}

#[test]
fn l19_directories_that_fill_their_clusters_need_no_end() {
    let Some((_directory, path)) = volume() else { return };
    // A cluster of 512 bytes holds 16 slots: two of them are taken, and each of these names takes two.
    for count in [6, 7, 8, 14, 15, 16] {
        let mut entries = vec![directory(None, "directory")];
        entries.extend((0..count).map(|number| file(Some(0), &format!("{number:013}"), 1)));
        check(&entries, 33, &path);
    }
    // In the top directory one slot is taken; each of these names takes five.
    for count in [2, 3, 4] {
        let entries: Vec<Entry> = (0..count).map(|number| file(None, &format!("{number:052}"), 1)).collect();
        check(&entries, 33, &path);
    }
}

#[test]
fn l19_files_around_the_size_of_a_cluster_are_kept() {
    let Some((_directory, path)) = volume() else { return };
    for (mib, cluster) in [(33, 512), (260, 512), (261, 4096)] {
        let sizes = [0, 1, cluster - 1, cluster, cluster + 1, 2 * cluster - 1, 2 * cluster, 2 * cluster + 1];
        let mut entries = vec![directory(None, "sub"), directory(Some(0), "empty")];
        entries.extend(sizes.iter().map(|size| file(None, &format!("{size}"), *size)));
        entries.extend(sizes.iter().map(|size| file(Some(0), &format!("{size} bytes"), *size)));
        entries.push(file(Some(0), "large", (1 << 20) + 3));
        check(&entries, mib, &path);
    }
}

#[test]
fn two_thousand_similar_long_names_are_kept() {
    let Some((_directory, path)) = volume() else { return };
    let name = |number| format!("a rather long name that is much like the others {number}.text");
    let entries: Vec<Entry> = (0..2000).map(|number| file(None, &name(number), 1)).collect();
    check(&entries, 33, &path);
}

#[test]
fn the_deepest_tree_is_kept() {
    let Some((_directory, path)) = volume() else { return };
    let mut entries = vec![directory(None, "d")];
    entries.extend((0..).take(DEPTH_MAX - 2).map(|parent| directory(Some(parent), "deeper")));
    let last = u32::try_from(entries.len()).unwrap() - 1;
    entries.push(file(Some(last), "file", 10));
    check(&entries, 33, &path);
}

#[test]
fn l19_the_largest_directory_is_kept() {
    let Some((_directory, path)) = volume() else { return };
    // Two slots are taken; a name of 255 letters takes 21, and the last one takes what is left of the 65 535.
    let left = DIRECTORY_SLOTS_MAX - 2;
    let mut entries = vec![directory(None, "large")];
    entries.extend((0..left / 21).map(|number| file(Some(0), &format!("{number:0255}"), 0)));
    entries.push(file(Some(0), &"x".repeat((left % 21 - 1) as usize * 13), 0));
    let size = 33 << 20;
    let volume = written(&entries, 33);
    assert!(strict::read(&volume, size, LABEL) == content(&entries));
    assert!(receiver::finds(&volume, size, &content(&entries)));
    image(&path, size, &[(0, volume)]);
    fsck(&path);
    entries.push(file(Some(0), "x", 0));
    assert!(Tree::check(entries).is_err());
}

#[test]
fn l19_a_volume_can_be_filled_to_its_last_cluster() {
    let Some((_directory, path)) = volume() else { return };
    for mib in [33, 34] {
        let geometry = Geometry::of(VolumeSize::from_mib(mib).unwrap());
        let room = u64::from(geometry.clusters - 1) * u64::from(geometry.cluster_bytes());
        check(&[file(None, "all of it", room)], mib, &path);
        let tree = Tree::check(vec![file(None, "more", room + 1)]).unwrap();
        let size = VolumeSize::from_mib(mib).unwrap();
        assert_eq!(
            tree.layout(size, VolumeLabel::from_name("work"), 1).unwrap_err(),
            LayoutError::DeviceTooSmall { needed_mib: mib + 1, device_mib: mib }
        );
    }
}

/// Files of zeros; the function says how long the next one is.
struct Sizes<F>(F);

impl<F: FnMut() -> u64> fat::Source for Sizes<F> {
    type Reader = std::io::Take<std::io::Repeat>;

    fn open(&mut self, _entry: u32) -> std::io::Result<Self::Reader> {
        Ok(std::io::repeat(0).take((self.0)()))
    }
}

/// Leaves out what is zero, so that large volumes take little room.
struct Holes<'a>(&'a File, u64);

impl Write for Holes<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.iter().any(|byte| *byte != 0) {
            self.0.write_all_at(bytes, self.1)?;
        }
        self.1 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn l19_the_largest_file_is_kept() {
    let Some((_directory, path)) = volume() else { return };
    // Of a file whose clusters are 4 GiB, fsck.vfat 4.2 believes that it has none: it counts them in 32 bits
    // (dosfstools' issue 208). Linux and the readers here take it as it is.
    for (size, known_to_fsck) in [((1 << 32) - 4096, true), (FILE_BYTES_MAX, false)] {
        let entries = [file(None, "large", size), file(None, "behind it", 1)];
        let mib = Tree::check(entries.to_vec()).unwrap().size_needed_mib().unwrap();
        assert!((4100..4110).contains(&mib), "{mib}");
        image(&path, u64::from(mib) << 20, &[]);
        let volume = File::options().write(true).open(&path).unwrap();
        let mut sizes = [size, 1].into_iter();
        let mut files = Sizes(|| sizes.next().unwrap());
        fat::write(&plan(&entries, mib), Holes(&volume, 0), &mut files, &mut |_| {}).unwrap();
        if known_to_fsck {
            fsck(&path);
        }
        let volume =
            fatfs::FileSystem::new(File::open(&path).map(ReadOnly).unwrap(), fatfs::FsOptions::new())
                .unwrap();
        let lengths: Vec<u64> = volume.root_dir().iter().map(|entry| entry.unwrap().len()).collect();
        assert_eq!(lengths, [size, 1]);
    }
}
