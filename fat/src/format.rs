//! The empty volume, as the few byte ranges of it that are not zero.

use crate::SECTOR_BYTES;
use crate::boot::{BACKUP_SECTOR, END_OF_CHAIN, FAT_START, boot_sector, fsinfo_sector};
use crate::geometry::{Geometry, VolumeSize};
use crate::label::VolumeLabel;
use crate::slots::label_slot;
use crate::stamp::Stamp;

/// An offset in bytes from the volume's start, and the bytes to write there.
pub type Piece = (u64, Vec<u8>);

/// An empty FAT32 volume: the ranges to write into a file of that size, of which all else must be zero (a
/// fresh, sparse file). They are disjoint, in ascending order, and less than 8 KiB in all.
///
/// The volume id should be random, because a system may tell volumes apart by it.
#[must_use]
pub fn format(size: VolumeSize, label: VolumeLabel, volume_id: u32) -> Vec<Piece> {
    let geometry = Geometry::of(size);
    let mut boot = boot_sector(&geometry, label, volume_id);
    boot.extend(fsinfo_sector(&geometry, 1));
    let [media, clean] = FAT_START;
    let fat: Vec<u8> = [media, clean, END_OF_CHAIN].into_iter().flat_map(u32::to_le_bytes).collect();
    vec![
        (0, boot.clone()),
        (backup_offset(), boot),
        (geometry.fat_offset(), fat.clone()),
        (geometry.fat_offset() + geometry.fat_bytes(), fat),
        (geometry.data_offset(), label_slot(label, Stamp::default()).to_vec()),
    ]
}

/// Another label and volume id for a volume that [`format()`] made and nobody has written since: the ranges to
/// write over the old ones.
#[must_use]
pub fn relabel(size: VolumeSize, label: VolumeLabel, volume_id: u32) -> Vec<Piece> {
    let geometry = Geometry::of(size);
    let boot = boot_sector(&geometry, label, volume_id);
    vec![
        (0, boot.clone()),
        (backup_offset(), boot),
        (geometry.data_offset(), label_slot(label, Stamp::default()).to_vec()),
    ]
}

fn backup_offset() -> u64 {
    u64::from(BACKUP_SECTOR) * u64::from(SECTOR_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn volume(pieces: impl IntoIterator<Item = Piece>) -> BTreeMap<u64, u8> {
        pieces.into_iter().flat_map(|(offset, bytes)| (offset..).zip(bytes)).collect()
    }

    #[test]
    fn a_relabelled_volume_is_the_volume_formatted_with_that_label() {
        for mib in [33, 34, 260, 261, 1024, 9000, 40_000] {
            let size = VolumeSize::from_mib(mib).unwrap();
            let spare = format(size, VolumeLabel::from_name("spare"), 1);
            let relabelled = relabel(size, VolumeLabel::from_name("untrusted"), 2);
            let direct = format(size, VolumeLabel::from_name("untrusted"), 2);
            assert_eq!(volume(spare.into_iter().chain(relabelled)), volume(direct));
        }
    }

    #[test]
    fn pieces_are_few_small_disjoint_and_in_order() {
        for bytes in [33 << 20, 1 << 30, crate::VOLUME_BYTES_MAX] {
            let size = VolumeSize::from_bytes(bytes).unwrap();
            let mut end = 0;
            let mut total = 0;
            for (offset, piece) in format(size, VolumeLabel::from_name("work"), 7) {
                assert!(offset >= end);
                end = offset + piece.len() as u64;
                total += piece.len();
            }
            assert!(end <= bytes);
            assert!(total < 8192);
        }
    }
}
