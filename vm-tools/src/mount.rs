//! Mount modes: the kernel mounts the pendrive, by mount(8) and umount(8) and the lines of `fstab.qfilexchg-vm`.
//!
//! ```text
//! table.rs     what is mounted where, from /proc/self/mountinfo
//! fill.rs      the files that were found, into a mounted pendrive
//! outgoing.rs  qvm-copy-to-vm: mount, fill, unmount
//! incoming.rs  qubes_add_pendrive_script: mount, wait until it is unmounted
//! ```
//!
//! mount(8) and umount(8) are setuid programs of the VM. They get one argument, the mount point, which is fixed;
//! everything else is in the VM's `/etc/fstab`, which belongs to root. What was mounted is looked at before it is used:
//! the right device, the right file system, the right flags.

mod fill;
pub mod incoming;
pub mod outgoing;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use protocol::types::Device;

use crate::child::{self, Ending};
use crate::device::Devices;
use crate::failure::Failure;
use crate::shown::Line;

use table::{DeviceNumber, Mount, Table};

/// Longest time that mount(8) may take, in seconds.
const MOUNT_SECONDS_MAX: u64 = 60;
/// Longest time that umount(8) may take, in seconds: it writes what the kernel still holds.
const UMOUNT_SECONDS_MAX: u64 = 120;
/// How long a pendrive that somebody else uses is tried to be unmounted, in seconds: a desktop's indexer goes away.
const IN_USE_SECONDS_MAX: u64 = 10;
/// Between two such tries, in milliseconds.
const RETRY_MS: u64 = 500;
/// Most of what mount(8) says that is kept, in bytes.
const SAID_BYTES_MAX: usize = 1024;
/// Where the lines for `/etc/fstab` are described.
const FSTAB_HINT: &str = "compare /etc/fstab with fstab.qfilexchg-vm";

/// How this VM mounts.
#[derive(Debug, Clone)]
pub struct Mounting {
    mount: PathBuf,
    umount: PathBuf,
    outgoing: PathBuf,
    incoming: PathBuf,
    /// The only file system that is accepted.
    kind: &'static str,
}

impl Default for Mounting {
    fn default() -> Self {
        Self {
            mount: "/bin/mount".into(),
            umount: "/bin/umount".into(),
            outgoing: "/mnt/outgoing".into(),
            incoming: "/mnt/incoming".into(),
            kind: "vfat",
        }
    }
}

/// A pendrive that is mounted.
#[derive(Debug)]
pub struct Mounted {
    point: PathBuf,
    umount: PathBuf,
    number: DeviceNumber,
}

impl Mounting {
    /// Where a device is mounted.
    #[must_use]
    pub fn point(&self, device: Device) -> &Path {
        match device {
            Device::Outgoing => &self.outgoing,
            Device::Incoming => &self.incoming,
        }
    }

    /// Mounts the device, unless it is mounted there already, and checks what has become of it.
    ///
    /// # Errors
    /// mount(8) failed, or mounted something else, or without one of the flags; then it is unmounted again.
    pub fn mount(&self, device: Device, devices: &Devices) -> Result<Mounted, Failure> {
        let point = self.point(device);
        let number = number_of(device, devices)?;
        let mounted = Mounted { point: point.to_owned(), umount: self.umount.clone(), number };
        if !mounted.is_mounted()? {
            let text = |said: &str| {
                Failure::failed(&format!("cannot mount {}: {said}; {FSTAB_HINT}", point.display()))
            };
            match run(&self.mount, point, MOUNT_SECONDS_MAX) {
                Ok(None) => {}
                Ok(Some(said)) | Err(said) => return Err(text(&said)),
            }
        }
        match self.check(device, number) {
            Ok(()) => Ok(mounted),
            Err(failure) => Err(match mounted.unmount() {
                Ok(()) => failure,
                Err(second) => failure.with_remark(&second.to_string()),
            }),
        }
    }

    fn check(&self, device: Device, number: DeviceNumber) -> Result<(), Failure> {
        let point = self.point(device).display();
        let table = Table::open()?.read()?;
        let wrong = |what: &str| Failure::failed(&format!("{point} is wrong: {what}; {FSTAB_HINT}"));
        let Some(mount) = Mount::at(&table, self.point(device)) else {
            return Err(wrong("nothing is mounted there"));
        };
        if mount.number != number {
            return Err(wrong(&format!("it is not {}", device.name())));
        }
        if mount.kind != self.kind.as_bytes() {
            return Err(wrong(&format!("it is no {}", self.kind)));
        }
        let missing: Vec<&str> = flags(device).iter().copied().filter(|flag| !mount.has(flag)).collect();
        if missing.is_empty() { Ok(()) } else { Err(wrong(&format!("without {}", missing.join(", ")))) }
    }
}

/// With what a pendrive must be mounted.
fn flags(device: Device) -> &'static [&'static str] {
    match device {
        Device::Outgoing => &["nosuid", "nodev", "noexec"],
        Device::Incoming => &["ro", "nosuid", "nodev", "noexec"],
    }
}

fn number_of(device: Device, devices: &Devices) -> Result<DeviceNumber, Failure> {
    let missing = || Failure::failed(&format!("{} is no block device", devices.shown(device)));
    devices.number(device).map(DeviceNumber::of).ok_or_else(missing)
}

/// Whether a device is mounted anywhere.
///
/// # Errors
/// It is no block device, or the kernel's table cannot be read.
fn is_in_use(device: Device, devices: &Devices) -> Result<bool, Failure> {
    let number = number_of(device, devices)?;
    let table = Table::open()?.read()?;
    Ok(Mount::all(&table).any(|mount| mount.number == number))
}

impl Mounted {
    /// The directory.
    #[must_use]
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// Whether it still is.
    ///
    /// # Errors
    /// The kernel's table cannot be read.
    pub fn is_mounted(&self) -> Result<bool, Failure> {
        self.is_in(&Table::open()?.read()?)
    }

    fn is_in(&self, table: &[u8]) -> Result<bool, Failure> {
        Ok(Mount::all(table).any(|mount| mount.is_at(&self.point) && mount.number == self.number))
    }

    /// Unmounts it, which writes what the kernel still holds. Tries again while somebody else uses it.
    ///
    /// # Errors
    /// It is still mounted.
    pub fn unmount(&self) -> Result<(), Failure> {
        let started = Instant::now();
        while self.is_mounted()? {
            let (Ok(said) | Err(said)) =
                run(&self.umount, &self.point, UMOUNT_SECONDS_MAX).map(Option::unwrap_or_default);
            if !self.is_mounted()? {
                break;
            }
            if started.elapsed() >= Duration::from_secs(IN_USE_SECONDS_MAX) {
                let point = self.point.display();
                return Err(Failure::failed(&format!("cannot unmount {point}: {said}")));
            }
            std::thread::sleep(Duration::from_millis(RETRY_MS));
        }
        Ok(())
    }
}

/// Runs one of the two programs. What it said if it failed, or why it could not be run.
fn run(program: &Path, point: &Path, seconds_max: u64) -> Result<Option<String>, String> {
    let mut command = Command::new(program);
    // A setuid program ignores most of an environment, but not the language of its messages.
    command.arg(point).env_clear().env("LC_ALL", "C");
    let longest = Duration::from_secs(seconds_max);
    match child::run(&mut command, longest, SAID_BYTES_MAX, child::Signals::Ignored) {
        Ok(Ending::Finished(finished)) if finished.status.success() => Ok(None),
        Ok(Ending::Finished(finished)) => {
            let said = finished.stderr.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let said = Line::from_bytes(said).to_string();
            Ok(Some(if said.is_empty() { finished.status.to_string() } else { said }))
        }
        Ok(Ending::TooLong | Ending::Interrupted) => {
            Err(format!("{} did not end within {seconds_max} s", program.display()))
        }
        Err(error) => Err(format!("{}: {error}", program.display())),
    }
}
