//! Each way in which a boot sector can be wrong, one at a time.

use super::super::{Boot, Damage, FatError};
use super::builder::{Image, file};
use super::{error, read};

#[test]
fn l19_volumes_of_0_1_511_512_and_513_bytes_are_refused() {
    for image in Image::all() {
        for len in [0, 1, 511] {
            assert_eq!(error(&image.bytes[..len]), FatError::NotFat(Boot::TooShort), "{len}");
        }
        for len in [512, 513, image.bytes.len() - 1] {
            assert_eq!(error(&image.bytes[..len]), FatError::NotFat(Boot::LargerThanDevice), "{len}");
        }
        let mut longer = image.bytes.clone();
        longer.push(0);
        assert!(read(&longer).is_ok());
    }
}

/// Sets bytes of the boot sector and says what the reader makes of it.
fn boot(image: &Image, at: usize, value: &[u8]) -> FatError {
    let mut bytes = image.bytes.clone();
    bytes[at..at + value.len()].copy_from_slice(value);
    error(&bytes)
}

#[test]
fn each_field_of_the_boot_sector_is_checked() {
    for image in Image::all() {
        let refused = |at, value: &[u8], fault| {
            assert_eq!(boot(&image, at, value), FatError::NotFat(fault), "{at} {value:?}");
        };
        refused(510, &[0], Boot::Signature);
        refused(0, &[0], Boot::Jump);
        for sector_bytes in [0_u16, 1, 256, 511, 513, 8_192, 65_535] {
            refused(11, &sector_bytes.to_le_bytes(), Boot::SectorBytes);
        }
        for cluster_sectors in [0, 3, 129, 255] {
            refused(13, &[cluster_sectors], Boot::ClusterSectors);
        }
        refused(14, &[0, 0], Boot::ReservedSectors);
        refused(14, &[0xFF, 0xFF], Boot::TotalSectors);
        for tables in [0, 3, 255] {
            refused(16, &[tables], Boot::TableCount);
        }
        refused(21, &[0], Boot::Media);
        refused(32, &[0; 4], Boot::TotalSectors);
        refused(32, &[0xFF; 4], Boot::LargerThanDevice);
        refused(19, &[1, 0], Boot::TotalSectors);
    }
}

#[test]
fn what_only_the_older_types_have_is_checked() {
    assert_eq!(boot(&Image::fat12(), 17, &[0xFF, 0xFF]), FatError::NotFat(Boot::TotalSectors));
    for image in [Image::fat12(), Image::fat16()] {
        assert_eq!(boot(&image, 17, &[0, 0]), FatError::NotFat(Boot::RootEntries));
        assert_eq!(boot(&image, 22, &[0xFF, 0xFF]), FatError::NotFat(Boot::TotalSectors));
    }
    // One sector of table holds fewer entries than there are clusters.
    assert_eq!(boot(&Image::fat16(), 22, &[1, 0]), FatError::NotFat(Boot::TableSize));
}

#[test]
fn what_only_fat32_has_is_checked() {
    let image = Image::fat32();
    let refused = |at, value: &[u8], fault| {
        assert_eq!(boot(&image, at, value), FatError::NotFat(fault), "{at} {value:?}");
    };
    refused(17, &[1, 0], Boot::RootEntries);
    refused(36, &[0; 4], Boot::TableSize);
    refused(36, &[1, 0, 0, 0], Boot::TableSize);
    refused(36, &[0xFF; 4], Boot::TotalSectors);
    refused(40, &[0x82, 0], Boot::TableSize);
    refused(42, &[1, 0], Boot::Version);
    for start in [0_u32, 1, 302, 0x1000_0002, u32::MAX] {
        let damage = FatError::Damaged(Damage::StartCluster);
        assert_eq!(boot(&image, 44, &start.to_le_bytes()), damage, "{start}");
    }
}

#[test]
fn the_table_that_is_in_use_is_the_one_that_counts() {
    let mut image = Image::fat32();
    image.chain(&[5]);
    image.root_records(&[file(b"A          ", 5, 1)]);
    assert!(read(&image.bytes).is_ok());
    image.bytes[40] = 0x81;
    // The second table is empty.
    assert_eq!(error(&image.bytes), FatError::Damaged(Damage::Link));
}

#[test]
fn a_partition_table_is_named_as_such() {
    let mut disk = vec![0; 4 << 20];
    disk[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x0C, 0, 0, 0, 0, 8, 0, 0, 0, 0x10, 0, 0]);
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    assert_eq!(error(&disk), FatError::PartitionTable);
    // Nor is one that begins with a jump, as boot loaders do.
    disk[0..3].copy_from_slice(&[0xEB, 0x63, 0x90]);
    assert_eq!(error(&disk), FatError::PartitionTable);
}

#[test]
fn a_device_of_zeroes_or_noise_is_not_fat() {
    assert_eq!(error(&[0; 8_192]), FatError::NotFat(Boot::Signature));
    assert_eq!(error(&[0xFF; 8_192]), FatError::NotFat(Boot::Signature));
}
