//! Loop devices, on descriptors that somebody else has opened.
//!
//! Nothing here opens a path, and no device is ever scanned for partitions. The requests and structures are those of
//! `linux/loop.h`.
//!
//! Since Linux 6.11 a loop device is released only when its *last* descriptor is closed: after [`clear`], a device that
//! anybody still holds open keeps its backing file, and cannot be configured again. So a descriptor of a loop device
//! must not be kept: [`clear`] takes it and closes it, and a new one is opened for the next use.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::inherit::last_errno;

/// Attach a backing file and set everything at once (Linux 5.8).
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
/// Detach the backing file.
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
/// What is attached.
const LOOP_GET_STATUS64: libc::c_ulong = 0x4C05;
/// Make a device of a given number, on `/dev/loop-control`.
const LOOP_CTL_ADD: libc::c_ulong = 0x4C80;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_PARTSCAN: u32 = 8;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// Length of a name in `struct loop_info64`, with the NUL that ends it.
const LO_NAME_BYTES: usize = 64;

/// The longest name that a device keeps, in bytes. A longer one is refused.
pub const NAME_BYTES_MAX: usize = LO_NAME_BYTES - 1;

/// Sector size of a configured device, in bytes: what every guest can read.
const BLOCK_BYTES: u32 = 512;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; LO_NAME_BYTES],
    crypt_name: [u8; LO_NAME_BYTES],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const EMPTY_INFO: LoopInfo = LoopInfo {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; LO_NAME_BYTES],
    crypt_name: [0; LO_NAME_BYTES],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// How a loop device is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopSetup<'a> {
    /// What [`status`] tells again: at most [`NAME_BYTES_MAX`] bytes, without NUL.
    pub name: &'a str,
    /// Whether writes to the device fail. The backing file's descriptor should then be read-only too.
    pub read_only: bool,
    /// Whether the device goes past the page cache to the backing file.
    pub direct_io: bool,
}

/// What a loop device holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopStatus {
    /// Device number of the backing file's file system.
    pub backing_device: u64,
    /// Inode number of the backing file.
    pub backing_inode: u64,
    /// The name given when it was configured; not UTF-8 or not ours: replaced characters.
    pub name: String,
    /// Whether writes fail.
    pub read_only: bool,
    /// Whether it is released as soon as nobody has it open.
    pub released_on_close: bool,
}

/// Attaches `backing` to a free loop device, in one step.
///
/// # Errors
/// `EBUSY`: the device is in use, or somebody holds it open since it was cleared. `EINVAL`: the name is too long or
/// holds a NUL. Others: the kernel's.
pub fn configure(loop_device: impl AsFd, backing: impl AsFd, setup: LoopSetup<'_>) -> std::io::Result<()> {
    let mut info = EMPTY_INFO;
    let name = setup.name.as_bytes();
    if name.len() > NAME_BYTES_MAX || name.contains(&0) {
        return Err(Errno::INVAL.into());
    }
    for (place, byte) in info.file_name.iter_mut().zip(name) {
        *place = *byte;
    }
    info.flags = flags(setup);
    let fd = u32::try_from(backing.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?;
    let config = LoopConfig { fd, block_size: BLOCK_BYTES, info, reserved: [0; 8] };
    let device = loop_device.as_fd().as_raw_fd();
    // SAFETY: the descriptors are open, and `config` has the layout that this request reads.
    retry(|| unsafe { libc::ioctl(device, LOOP_CONFIGURE, std::ptr::from_ref(&config)) })
}

/// Neither a partition scan nor a release on close is ever among them.
fn flags(setup: LoopSetup<'_>) -> u32 {
    let read_only = if setup.read_only { LO_FLAGS_READ_ONLY } else { 0 };
    let direct_io = if setup.direct_io { LO_FLAGS_DIRECT_IO } else { 0 };
    (read_only | direct_io) & !(LO_FLAGS_PARTSCAN | LO_FLAGS_AUTOCLEAR)
}

/// Detaches the backing file, and closes the descriptor, without which the device would not be released.
///
/// The device is free when [`status`] on a new descriptor says `None`: another holder (the block back end) delays it.
///
/// # Errors
/// The kernel's. A device that holds nothing is no error.
pub fn clear(loop_device: OwnedFd) -> std::io::Result<()> {
    let device = loop_device.as_raw_fd();
    // SAFETY: the descriptor is open, and this request has no memory argument.
    let cleared = retry(|| unsafe { libc::ioctl(device, LOOP_CLR_FD, 0) });
    drop(loop_device);
    if is_free(&cleared) { Ok(()) } else { cleared }
}

/// What the device holds, or `None` if it is free.
///
/// # Errors
/// The kernel's, when the descriptor is not one of a loop device.
pub fn status(loop_device: impl AsFd) -> std::io::Result<Option<LoopStatus>> {
    let mut info = EMPTY_INFO;
    let device = loop_device.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, and `info` has the layout that this request writes, for which every bit pattern
    // is a value.
    let asked = retry(|| unsafe { libc::ioctl(device, LOOP_GET_STATUS64, std::ptr::from_mut(&mut info)) });
    if is_free(&asked) {
        return Ok(None);
    }
    asked?;
    let name = info.file_name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Some(LoopStatus {
        backing_device: info.device,
        backing_inode: info.inode,
        name: String::from_utf8_lossy(name).into_owned(),
        read_only: info.flags & LO_FLAGS_READ_ONLY != 0,
        released_on_close: info.flags & LO_FLAGS_AUTOCLEAR != 0,
    }))
}

/// Makes the loop device of that number, on `/dev/loop-control`. One that exists is no error.
///
/// # Errors
/// The kernel's.
pub fn add(control: BorrowedFd<'_>, number: u32) -> std::io::Result<()> {
    let control = control.as_raw_fd();
    // SAFETY: the descriptor is open, and this request takes a number.
    let added = retry(|| unsafe { libc::ioctl(control, LOOP_CTL_ADD, libc::c_ulong::from(number)) });
    match added {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn is_free(result: &std::io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENXIO))
}

fn retry(mut request: impl FnMut() -> libc::c_int) -> std::io::Result<()> {
    loop {
        if request() >= 0 {
            return Ok(());
        }
        match last_errno() {
            Errno::INTR => {}
            errno => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l20_no_device_is_ever_scanned_for_partitions() {
        for (read_only, direct_io) in [(false, false), (false, true), (true, false), (true, true)] {
            let set = flags(LoopSetup { name: "x", read_only, direct_io });
            assert_eq!(set & LO_FLAGS_PARTSCAN, 0);
            assert_eq!(set & LO_FLAGS_READ_ONLY != 0, read_only);
        }
    }

    #[test]
    fn the_structures_have_the_sizes_of_the_kernels() {
        assert_eq!(std::mem::size_of::<LoopInfo>(), 232);
        assert_eq!(std::mem::size_of::<LoopConfig>(), 304);
    }
}
