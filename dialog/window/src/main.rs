//! *Runs as* `qfilexchg-dialog`, uid of its own where root started the daemon. *Holds* the broker's edge, its settings,
//! a connected socket of the display, and the file with the display's cookie. *May* show one window, read its keys and
//! clicks, answer the broker. *Must never* open or connect anything, show what a VM chose except its name, answer a
//! question that has not been on the screen with the focus for a second, or take a key for *yes* unless that button
//! was given the focus. *Trusts* the broker for what is asked and the display for who types. *Ends when* the broker
//! closes the edge or breaks its protocol, or when the display is gone (exit code 69).

mod cookie;
mod keys;
mod picture;
mod screen;
mod socket;
mod worker;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::ExitCode;

use dialog::worker::BrokerEdge;
use protocol::channel::ChannelError;
use protocol::codec::{self, CodecError, SETTINGS_BYTES_MAX};
use protocol::dialog::{DialogEvent, EXIT_NO_DISPLAY};
use protocol::log::{Level, LogLine};
use protocol::settings::DialogSettings;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use sandbox_profiles::DIALOG_WINDOW;
use slint::PlatformError;
use sys::inherit::{InheritError, Inherited};
use sys::sandbox::Sandboxed;

use crate::picture::Picture;
use crate::screen::Screen;
use crate::worker::WorkerError;

/// The broker went away, as at every shutdown.
const EXIT_DONE: u8 = 0;
/// The edge could not be used.
const EXIT_BROKEN: u8 = 1;
/// The descriptors or settings are not what the supervisor hands over (`EX_CONFIG` of sysexits.h).
const EXIT_MISUSED: u8 = 78;

fn main() -> ExitCode {
    sys::worker::run(&DIALOG_WINDOW, Some(report), body)
}

/// Why the dialog cannot begin.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Inherit(#[from] InheritError),
    #[error("a file that was handed over cannot be read: {0}")]
    Read(#[from] Errno),
    #[error("the settings do not decode: {0}")]
    Decode(#[from] CodecError),
    #[error("the picture cannot be made: {0}")]
    Picture(PlatformError),
}

fn body(mut inherited: Inherited, sandboxed: Sandboxed) -> u8 {
    let Ok(edge) = inherited.take("edge") else { return EXIT_MISUSED };
    let mut edge = BrokerEdge::new(edge);
    let (exit, level, text) = match serve(&mut edge, inherited, &sandboxed) {
        Ok(Ok(()) | Err(WorkerError::Edge(ChannelError::Closed))) => return EXIT_DONE,
        Ok(Err(error @ WorkerError::Screen(_))) => (EXIT_NO_DISPLAY, Level::Warning, error.to_string()),
        Ok(Err(error @ (WorkerError::Edge(_) | WorkerError::Breach(_) | WorkerError::Poll(_)))) => {
            (EXIT_BROKEN, Level::Error, error.to_string())
        }
        Err(error) => (EXIT_MISUSED, Level::Error, error.to_string()),
    };
    // The process ends right after this; if nobody reads it, nobody can be told.
    let _ = edge.send(&DialogEvent::Log(LogLine::new(level, &text)));
    exit
}

fn serve(
    edge: &mut BrokerEdge,
    mut inherited: Inherited,
    sandboxed: &Sandboxed,
) -> Result<Result<(), WorkerError>, StartError> {
    let settings: DialogSettings =
        codec::decode_settings(&read(&inherited.take("settings")?, SETTINGS_BYTES_MAX)?)?;
    let cookie =
        cookie::find(&read(&inherited.take("xauthority")?, cookie::FILE_BYTES_MAX)?, settings.display);
    let picture = Picture::new(settings.clone()).map_err(StartError::Picture)?;
    Ok(match Screen::open(inherited.take("display")?, cookie, &settings, &picture) {
        Ok(screen) => worker::run(edge, screen, picture, sandboxed),
        Err(error) => Err(error.into()),
    })
}

/// Reads a file from where it stands, up to a limit.
fn read(file: &OwnedFd, bytes_max: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.len() < bytes_max {
        match rustix::io::read(file, &mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(bytes)
}

/// Tells the broker where a panic was, or why the sandbox could not be entered.
fn report(edge: BorrowedFd<'_>, text: &str) {
    if let Ok(bytes) = codec::encode(&DialogEvent::Log(LogLine::new(Level::Error, text))) {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        // The process ends right after this; if nobody reads it, nobody can be told.
        let _ = sendmsg(edge, &[std::io::IoSlice::new(&bytes)], &mut SendAncillaryBuffer::default(), flags);
    }
}
