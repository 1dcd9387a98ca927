//! The place of everything on the volume.
//!
//! Clusters are given out in the order in which they are written: the top directory first (readers look for
//! it at cluster 2), then all other directories, then all files, directory by directory. Everything is
//! contiguous, so a chain is its first cluster and its length, and the FAT need not be kept in memory.

use crate::boot::{END_OF_CHAIN, FAT_START};
use crate::geometry::{CLUSTER_CLASSES, CLUSTER_FIRST, Geometry, VOLUME_MIB_MAX, VOLUME_MIB_MIN, VolumeSize};
use crate::label::VolumeLabel;
use crate::slots::SLOT_BYTES;
use crate::tree::{ChildKind, Directory, Tree};

/// Why a tree does not fit a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// It needs a larger volume than this one.
    #[error("the files need {needed_mib} MiB, the device has {device_mib} MiB")]
    DeviceTooSmall {
        /// The smallest size in MiB that it fits.
        needed_mib: u32,
        /// The size of the volume, rounded down.
        device_mib: u32,
    },
    /// It needs a larger volume than there can be.
    #[error("the files need more than the {VOLUME_MIB_MAX} MiB that FAT32 can have")]
    TooLarge,
}

/// A volume that is ready to be written: all names, places and sizes are known.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) tree: Tree,
    pub(crate) geometry: Geometry,
    pub(crate) label: VolumeLabel,
    pub(crate) volume_id: u32,
    pub(crate) places: Vec<Places>,
    pub(crate) clusters_used: u32,
}

/// First clusters that a directory's slots tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// Of the directory.
    pub(crate) own: u32,
    /// Of its first file that is not empty; the others follow.
    pub(crate) files: u32,
}

impl Tree {
    /// The smallest volume in MiB that the tree fits, at least [`VOLUME_MIB_MIN`].
    ///
    /// # Errors
    /// When no FAT32 volume is large enough.
    pub fn size_needed_mib(&self) -> Result<u32, LayoutError> {
        let mut mib_min = VOLUME_MIB_MIN;
        for (mib_max, sectors) in CLUSTER_CLASSES {
            let clusters = self.clusters(u32::from(sectors) * crate::SECTOR_BYTES);
            let fits = |mib| {
                VolumeSize::from_mib(mib).is_ok_and(|size| u64::from(Geometry::of(size).clusters) >= clusters)
            };
            if fits(mib_max) {
                // Within a class of cluster sizes a larger volume has more clusters.
                let (mut low, mut high) = (mib_min, mib_max);
                while low < high {
                    let middle = low + (high - low) / 2;
                    if fits(middle) { high = middle } else { low = middle + 1 }
                }
                return Ok(low);
            }
            mib_min = mib_max + 1;
        }
        Err(LayoutError::TooLarge)
    }

    /// Gives everything its place on a volume of that size. The volume id should be random.
    ///
    /// # Errors
    /// When the tree does not fit.
    pub fn layout(self, size: VolumeSize, label: VolumeLabel, volume_id: u32) -> Result<Plan, LayoutError> {
        let geometry = Geometry::of(size);
        let cluster_bytes = geometry.cluster_bytes();
        let used = u32::try_from(self.clusters(cluster_bytes)).ok().filter(|used| *used <= geometry.clusters);
        let Some(clusters_used) = used else {
            let needed_mib = self.size_needed_mib()?;
            return Err(LayoutError::DeviceTooSmall { needed_mib, device_mib: size.mib() });
        };
        // The sum is known to be within 32 bits.
        let mut next = CLUSTER_FIRST;
        let mut places: Vec<Places> = Vec::with_capacity(self.directories.len());
        for directory in &self.directories {
            places.push(Places { own: next, files: 0 });
            next += directory.own_clusters(cluster_bytes);
        }
        for (place, directory) in places.iter_mut().zip(&self.directories) {
            place.files = next;
            next += directory.file_clusters(cluster_bytes).sum::<u32>();
        }
        Ok(Plan { tree: self, geometry, label, volume_id, places, clusters_used })
    }

    fn clusters(&self, cluster_bytes: u32) -> u64 {
        let of = |directory: &Directory| {
            u64::from(directory.own_clusters(cluster_bytes))
                + directory.file_clusters(cluster_bytes).map(u64::from).sum::<u64>()
        };
        self.directories.iter().map(of).sum()
    }
}

impl Directory {
    pub(crate) fn own_clusters(&self, cluster_bytes: u32) -> u32 {
        (self.slots * SLOT_BYTES).div_ceil(cluster_bytes).max(1)
    }

    fn file_clusters(&self, cluster_bytes: u32) -> impl Iterator<Item = u32> {
        self.children.iter().filter_map(move |child| match child.kind {
            ChildKind::File { size, .. } => Some(size.div_ceil(cluster_bytes)),
            ChildKind::Directory { .. } => None,
        })
    }
}

impl Plan {
    /// The geometry of the volume.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Bytes that [`write()`](fn@crate::write) writes: from the volume's start to the end of the last cluster
    /// in use.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.geometry.data_offset() + u64::from(self.clusters_used) * u64::from(self.geometry.cluster_bytes())
    }

    /// The first cluster of a directory.
    #[expect(clippy::indexing_slicing, reason = "each directory has its place, and none is removed")]
    pub(crate) fn own_cluster(&self, number: usize) -> u32 {
        self.places[number].own
    }

    /// The FAT's entries, as far as they are not zero.
    pub(crate) fn fat_entries(&self) -> impl Iterator<Item = u32> {
        let cluster_bytes = self.geometry.cluster_bytes();
        let directories = self.tree.directories.iter();
        let own = directories.clone().map(move |directory| directory.own_clusters(cluster_bytes));
        let files = directories.flat_map(move |directory| directory.file_clusters(cluster_bytes));
        let chains = own.chain(files).scan(CLUSTER_FIRST, |next, clusters| {
            let first = *next;
            *next += clusters;
            Some(first..*next)
        });
        let links = chains.flat_map(|chain| {
            let end = chain.end;
            chain.map(move |cluster| if cluster + 1 == end { END_OF_CHAIN } else { cluster + 1 })
        });
        FAT_START.into_iter().chain(links)
    }
}
