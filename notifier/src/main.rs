//! notifier: shows on the person's desktop what was decided without asking.
//!
//! - *Runs as:* its own user, in namespaces of its own.
//! - *Holds:* `edge` (to the broker), `bus` (a connection to the person's session bus, as that person).
//! - *May:* log in on the bus, and call `Notify` of org.freedesktop.Notifications.
//! - *Must never:* open or connect anything; show what a VM chose except its name; wait for the bus; look into what it
//!   says beyond lengths and whether a call failed.
//! - *Trusts:* the broker for what is shown, and nothing that the bus says.
//! - *Ends when:* the broker or the bus is gone, or says what it has no right to say.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use notifier::worker::{Worker, WorkerError};
use protocol::channel::ChannelError;
use protocol::codec;
use protocol::log::{Level, LogLine};
use protocol::notify::EXIT_NO_BUS;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use sys::inherit::Inherited;
use sys::sandbox::Sandboxed;

/// The broker went away, as at every shutdown.
const EXIT_DONE: u8 = 0;
/// The edge could not be used.
const EXIT_BROKEN: u8 = 1;

fn main() -> ExitCode {
    sys::worker::run(&sandbox_profiles::NOTIFIER, Some(report), run)
}

fn run(mut inherited: Inherited, sandboxed: Sandboxed) -> u8 {
    let taken = ["edge", "bus"].map(|name| inherited.take(name));
    let [Ok(edge), Ok(bus)] = taken else { return EXIT_BROKEN };
    let mut worker = Worker::new(edge, bus);
    let code = match worker.run(&sandboxed) {
        WorkerError::Edge(ChannelError::Closed) => EXIT_DONE,
        WorkerError::Edge(_) | WorkerError::Poll(_) => EXIT_BROKEN,
        WorkerError::Bus(_) | WorkerError::BusClosed | WorkerError::BusSocket(_) => EXIT_NO_BUS,
    };
    // From here, so that no descriptor is closed by hand: the profile has no call for that.
    sys::worker::exit(code)
}

/// Tells the broker that this process ends by a mistake in it, or cannot enter its sandbox.
fn report(edge: BorrowedFd<'_>, text: &str) {
    let Ok(line) = codec::encode(&LogLine::new(Level::Error, text)) else { return };
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    // If the broker does not take it there is nobody else to tell.
    let _ = sendmsg(edge, &[IoSlice::new(&line)], &mut SendAncillaryBuffer::default(), flags);
}
