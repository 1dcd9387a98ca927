//! dvm-launcher: has DisposableVMs made and destroyed, and decides nothing about who may have one.
//!
//! - *Runs as:* its own user, in its own namespaces, with an empty root.
//! - *Holds:* `edge` to the broker, `settings` (sealed), `runner` (the edge to dvm-runner, which runs the commands).
//! - *May:* say to dvm-runner which of the configured commands to run for which number.
//! - *Must never:* start or open anything. What a command printed it reads as one number, or logs it escaped.
//! - *Trusts:* the broker's typed orders; of dvm-runner the ends of commands, not what they printed.
//! - *Ends when:* the broker or dvm-runner is gone. dvm-runner then ends every command that it had open.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use attacher::launcher::worker;
use attacher::settings::read_all;
use protocol::codec;
use protocol::launch::LaunchReply;
use protocol::log::{Level, LogLine};
use protocol::settings::LauncherSettings;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use sys::inherit::Inherited;
use sys::sandbox::Sandboxed;

/// Exit code after the end of dvm-runner; it has been logged.
const EXIT_LOST: u8 = 1;
/// Exit code when the descriptors or settings are not what the supervisor hands over.
const EXIT_MISUSED: u8 = 78;

fn main() {
    sys::worker::run(&sandbox_profiles::DVM_LAUNCHER, Some(report), run)
}

fn run(mut inherited: Inherited, confined: Sandboxed) -> u8 {
    let taken = ["edge", "settings", "runner"].map(|name| inherited.take(name));
    let [Ok(edge), Ok(settings), Ok(runner)] = taken else { return EXIT_MISUSED };
    let Ok(bytes) = read_all(&settings) else { return EXIT_MISUSED };
    let Ok(settings) = codec::decode_settings::<LauncherSettings>(&bytes) else { return EXIT_MISUSED };
    match worker::run(edge, runner, settings, &confined) {
        Ok(()) => 0,
        Err(_told) => EXIT_LOST,
    }
}

/// Tells the broker where a panic was, or why the sandbox could not be entered.
fn report(edge: BorrowedFd<'_>, text: &str) {
    if let Ok(bytes) = codec::encode(&LaunchReply::Log(LogLine::new(Level::Error, text))) {
        // The process ends anyway.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = sendmsg(edge, &[IoSlice::new(&bytes)], &mut SendAncillaryBuffer::default(), flags);
    }
}
