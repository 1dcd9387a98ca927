//! **control**: hears `qfilexchgctl`.
//!
//! - *Runs as* `qfx-control`, in namespaces of its own with an empty root. Its user namespace knows every id, so that it
//!   can tell who its clients are.
//! - *Holds* the edge to the broker, its settings, the listening socket, and the connections of its clients.
//! - *May* accept connections, ask the kernel who is at the other end, and pass typed requests and answers on.
//! - *Must never* hear anybody but root and the configured group, let one client wait for another, or say anything to
//!   the broker that nobody asked.
//! - *Trusts* the kernel's word on who a client is, and the broker. It presumes every client hostile.
//! - *Ends when* the broker does, or sends what it must not.

use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use protocol::codec;
use protocol::control::ControlEvent;
use protocol::log::{Level, LogLine};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use sys::worker;

fn main() -> ExitCode {
    worker::run(&sandbox_profiles::CONTROL, Some(report), |inherited, sandboxed| {
        control::worker::run(inherited, &sandboxed)
    })
}

fn report(edge: BorrowedFd<'_>, text: &str) {
    if let Ok(bytes) = codec::encode(&ControlEvent::Log(LogLine::new(Level::Error, text))) {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        // The process ends right after this; if nobody reads it, nobody can be told.
        let _ = sendmsg(edge, &[std::io::IoSlice::new(&bytes)], &mut SendAncillaryBuffer::default(), flags);
    }
}
