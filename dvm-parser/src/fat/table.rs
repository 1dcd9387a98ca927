//! The allocation table: what follows each cluster.
//!
//! It is read in pages when they are needed and kept in a direct-mapped cache, so that a table of up to
//! 16 MiB is read once, and a larger one costs bounded memory and, for files of neighbouring clusters, one
//! read for each 16 384 clusters.

use super::boot::CLUSTER_FIRST;
use super::{FatError, FatType, Geometry, TABLE_PAGE_BYTES, TABLE_PAGES_MAX, Volume};

/// What an entry of the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// The chain goes on at that cluster, which exists.
    Next(u32),
    /// The last cluster of its chain.
    End,
    /// Free, bad, reserved, or a number beyond the volume.
    Nowhere,
}

pub(super) struct Table {
    /// Page number and bytes of each slot; page `n` can only be in slot `n % TABLE_PAGES_MAX`.
    slots: Vec<Option<(u64, Vec<u8>)>>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { slots: (0..TABLE_PAGES_MAX).map(|_| None).collect() }
    }

    /// What follows `cluster`, which must be a cluster of this volume.
    pub(super) fn link(
        &mut self,
        volume: &impl Volume,
        geometry: &Geometry,
        cluster: u32,
    ) -> Result<Link, FatError> {
        let wide = u64::from(cluster);
        let (value, end_min) = match geometry.fat_type {
            FatType::Fat12 => {
                let pair = u32::from(self.half(volume, geometry, wide + wide / 2)?);
                (if cluster.is_multiple_of(2) { pair & 0x0FFF } else { pair >> 4 }, 0x0FF8)
            }
            FatType::Fat16 => (u32::from(self.half(volume, geometry, wide * 2)?), 0xFFF8),
            FatType::Fat32 => {
                let low = u32::from(self.half(volume, geometry, wide * 4)?);
                let high = u32::from(self.half(volume, geometry, wide * 4 + 2)?);
                // The upper four bits are reserved and belong to nobody.
                ((high << 16 | low) & 0x0FFF_FFFF, 0x0FFF_FFF8)
            }
        };
        Ok(if value >= end_min {
            Link::End
        } else if value >= CLUSTER_FIRST && geometry.has_cluster(value) {
            Link::Next(value)
        } else {
            Link::Nowhere
        })
    }

    /// Two bytes of the table. A FAT12 table is smaller than a page and the others' entries are aligned, so
    /// that both bytes are always in one page.
    fn half(&mut self, volume: &impl Volume, geometry: &Geometry, at: u64) -> Result<u16, FatError> {
        let page_bytes = TABLE_PAGE_BYTES as u64;
        let number = at / page_bytes;
        let slot = usize::try_from(number % TABLE_PAGES_MAX as u64).unwrap_or(0);
        let slot = self.slots.get_mut(slot).ok_or(FatError::Read)?;
        let page = match slot {
            Some((held, page)) if *held == number => page,
            _ => &mut slot.insert((number, read_page(volume, geometry, number)?)).1,
        };
        let within = usize::try_from(at % page_bytes).unwrap_or(usize::MAX);
        let bytes = page.get(within..).and_then(<[u8]>::first_chunk).ok_or(FatError::Read)?;
        Ok(u16::from_le_bytes(*bytes))
    }
}

/// Only the table's last page is shorter than [`TABLE_PAGE_BYTES`].
fn read_page(volume: &impl Volume, geometry: &Geometry, number: u64) -> Result<Vec<u8>, FatError> {
    let offset = number.saturating_mul(TABLE_PAGE_BYTES as u64);
    let rest = geometry.table_bytes.saturating_sub(offset);
    let bytes = usize::try_from(rest).unwrap_or(usize::MAX).min(TABLE_PAGE_BYTES);
    let mut page = vec![0; bytes];
    volume.read_at(geometry.table_offset.saturating_add(offset), &mut page).map_err(|_| FatError::Read)?;
    Ok(page)
}
