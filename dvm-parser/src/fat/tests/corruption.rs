//! 100 000 volumes that were valid until something was changed in their boot sector, tables or directories.

use std::convert::Infallible;
use std::io::{Cursor, Write as _};

use super::super::{ENTRIES_MAX, Modified, Sink, Volume as _, WalkError, boot::Root, walk};
use super::Memory;
use super::builder::{Image, directory, file, long_file};
use crate::names::{NAME_BYTES_MAX, SafeName};

/// Volumes for each of the three types: 100 000 and a few in all.
const VOLUMES_PER_TYPE: u64 = 33_400;

/// A small deterministic source of numbers (Steele and others, splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Keeps nothing; checks that names are safe and counts the rest.
#[derive(Default)]
struct Count {
    bytes: u64,
    entries: u32,
    depth: usize,
}

impl Count {
    fn entry(&mut self, name: &SafeName) {
        let name = name.as_str();
        assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX && name != "." && name != "..");
        assert!(!name.chars().any(|character| character == '/' || character.is_control()));
        self.entries += 1;
        assert!(self.entries <= ENTRIES_MAX);
    }
}

impl Sink<Memory> for Count {
    type Error = Infallible;

    fn enter_directory(&mut self, name: &SafeName) -> Result<(), Infallible> {
        self.entry(name);
        self.depth += 1;
        assert!(self.depth < super::super::DEPTH_MAX);
        Ok(())
    }

    fn leave_directory(&mut self, _: Option<Modified>) -> Result<(), Infallible> {
        self.depth -= 1;
        Ok(())
    }

    fn begin_file(&mut self, name: &SafeName, _: u32) -> Result<(), Infallible> {
        self.entry(name);
        Ok(())
    }

    fn contents(&mut self, volume: &Memory, offset: u64, bytes: u64) -> Result<(), WalkError<Infallible>> {
        let mut contents = vec![0; usize::try_from(bytes).unwrap()];
        volume.read_at(offset, &mut contents).unwrap();
        self.bytes += bytes;
        Ok(())
    }

    fn end_file(&mut self, _: Option<Modified>) -> Result<(), Infallible> {
        Ok(())
    }

    fn renamed(&mut self, _: &SafeName) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Where a change is worth making: the boot sector, the used part of the table, every directory's cluster.
fn targets(image: &[u8]) -> Vec<(usize, usize)> {
    let memory = Memory::new(image.to_vec());
    let geometry = super::super::Geometry::read(&memory).unwrap();
    let table = usize::try_from(geometry.table_offset).unwrap();
    let root = match geometry.root {
        Root::Region { offset, .. } => offset,
        Root::Chain { start } => geometry.cluster_offset(start).unwrap(),
    };
    let root = usize::try_from(root).unwrap();
    let mut targets = vec![(0, 90), (504, 512), (table, table + 256), (root, root + 1_024)];
    let data = usize::try_from(geometry.data_offset).unwrap();
    for cluster in (data..image.len() - 512).step_by(512) {
        if image[cluster..].starts_with(b".          ") || image[cluster + 32..].starts_with(b".          ") {
            targets.push((cluster, cluster + 512));
        }
    }
    assert!(targets.len() > 5, "the volume has directories");
    targets
}

/// Changes something, and says what to put back.
fn corrupt(image: &mut [u8], targets: &[(usize, usize)], random: &mut Random) -> Vec<(usize, u8)> {
    let mut undo = Vec::new();
    for _ in 0..=random.below(8) {
        let (start, end) = targets[random.below(targets.len())];
        let at = start + random.below(end - start - 4);
        let number = u32::try_from(random.below(100)).unwrap();
        let special = [0, 1, 2, 0xFFF7, 0xFFFF, 0x0FFF_FFF7, 0x8000_0000, u32::MAX, number];
        let (bytes, len) = match random.below(4) {
            0 => ([image[at] ^ 1 << random.below(8), 0, 0, 0], 1),
            1 => ([random.next().to_le_bytes()[0], 0, 0, 0], 1),
            2 => (special[random.below(special.len())].to_le_bytes(), 2),
            _ => (special[random.below(special.len())].to_le_bytes(), 4),
        };
        for (offset, byte) in bytes.iter().take(len).enumerate() {
            undo.push((at + offset, image[at + offset]));
            image[at + offset] = *byte;
        }
    }
    undo
}

/// Walks corrupted volumes; returns how many were read to their end all the same.
fn batter(image: Vec<u8>, volumes: u64) -> u64 {
    let targets = targets(&image);
    let mut memory = Memory::new(image);
    let len = memory.bytes.len() as u64;
    let mut survived = 0;
    for seed in 0..volumes {
        let undo = corrupt(&mut memory.bytes, &targets, &mut Random(seed));
        memory.read.set(0);
        let mut count = Count::default();
        let result = walk(&memory, &mut count);
        match result {
            Ok(tally) => {
                survived += 1;
                assert_eq!(tally.bytes, count.bytes, "seed {seed}");
                assert_eq!(tally.files + tally.directories, count.entries, "seed {seed}");
                assert_eq!(count.depth, 0, "seed {seed}");
            }
            Err(WalkError::Volume(_)) => {}
            Err(WalkError::Sink(never)) => match never {},
        }
        assert!(count.bytes <= len, "seed {seed} gave {} bytes", count.bytes);
        assert!(memory.read.get() <= len, "seed {seed} read {} bytes", memory.read.get());
        for (at, byte) in undo.into_iter().rev() {
            memory.bytes[at] = byte;
        }
    }
    survived
}

/// A volume that another implementation formatted and filled: directories, long names, contents.
fn filled(fat_type: fatfs::FatType, bytes: usize) -> Vec<u8> {
    let mut image = vec![0; bytes];
    let options = fatfs::FormatVolumeOptions::new().fat_type(fat_type).bytes_per_cluster(512);
    fatfs::format_volume(Cursor::new(&mut image), options).unwrap();
    let volume = fatfs::FileSystem::new(Cursor::new(&mut image), fatfs::FsOptions::new()).unwrap();
    assert_eq!(volume.fat_type(), fat_type);
    let root = volume.root_dir();
    for directory in ["a", "a/b", "a directory with a long name", "a/b/ü"] {
        root.create_dir(directory).unwrap();
        for (index, len) in [0, 1, 511, 512, 513, 3_000].into_iter().enumerate() {
            let mut file = root.create_file(&format!("{directory}/a file of some length {index}")).unwrap();
            file.write_all(&vec![0xA5; len]).unwrap();
        }
    }
    drop(root);
    volume.unmount().unwrap();
    image
}

/// A small FAT32 volume; fatfs makes none below 32 MiB.
fn small_fat32() -> Vec<u8> {
    let mut image = Image::fat32();
    let mut root = long_file("a file with a long name", b"AFILEW~1   ", 20, 2_000);
    root.extend([directory(b"D          ", 3), directory(b"E          ", 4), file(b"F          ", 30, 700)]);
    image.root_records(&root);
    image.chain(&[20, 21, 25, 26]);
    image.chain(&[30, 29]);
    for (cluster, inner) in [(3, 5), (4, 6), (5, 7), (6, 8), (7, 9), (8, 10)] {
        image.chain(&[cluster]);
        let dots = [directory(b".          ", cluster), directory(b"..         ", 0)];
        let first = inner * 10;
        image.chain(&[first, first + 1]);
        image.cluster_records(
            cluster,
            &[dots[0], dots[1], directory(b"INNER      ", inner), file(b"G          ", first, 1_000)],
        );
    }
    for cluster in [9, 10] {
        image.chain(&[cluster]);
    }
    super::read(&image.bytes).expect("the volume is valid");
    image.bytes
}

/// Some volumes must survive, otherwise only the boot sector's checks are tested.
fn check(image: Vec<u8>) {
    let survived = batter(image, VOLUMES_PER_TYPE);
    assert!(survived > VOLUMES_PER_TYPE / 20, "{survived}");
}

#[test]
fn corrupted_fat12_volumes_end_within_their_bounds() {
    check(filled(fatfs::FatType::Fat12, 256 << 10));
}

#[test]
fn corrupted_fat16_volumes_end_within_their_bounds() {
    check(filled(fatfs::FatType::Fat16, 3 << 20));
}

#[test]
fn corrupted_fat32_volumes_end_within_their_bounds() {
    check(small_fat32());
}
