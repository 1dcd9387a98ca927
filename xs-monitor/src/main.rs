//! xs-monitor: reads what VMs ask for, and tells the broker in small typed messages.
//!
//! - *Runs as:* its own user, in namespaces of its own.
//! - *Holds:* `edge` (to the broker), `gate` (a stream to xs-gate, which speaks the protocol of xenstore).
//! - *May:* list the domains, read and watch the name and the request of each.
//! - *Must never:* change a node; tell the broker a byte of a VM that was not parsed; take a path from a node.
//! - *Trusts:* the framing of xs-gate, and nothing that a VM can write.
//! - *Ends when:* the broker or xs-gate is gone, or says what it has no right to say.

use protocol::codec;
use protocol::log::{Level, LogLine};
use protocol::monitor::MonitorEvent;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use sys::inherit::Inherited;
use sys::sandbox::Sandboxed;
use xs_monitor::shell::Shell;

/// The broker or xs-gate is gone.
const EXIT_ENDED: u8 = 0;
/// The descriptors are not what they should be.
const EXIT_DESCRIPTORS: u8 = 1;

fn main() {
    sys::worker::run(&sandbox_profiles::XS_MONITOR, Some(report), run)
}

fn run(mut inherited: Inherited, sandboxed: Sandboxed) -> u8 {
    let taken = ["edge", "gate"].map(|name| inherited.take(name));
    let [Ok(edge), Ok(gate)] = taken else { return EXIT_DESCRIPTORS };
    let Ok(mut shell) = Shell::new(edge, gate) else { return EXIT_DESCRIPTORS };
    let ended = shell.run(&sandboxed);
    shell.report(&ended);
    // From here, so that no descriptor is closed by hand: the profile has no call for that.
    sys::worker::exit(EXIT_ENDED)
}

/// Tells the broker that this process ends by a mistake in it, or cannot enter its sandbox.
fn report(edge: BorrowedFd<'_>, text: &str) {
    let Ok(line) = codec::encode(&MonitorEvent::Log(LogLine::new(Level::Error, text))) else { return };
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    // If the broker does not take it there is nobody else to tell.
    let _ = sendmsg(edge, &[IoSlice::new(&line)], &mut SendAncillaryBuffer::default(), flags);
}
