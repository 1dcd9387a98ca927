//! The boot sector: copied once, validated whole, then only the [`Geometry`] is used.
//!
//! Two deviations from Microsoft's text, both of them what Linux and `mkfs.vfat` do:
//!
//! - A volume is FAT32 when its 16-bit table size is zero, also if it has fewer than 65 525 clusters:
//!   `mkfs.vfat -F 32` makes such volumes on small devices. Between FAT12 and FAT16 the number of clusters
//!   decides, as in the text; a volume with the old layout and 65 525 clusters or more is refused.
//! - Clusters may be larger than 32 KiB (up to 128 sectors of 4 096 bytes).

use super::{
    Boot, CLUSTER_SECTORS_MAX, DIRECTORY_BYTES_MAX, FatError, RECORD_BYTES, SECTOR_BYTES_MAX,
    SECTOR_BYTES_MIN, Volume, le,
};

/// The part of the boot sector that is read, whatever the sector size.
pub const BOOT_BYTES: usize = 512;
/// FAT12 has fewer clusters than this, FAT16 at least so many.
pub const FAT16_CLUSTERS_MIN: u32 = 4_085;
/// FAT16 has fewer clusters than this.
pub const FAT16_CLUSTERS_END: u32 = 65_525;
/// FAT32 has fewer clusters than this: numbers from 0x0FFFFFF7 on have other meanings.
pub const FAT32_CLUSTERS_END: u32 = 0x0FFF_FFF5;
/// The number of the first cluster.
pub const CLUSTER_FIRST: u32 = 2;

/// How wide the entries of the allocation table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FatType {
    /// 12 bits.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 28 of 32 bits.
    Fat32,
}

/// Where the root directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// FAT12 and FAT16: a region of its own.
    Region {
        /// Bytes from the volume's start.
        offset: u64,
        /// Its length.
        bytes: u32,
    },
    /// FAT32: a chain like any other directory's.
    Chain {
        /// Its first cluster, not yet validated.
        start: u32,
    },
}

/// A validated layout: every offset below lies within the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Width of the table's entries.
    pub fat_type: FatType,
    /// Bytes in a cluster, 512 to 524 288.
    pub cluster_bytes: u32,
    /// Clusters in all; their numbers are 2 to `cluster_count` + 1.
    pub cluster_count: u32,
    /// Byte offset of the allocation table in use.
    pub table_offset: u64,
    /// Bytes of that table that belong to clusters.
    pub table_bytes: u64,
    /// The root directory.
    pub root: Root,
    /// Byte offset of cluster 2.
    pub data_offset: u64,
}

impl Geometry {
    /// Reads and validates the boot sector.
    ///
    /// # Errors
    /// [`FatError::Read`], [`FatError::PartitionTable`] or [`FatError::NotFat`].
    pub fn read(volume: &impl Volume) -> Result<Self, FatError> {
        let device_bytes = volume.len();
        if device_bytes < BOOT_BYTES as u64 {
            return Err(FatError::NotFat(Boot::TooShort));
        }
        let mut sector = [0; BOOT_BYTES];
        volume.read_at(0, &mut sector).map_err(|_| FatError::Read)?;
        parse(&sector, device_bytes).map_err(|fault| {
            if looks_like_partition_table(&sector) {
                FatError::PartitionTable
            } else {
                FatError::NotFat(fault)
            }
        })
    }

    /// The byte offset of a cluster, or `None` for a number that is none.
    #[must_use]
    pub fn cluster_offset(&self, cluster: u32) -> Option<u64> {
        let index = cluster.checked_sub(CLUSTER_FIRST)?;
        if index >= self.cluster_count {
            return None;
        }
        self.data_offset.checked_add(u64::from(index) * u64::from(self.cluster_bytes))
    }

    /// Whether that number is a cluster of this volume.
    #[must_use]
    pub fn has_cluster(&self, cluster: u32) -> bool {
        cluster.checked_sub(CLUSTER_FIRST).is_some_and(|index| index < self.cluster_count)
    }
}

/// The fields of both layouts after the checks that need only themselves.
struct Fields {
    sector_bytes: u32,
    cluster_sectors: u32,
    reserved_sectors: u32,
    table_count: u32,
    table_sectors: u32,
    active_table: u32,
    root_entries: u32,
    total_sectors: u32,
    root_cluster: Option<u32>,
}

fn parse(sector: &[u8; BOOT_BYTES], device_bytes: u64) -> Result<Geometry, Boot> {
    let fields = fields(sector)?;
    let sector_bytes = u64::from(fields.sector_bytes);
    // None of these can overflow 64 bits: each factor has at most 32, and only four such terms are added.
    let table_sectors_all = u64::from(fields.table_count) * u64::from(fields.table_sectors);
    let root_bytes = fields.root_entries * RECORD_BYTES;
    let root_sectors = u64::from(root_bytes.div_ceil(fields.sector_bytes));
    let root_sector = u64::from(fields.reserved_sectors) + table_sectors_all;
    let data_sector = root_sector + root_sectors;
    let total_sectors = u64::from(fields.total_sectors);
    if total_sectors * sector_bytes > device_bytes {
        return Err(Boot::LargerThanDevice);
    }
    let data_sectors = total_sectors.checked_sub(data_sector).ok_or(Boot::TotalSectors)?;
    let cluster_count =
        u32::try_from(data_sectors / u64::from(fields.cluster_sectors)).map_err(|_| Boot::ClusterCount)?;
    let fat_type = fat_type(cluster_count, fields.root_cluster.is_some())?;
    let entries = u64::from(cluster_count) + u64::from(CLUSTER_FIRST);
    let table_bytes = match fat_type {
        FatType::Fat12 => (entries * 3).div_ceil(2),
        FatType::Fat16 => entries * 2,
        FatType::Fat32 => entries * 4,
    };
    if table_bytes > u64::from(fields.table_sectors) * sector_bytes {
        return Err(Boot::TableSize);
    }
    let table_sector =
        u64::from(fields.reserved_sectors) + u64::from(fields.active_table) * u64::from(fields.table_sectors);
    Ok(Geometry {
        fat_type,
        cluster_bytes: fields.sector_bytes * fields.cluster_sectors,
        cluster_count,
        table_offset: table_sector * sector_bytes,
        table_bytes,
        root: match fields.root_cluster {
            Some(start) => Root::Chain { start },
            None => Root::Region { offset: root_sector * sector_bytes, bytes: root_bytes },
        },
        data_offset: data_sector * sector_bytes,
    })
}

fn fields(sector: &[u8; BOOT_BYTES]) -> Result<Fields, Boot> {
    if [le::byte::<510, 512>(sector), le::byte::<511, 512>(sector)] != [0x55, 0xAA] {
        return Err(Boot::Signature);
    }
    if !matches!((le::byte::<0, 512>(sector), le::byte::<2, 512>(sector)), (0xEB, 0x90) | (0xE9, _)) {
        return Err(Boot::Jump);
    }
    let sector_bytes = u32::from(le::half::<11, 512>(sector));
    if !sector_bytes.is_power_of_two() || !(SECTOR_BYTES_MIN..=SECTOR_BYTES_MAX).contains(&sector_bytes) {
        return Err(Boot::SectorBytes);
    }
    let cluster_sectors = u32::from(le::byte::<13, 512>(sector));
    if !cluster_sectors.is_power_of_two() || cluster_sectors > CLUSTER_SECTORS_MAX {
        return Err(Boot::ClusterSectors);
    }
    let reserved_sectors = u32::from(le::half::<14, 512>(sector));
    if reserved_sectors == 0 {
        return Err(Boot::ReservedSectors);
    }
    let table_count = u32::from(le::byte::<16, 512>(sector));
    if !(1..=2).contains(&table_count) {
        return Err(Boot::TableCount);
    }
    if !matches!(le::byte::<21, 512>(sector), 0xF0 | 0xF8..=0xFF) {
        return Err(Boot::Media);
    }
    let total_sectors = match (u32::from(le::half::<19, 512>(sector)), le::word::<32, 512>(sector)) {
        (0, 0) => return Err(Boot::TotalSectors),
        (0, wide) => wide,
        (narrow, wide) if wide == 0 || wide == narrow => narrow,
        _ => return Err(Boot::TotalSectors),
    };
    let root_entries = u32::from(le::half::<17, 512>(sector));
    let table_sectors = u32::from(le::half::<22, 512>(sector));
    let old = Fields {
        sector_bytes,
        cluster_sectors,
        reserved_sectors,
        table_count,
        table_sectors,
        active_table: 0,
        root_entries,
        total_sectors,
        root_cluster: None,
    };
    if table_sectors == 0 {
        return fields_of_fat32(sector, old);
    }
    if root_entries == 0 || root_entries * RECORD_BYTES > DIRECTORY_BYTES_MAX {
        return Err(Boot::RootEntries);
    }
    Ok(old)
}

/// What FAT32 has at other places than its elders.
fn fields_of_fat32(sector: &[u8; BOOT_BYTES], old: Fields) -> Result<Fields, Boot> {
    if old.root_entries != 0 {
        return Err(Boot::RootEntries);
    }
    let table_sectors = le::word::<36, 512>(sector);
    if table_sectors == 0 {
        return Err(Boot::TableSize);
    }
    let flags = le::half::<40, 512>(sector);
    // With bit 7 set only the table named by the low four bits is kept up to date.
    let active_table = if flags & 0x80 == 0 { 0 } else { u32::from(flags & 0x0F) };
    if active_table >= old.table_count {
        return Err(Boot::TableSize);
    }
    if le::half::<42, 512>(sector) != 0 {
        return Err(Boot::Version);
    }
    let root_cluster = Some(le::word::<44, 512>(sector));
    Ok(Fields { table_sectors, active_table, root_cluster, ..old })
}

fn fat_type(cluster_count: u32, layout32: bool) -> Result<FatType, Boot> {
    match (layout32, cluster_count) {
        (_, 0) => Err(Boot::ClusterCount),
        (true, count) if count < FAT32_CLUSTERS_END => Ok(FatType::Fat32),
        (false, count) if count < FAT16_CLUSTERS_MIN => Ok(FatType::Fat12),
        (false, count) if count < FAT16_CLUSTERS_END => Ok(FatType::Fat16),
        _ => Err(Boot::ClusterCount),
    }
}

/// Four plausible partition entries, at least one of them in use.
fn looks_like_partition_table(sector: &[u8; BOOT_BYTES]) -> bool {
    let signed = [le::byte::<510, 512>(sector), le::byte::<511, 512>(sector)] == [0x55, 0xAA];
    let entries = [
        (le::byte::<446, 512>(sector), le::byte::<450, 512>(sector), le::word::<458, 512>(sector)),
        (le::byte::<462, 512>(sector), le::byte::<466, 512>(sector), le::word::<474, 512>(sector)),
        (le::byte::<478, 512>(sector), le::byte::<482, 512>(sector), le::word::<490, 512>(sector)),
        (le::byte::<494, 512>(sector), le::byte::<498, 512>(sector), le::word::<506, 512>(sector)),
    ];
    signed
        && entries.iter().all(|&(status, _, _)| status & 0x7F == 0)
        && entries.iter().any(|&(_, kind, sectors)| kind != 0 && sectors != 0)
}
