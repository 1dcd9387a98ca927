//! Chains of clusters, given out as runs of neighbours, with every cluster used at most once.

use super::boot::{CLUSTER_FIRST, Geometry};
use super::table::{Link, Table};
use super::{Damage, FatError, Volume};

/// One bit for each cluster that some chain has used.
pub(super) struct Used {
    bits: Vec<u64>,
}

impl Used {
    pub(super) fn new(geometry: &Geometry) -> Self {
        // Two more than there are clusters, because numbers begin at 2. The count has been checked
        // against the volume's length: a small volume cannot ask for a large bitmap.
        let bits = geometry.cluster_count as usize + CLUSTER_FIRST as usize;
        Self { bits: vec![0; bits.div_ceil(64)] }
    }

    fn mark(&mut self, cluster: u32) -> Result<(), Damage> {
        let word = self.bits.get_mut(cluster as usize / 64).ok_or(Damage::Link)?;
        let bit = 1 << (cluster % 64);
        if *word & bit != 0 {
            return Err(Damage::ClusterUsedTwice);
        }
        *word |= bit;
        Ok(())
    }
}

/// Neighbouring clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) clusters: u32,
}

/// The part of a chain that has not been given out.
pub(super) struct Chain {
    next: Option<u32>,
}

impl Chain {
    /// A chain that begins at a number which a directory or boot sector holds.
    pub(super) fn from(geometry: &Geometry, untrusted_start: u32) -> Result<Self, Damage> {
        if !geometry.has_cluster(untrusted_start) {
            return Err(Damage::StartCluster);
        }
        Ok(Self { next: Some(untrusted_start) })
    }

    /// Whether the chain ends with what has been given out.
    pub(super) fn is_at_end(&self) -> bool {
        self.next.is_none()
    }

    /// The next clusters, as many as are neighbours, at most `clusters_max` (and at least one); `None` at
    /// the chain's end.
    pub(super) fn run(
        &mut self,
        volume: &impl Volume,
        geometry: &Geometry,
        table: &mut Table,
        used: &mut Used,
        clusters_max: u32,
    ) -> Result<Option<Run>, FatError> {
        let Some(first) = self.next else {
            return Ok(None);
        };
        let mut last = first;
        let mut clusters = 1;
        used.mark(first)?;
        loop {
            match table.link(volume, geometry, last)? {
                Link::Next(next) if clusters < clusters_max && next == last.saturating_add(1) => {
                    used.mark(next)?;
                    last = next;
                    clusters += 1;
                }
                Link::Next(next) => {
                    self.next = Some(next);
                    break;
                }
                Link::End => {
                    self.next = None;
                    break;
                }
                Link::Nowhere => return Err(Damage::Link.into()),
            }
        }
        Ok(Some(Run { first, clusters }))
    }
}
