//! When a guest sees a block device: `lab-agent waits DEVICE MARK` writes MARK to `data/seen` when the device is in the
//! guest's `/dev`, and to `data/usable` when its udev is done with it (udev(7): then owner and mode are as the rules say).
//!
//! It does so without starting a program, which takes longer than what is measured. It says `waiting` when it has begun.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::store::{Store, WRITE};

/// How a guest reaches xenstored.
const XENBUS: &str = "/dev/xen/xenbus";
/// Where udev writes what it knows of a device, by a name of type, major and minor number (systemd's sd-device).
const UDEV_DATA: &str = "/run/udev/data";
/// Major number of `xvdX`; 16 minor numbers for each letter (Linux, Documentation/admin-guide/devices.txt).
const MAJOR: u32 = 202;

/// The name of udev's file for `xvdX`.
fn udev_name(device: &str) -> Option<String> {
    let letter = device.strip_prefix("xvd")?.bytes().next()?.checked_sub(b'a')?;
    Some(format!("b{MAJOR}:{}", u32::from(letter) * 16))
}

/// Waits until a name appears in one of the folders that are watched.
fn appears(watching: &OwnedFd, name: &str) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watching, &mut buffer);
    loop {
        let event = events.next()?;
        let is_it = event.file_name().is_some_and(|found| OsStr::from_bytes(found.to_bytes()) == name);
        if is_it && event.events().intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            return Ok(());
        }
    }
}

/// Writes a node of the guest's own, and takes xenstored's answer.
fn write(store: &mut Store<File>, path: &str, value: &str) -> io::Result<()> {
    store.send(WRITE, format!("{path}\0{value}").as_bytes())?;
    match store.receive()? {
        (WRITE, _) => Ok(()),
        (_, refusal) => Err(io::Error::other(format!("{path}: {}", refusal.escape_ascii()))),
    }
}

/// Waits, and says so.
///
/// # Errors
/// The device is there already, or the kernel's.
pub fn run(device: &str, mark: &str) -> io::Result<()> {
    let udev = udev_name(device).ok_or_else(|| io::Error::other("no device of Xen"))?;
    let mut store = Store(OpenOptions::new().read(true).write(true).open(XENBUS)?);
    let nodes = inotify::init(CreateFlags::empty())?;
    inotify::add_watch(&nodes, "/dev", WatchFlags::CREATE)?;
    let rules = inotify::init(CreateFlags::empty())?;
    inotify::add_watch(&rules, UDEV_DATA, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
    if Path::new("/dev").join(device).exists() {
        return Err(io::Error::other("it is there already"));
    }
    println!("waiting");
    appears(&nodes, device)?;
    write(&mut store, "data/seen", mark)?;
    appears(&rules, &udev)?;
    write(&mut store, "data/usable", mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udev_knows_a_device_by_its_numbers() {
        assert_eq!(udev_name("xvda").as_deref(), Some("b202:0"));
        // 51808 and 51824 are 202 << 8 | 96 and 112.
        assert_eq!(udev_name("xvdg").as_deref(), Some("b202:96"));
        assert_eq!(udev_name("xvdh").as_deref(), Some("b202:112"));
        assert_eq!(udev_name("sda"), None);
    }
}
