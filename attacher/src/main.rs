//! attacher: makes images, and attaches and detaches them through xenstore.
//!
//! - *Runs as:* its own user, in its own namespaces, with an empty root.
//! - *Holds:* `edge` to the broker, `settings`, `xenstored` (one connection), `images` (a directory), and on a real host
//!   `loops` (the directory of its loop devices).
//! - *May:* make, open and remove files in the image directory, bind and unbind its loop devices, write to xenstore.
//! - *Must never:* read anything that a guest can write, start a program, or touch an image that is attached.
//! - *Trusts:* the broker's typed orders within its own limits, xenstored, and the kernel.
//! - *Ends when:* the broker is gone, or when xenstored, the image directory or the loop devices fail it.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use attacher::settings::read_all;
use attacher::worker::{self, Resources};
use protocol::attach::AttachReply;
use protocol::codec;
use protocol::log::{Level, LogLine};
use protocol::settings::{AttacherSettings, Backing};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use sys::inherit::{InheritError, Inherited};
use sys::sandbox::Sandboxed;

/// Exit code after the end of xenstored or of a resource; it has been logged.
const EXIT_LOST: u8 = 1;
/// Exit code when the descriptors or settings are not what the supervisor hands over.
const EXIT_MISUSED: u8 = 78;

fn main() {
    sys::worker::run(&sandbox_profiles::ATTACHER, Some(report), run)
}

fn run(inherited: Inherited, confined: Sandboxed) -> u8 {
    let Ok(resources) = take(inherited) else { return EXIT_MISUSED };
    match worker::run(resources, &confined) {
        Ok(()) => 0,
        Err(_told) => EXIT_LOST,
    }
}

/// Why the process cannot begin.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Inherit(#[from] InheritError),
    #[error("the settings cannot be read: {0}")]
    Read(#[from] Errno),
    #[error("the settings do not decode: {0}")]
    Decode(#[from] codec::CodecError),
}

fn take(mut inherited: Inherited) -> Result<Resources, StartError> {
    let edge = inherited.take("edge")?;
    let settings: AttacherSettings = codec::decode_settings(&read_all(&inherited.take("settings")?)?)?;
    let xenstored = inherited.take("xenstored")?;
    let images = inherited.take("images")?;
    let loops = match settings.backing {
        Backing::Loop { .. } => inherited.take_rest().into_iter().next(),
        Backing::File { .. } => None,
    };
    Ok(Resources { edge, xenstored, images, loops, settings })
}

/// Tells the broker where a panic was, or why the sandbox could not be entered.
fn report(edge: BorrowedFd<'_>, text: &str) {
    if let Ok(bytes) = codec::encode(&AttachReply::Log(LogLine::new(Level::Error, text))) {
        // The process ends anyway.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = sendmsg(edge, &[IoSlice::new(&bytes)], &mut SendAncillaryBuffer::default(), flags);
    }
}
