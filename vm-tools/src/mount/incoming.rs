//! `qubes_add_pendrive_script` with a mounted pendrive: mounts it, and waits until somebody unmounts it.
//!
//! The wait takes no time and has no end of its own: the kernel says when its table of mounts changes, and when the
//! device goes because dom0 has taken it away.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use protocol::types::Device;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::device::Devices;
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;

use super::Mounted;
use super::table::Table;

/// Room for events of the directory with the devices, in bytes: at least one with the longest name.
const EVENTS_BYTES: usize = 4096;

/// How the wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Somebody unmounted the pendrive.
    Unmounted,
    /// dom0 took it away while it was mounted.
    TakenAway,
}

/// What else has to be attended to while nothing happens.
pub trait Attended {
    /// Becomes readable when there is something to do.
    fn descriptor(&self) -> std::os::fd::BorrowedFd<'_>;
    /// Does it.
    ///
    /// # Errors
    /// Whatever ends the wait.
    fn attend(&mut self) -> Result<(), Failure>;
}

impl Attended for Session {
    fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        Session::descriptor(self)
    }

    fn attend(&mut self) -> Result<(), Failure> {
        self.drain()
    }
}

/// Waits until the incoming pendrive is unmounted, or gone.
///
/// # Errors
/// The person stops the tool, or the kernel cannot be listened to.
pub fn wait(mounted: &Mounted, devices: &Devices, other: &mut impl Attended) -> Result<Left, Failure> {
    let failed = |errno: Errno| Failure::failed(&format!("cannot wait for the end of the mount: {errno}"));
    let signals = interrupt::descriptor()?;
    let removals = watch_removals(devices).map_err(failed)?;
    // The table counts its changes from here on, so what changes between a look and the next wait is not missed.
    let mut table = Table::open()?;
    loop {
        if !mounted.is_in(&table.read()?)? {
            return Ok(Left::Unmounted);
        }
        if devices.number(Device::Incoming).is_none() {
            return Ok(Left::TakenAway);
        }
        interrupt::check(&format!("the pendrive stays mounted at {}", mounted.point().display()))?;
        let mut fds = [
            PollFd::new(&table, PollFlags::PRI),
            PollFd::new(&removals, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
            PollFd::from_borrowed_fd(other.descriptor(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        other.attend()?;
        drop_events(&removals).map_err(failed)?;
    }
}

/// Says when something goes from the directory with the devices.
fn watch_removals(devices: &Devices) -> Result<OwnedFd, Errno> {
    let removals = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let flags = inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVED_FROM;
    inotify::add_watch(&removals, devices.directory(), flags)?;
    Ok(removals)
}

fn drop_events(removals: &OwnedFd) -> Result<(), Errno> {
    let mut room = [MaybeUninit::uninit(); EVENTS_BYTES];
    let mut events = inotify::Reader::new(removals.as_fd(), &mut room);
    loop {
        match events.next() {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}
