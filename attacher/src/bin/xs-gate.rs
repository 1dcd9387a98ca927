//! xs-gate: relays what xs-monitor may ask of xenstored, unread.
//!
//! - *Runs as:* its own user, in namespaces of its own.
//! - *Holds:* `edge` (to the broker, for lines of the log), `xenstored` (one connection), `monitor` (a stream).
//! - *May:* pass on requests that read or watch; pass back every reply and event.
//! - *Must never:* pass on a request that could change a node, or any inside a transaction.
//! - *Trusts:* xenstored. Of what xs-monitor sends it looks at headers only, and believes none of them.
//! - *Ends when:* one of the three closes, or breaks the framing.

use attacher::gate::{self, Relay};
use protocol::codec;
use protocol::log::{Level, LogLine};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use sys::inherit::Inherited;
use sys::sandbox::Sandboxed;

/// One of the three has closed.
const EXIT_ENDED: u8 = 0;
/// The descriptors are not what they should be.
const EXIT_DESCRIPTORS: u8 = 1;

fn main() {
    sys::worker::run(&sandbox_profiles::XS_GATE, Some(report), run)
}

fn run(mut inherited: Inherited, sandboxed: Sandboxed) -> u8 {
    let taken = ["edge", "xenstored", "monitor"].map(|name| inherited.take(name));
    let [Ok(edge), Ok(xenstored), Ok(monitor)] = taken else { return EXIT_DESCRIPTORS };
    let Ok(mut relay) = Relay::new(edge, xenstored, monitor) else { return EXIT_DESCRIPTORS };
    let ended = gate::run(&mut relay, &sandboxed);
    relay.report(ended);
    // From here, so that no descriptor is closed by hand: the profile has no call for that.
    sys::worker::exit(EXIT_ENDED)
}

/// Tells the broker that this process ends by a mistake in it, or cannot enter its sandbox.
fn report(edge: BorrowedFd<'_>, text: &str) {
    let Ok(line) = codec::encode(&LogLine::new(Level::Error, text)) else { return };
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    // If the broker does not take it there is nobody else to tell.
    let _ = sendmsg(edge, &[IoSlice::new(&line)], &mut SendAncillaryBuffer::default(), flags);
}
