use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::*;

/// The devices of these tests are those of the machine: one test at a time, and only devices that are free.
static DEVICES: Mutex<()> = Mutex::new(());

struct Bench {
    nodes: tempfile::TempDir,
    images: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

const A: ImageId = ImageId([0xAA; 16]);
const B: ImageId = ImageId([0x0B; 16]);

/// Two free loop devices in a directory of their own, or `None` where there are none.
fn bench() -> Option<Bench> {
    let alone = DEVICES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let nodes = tempfile::Builder::new().prefix("loops").tempdir_in("/dev").ok();
    let Some(nodes) = nodes.filter(|_| rustix::process::geteuid().is_root()) else {
        testkit::skip("loop devices need root");
        return None;
    };
    let mut made = 0;
    for number in (0..8).rev() {
        let name = format!("loop{number}");
        let Ok(device) = fs::File::open(Path::new("/dev").join(&name)) else { continue };
        if made == 2 || !matches!(loopdev::status(&device), Ok(None)) {
            continue;
        }
        let node = rustix::fs::makedev(LOOP_MAJOR, number);
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, nodes.path().join(&name), FileType::BlockDevice, mode, node)
            .unwrap();
        made += 1;
    }
    if made < 2 {
        testkit::skip("no two free loop devices");
        return None;
    }
    let images = tempfile::tempdir().unwrap();
    for image in [A, B] {
        fs::write(images.path().join(image.to_string()), vec![b'x'; 1 << 20]).unwrap();
    }
    Some(Bench { nodes, images, _alone: alone })
}

impl Bench {
    fn loops(&self) -> Loops {
        Loops::open(fs::File::open(self.nodes.path()).unwrap().into(), 2).unwrap()
    }

    fn file(&self, image: ImageId, writable: bool) -> fs::File {
        let path = self.images.path().join(image.to_string());
        fs::OpenOptions::new().read(true).write(writable).open(path).unwrap()
    }

    /// The node of the device that holds this image.
    fn node(&self, loops: &Loops, image: ImageId) -> std::path::PathBuf {
        self.nodes.path().join(format!("loop{}", loops.bound[&image]))
    }
}

/// The kernel, or a scanner of the host, may hold a device for a moment.
fn release(loops: &mut Loops, image: ImageId) {
    let until = Instant::now() + Duration::from_secs(5);
    while !loops.release(image).unwrap() {
        assert!(Instant::now() < until, "the device is never free");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_device_is_bound_found_again_and_released() {
    let Some(bench) = bench() else { return };
    let mut loops = bench.loops();
    let number = loops.bind(A, bench.file(A, true), true).unwrap();
    assert_eq!(number, format!("7:{:x}", loops.bound[&A]));
    assert_eq!(loops.bind(A, bench.file(A, true), true), Err(AttachFailure::InUse));
    // A later life of this process finds what this one has bound.
    let mut later = bench.loops();
    assert_eq!(later.bound(), [A]);
    release(&mut later, A);
    assert_eq!(bench.loops().bound(), []);
    release(&mut loops, A);
    // The same devices again, many times: nothing is used up.
    for _ in 0..20 {
        loops.bind(A, bench.file(A, true), true).unwrap();
        loops.bind(B, bench.file(B, false), false).unwrap();
        release(&mut loops, A);
        release(&mut loops, B);
    }
}

#[test]
fn a_device_that_somebody_holds_is_not_free_until_he_lets_go() {
    let Some(bench) = bench() else { return };
    let mut loops = bench.loops();
    loops.bind(A, bench.file(A, true), true).unwrap();
    let holder = fs::File::open(bench.node(&loops, A)).unwrap();
    assert_eq!(loops.release(A), Ok(false));
    assert_eq!(loops.release(A), Ok(false));
    assert_eq!(loops.bound(), [A]);
    drop(holder);
    release(&mut loops, A);
    assert_eq!(loops.bound(), []);
}

#[test]
fn without_a_free_device_the_image_is_not_bound() {
    let Some(bench) = bench() else { return };
    let mut loops = bench.loops();
    let c = ImageId([0xCC; 16]);
    loops.bind(A, bench.file(A, true), true).unwrap();
    loops.bind(B, bench.file(B, true), true).unwrap();
    assert_eq!(loops.bind(c, bench.file(A, true), true), Err(AttachFailure::NoLoopDevice));
    assert_eq!(loops.bound(), [B, A]);
    release(&mut loops, A);
    release(&mut loops, B);
}

#[test]
fn l17_a_read_only_device_refuses_to_write_whoever_asks() {
    let Some(bench) = bench() else { return };
    let mut loops = bench.loops();
    // Even a writable file: the device itself is read-only.
    loops.bind(A, bench.file(A, true), false).unwrap();
    let node = bench.node(&loops, A);
    assert_eq!(fs::read_to_string(sysfs(&node, "ro")).unwrap().trim(), "1");
    if let Ok(device) = fs::OpenOptions::new().write(true).custom_flags(libc_o_sync()).open(&node) {
        assert!(device.write_all_at(&[0; 512], 0).and_then(|()| device.sync_all()).is_err());
    }
    release(&mut loops, A);
    // And a read-only file under a device that was asked to be writable.
    loops.bind(A, bench.file(A, false), true).unwrap();
    assert_eq!(fs::read_to_string(sysfs(&bench.node(&loops, A), "ro")).unwrap().trim(), "1");
    release(&mut loops, A);
    assert_eq!(fs::read(bench.images.path().join(A.to_string())).unwrap(), vec![b'x'; 1 << 20]);
    // The next use of the same device is writable again.
    loops.bind(A, bench.file(A, true), true).unwrap();
    assert_eq!(fs::read_to_string(sysfs(&bench.node(&loops, A), "ro")).unwrap().trim(), "0");
    release(&mut loops, A);
}

#[test]
fn l20_no_partition_of_an_image_becomes_a_device() {
    let Some(bench) = bench() else { return };
    // An MBR with one partition from sector 8 on.
    let mut sector = [0_u8; 512];
    sector[450] = 0x0C;
    sector[454] = 8;
    sector[458] = 64;
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    bench.file(A, true).write_all_at(&sector, 0).unwrap();
    let mut loops = bench.loops();
    loops.bind(A, bench.file(A, true), true).unwrap();
    let node = bench.node(&loops, A);
    assert_eq!(fs::read_to_string(sysfs(&node, "loop/partscan")).unwrap().trim(), "0");
    let name = node.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(!sysfs(&node, &format!("{name}p1")).exists());
    release(&mut loops, A);
}

#[test]
fn nodes_that_are_no_loop_devices_are_not_used() {
    let nodes = tempfile::tempdir().unwrap();
    fs::write(nodes.path().join("loop3"), "a file").unwrap();
    std::os::unix::fs::symlink("/dev/loop0", nodes.path().join("loop4")).unwrap();
    let open = |count| Loops::open(fs::File::open(nodes.path()).unwrap().into(), count);
    assert!(matches!(open(3), Err(LoopsError::TooFew)));
    let mut loops = open(2).unwrap();
    let file = fs::File::open(nodes.path().join("loop3")).unwrap();
    assert_eq!(loops.bind(A, &file, false), Err(AttachFailure::NoLoopDevice));
}

#[test]
fn only_names_as_the_kernel_writes_them_are_devices() {
    assert_eq!(number_of(b"loop0"), Some(0));
    assert_eq!(number_of(b"loop1048575"), Some(1_048_575));
    for name in [&b"loop"[..], b"loop-control", b"loop01", b"loop1p1", b"sda", b"", b"loop\xff"] {
        assert_eq!(number_of(name), None);
    }
}

fn sysfs(node: &Path, attribute: &str) -> std::path::PathBuf {
    Path::new("/sys/block").join(node.file_name().unwrap()).join(attribute)
}

/// `O_SYNC`, so that a write that the device refuses fails at once and not in the background.
fn libc_o_sync() -> i32 {
    i32::try_from(OFlags::SYNC.bits()).unwrap()
}
