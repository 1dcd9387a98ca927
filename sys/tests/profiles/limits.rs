//! What a sandbox does not keep from a process: the known limits of SECURITY.md, as they are.

use std::path::PathBuf;

use sys::spawn::Ended;

use crate::probe::{EXIT_REFUSED, ON_AN_INITRAMFS};
use crate::under_profiles::{Probe, start, start_in, workers};
use crate::{ORDINARY_ID, acts};

pub const TESTS: &[(&str, fn())] = &[
    ("fat_reader_finds_out_which_paths_exist_and_reads_none_of_them", fat_reader_looks_beside),
    ("on_an_initramfs_whose_root_cannot_be_detached_nothing_of_it_is_in_reach", on_an_initramfs),
];

/// A directory for a worker, and one beside it that anybody may read. Removed when dropped.
struct Folders(PathBuf);

impl Folders {
    fn new(name: &str) -> Self {
        let outer = std::env::temp_dir().join(format!("qfilexchg-{name}-{}", std::process::id()));
        for folder in ["granted", "beside"] {
            std::fs::create_dir_all(outer.join(folder)).unwrap();
        }
        std::fs::write(outer.join("beside/secret"), b"x").unwrap();
        if sys::spawn::can_switch_accounts() {
            for path in ["granted", "beside", "beside/secret"] {
                let id = Some(ORDINARY_ID);
                std::os::unix::fs::chown(outer.join(path), id, id).unwrap();
            }
        }
        Self(outer)
    }

    fn granted(&self) -> PathBuf {
        self.0.join("granted")
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Landlock does not govern `O_PATH`, and the directory that the tree is written to is one of the VM's.
fn fat_reader_looks_beside() {
    let folders = Folders::new("beside");
    let reader = &sandbox_profiles::FAT_READER;
    let probe = start_in(&folders.granted(), reader, &["look-beside"], |spawn| spawn.start().unwrap());
    assert_eq!(probe.end(), Ended::Code(7));
    let names: Vec<_> = std::fs::read_dir(folders.0.join("beside")).unwrap().collect();
    assert_eq!(names.len(), 1, "it made nothing");
}

fn mounts(probe: &Probe) -> usize {
    std::fs::read_to_string(format!("/proc/{}/mountinfo", probe.child.pid())).unwrap().lines().count()
}

/// There the kernel refuses to detach its first root.
fn on_an_initramfs() {
    let folders = Folders::new("initramfs");
    for profile in workers() {
        let mut whole = start(profile, &["report-and-wait"]);
        let mut probe = start(profile, &[ON_AN_INITRAMFS, "report-and-wait"]);
        assert!(whole.is_ready(profile) && probe.is_ready(profile), "{}", profile.process);
        // Whether the old root is still there cannot be told from what the process can reach.
        assert_eq!((mounts(&whole), mounts(&probe)), (1, 1), "{}", profile.process);
        let root = format!("/proc/{}/root/", probe.child.pid());
        assert_eq!(std::fs::read_dir(root).unwrap().count(), 0, "{}", profile.process);
        drop(probe);
        let stopped = [
            #[cfg(target_arch = "x86_64")]
            "open",
            "openat",
            "execve",
            "chroot",
            "mount",
            "unshare",
            "setns",
        ]
        .map(|act| (act, true));
        for (act, by_filter) in stopped.into_iter().chain(acts::REFUSED.iter().map(|act| (*act, false))) {
            let words = [ON_AN_INITRAMFS, act];
            let ended = start_in(&folders.granted(), profile, &words, |spawn| spawn.start().unwrap()).end();
            let refused = !by_filter && ended == Ended::Code(i32::from(EXIT_REFUSED));
            assert!(refused || ended.is_violation(), "{} {act}: {ended}", profile.process);
        }
    }
}
