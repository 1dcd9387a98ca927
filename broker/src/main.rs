//! **broker**: decides about every transfer.
//!
//! - *Runs as* `qfx-broker`, in namespaces of its own with an empty root.
//! - *Holds* the edge to the supervisor, its settings, the two files of the journal, the log, and the edges to
//!   the workers as the supervisor hands them over.
//! - *May* read and write these, nothing else: it opens nothing and starts nothing.
//! - *Must never* act on an intent that is not on disk, let an image have two holders, or use a *yes* twice.
//! - *Trusts* the supervisor, and the attacher's word on what was done. What the monitor says may be any VM's
//!   invention; what the dialog says counts for questions that are open.
//! - *Ends when* the supervisor does, or the journal cannot be kept.

use sys::worker;

fn main() {
    worker::run(&sandbox_profiles::BROKER, Some(report), |inherited, sandboxed| {
        broker::run::run(inherited, &sandboxed)
    })
}

/// Says on the log why this process ends. The first descriptor is not used: the supervisor hears of the end
/// by itself.
fn report(_supervisor: std::os::fd::BorrowedFd<'_>, text: &str) {
    use std::io::Write;
    let line = protocol::log::LogText::new(text);
    let _ = std::io::stderr().write_all(format!("qfilexchgd error: broker: {}\n", line.as_str()).as_bytes());
}
