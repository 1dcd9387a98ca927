//! *Runs as* `qfilexchg-dialog`, uid of its own where root started the daemon. *Holds* descriptors 0 and 1, the
//! person's terminal, and 3, the broker's edge. *May* read lines, show text, answer the broker. *Must never* open
//! anything, show what a VM chose except its name, answer a question that is not on the screen, or answer *yes* to
//! anything but `yes` with that question's number. *Trusts* the broker for what is asked and the terminal for who
//! types. *Ends when* the broker closes the edge, or sends what it must not.

use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use dialog::terminal;
use dialog::worker::{BrokerEdge, WorkerError, run};
use protocol::channel::ChannelError;
use protocol::codec;
use protocol::dialog::DialogEvent;
use protocol::log::{Level, LogLine};
use rustix::net::{SendFlags, send};
use sandbox_profiles::DIALOG_TERMINAL;
use sys::inherit::Inherited;
use sys::sandbox::Sandboxed;

/// The broker went away, as at every shutdown.
const EXIT_DONE: u8 = 0;
/// The edge could not be used.
const EXIT_BROKEN: u8 = 1;

fn main() -> ExitCode {
    sys::worker::run(&DIALOG_TERMINAL, Some(report), body)
}

fn body(mut inherited: Inherited, sandboxed: Sandboxed) -> u8 {
    let Ok(socket) = inherited.take("edge") else { return EXIT_BROKEN };
    match run(BrokerEdge::new(socket), terminal::standard(), &sandboxed) {
        Ok(()) | Err(WorkerError::Edge(ChannelError::Closed)) => EXIT_DONE,
        Err(WorkerError::Edge(_) | WorkerError::Breach(_) | WorkerError::Poll(_)) => EXIT_BROKEN,
    }
}

fn report(edge: BorrowedFd<'_>, text: &str) {
    if let Ok(bytes) = codec::encode(&DialogEvent::Log(LogLine::new(Level::Error, text))) {
        // The process ends right after this; if nobody reads it, nobody can be told.
        let _ = send(edge, &bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }
}
