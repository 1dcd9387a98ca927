//! `qvm-copy-to-vm` with a mounted pendrive.
//!
//! ```text
//! mount -> check -> copy -> syncfs -> unmount -> fsync of the device -> (send)
//! ```
//!
//! The pendrive may be sent when this returns without an error: every byte is on it, and nothing of this VM holds it
//! mounted. After any error it is unmounted if that is possible, and stays.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use fat::{Entry, Source, VolumeLabel, VolumeSize};
use protocol::types::Device;
use rustix::fs::{CWD, Mode, OFlags, fstat, fsync, openat, syncfs};

use crate::device::{Devices, size_bytes};
use crate::failure::Failure;
use crate::progress::Progress;

use super::fill::fill;
use super::table::DeviceNumber;
use super::{Mounted, Mounting, is_in_use, number_of};

/// Mounts the outgoing pendrive, copies all entries, unmounts it.
///
/// # Errors
/// Whatever keeps the pendrive from being whole. It must not be sent then.
pub fn write<S: Source>(
    mounting: &Mounting,
    devices: &Devices,
    entries: &[Entry],
    source: &mut S,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let number = number_of(Device::Outgoing, devices)?;
    let mounted = mounting.mount(Device::Outgoing, devices)?;
    let written = open_top(&mounted, number).and_then(|top| {
        progress.restart();
        let filled = fill(top.as_fd(), entries, source, progress);
        progress.finish();
        filled?;
        // Asks the kernel about everything that was written since `top` was opened, the file system's own blocks too.
        syncfs(&top).map_err(|errno| Failure::failed(&format!("cannot write to the pendrive: {errno}")))
    });
    // `top` is closed by now: an open directory would keep it mounted.
    match (written, mounted.unmount()) {
        (Ok(()), Ok(())) => flush(devices),
        (Ok(()), Err(failure)) => Err(failure.with_remark("nothing was sent")),
        (Err(failure), Ok(())) => Err(failure),
        (Err(failure), Err(second)) => Err(failure.with_remark(&second.to_string())),
    }
}

fn open_top(mounted: &Mounted, number: DeviceNumber) -> Result<OwnedFd, Failure> {
    let failed =
        |reason: &str| Failure::failed(&format!("cannot open {}: {reason}", mounted.point().display()));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top =
        openat(CWD, mounted.point(), flags, Mode::empty()).map_err(|errno| failed(&errno.to_string()))?;
    let stat = fstat(&top).map_err(|errno| failed(&errno.to_string()))?;
    // Nothing may be copied into the directory beneath, should the pendrive be gone from there.
    if DeviceNumber::of(stat.st_dev) != number {
        return Err(failed("the pendrive is not mounted there any more"));
    }
    Ok(top)
}

/// Has the device itself write what it may hold back, and finds out whether it is still there.
fn flush(devices: &Devices) -> Result<(), Failure> {
    let device = devices.open_for_reading(Device::Outgoing)?;
    fsync(&device).map_err(|errno| Failure::failed(&format!("cannot write to the pendrive: {errno}")))
}

/// Makes a reused pendrive a new one: nothing of what was meant for another VM is left.
///
/// `clear` zeroes the whole device.
///
/// # Errors
/// It is mounted somewhere, or cannot be written to.
pub fn wipe(
    devices: &Devices,
    label: VolumeLabel,
    volume_id: u32,
    clear: impl FnOnce(&std::fs::File) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if is_in_use(Device::Outgoing, devices)? {
        let text = format!("{} is mounted: unmount it first", devices.shown(Device::Outgoing));
        return Err(Failure::failed(&text));
    }
    let mut device = devices.open_for_writing(Device::Outgoing)?;
    let size = VolumeSize::from_bytes(size_bytes(&mut device)?)
        .map_err(|error| Failure::failed(&format!("the pendrive cannot be used: {error}")))?;
    clear(&device)?;
    let failed =
        |error: std::io::Error| Failure::failed(&format!("cannot format the pendrive again: {error}"));
    for (offset, bytes) in fat::format(size, label, volume_id) {
        device.write_all_at(&bytes, offset).map_err(failed)?;
    }
    device.sync_all().map_err(failed)
}
