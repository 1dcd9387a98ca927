//! File systems, and trees for the writer. Only the beginning of a volume that is not zero is kept, behind its size.

use std::io::{Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use crate::{Seeds, seed};

pub fn volumes() -> Seeds {
    let mut partitioned = small_fat32();
    partitioned[0] = 0;
    partitioned[446 + 4] = 0x0B;
    let mut boot_sector_alone = small_fat32();
    boot_sector_alone.truncate(512);
    vec![
        seed("fat12", beginning(&filled(FatType::Fat12, 100 << 10))),
        seed("fat16", beginning(&filled(FatType::Fat16, 2200 << 10))),
        seed("fat32", beginning(&small_fat32())),
        seed("partitioned", beginning(&partitioned)),
        seed("boot-sector-alone", beginning(&boot_sector_alone)),
    ]
}

fn beginning(volume: &[u8]) -> Vec<u8> {
    let size = u32::try_from(volume.len()).expect("a small volume");
    let written = volume.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    [&size.to_le_bytes(), &volume[..written]].concat()
}

/// A volume that another implementation formatted and filled: directories, long names, contents.
fn filled(fat_type: FatType, bytes: usize) -> Vec<u8> {
    let mut image = vec![0; bytes];
    let options =
        FormatVolumeOptions::new().fat_type(fat_type).bytes_per_cluster(512).max_root_dir_entries(16).fats(1);
    format_volume(Cursor::new(&mut image), options).expect("a volume");
    let volume = FileSystem::new(Cursor::new(&mut image), FsOptions::new()).expect("a volume");
    assert_eq!(volume.fat_type(), fat_type);
    let root = volume.root_dir();
    for directory in ["a", "a/long name \u{fc}"] {
        root.create_dir(directory).expect("a directory");
        for (name, length) in [("1", 1), ("another long name.txt", 513)] {
            let mut file = root.create_file(&format!("{directory}/{name}")).expect("a file");
            file.write_all(&vec![b'x'; length]).expect("room for a file");
        }
    }
    drop(root);
    volume.unmount().expect("a volume");
    image
}

/// A FAT32 volume of 126 clusters, which is smaller than anybody makes one.
fn small_fat32() -> Vec<u8> {
    const SECTORS: u16 = 128;
    let mut image = vec![0; usize::from(SECTORS) * 512];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xEB, 0x58, 0x90]);
    put(11, &512_u16.to_le_bytes());
    // One sector a cluster, one reserved sector, one table of one sector; the root is cluster 2.
    put(13, &[1, 1, 0, 1]);
    put(21, &[0xF8]);
    put(32, &u32::from(SECTORS).to_le_bytes());
    put(36, &1_u32.to_le_bytes());
    put(44, &2_u32.to_le_bytes());
    put(510, &[0x55, 0xAA]);
    let end = 0x0FFF_FFFF_u32;
    for (cluster, next) in [0x0FFF_FFF8, end, end, 4, end, end, end].into_iter().enumerate() {
        put(512 + cluster * 4, &next.to_le_bytes());
    }
    let record = |name: &[u8; 11], attributes: u8, start: u8, bytes: u32| {
        let mut record = [0; 32];
        record[..11].copy_from_slice(name);
        (record[11], record[26]) = (attributes, start);
        record[28..].copy_from_slice(&bytes.to_le_bytes());
        record
    };
    // Cluster 2 is at sector 2.
    put(1024, &record(b"A       TXT", 0x20, 3, 700));
    put(1056, &record(b"D          ", 0x10, 5, 0));
    put(512 * 5, &record(b".          ", 0x10, 5, 0));
    put(512 * 5 + 32, &record(b"..         ", 0x10, 0, 0));
    put(512 * 5 + 64, &record(b"B          ", 0x20, 6, 1));
    image
}

/// Trees, in the form that `fat_round_trip` reads.
pub fn trees() -> Seeds {
    let entry = |is_directory: u8, parent: u8, size: u16, name: &str| {
        let mut bytes = vec![is_directory, 0, parent];
        if is_directory == 0 {
            bytes.extend(size.to_le_bytes());
        }
        bytes.extend(1_900_000_000_u32.to_le_bytes());
        bytes.push(u8::try_from(name.len()).expect("a short name"));
        bytes.extend(name.as_bytes());
        bytes
    };
    let head = |more: u8| [&[more, 1, 2, 3, 4][..], b"work"].concat();
    let long = "n".repeat(255);
    let tree = [
        entry(1, 0, 0, "d"),
        entry(0, 1, 513, "long name \u{1F600}.txt"),
        entry(1, 1, 0, "another directory"),
        entry(0, 2, 4097, "A.TXT"),
        entry(0, 0, 0, &long),
    ];
    let similar: Vec<u8> =
        (0..12).flat_map(|number| entry(0, 0, 1, &format!("similar name {number}"))).collect();
    vec![
        seed("empty", head(0)),
        seed("tree", [head(2), tree.concat()].concat()),
        seed("similar", [head(3), similar].concat()),
        seed("renamed", [head(0), entry(0, 0, 9, "a\u{202e}b"), entry(0, 0, 9, "con")].concat()),
    ]
}
