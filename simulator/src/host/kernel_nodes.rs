//! What Linux's block drivers write into their directories, besides the state. Sources: Xen's public header
//! `io/blkif.h`, and what Linux 6.1 writes in domain 0 for a loop device.

/// Bytes of a sector, as the front end counts them and as the image has them.
pub(super) const SECTOR_BYTES: u32 = 512;
/// The flag in `info` of a device that cannot be written.
const INFO_READ_ONLY: u32 = 4;

/// What the back end can do. It writes this when it begins to wait for the front end.
pub(super) const FEATURES: [(&str, &str); 7] = [
    ("multi-queue-max-queues", "2"),
    ("max-ring-page-order", "4"),
    ("feature-flush-cache", "1"),
    ("feature-discard", "0"),
    ("feature-barrier", "1"),
    ("feature-persistent", "1"),
    ("feature-max-indirect-segments", "256"),
];

/// What the front end writes before it is Initialised; the numbers mean nothing here.
pub(super) const RING: [(&str, &str); 4] =
    [("ring-ref", "8"), ("event-channel", "9"), ("protocol", "x86_64-abi"), ("feature-persistent", "1")];

/// What is written once more into a directory that is removed while its back end connects. No `state` and nothing of
/// the toolstack's is among it.
pub(super) const REMAINS: [(&str, &str); 3] =
    [("feature-flush-cache", "1"), ("feature-discard", "0"), ("feature-barrier", "1")];

/// What the device is like, written before the back end is connected.
pub(super) fn geometry(image_bytes: u64, writable: bool) -> [(&'static str, String); 4] {
    let info = if writable { 0 } else { INFO_READ_ONLY };
    [
        ("sectors", (image_bytes / u64::from(SECTOR_BYTES)).to_string()),
        ("sector-size", SECTOR_BYTES.to_string()),
        ("info", info.to_string()),
        ("physical-sector-size", SECTOR_BYTES.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometry_follows_from_the_image() {
        let values = |bytes, writable| geometry(bytes, writable).map(|(_, value)| value);
        for (bytes, sectors) in [(0, "0"), (511, "0"), (512, "1"), (1 << 30, "2097152")] {
            assert_eq!(values(bytes, true), [sectors, "512", "0", "512"]);
        }
        assert_eq!(values(1024, false), ["2", "512", "4", "512"]);
    }
}
