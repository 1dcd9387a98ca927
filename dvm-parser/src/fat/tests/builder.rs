//! Small volumes with every byte under the test's control.

use super::super::longname::checksum_of;
use super::super::{FatType, Geometry};
use super::Memory;

/// A volume with two tables, clusters of one sector of 512 bytes and an empty root directory.
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) geometry: Geometry,
}

/// Records in the root directory of [`Image::fat12`] and [`Image::fat16`].
pub(crate) const ROOT_RECORDS: usize = 64;

impl Image {
    /// 100 clusters.
    pub(crate) fn fat12() -> Self {
        Self::new(FatType::Fat12, 100)
    }

    /// 5 000 clusters.
    pub(crate) fn fat16() -> Self {
        Self::new(FatType::Fat16, 5_000)
    }

    /// 300 clusters, the root directory in cluster 2.
    pub(crate) fn fat32() -> Self {
        let mut image = Self::new(FatType::Fat32, 300);
        image.link(2, image.end());
        image
    }

    pub(crate) fn all() -> [Self; 3] {
        [Self::fat12(), Self::fat16(), Self::fat32()]
    }

    fn new(fat_type: FatType, clusters: u32) -> Self {
        let bits = match fat_type {
            FatType::Fat12 => 12,
            FatType::Fat16 => 16,
            FatType::Fat32 => 32,
        };
        let table_sectors = ((clusters + 2) * bits).div_ceil(8 * 512);
        let wide = fat_type == FatType::Fat32;
        let root_sectors = if wide { 0 } else { u32::try_from(ROOT_RECORDS).unwrap() * 32 / 512 };
        let reserved = if wide { 32 } else { 1 };
        let sectors = reserved + 2 * table_sectors + root_sectors + clusters;
        let mut bytes = vec![0; sectors as usize * 512];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &[0xEB, 0x3C, 0x90]);
        put(3, b"QFTEST  ");
        put(11, &512_u16.to_le_bytes());
        put(13, &[1]);
        put(14, &u16::try_from(reserved).unwrap().to_le_bytes());
        put(16, &[2]);
        put(21, &[0xF8]);
        put(32, &sectors.to_le_bytes());
        if wide {
            put(36, &table_sectors.to_le_bytes());
            put(44, &2_u32.to_le_bytes());
        } else {
            put(17, &u16::try_from(ROOT_RECORDS).unwrap().to_le_bytes());
            put(22, &u16::try_from(table_sectors).unwrap().to_le_bytes());
        }
        put(510, &[0x55, 0xAA]);
        let geometry = Geometry::read(&Memory::new(bytes.clone())).expect("the builder's layout is valid");
        assert_eq!((geometry.fat_type, geometry.cluster_count), (fat_type, clusters));
        Self { bytes, geometry }
    }

    /// The mark of a chain's end.
    pub(crate) fn end(&self) -> u32 {
        match self.geometry.fat_type {
            FatType::Fat12 => 0xFFF,
            FatType::Fat16 => 0xFFFF,
            FatType::Fat32 => 0x0FFF_FFFF,
        }
    }

    /// The mark of a bad cluster.
    pub(crate) fn bad(&self) -> u32 {
        self.end() - 8
    }

    /// What follows a cluster, in the first table.
    pub(crate) fn link(&mut self, cluster: u32, next: u32) {
        let table = usize::try_from(self.geometry.table_offset).unwrap();
        let cluster = cluster as usize;
        match self.geometry.fat_type {
            FatType::Fat12 => {
                let at = table + cluster + cluster / 2;
                let old = u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
                let next = u16::try_from(next).unwrap();
                let new =
                    if cluster.is_multiple_of(2) { old & 0xF000 | next } else { old & 0x000F | next << 4 };
                self.bytes[at..at + 2].copy_from_slice(&new.to_le_bytes());
            }
            FatType::Fat16 => {
                let next = u16::try_from(next).unwrap();
                self.bytes[table + cluster * 2..][..2].copy_from_slice(&next.to_le_bytes());
            }
            FatType::Fat32 => self.bytes[table + cluster * 4..][..4].copy_from_slice(&next.to_le_bytes()),
        }
    }

    /// Makes a chain of these clusters and marks its end.
    pub(crate) fn chain(&mut self, clusters: &[u32]) {
        for pair in clusters.windows(2) {
            self.link(pair[0], pair[1]);
        }
        let end = self.end();
        self.link(*clusters.last().unwrap(), end);
    }

    /// The bytes of a cluster.
    pub(crate) fn cluster(&mut self, cluster: u32) -> &mut [u8] {
        let offset = usize::try_from(self.geometry.cluster_offset(cluster).unwrap()).unwrap();
        &mut self.bytes[offset..offset + 512]
    }

    /// The records of the root directory, the first 512 bytes of them.
    pub(crate) fn root(&mut self) -> &mut [u8] {
        match self.geometry.root {
            super::super::boot::Root::Region { offset, .. } => {
                let offset = usize::try_from(offset).unwrap();
                &mut self.bytes[offset..offset + 512]
            }
            super::super::boot::Root::Chain { start } => self.cluster(start),
        }
    }

    /// Puts records at the beginning of the root directory.
    pub(crate) fn root_records(&mut self, records: &[[u8; 32]]) {
        self.root()[..records.len() * 32].copy_from_slice(records.as_flattened());
    }

    /// Puts records at the beginning of a cluster.
    pub(crate) fn cluster_records(&mut self, cluster: u32, records: &[[u8; 32]]) {
        self.cluster(cluster)[..records.len() * 32].copy_from_slice(records.as_flattened());
    }
}

/// A short name for files whose long one matters.
pub(crate) const SHORT: &[u8; 11] = b"A~1        ";

/// The record of a file.
pub(crate) fn file(short: &[u8; 11], start: u32, bytes: u32) -> [u8; 32] {
    let mut record = [0; 32];
    record[..11].copy_from_slice(short);
    record[11] = 0x20;
    record[20..22].copy_from_slice(&start.to_le_bytes()[2..]);
    record[26..28].copy_from_slice(&start.to_le_bytes()[..2]);
    record[28..].copy_from_slice(&bytes.to_le_bytes());
    record
}

/// The record of a directory.
pub(crate) fn directory(short: &[u8; 11], start: u32) -> [u8; 32] {
    let mut record = file(short, start, 0);
    record[11] = 0x10;
    record
}

/// The records of a long name for that short name, in the volume's order.
pub(crate) fn long_name(units: &[u16], short: &[u8; 11]) -> Vec<[u8; 32]> {
    let mut padded = units.to_vec();
    if !padded.len().is_multiple_of(13) {
        padded.push(0);
    }
    padded.resize(padded.len().next_multiple_of(13), 0xFFFF);
    let parts: Vec<_> = padded.chunks(13).collect();
    let mut records = Vec::new();
    for (index, part) in parts.iter().enumerate().rev() {
        let mut record = [0; 32];
        let last = if index + 1 == parts.len() { 0x40 } else { 0 };
        record[0] = u8::try_from(index + 1).unwrap() | last;
        record[11] = 0x0F;
        record[13] = checksum_of(short);
        let places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
        for (unit, place) in part.iter().zip(places) {
            record[place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        records.push(record);
    }
    records
}

/// A file with a long name.
pub(crate) fn long_file(name: &str, short: &[u8; 11], start: u32, bytes: u32) -> Vec<[u8; 32]> {
    let mut records = long_name(&name.encode_utf16().collect::<Vec<_>>(), short);
    records.push(file(short, start, bytes));
    records
}
