use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;

const SPARE_MIB: u32 = 64;

fn mib(size: u32) -> SizeMib {
    SizeMib::new(size).unwrap()
}

fn open(path: &Path) -> (Images, Listing) {
    let directory = fs::File::open(path).unwrap().into();
    Images::open(directory, mib(SPARE_MIB), 0).unwrap()
}

fn destroy(images: &mut Images, image: ImageId) {
    for _ in 0..100 {
        if !images.release_piece(image).unwrap() {
            return;
        }
    }
    panic!("never released");
}

fn path_of(directory: &Path, image: ImageId) -> std::path::PathBuf {
    directory.join(FileName::Image(image).text())
}

const A: ImageId = ImageId([0xAA; 16]);
const B: ImageId = ImageId([0x0B; 16]);

#[test]
fn a_made_image_is_private_sparse_and_of_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let (mut images, _) = open(directory.path());
    images.create(A, mib(200), "work").unwrap();
    let meta = fs::metadata(path_of(directory.path(), A)).unwrap();
    assert_eq!(meta.len(), 200 << 20);
    assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
    assert!(meta.blocks() * STAT_BLOCK_BYTES < 1 << 20);
    assert_eq!(images.create(A, mib(200), "work"), Err(AttachFailure::InUse));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// Whoever has put it there: it is not written to, nor does anything of it become a pendrive.
#[test]
fn l3_a_file_that_has_the_name_of_a_new_image_already_is_not_used() {
    for (name, failure) in
        [(FileName::Spare(0).text(), AttachFailure::Io), (FileName::Image(A).text(), AttachFailure::InUse)]
    {
        let directory = tempfile::tempdir().unwrap();
        let (mut images, _) = open(directory.path());
        let planted = directory.path().join(name);
        fs::write(&planted, b"of somebody else").unwrap();
        assert_eq!(images.create(A, mib(200), "work"), Err(failure));
        assert_eq!(fs::read(&planted).unwrap(), b"of somebody else");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

#[test]
fn an_image_from_the_spare_is_the_same_as_one_made_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (mut images, _) = open(directory.path());
    images.make_spare().unwrap();
    assert!(images.has_spare());
    images.create(A, mib(SPARE_MIB), "work").unwrap();
    assert!(!images.has_spare());
    let from_spare = fs::read(path_of(directory.path(), A)).unwrap();
    destroy(&mut images, A);
    images.create(A, mib(SPARE_MIB), "work").unwrap();
    assert_eq!(fs::read(path_of(directory.path(), A)).unwrap(), from_spare);
}

#[test]
fn the_spare_is_kept_for_its_own_size() {
    let directory = tempfile::tempdir().unwrap();
    let (mut images, _) = open(directory.path());
    images.make_spare().unwrap();
    images.create(A, mib(SPARE_MIB + 1), "work").unwrap();
    assert!(images.has_spare());
    assert_eq!(fs::metadata(path_of(directory.path(), A)).unwrap().len(), u64::from(SPARE_MIB + 1) << 20);
}

#[test]
fn fsck_accepts_every_image() {
    if !testkit::require_tools(&["fsck.vfat"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut images, _) = open(directory.path());
    images.make_spare().unwrap();
    images.create(A, mib(SPARE_MIB), "work").unwrap();
    images.create(B, mib(300), "x").unwrap();
    for image in [A, B] {
        let fsck = testkit::tool("fsck.vfat").unwrap();
        let status = std::process::Command::new(fsck)
            .arg("-n")
            .arg(path_of(directory.path(), image))
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
    }
}

#[test]
fn l3_a_new_image_never_shows_bytes_of_an_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let (mut images, _) = open(directory.path());
    images.create(A, mib(40), "work").unwrap();
    let fresh = fs::read(path_of(directory.path(), A)).unwrap();
    let old = fs::OpenOptions::new().write(true).open(path_of(directory.path(), A)).unwrap();
    for offset in (0..40_u64 << 20).step_by(1 << 20) {
        old.write_all_at(b"secret of the first VM", offset).unwrap();
    }
    destroy(&mut images, A);
    assert!(!path_of(directory.path(), A).exists());
    // Even under the same identity, which the broker never gives twice.
    images.create(A, mib(40), "work").unwrap();
    assert_eq!(fs::read(path_of(directory.path(), A)).unwrap(), fresh);
}

#[test]
fn l4_space_is_released_even_while_somebody_holds_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (mut images, _) = open(directory.path());
    images.create(A, mib(130), "work").unwrap();
    let held = fs::OpenOptions::new().read(true).write(true).open(path_of(directory.path(), A)).unwrap();
    held.write_all_at(&vec![7; 3 << 20], 0).unwrap();
    held.write_all_at(&vec![7; 3 << 20], 127 << 20).unwrap();
    held.sync_all().unwrap();
    assert!(held.metadata().unwrap().blocks() * STAT_BLOCK_BYTES >= 6 << 20);
    // 130 MiB are three pieces: nothing else waits longer than for one.
    assert_eq!(images.release_piece(A), Ok(true));
    assert_eq!(images.release_piece(A), Ok(true));
    assert_eq!(images.release_piece(A), Ok(false));
    let meta = held.metadata().unwrap();
    assert_eq!((meta.nlink(), meta.blocks()), (0, 0));
}

#[test]
fn destroying_what_is_not_there_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let (mut images, _) = open(directory.path());
    assert_eq!(images.release_piece(A), Ok(false));
    assert_eq!(images.open_image(A, false).unwrap_err(), AttachFailure::NoSuchImage);
}

#[test]
fn l4_the_reserve_stays_free_even_when_every_image_is_written_full() {
    let directory = tempfile::tempdir().unwrap();
    let system = rustix::fs::statvfs(directory.path()).unwrap();
    let free_mib = u32::try_from(system.f_bavail * system.f_frsize / MIB).unwrap_or(u32::MAX);
    let open = |free_mib_min| {
        let handle = fs::File::open(directory.path()).unwrap().into();
        Images::open(handle, mib(SPARE_MIB), free_mib_min).unwrap().0
    };
    let mut images = open(free_mib.saturating_add(1024));
    assert_eq!(images.create(A, mib(40), "work"), Err(AttachFailure::NoSpace));
    // Both images are nearly empty now, but they may be filled: the second one is one too many.
    if free_mib > 8192 {
        let mut images = open(free_mib - 4096);
        images.create(A, mib(3000), "work").unwrap();
        assert_eq!(images.create(B, mib(3000), "work"), Err(AttachFailure::NoSpace));
    }
}

#[test]
fn l19_the_reserve_is_kept_to_the_byte() {
    assert!(leaves_reserve(0, 0, 0, 0));
    assert!(leaves_reserve(60, 10, 20, 30));
    assert!(!leaves_reserve(59, 10, 20, 30));
    assert!(!leaves_reserve(u64::MAX - 1, u64::MAX, 1, 0));
}

#[test]
fn l19_sizes_below_and_above_every_volume_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (mut images, _) = open(directory.path());
    assert_eq!(images.create(A, mib(1), "work"), Err(AttachFailure::NoSpace));
    assert_eq!(images.create(A, mib(fat::VOLUME_MIB_MIN - 1), "work"), Err(AttachFailure::NoSpace));
    assert_eq!(images.create(A, mib(fat::VOLUME_MIB_MIN), "work"), Ok(()));
}

#[test]
fn a_listing_knows_images_removes_spares_and_leaves_the_rest_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (mut images, _) = open(directory.path());
    images.make_spare().unwrap();
    images.create(A, mib(40), "work").unwrap();
    fs::write(directory.path().join("README"), "not ours").unwrap();
    fs::create_dir(path_of(directory.path(), ImageId([1; 16]))).unwrap();
    std::os::unix::fs::symlink("README", path_of(directory.path(), ImageId([2; 16]))).unwrap();
    let (images, listing) = open(directory.path());
    assert_eq!(listing.images, [(A, 40)]);
    assert_eq!(listing.spares.len(), 1);
    assert_eq!(listing.foreign, 3);
    assert!(!images.has_spare());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
    assert_eq!(images.open_image(ImageId([2; 16]), false).unwrap_err(), AttachFailure::Io);
}

#[test]
fn volume_ids_of_different_images_differ() {
    assert_ne!(volume_id(ImageId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])), volume_id(A));
    assert_eq!(volume_id(ImageId([0; 16])), 0);
}
