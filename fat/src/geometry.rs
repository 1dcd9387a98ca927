//! Where the parts of a volume lie: reserved sectors, two copies of the FAT, clusters.
//!
//! The geometry depends on the size alone, so that the image which dom0 formatted and the tree that a VM
//! writes over it agree, and nothing of the one is left behind in the gaps of the other.

use crate::SECTOR_BYTES;

/// Smallest volume in MiB: below it there are fewer than the 65 525 clusters that make a volume FAT32.
pub const VOLUME_MIB_MIN: u32 = 33;
/// Largest volume in whole MiB.
pub const VOLUME_MIB_MAX: u32 = 2 * 1024 * 1024 - 1;
/// Largest volume in bytes: 2 TiB less one sector, because sectors are counted in 32 bits.
pub const VOLUME_BYTES_MAX: u64 = u32::MAX as u64 * SECTOR_BYTES as u64;

/// First cluster of the data area. Numbers 0 and 1 mean something else in the FAT.
pub(crate) const CLUSTER_FIRST: u32 = 2;

const SECTORS_PER_MIB: u32 = 1024 * 1024 / SECTOR_BYTES;
/// Sectors in front of the first FAT; more of them where that aligns the clusters.
const RESERVED_SECTORS_MIN: u32 = 32;
/// Clusters begin at a multiple of this, so that no page of the reader's cache holds parts of two clusters of
/// 4 KiB.
const ALIGNMENT_SECTORS_MIN: u32 = 8;
const FAT_ENTRIES_PER_SECTOR: u32 = SECTOR_BYTES / 4;

/// Largest volume in MiB of each cluster size in sectors, as Microsoft's table has it.
pub(crate) const CLUSTER_CLASSES: [(u32, u8); 5] =
    [(260, 1), (8 * 1024, 8), (16 * 1024, 16), (32 * 1024, 32), (VOLUME_MIB_MAX, 64)];

/// A size that a FAT32 volume can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeSize {
    sectors: u32,
}

/// A size that no FAT32 volume can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Fewer than [`VOLUME_MIB_MIN`] MiB.
    #[error("{bytes} bytes are too few for FAT32, which begins at {VOLUME_MIB_MIN} MiB")]
    TooSmall {
        /// The size asked for.
        bytes: u64,
    },
    /// More than [`VOLUME_BYTES_MAX`].
    #[error("{bytes} bytes are too many for FAT32, which ends at 2 TiB less one sector")]
    TooLarge {
        /// The size asked for.
        bytes: u64,
    },
    /// Not a whole number of sectors.
    #[error("{bytes} bytes are not a whole number of sectors of {SECTOR_BYTES} bytes")]
    NotSectors {
        /// The size asked for.
        bytes: u64,
    },
}

impl VolumeSize {
    /// The size of `mib` MiB, [`VOLUME_MIB_MIN`] to [`VOLUME_MIB_MAX`].
    ///
    /// # Errors
    /// When it is outside these bounds.
    pub fn from_mib(mib: u32) -> Result<Self, SizeError> {
        Self::from_bytes(u64::from(mib) * 1024 * 1024)
    }

    /// The size of a device of that many bytes: [`VOLUME_MIB_MIN`] MiB to [`VOLUME_BYTES_MAX`], whole
    /// sectors.
    ///
    /// # Errors
    /// When it is outside these bounds.
    pub fn from_bytes(bytes: u64) -> Result<Self, SizeError> {
        if !bytes.is_multiple_of(u64::from(SECTOR_BYTES)) {
            return Err(SizeError::NotSectors { bytes });
        }
        let sectors =
            u32::try_from(bytes / u64::from(SECTOR_BYTES)).map_err(|_| SizeError::TooLarge { bytes })?;
        if sectors < VOLUME_MIB_MIN * SECTORS_PER_MIB {
            return Err(SizeError::TooSmall { bytes });
        }
        Ok(Self { sectors })
    }

    /// The size in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.sectors) * u64::from(SECTOR_BYTES)
    }

    /// The size in MiB, rounded down.
    #[must_use]
    pub fn mib(self) -> u32 {
        self.sectors / SECTORS_PER_MIB
    }

    fn sectors_per_cluster(self) -> u8 {
        let class =
            CLUSTER_CLASSES.iter().find(|(mib_max, _)| self.sectors.div_ceil(SECTORS_PER_MIB) <= *mib_max);
        class.map_or(64, |(_, sectors)| *sectors)
    }
}

/// The places of the parts of a volume, in sectors of [`SECTOR_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Sectors of the volume.
    pub sectors: u32,
    /// Sectors of a cluster: 1, 8, 16, 32 or 64.
    pub sectors_per_cluster: u8,
    /// Sectors in front of the first FAT.
    pub reserved_sectors: u16,
    /// Sectors of each of the two FATs.
    pub fat_sectors: u32,
    /// Clusters of the data area, at least 65 525.
    pub clusters: u32,
}

impl Geometry {
    /// The geometry of a volume of this size.
    #[must_use]
    pub fn of(size: VolumeSize) -> Self {
        let sectors = size.sectors;
        let sectors_per_cluster = size.sectors_per_cluster();
        let cluster = u32::from(sectors_per_cluster);
        // Each sector of the two FATs together serves 128 clusters; one more makes up for the two entries
        // that describe no cluster.
        let fat_sectors = (sectors - RESERVED_SECTORS_MIN).div_ceil(FAT_ENTRIES_PER_SECTOR * cluster + 2) + 1;
        let metadata = RESERVED_SECTORS_MIN + 2 * fat_sectors;
        let padding = metadata.next_multiple_of(cluster.max(ALIGNMENT_SECTORS_MIN)) - metadata;
        let clusters = (sectors - metadata - padding) / cluster;
        // At most 32 + 63: the conversion keeps every value.
        let reserved_sectors = u16::try_from(RESERVED_SECTORS_MIN + padding).unwrap_or(u16::MAX);
        Self { sectors, sectors_per_cluster, reserved_sectors, fat_sectors, clusters }
    }

    /// Bytes of a cluster.
    #[must_use]
    pub fn cluster_bytes(&self) -> u32 {
        u32::from(self.sectors_per_cluster) * SECTOR_BYTES
    }

    /// Offset in bytes of the first FAT.
    #[must_use]
    pub fn fat_offset(&self) -> u64 {
        u64::from(self.reserved_sectors) * u64::from(SECTOR_BYTES)
    }

    /// Bytes of one FAT.
    #[must_use]
    pub fn fat_bytes(&self) -> u64 {
        u64::from(self.fat_sectors) * u64::from(SECTOR_BYTES)
    }

    /// Offset in bytes of the data area, where the root directory's cluster lies.
    #[must_use]
    pub fn data_offset(&self) -> u64 {
        self.fat_offset() + 2 * self.fat_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn sizes() -> Vec<u64> {
        let mut sizes: Vec<u64> = (33..=600).map(|mib| mib * MIB).collect();
        for (mib_max, _) in CLUSTER_CLASSES {
            let edge = u64::from(mib_max) * MIB;
            sizes.extend([edge - MIB, edge - 512, edge, edge + 512]);
        }
        sizes.push(VOLUME_BYTES_MAX);
        sizes
    }

    #[test]
    fn every_size_has_enough_clusters_and_a_fat_for_all_of_them() {
        for bytes in sizes() {
            let geometry = Geometry::of(VolumeSize::from_bytes(bytes).unwrap());
            assert!(geometry.clusters >= 65_525, "{bytes}: {geometry:?}");
            assert!(geometry.clusters < 0x0FFF_FFF5, "{bytes}: {geometry:?}");
            assert!(geometry.fat_bytes() / 4 >= u64::from(geometry.clusters) + 2, "{bytes}: {geometry:?}");
            let end =
                geometry.data_offset() + u64::from(geometry.clusters) * u64::from(geometry.cluster_bytes());
            assert!(end <= bytes, "{bytes}: {geometry:?}");
            assert!(bytes - end < u64::from(geometry.cluster_bytes()), "{bytes}: {geometry:?}");
            assert_eq!(geometry.data_offset() % u64::from(geometry.cluster_bytes()).max(4096), 0);
            assert!((32..96).contains(&geometry.reserved_sectors));
        }
    }

    #[test]
    fn l19_sizes_are_refused_exactly_outside_their_bounds() {
        assert_eq!(VolumeSize::from_mib(0), Err(SizeError::TooSmall { bytes: 0 }));
        assert_eq!(VolumeSize::from_bytes(512), Err(SizeError::TooSmall { bytes: 512 }));
        assert_eq!(VolumeSize::from_mib(32), Err(SizeError::TooSmall { bytes: 32 * MIB }));
        assert_eq!(
            VolumeSize::from_bytes(33 * MIB - 512),
            Err(SizeError::TooSmall { bytes: 33 * MIB - 512 })
        );
        assert!(VolumeSize::from_mib(VOLUME_MIB_MIN).is_ok());
        assert!(VolumeSize::from_mib(VOLUME_MIB_MAX).is_ok());
        assert_eq!(VolumeSize::from_bytes(VOLUME_BYTES_MAX).map(VolumeSize::bytes), Ok(VOLUME_BYTES_MAX));
        let bytes = VOLUME_BYTES_MAX + 512;
        assert_eq!(VolumeSize::from_bytes(bytes), Err(SizeError::TooLarge { bytes }));
        assert_eq!(VolumeSize::from_mib(VOLUME_MIB_MAX + 1), Err(SizeError::TooLarge { bytes }));
        assert!(VolumeSize::from_mib(u32::MAX).is_err());
        let bytes = 33 * MIB + 1;
        assert_eq!(VolumeSize::from_bytes(bytes), Err(SizeError::NotSectors { bytes }));
        assert!(VolumeSize::from_bytes(u64::MAX).is_err());
    }

    #[test]
    fn cluster_sizes_follow_the_table() {
        for (mib, sectors) in [(33, 1), (260, 1), (261, 8), (8192, 8), (8193, 16), (16385, 32), (32769, 64)] {
            assert_eq!(Geometry::of(VolumeSize::from_mib(mib).unwrap()).sectors_per_cluster, sectors);
        }
    }
}
