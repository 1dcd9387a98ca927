//! Loop devices of this machine, where there are any that the tests may use.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use sys::loopdev::{self, LoopSetup, NAME_BYTES_MAX};

const BACKING_BYTES: u64 = 1 << 20;

/// The tests share the devices.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Backing {
    path: PathBuf,
    file: File,
}

impl Backing {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("qfilexchg-loop-{name}-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(BACKING_BYTES).unwrap();
        Self { path, file }
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The highest loop device that is free, so as to be in nobody's way; none: says so and returns `None`.
fn free_device() -> Option<(MutexGuard<'static, ()>, PathBuf)> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !rustix::process::geteuid().is_root() {
        testkit::skip("loop devices belong to root");
        return None;
    }
    let free = (0..8).rev().map(|number| PathBuf::from(format!("/dev/loop{number}"))).find(|path| {
        File::open(path).is_ok_and(|device| loopdev::status(&device).is_ok_and(|status| status.is_none()))
    });
    if free.is_none() {
        testkit::skip("no free loop device");
    }
    free.map(|path| (guard, path))
}

fn open(path: &PathBuf) -> OwnedFd {
    File::options().read(true).write(true).open(path).unwrap().into()
}

/// Something on the machine (udev) may look at a device for a moment when it changes.
fn becomes_free(path: &PathBuf) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        loopdev::status(open(path)).unwrap().is_none()
    })
}

#[test]
fn a_configured_device_tells_its_backing_file_and_is_free_after_clear() {
    let Some((_guard, path)) = free_device() else { return };
    let mut backing = Backing::new("status");
    let device = open(&path);
    let setup = LoopSetup { name: "image-7", read_only: false, direct_io: false };
    loopdev::configure(&device, &backing.file, setup).unwrap();
    let status = loopdev::status(&device).unwrap().unwrap();
    let meta = backing.file.metadata().unwrap();
    assert_eq!(status.name, "image-7");
    assert_eq!(status.backing_inode, meta.ino());
    assert!(!status.read_only && !status.released_on_close);

    let mut through = File::from(device.try_clone().unwrap());
    assert_eq!(through.seek(SeekFrom::End(0)).unwrap(), BACKING_BYTES);
    through.seek(SeekFrom::Start(4096)).unwrap();
    through.write_all(b"through the device").unwrap();
    through.sync_all().unwrap();
    drop(through);
    let mut text = [0; 18];
    backing.file.seek(SeekFrom::Start(4096)).unwrap();
    backing.file.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"through the device");

    loopdev::clear(device).unwrap();
    assert!(becomes_free(&path));
    loopdev::clear(open(&path)).unwrap();
}

#[test]
fn l17_a_read_only_device_refuses_writes() {
    let Some((_guard, path)) = free_device() else { return };
    let backing = Backing::new("readonly");
    let read_only_file = File::open(&backing.path).unwrap();
    let device = open(&path);
    let setup = LoopSetup { name: "x", read_only: true, direct_io: false };
    loopdev::configure(&device, &read_only_file, setup).unwrap();
    assert!(loopdev::status(&device).unwrap().unwrap().read_only);
    let written = File::from(device.try_clone().unwrap()).write(&[1; 512]);
    // The kernel lets it be opened for writing all the same.
    let written_again = File::from(open(&path)).write(&[1; 512]);
    loopdev::clear(device).unwrap();
    assert!(written.is_err());
    assert!(written_again.is_err());
    assert!(becomes_free(&path));
}

#[test]
fn a_device_in_use_is_not_configured_again() {
    let Some((_guard, path)) = free_device() else { return };
    let (first, second) = (Backing::new("first"), Backing::new("second"));
    let device = open(&path);
    let setup = LoopSetup { name: "first", read_only: false, direct_io: false };
    loopdev::configure(&device, &first.file, setup).unwrap();
    let again = loopdev::configure(&device, &second.file, LoopSetup { name: "second", ..setup });
    let name = loopdev::status(&device).unwrap().unwrap().name;
    loopdev::clear(device).unwrap();
    assert_eq!(again.unwrap_err().raw_os_error(), Some(libc::EBUSY));
    assert_eq!(name, "first");
    assert!(becomes_free(&path));
}

#[test]
fn l19_names_of_no_one_the_most_and_one_more_byte() {
    let Some((_guard, path)) = free_device() else { return };
    for length in [0, 1, NAME_BYTES_MAX, NAME_BYTES_MAX + 1] {
        let backing = Backing::new("names");
        let name = "n".repeat(length);
        let device = open(&path);
        let setup = LoopSetup { name: &name, read_only: false, direct_io: false };
        let configured = loopdev::configure(&device, &backing.file, setup);
        let told = loopdev::status(&device).unwrap().map(|status| status.name);
        loopdev::clear(device).unwrap();
        assert!(becomes_free(&path));
        if length > NAME_BYTES_MAX {
            assert_eq!(configured.unwrap_err().raw_os_error(), Some(libc::EINVAL));
            assert_eq!(told, None);
        } else {
            configured.unwrap();
            assert_eq!(told, Some(name));
        }
    }
}

#[test]
fn a_device_that_exists_can_be_added_again() {
    let Some((_guard, _path)) = free_device() else { return };
    let Ok(control) = File::options().read(true).write(true).open("/dev/loop-control") else {
        return testkit::skip("no /dev/loop-control");
    };
    loopdev::add(control.as_fd(), 0).unwrap();
}

#[test]
fn a_plain_file_is_no_loop_device() {
    let backing = Backing::new("plain");
    let setup = LoopSetup { name: "x", read_only: false, direct_io: false };
    assert!(loopdev::status(&backing.file).is_err());
    assert!(loopdev::configure(&backing.file, &backing.file, setup).is_err());
}
