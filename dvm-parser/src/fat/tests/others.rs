//! What other implementations wrote, byte for byte, and what they read as a second opinion.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use super::corruption::Random;
use super::read;

/// Paths with contents; directories end in `/`.
type Contents = BTreeMap<String, Vec<u8>>;

const WORDS: [&str; 14] = [
    "report",
    "a b c",
    "ÄÖÜ ß",
    "日本語",
    "мир",
    ".hidden",
    "UPPER",
    "x",
    "two.dots.txt",
    "-dash",
    "e\u{301}",
    "under_score",
    "100%",
    "a rather long name that needs several parts to be told on a FAT volume",
];

/// A random tree. Its names have no characters beyond the BMP: mtools and fatfs write half of each.
fn random_tree(random: &mut Random, entries: usize) -> Contents {
    let mut tree = Contents::new();
    let mut directories = vec![String::new()];
    for number in 0..entries {
        let parent = directories[random.below(directories.len())].clone();
        let word = WORDS[random.below(WORDS.len())];
        let extension = ["", ".txt", ".Txt", ".TXT", ".tar.gz"][random.below(5)];
        let path = format!("{parent}{word} {number}{extension}");
        if random.below(5) == 0 && parent.matches('/').count() < 6 {
            let path = format!("{path}/");
            tree.insert(path.clone(), Vec::new());
            directories.push(path);
        } else {
            let len = [0, 1, 511, 512, 513, 4_095, 4_096, 4_097, 20_000, 70_001][random.below(10)];
            tree.insert(path, (0..len).map(|_| random.next().to_le_bytes()[0]).collect());
        }
    }
    tree
}

fn write_to_disk(tree: &Contents, top: &Path) {
    for (path, contents) in tree {
        match path.strip_suffix('/') {
            Some(directory) => fs::create_dir(top.join(directory)).unwrap(),
            None => fs::write(top.join(path), contents).unwrap(),
        }
    }
}

fn read_from_disk(top: &Path, prefix: &str, tree: &mut Contents) {
    for entry in fs::read_dir(top).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read_from_disk(&entry.path(), &format!("{path}/"), tree);
            tree.insert(format!("{path}/"), Vec::new());
        } else {
            tree.insert(path, fs::read(entry.path()).unwrap());
        }
    }
}

fn run(command: &mut Command) {
    let output = command.env("LC_ALL", "C.UTF-8").env("MTOOLS_SKIP_CHECK", "1").output().unwrap();
    assert!(
        output.status.success(),
        "{:?} {:?}: {}",
        command.get_program(),
        command.get_args().take(6).collect::<Vec<_>>(),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn tool(name: &str) -> Command {
    Command::new(testkit::tool(name).expect("the test has asked for it"))
}

/// Formats a file with mkfs.vfat and fills it with mcopy.
fn mkfs_and_mcopy(tree: &Contents, kib: usize, options: &[&str]) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let (image, source) = (scratch.path().join("image"), scratch.path().join("source"));
    fs::create_dir(&source).unwrap();
    write_to_disk(tree, &source);
    run(tool("mkfs.vfat").arg("-C").args(options).arg(&image).arg(kib.to_string()));
    let tops: Vec<_> = fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path()).collect();
    run(tool("mcopy").args(["-s", "-Q", "-m", "-i"]).arg(&image).args(&tops).arg("::"));
    fs::read(&image).unwrap()
}

/// What mtools reads from a volume.
fn read_by_mtools(image: &[u8]) -> Contents {
    let scratch = tempfile::tempdir().unwrap();
    let (file, target) = (scratch.path().join("image"), scratch.path().join("target"));
    fs::write(&file, image).unwrap();
    fs::create_dir(&target).unwrap();
    run(tool("mcopy").args(["-s", "-n", "-i"]).arg(&file).arg("::*").arg(&target));
    let mut tree = Contents::new();
    read_from_disk(&target, "", &mut tree);
    tree
}

/// Formats a volume and fills it with the fatfs crate.
fn write_by_fatfs(tree: &Contents, options: fatfs::FormatVolumeOptions, bytes: usize) -> Vec<u8> {
    let mut image = vec![0; bytes];
    fatfs::format_volume(Cursor::new(&mut image), options).unwrap();
    let volume = fatfs::FileSystem::new(Cursor::new(&mut image), fatfs::FsOptions::new()).unwrap();
    for (path, contents) in tree {
        match path.strip_suffix('/') {
            Some(directory) => drop(volume.root_dir().create_dir(directory).unwrap()),
            None => volume.root_dir().create_file(path).unwrap().write_all(contents).unwrap(),
        }
    }
    volume.unmount().unwrap();
    image
}

/// What the fatfs crate reads from a volume.
fn read_by_fatfs(image: &[u8]) -> Contents {
    fn directory<T: fatfs::ReadWriteSeek>(dir: &fatfs::Dir<'_, T>, prefix: &str, tree: &mut Contents) {
        for entry in dir.iter() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name());
            if entry.file_name() == "." || entry.file_name() == ".." {
                continue;
            }
            let mut contents = Vec::new();
            if entry.is_dir() {
                directory(&entry.to_dir(), &format!("{path}/"), tree);
                tree.insert(format!("{path}/"), contents);
            } else {
                entry.to_file().read_to_end(&mut contents).unwrap();
                tree.insert(path, contents);
            }
        }
    }
    let mut image = image.to_vec();
    let volume = fatfs::FileSystem::new(Cursor::new(image.as_mut_slice()), fatfs::FsOptions::new()).unwrap();
    let mut tree = Contents::new();
    directory(&volume.root_dir(), "", &mut tree);
    tree
}

/// Our own reading must be exactly the tree, with nothing renamed or overlong.
fn assert_reads(image: &[u8], tree: &Contents, what: &str) {
    let (read, tally) = read(image).unwrap_or_else(|error| panic!("{what}: {error}"));
    let contents = read.contents();
    assert!(contents.keys().eq(tree.keys()), "{what}: {:?} is not {:?}", contents.keys(), tree.keys());
    assert!(contents == *tree, "{what}: contents differ");
    assert_eq!((tally.renamed, tally.overlong), (0, 0), "{what}");
    assert_eq!(tally.bytes, tree.values().map(|contents| contents.len() as u64).sum::<u64>(), "{what}");
    assert_eq!((tally.files + tally.directories) as usize, tree.len(), "{what}");
}

#[test]
fn what_mkfs_and_mcopy_wrote_is_read_byte_for_byte() {
    if !testkit::require_tools(&["mkfs.vfat", "mcopy"]) {
        return;
    }
    // FAT32 has at least 65 525 clusters here, because mtools takes it for FAT16 below.
    let layouts: [(usize, &[&str]); 10] = [
        (1_440, &["-F", "12"]),
        (4_000, &["-F", "12", "-s", "8"]),
        (4_000, &["-F", "12", "-S", "1024", "-s", "4", "-r", "512"]),
        (16_000, &["-F", "16"]),
        (16_000, &["-F", "16", "-s", "4", "-f", "1"]),
        (33_000, &["-F", "16", "-S", "2048", "-s", "2", "-r", "512"]),
        (40_000, &["-F", "32", "-s", "1", "-n", "WORK"]),
        (140_000, &["-F", "32", "-s", "4", "-f", "1"]),
        (70_000, &["-F", "32", "-S", "1024", "-s", "1"]),
        (20_000, &["-F", "16", "-S", "4096", "-s", "1", "-r", "512"]),
    ];
    for (seed, (kib, options)) in (0..).zip(layouts) {
        let tree = random_tree(&mut Random(seed), 60);
        let image = mkfs_and_mcopy(&tree, kib, options);
        assert_reads(&image, &tree, &format!("{options:?}"));
    }
}

#[test]
fn a_small_fat32_volume_of_mkfs_is_fat32_as_linux_has_it() {
    if !testkit::require_tools(&["mkfs.vfat"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image");
    run(tool("mkfs.vfat").args(["-F", "32", "-s", "1", "-n", "WORK", "-C"]).arg(&image).arg("2000"));
    let image = fs::read(&image).unwrap();
    let geometry = super::super::Geometry::read(&super::Memory::new(image.clone())).unwrap();
    assert_eq!(geometry.fat_type, super::super::FatType::Fat32);
    assert!(geometry.cluster_count < 4_085);
    assert_reads(&image, &Contents::new(), "empty");
}

#[test]
fn times_that_mcopy_preserved_are_read() {
    if !testkit::require_tools(&["mkfs.vfat", "mcopy", "touch"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (image, file) = (scratch.path().join("image"), scratch.path().join("a.txt"));
    fs::write(&file, b"x").unwrap();
    run(tool("touch").arg("-d").arg("2019-10-27 01:02:04 UTC").arg(&file));
    run(tool("mkfs.vfat").arg("-C").arg(&image).arg("1440"));
    run(tool("mcopy").env("TZ", "UTC").args(["-m", "-i"]).arg(&image).arg(&file).arg("::"));
    let (tree, _) = read(&fs::read(&image).unwrap()).unwrap();
    let modified = Some(super::Modified { unix_s: 1_572_138_124 });
    assert_eq!(tree.nodes["a.txt"], super::Node::File(b"x".to_vec(), modified));
}

#[test]
fn what_fatfs_wrote_is_read_byte_for_byte_by_us_and_by_mtools() {
    use fatfs::{FatType, FormatVolumeOptions};
    let mtools = testkit::require_tools(&["mcopy"]);
    let layouts = [
        (FatType::Fat12, 1, 512, 1 << 20),
        (FatType::Fat12, 2, 4_096, 12 << 20),
        (FatType::Fat16, 2, 512, 8 << 20),
        (FatType::Fat16, 1, 2_048, 40 << 20),
        (FatType::Fat32, 2, 512, 40 << 20),
        (FatType::Fat32, 1, 1_024, 80 << 20),
    ];
    for (seed, (fat_type, tables, cluster_bytes, bytes)) in (100..).zip(layouts) {
        let options =
            FormatVolumeOptions::new().fat_type(fat_type).fats(tables).bytes_per_cluster(cluster_bytes);
        let tree = random_tree(&mut Random(seed), 50);
        let image = write_by_fatfs(&tree, options, bytes);
        let what = format!("{fat_type:?} {cluster_bytes}");
        assert_reads(&image, &tree, &what);
        assert!(read_by_fatfs(&image) == tree, "{what}: fatfs reads what it wrote");
        if mtools {
            assert!(read_by_mtools(&image) == tree, "{what}: mtools agrees");
        }
    }
}

#[test]
fn random_volumes_read_the_same_by_three_implementations() {
    if !testkit::require_tools(&["mkfs.vfat", "mcopy"]) {
        return;
    }
    for seed in 200..220 {
        let mut random = Random(seed);
        let entries = 1 + random.below(80);
        let tree = random_tree(&mut random, entries);
        let (kib, bits) = [(6_000, "12"), (20_000, "16"), (36_000, "32")][random.below(3)];
        let image = mkfs_and_mcopy(&tree, kib, &["-F", bits]);
        let what = format!("seed {seed}");
        assert_reads(&image, &tree, &what);
        assert!(read_by_fatfs(&image) == tree, "{what}: fatfs agrees");
        assert!(read_by_mtools(&image) == tree, "{what}: mtools agrees");
    }
}

/// The tree as the project's own writer plans it, written to memory.
fn write_by_us(tree: &Contents) -> Vec<u8> {
    struct Files(Vec<Vec<u8>>);
    impl fat::Source for Files {
        type Reader = Cursor<Vec<u8>>;
        fn open(&mut self, entry: u32) -> std::io::Result<Self::Reader> {
            Ok(Cursor::new(self.0[entry as usize].clone()))
        }
    }
    let mut numbers = BTreeMap::new();
    let (mut entries, mut files) = (Vec::new(), Vec::new());
    for (number, (path, contents)) in (0_u32..).zip(tree) {
        let (parent, name) =
            path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path.trim_end_matches('/')));
        let parent = (!parent.is_empty()).then(|| numbers[parent]);
        let directory = path.ends_with('/');
        let kind =
            if directory { fat::Kind::Directory } else { fat::Kind::File { size: contents.len() as u64 } };
        numbers.insert(path.trim_end_matches('/').to_owned(), number);
        entries.push(fat::Entry { parent, name: name.as_bytes().to_vec(), kind, modified_s: 1_234_567_890 });
        files.push(contents.clone());
    }
    let tree = fat::Tree::check(entries).unwrap();
    let size = fat::VolumeSize::from_mib(tree.size_needed_mib().unwrap()).unwrap();
    let plan = tree.layout(size, fat::VolumeLabel::from_name("work"), 7).unwrap();
    let mut volume = Vec::new();
    fat::write(&plan, &mut volume, &mut Files(files), &mut |_| {}).unwrap();
    volume.resize(usize::try_from(size.bytes()).unwrap(), 0);
    volume
}

#[test]
fn what_this_project_writes_is_read_byte_for_byte() {
    for seed in 300..310 {
        let mut random = Random(seed);
        let entries = 1 + random.below(120);
        let mut tree = random_tree(&mut random, entries);
        tree.insert("emoji 👨\u{200D}👩\u{200D}👧 😀.txt".to_owned(), vec![1]);
        tree.insert("x".repeat(251) + ".txt", Vec::new());
        tree.insert("語".repeat(84), vec![2; 700]);
        let image = write_by_us(&tree);
        assert_reads(&image, &tree, &format!("seed {seed}"));
        let (read, _) = read(&image).unwrap();
        let modified = Some(super::Modified { unix_s: 1_234_567_890 });
        for (path, node) in read.nodes {
            let (super::Node::Directory(time) | super::Node::File(_, time)) = node;
            assert_eq!(time, modified, "{path}");
        }
    }
}
