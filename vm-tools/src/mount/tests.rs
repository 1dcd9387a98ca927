//! With a loop device in the place of a pendrive and ext2 in the place of vfat, which not every kernel has. Needs root.

use super::incoming::{Attended, Left, wait};
use super::*;
use crate::progress::Progress;
use crate::tree::{Found, collect};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A VM's `/dev` and mount points, and programs that mount and unmount there.
struct Rig {
    dir: tempfile::TempDir,
    loop_device: String,
    mounting: Mounting,
    devices: Devices,
}

impl Rig {
    /// `options` are those of the line in fstab.
    fn new(device: Device, options: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !sys::spawn::can_switch_accounts() {
            testkit::skip("mounting needs root");
            return None;
        }
        if !testkit::require_tools(&["losetup", "mkfs.ext2", "mount", "umount"]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        File::create(path("image")).unwrap().set_len(8 << 20).unwrap();
        let made = Command::new(testkit::tool("mkfs.ext2").unwrap()).arg("-q").arg(path("image")).status();
        assert!(made.unwrap().success());
        let attached = Command::new(testkit::tool("losetup").unwrap())
            .args(["--find", "--show"])
            .arg(path("image"))
            .output()
            .unwrap();
        let loop_device = String::from_utf8(attached.stdout).unwrap().trim().to_owned();
        if !attached.status.success() || loop_device.is_empty() {
            testkit::skip("no loop device can be set up here");
            return None;
        }
        for name in ["dev", "outgoing", "incoming"] {
            fs::create_dir(path(name)).unwrap();
        }
        let number = fs::metadata(&loop_device).unwrap().rdev();
        let node = path("dev").join(device.name());
        mknodat(CWD, &node, FileType::BlockDevice, Mode::RUSR | Mode::WUSR, number).unwrap();
        // Stands for mount(8) and its line in /etc/fstab.
        let script = |name: &str, text: String| {
            testkit::write_program(&path(name), &format!("#!/bin/sh\n{text}\n"));
        };
        script("mount", format!("exec mount -t ext2 -o {options} {} \"$1\"", node.display()));
        script("umount", "exec umount \"$1\"".to_owned());
        let mounting = Mounting {
            mount: path("mount"),
            umount: path("umount"),
            outgoing: path("outgoing"),
            incoming: path("incoming"),
            kind: "ext2",
        };
        let devices = Devices::at(&path("dev"));
        Some(Self { loop_device, mounting, devices, dir })
    }

    fn put(&self, name: &str, content: &[u8]) -> OsString {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        self.dir.path().join(name.split('/').next().unwrap()).into()
    }

    fn write(&self, arguments: &[OsString]) -> Result<(), Failure> {
        let Found { entries, mut files, .. } = collect(arguments).unwrap();
        outgoing::write(&self.mounting, &self.devices, &entries, &mut files, &mut Progress::new(false))
    }

    /// Mounts the pendrive elsewhere, and tells what is on it.
    fn look<T>(&self, device: Device, look: impl FnOnce(&Path) -> T) -> T {
        let mounted = self.mounting.mount(device, &self.devices).unwrap();
        let seen = look(mounted.point());
        mounted.unmount().unwrap();
        seen
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for point in [&self.mounting.outgoing, &self.mounting.incoming] {
            let _ = Command::new("umount").arg("-l").arg(point).output();
        }
        let _ = Command::new("losetup").arg("-d").arg(&self.loop_device).status();
    }
}

#[test]
fn the_shipped_lines_mount_each_pendrive_as_the_tools_want_it() {
    let fstab = include_str!("../../../packaging/fstab.qfilexchg-vm");
    let lines: Vec<Vec<&str>> = fstab
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 2);
    let mounting = Mounting::default();
    for (line, device) in lines.iter().zip([Device::Outgoing, Device::Incoming]) {
        let [node, point, kind, options, "0", "0"] = line[..] else { panic!("{line:?}") };
        assert_eq!((node, kind), (format!("/dev/{}", device.name()).as_str(), mounting.kind));
        assert_eq!(Path::new(point), mounting.point(device));
        let options: Vec<&str> = options.split(',').collect();
        assert!(["noauto", "user"].iter().chain(flags(device)).all(|option| options.contains(option)));
    }
}

const PLAIN: &str = "nosuid,nodev,noexec";
const READ_ONLY: &str = "ro,nosuid,nodev,noexec";

#[test]
fn a_tree_is_on_the_pendrive_when_the_tool_is_done_and_nothing_is_mounted_any_more() {
    let Some(rig) = Rig::new(Device::Outgoing, PLAIN) else { return };
    let large = vec![7; 3_000_000];
    rig.put("tree/a/b/deep", b"deep");
    rig.put("tree/a/z", &large);
    rig.put("tree/empty", b"");
    fs::create_dir(rig.dir.path().join("tree/nothing")).unwrap();
    let tree = rig.dir.path().join("tree");
    let file = rig.put("file", b"content");
    rig.write(&[tree.clone().into(), file]).unwrap();
    assert_eq!(fs::read_dir(&rig.mounting.outgoing).unwrap().count(), 0);
    rig.look(Device::Outgoing, |top| {
        let diff = Command::new("diff").arg("-r").args([&top.join("tree"), &tree]).output().unwrap();
        assert!(diff.status.success(), "{diff:?}");
        assert_eq!(fs::read(top.join("file")).unwrap(), b"content");
        for name in ["tree", "tree/a", "tree/a/z"] {
            let times = [top, rig.dir.path()].map(|top| fs::metadata(top.join(name)).unwrap().mtime());
            assert_eq!(times[0], times[1], "{name}");
        }
    });
}

#[test]
fn l24_a_name_that_is_there_already_is_not_overwritten() {
    let Some(rig) = Rig::new(Device::Outgoing, PLAIN) else { return };
    let file = rig.put("file", b"new");
    rig.look(Device::Outgoing, |top| symlink("/etc/passwd", top.join("file")).unwrap());
    let failure = rig.write(&[file]).unwrap_err();
    assert_eq!(failure.to_string(), "file: cannot be written to the pendrive: File exists (os error 17)");
    assert!(!is_in_use(Device::Outgoing, &rig.devices).unwrap());
}

#[test]
fn a_full_pendrive_is_one_clear_line_and_unmounted() {
    let Some(rig) = Rig::new(Device::Outgoing, PLAIN) else { return };
    let file = rig.put("large", &vec![1; 9 << 20]);
    let failure = rig.write(&[file]).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "large: cannot be written to the pendrive: No space left on device (os error 28)"
    );
    assert!(!is_in_use(Device::Outgoing, &rig.devices).unwrap());
}

#[test]
fn a_mount_that_fails_is_one_clear_line() {
    let Some(mut rig) = Rig::new(Device::Outgoing, PLAIN) else { return };
    let file = rig.put("file", b"x");
    rig.mounting.mount = testkit::tool("false").unwrap();
    let failure = rig.write(std::slice::from_ref(&file)).unwrap_err().to_string();
    assert!(failure.starts_with("cannot mount /") && failure.contains("exit status: 1"), "{failure}");
    // One that says that it has mounted, and has not.
    rig.mounting.mount = testkit::tool("true").unwrap();
    let failure = rig.write(std::slice::from_ref(&file)).unwrap_err().to_string();
    assert!(failure.contains("nothing is mounted there"), "{failure}");
    assert_eq!(fs::read_dir(&rig.mounting.outgoing).unwrap().count(), 0);
    rig.mounting.mount = "/nonexistent/mount".into();
    assert!(rig.write(&[file]).unwrap_err().to_string().contains("No such file"));
}

#[test]
fn l10_a_mount_without_one_of_the_flags_or_of_another_file_system_is_undone() {
    for (options, kind, said) in [
        ("nosuid,nodev,noexec", "ext2", "without ro"),
        ("ro,nodev", "ext2", "without nosuid, noexec"),
        (READ_ONLY, "vfat", "it is no vfat"),
    ] {
        let Some(mut rig) = Rig::new(Device::Incoming, options) else { return };
        rig.mounting.kind = kind;
        let failure = rig.mounting.mount(Device::Incoming, &rig.devices).unwrap_err().to_string();
        assert!(failure.contains(said), "{failure}");
        assert!(!is_in_use(Device::Incoming, &rig.devices).unwrap());
    }
}

#[test]
fn a_pendrive_that_is_mounted_is_not_wiped() {
    let Some(rig) = Rig::new(Device::Outgoing, PLAIN) else { return };
    let label = fat::VolumeLabel::from_name("work");
    let mounted = rig.mounting.mount(Device::Outgoing, &rig.devices).unwrap();
    let failure = outgoing::wipe(&rig.devices, label, 1, |_| panic!()).unwrap_err();
    assert!(failure.to_string().ends_with("xvdg is mounted: unmount it first"));
    mounted.unmount().unwrap();
    let mut is_cleared = false;
    let wiped = outgoing::wipe(&rig.devices, label, 1, |_| {
        is_cleared = true;
        Ok(())
    });
    // The loop device is smaller than the smallest volume, so it is refused before anything is cleared.
    assert!(wiped.unwrap_err().to_string().starts_with("the pendrive cannot be used"));
    assert!(!is_cleared);
}

/// In the place of a connection to xenstore.
struct Quiet(UnixStream);

impl Attended for Quiet {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn attend(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Waits for the end of a mount in another thread, while this one does something.
fn left_after(rig: &Rig, act: impl FnOnce(&Mounted)) -> Left {
    let (own, _theirs) = UnixStream::pair().unwrap();
    let mounted = rig.mounting.mount(Device::Incoming, &rig.devices).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(&mounted, &rig.devices, &mut Quiet(own)));
        // Other changes of the table and of the directory end nothing.
        fs::write(rig.dir.path().join("dev/other"), b"").unwrap();
        fs::remove_file(rig.dir.path().join("dev/other")).unwrap();
        let point = &rig.mounting.outgoing;
        assert!(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(point).status().unwrap().success());
        assert!(Command::new("umount").arg(point).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(200));
        assert!(!waiter.is_finished());
        act(&mounted);
        waiter.join().unwrap().unwrap()
    })
}

#[test]
fn the_wait_ends_when_somebody_unmounts_the_pendrive() {
    let Some(rig) = Rig::new(Device::Incoming, READ_ONLY) else { return };
    let left = left_after(&rig, |mounted| {
        let status = Command::new("umount").arg(mounted.point()).status();
        assert!(status.unwrap().success());
    });
    assert_eq!(left, Left::Unmounted);
}

#[test]
fn the_wait_ends_when_dom0_takes_the_pendrive_away() {
    let Some(rig) = Rig::new(Device::Incoming, READ_ONLY) else { return };
    let left = left_after(&rig, |_| fs::remove_file(rig.dir.path().join("dev/xvdh")).unwrap());
    assert_eq!(left, Left::TakenAway);
}

#[test]
fn a_pendrive_that_is_mounted_already_is_waited_for() {
    let Some(rig) = Rig::new(Device::Incoming, READ_ONLY) else { return };
    let first = rig.mounting.mount(Device::Incoming, &rig.devices).unwrap();
    let second = rig.mounting.mount(Device::Incoming, &rig.devices).unwrap();
    first.unmount().unwrap();
    assert!(!second.is_mounted().unwrap());
}
