//! The sectors in front of the FATs, and the first entries of a FAT.

use crate::SECTOR_BYTES;
use crate::geometry::{CLUSTER_FIRST, Geometry};
use crate::label::VolumeLabel;

/// Sector of the copy of the boot sector; the copy of FSInfo follows it.
pub(crate) const BACKUP_SECTOR: u16 = 6;
/// The last cluster of a chain.
pub(crate) const END_OF_CHAIN: u32 = 0x0FFF_FFFF;
/// The FAT's entries 0 and 1: the media byte, and "cleanly unmounted, no errors".
pub(crate) const FAT_START: [u32; 2] = [0x0FFF_FFF8, 0x0FFF_FFFF];

const FSINFO_SECTOR: u16 = 1;
const SECTOR_SIGNATURE: [u8; 2] = [0x55, 0xAA];

/// The boot sector: the volume's parameters, and no code.
pub(crate) fn boot_sector(geometry: &Geometry, label: VolumeLabel, volume_id: u32) -> Vec<u8> {
    let mut sector = Vec::with_capacity(sector_bytes());
    sector.extend([0xEB, 0x58, 0x90]); // a jump over the parameters: without it nobody takes the sector for one
    sector.extend(b"MSWIN4.1"); // what the specification recommends, since some systems look at it
    sector.extend(u16_of(SECTOR_BYTES));
    sector.push(geometry.sectors_per_cluster);
    sector.extend(geometry.reserved_sectors.to_le_bytes());
    sector.push(2); // FATs
    sector.extend([0; 2]); // entries of a FAT16's root directory
    sector.extend([0; 2]); // sectors, where 16 bits hold them
    sector.push(0xF8); // media: a fixed disk, as in the FAT's entry 0
    sector.extend([0; 2]); // sectors of a FAT16's FAT
    // Sectors of a track and heads: a cylinder is a MiB, which leaves no part of a track over. mtools insists
    // on that.
    sector.extend(32_u16.to_le_bytes());
    sector.extend(64_u16.to_le_bytes());
    sector.extend([0; 4]); // sectors in front of the volume
    sector.extend(geometry.sectors.to_le_bytes());
    sector.extend(geometry.fat_sectors.to_le_bytes());
    sector.extend([0; 2]); // flags: both FATs are kept alike
    sector.extend([0; 2]); // version
    sector.extend(CLUSTER_FIRST.to_le_bytes()); // the root directory
    sector.extend(FSINFO_SECTOR.to_le_bytes());
    sector.extend(BACKUP_SECTOR.to_le_bytes());
    sector.extend([0; 12]);
    sector.push(0x80); // drive number
    sector.push(0);
    sector.push(0x29); // the three fields that follow are there
    sector.extend(volume_id.to_le_bytes());
    sector.extend(label.bytes());
    sector.extend(b"FAT32   ");
    finish(sector)
}

/// The FSInfo sector: how many clusters are free, and where the search for one may begin.
pub(crate) fn fsinfo_sector(geometry: &Geometry, clusters_used: u32) -> Vec<u8> {
    let mut sector = Vec::with_capacity(sector_bytes());
    sector.extend(b"RRaA");
    sector.extend([0; 480]);
    sector.extend(b"rrAa");
    sector.extend(geometry.clusters.saturating_sub(clusters_used).to_le_bytes());
    sector.extend((CLUSTER_FIRST + clusters_used - 1).to_le_bytes()); // the cluster that was allocated last
    finish(sector)
}

/// All reserved sectors of a volume of which the first `clusters_used` clusters (at least 1) are in use.
pub(crate) fn reserved_area(
    geometry: &Geometry,
    label: VolumeLabel,
    volume_id: u32,
    clusters_used: u32,
) -> Vec<u8> {
    let mut area = boot_sector(geometry, label, volume_id);
    area.extend(fsinfo_sector(geometry, clusters_used));
    let pair = area.clone();
    area.resize(usize::from(BACKUP_SECTOR) * sector_bytes(), 0);
    area.extend(pair);
    area.resize(usize::from(geometry.reserved_sectors) * sector_bytes(), 0);
    area
}

fn finish(mut sector: Vec<u8>) -> Vec<u8> {
    sector.resize(sector_bytes() - SECTOR_SIGNATURE.len(), 0);
    sector.extend(SECTOR_SIGNATURE);
    sector
}

const fn sector_bytes() -> usize {
    SECTOR_BYTES as usize
}

/// The low 16 bits as they lie on the volume.
fn u16_of(value: u32) -> [u8; 2] {
    let [low, high, ..] = value.to_le_bytes();
    [low, high]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::VolumeSize;

    #[test]
    fn l11_sectors_are_filled_whole_and_lie_where_the_specification_says() {
        let geometry = Geometry::of(VolumeSize::from_mib(1024).unwrap());
        let boot = boot_sector(&geometry, VolumeLabel::from_name("work"), 0xDEAD_BEEF);
        assert_eq!(boot.len(), 512);
        assert_eq!(boot[11..13], [0, 2]);
        assert_eq!(boot[44..48], 2_u32.to_le_bytes());
        assert_eq!(boot[48..52], [1, 0, 6, 0]);
        assert_eq!(boot[66], 0x29);
        assert_eq!(boot[67..71], 0xDEAD_BEEF_u32.to_le_bytes());
        assert_eq!(&boot[71..90], b"WORK       FAT32   ");
        assert!(boot[90..510].iter().all(|byte| *byte == 0));
        assert_eq!(boot[510..], [0x55, 0xAA]);

        let info = fsinfo_sector(&geometry, 1);
        assert_eq!(info.len(), 512);
        assert_eq!(&info[..4], b"RRaA");
        assert_eq!(&info[484..488], b"rrAa");
        assert_eq!(info[488..492], (geometry.clusters - 1).to_le_bytes());
        assert_eq!(info[492..496], 2_u32.to_le_bytes());
        assert_eq!(info[508..], [0, 0, 0x55, 0xAA]);

        let area = reserved_area(&geometry, VolumeLabel::from_name("work"), 0xDEAD_BEEF, 1);
        assert_eq!(area.len() as u64, geometry.fat_offset());
        assert_eq!(area[..512], boot);
        assert_eq!(area[512..1024], info);
        assert!(area[1024..3072].iter().all(|byte| *byte == 0));
        assert_eq!(area[3072..4096], area[..1024]);
        assert!(area[4096..].iter().all(|byte| *byte == 0));
    }
}
