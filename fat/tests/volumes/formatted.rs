//! The empty volume.

use fat::{Geometry, VOLUME_BYTES_MAX, VolumeLabel, VolumeSize, format, relabel};

use crate::support::{fsck, image, run, text};

fn sizes() -> Vec<VolumeSize> {
    let edges = [33, 34, 64, 259, 260, 261, 1024, 8 * 1024, 8 * 1024 + 1, 16 * 1024 + 1, 32 * 1024 + 1];
    let mut sizes: Vec<_> = edges.into_iter().map(|mib| VolumeSize::from_mib(mib).unwrap()).collect();
    sizes.push(VolumeSize::from_bytes((33 << 20) + 512).unwrap());
    sizes
}

#[test]
fn an_empty_volume_of_every_size_is_clean() {
    if !testkit::require_tools(&["fsck.vfat"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    for size in sizes() {
        image(&path, size.bytes(), &format(size, VolumeLabel::from_name("work"), 0x1234_ABCD));
        fsck(&path);
    }
}

#[test]
fn the_label_and_the_volume_id_are_those_asked_for() {
    if !testkit::require_tools(&["mlabel", "mdir", "fsck.vfat"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    let size = VolumeSize::from_mib(1024).unwrap();
    let shown = |label: &str, id: &str| {
        let said = text(&run("mlabel", &["-s", "-i", path.to_str().unwrap(), "::"]));
        assert!(said.contains(&format!("Volume label is {label}")), "{said}");
        let said = text(&run("mdir", &["-i", path.to_str().unwrap(), "::"]));
        assert!(said.contains(label) && said.contains(id), "{said}");
        fsck(&path);
    };
    let pieces = format(size, VolumeLabel::from_name("spare"), 0x1234_ABCD);
    image(&path, size.bytes(), &pieces);
    shown("SPARE", "1234-ABCD");
    let later = relabel(size, VolumeLabel::from_name("my.long-name"), 0xFFFF_0001);
    image(&path, size.bytes(), &[pieces, later].concat());
    shown("MY_LONG-NAM", "FFFF-0001");
}

#[test]
fn mtools_writes_into_an_empty_volume() {
    if !testkit::require_tools(&["mcopy", "mmd", "fsck.vfat"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (path, source) = (directory.path().join("volume"), directory.path().join("a longer name.txt"));
    std::fs::write(&source, b"content").unwrap();
    for size in sizes() {
        image(&path, size.bytes(), &format(size, VolumeLabel::from_name("work"), 1));
        if size.bytes() % (1 << 20) != 0 {
            continue; // mtools refuses volumes with a part of a track
        }
        let volume = path.to_str().unwrap();
        let output = run("mmd", &["-i", volume, "::directory"]);
        assert!(output.status.success(), "{}", text(&output));
        let output = run("mcopy", &["-i", volume, source.to_str().unwrap(), "::directory/"]);
        assert!(output.status.success(), "{}", text(&output));
        fsck(&path);
    }
}

#[test]
fn the_fatfs_crate_reads_the_largest_volume() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    let size = VolumeSize::from_bytes(VOLUME_BYTES_MAX).unwrap();
    let pieces = format(size, VolumeLabel::from_name("large"), 1);
    // Not every file system holds a file of 2 TiB; the last byte that matters lies far in front.
    let end = Geometry::of(size).data_offset() + u64::from(Geometry::of(size).cluster_bytes());
    image(&path, end, &pieces);
    assert!(crate::support::fatfs(&path).is_empty());
}
