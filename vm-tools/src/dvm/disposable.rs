//! The DisposableVM's side: the document is opened, and sent back if its content has changed.
//!
//! ```text
//! xvdh -> dvm-parser -> a private directory -> the handler, until the document is released
//!      content as before, or to be looked at only -> umount -> killme
//!      changed                                    -> umount -> new -> header and document -> send
//! ```
//!
//! Whatever fails, the DisposableVM asks to be destroyed: nobody needs it any more. Only a person who stops this
//! program by hand keeps it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dvm_parser::document::header::HEADER_BYTES;
use dvm_parser::document::record::Record;
use dvm_parser::names::sanitise;
use protocol::request::Verb;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, fchmod, mkdirat, openat, renameat_with};
use rustix::io::Errno;

use super::document::Document;
use super::open::put_on_pendrive;
use super::parser::parse_document;
use super::receive::Arrival;
use super::{handler, release};
use crate::copy::get_pendrive;
use crate::failure::Failure;
use crate::inbox::{check_owner, open_beneath, open_directory, open_or_make};
use crate::incoming::NAME;
use crate::interrupt;
use crate::lock::OUTGOING;
use crate::session::{Session, random_hex, timeout_of};
use crate::settings::Settings;
use crate::shown::{Line, say};

/// The directory in the home directory that documents are opened in: not hidden, since confined editors may not see
/// hidden ones.
pub const DIRECTORY: &str = "QubesDocument";
/// The document while it is received.
const RECEIVING: &str = ".receiving";

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It was sent back; dom0 destroys this VM.
    SentBack,
    /// There is nothing to send back.
    Unchanged,
}

/// Opens the document, and sees to it that this VM ends.
///
/// # Errors
/// Whatever is no success.
pub fn open(session: &mut Session, arrival: Arrival, settings: &Settings) -> Result<(), Failure> {
    let timeout = arrival.timeout;
    match serve(session, arrival, settings) {
        Ok(Outcome::SentBack) => Ok(()),
        Ok(Outcome::Unchanged) => {
            let unmounted = ask(session, &Verb::Umount, timeout);
            ask(session, &Verb::Killme, timeout).and(unmounted)
        }
        Err(failure @ Failure::Interrupted(_)) => Err(failure),
        Err(failure) => {
            // Said at once: there may be no time for it afterwards.
            say(NAME, &Line::new(&format!("{failure}; this DisposableVM has nothing left to do")));
            ask(session, &Verb::Killme, timeout).and(Err(failure))
        }
    }
}

fn ask(session: &mut Session, verb: &Verb, timeout: Duration) -> Result<(), Failure> {
    session.request(verb, timeout, &mut |_reason| {})
}

fn serve(session: &mut Session, arrival: Arrival, settings: &Settings) -> Result<Outcome, Failure> {
    let Arrival { source, seq, device, home, timeout, mut progress } = arrival;
    let folder = Folder::make(&home)?;
    let (path, record) = folder.receive(&device, &source, &mut progress)?;
    let shown = fat::Shown(path.as_os_str().as_encoded_bytes()).to_string();
    say(NAME, &Line::new(&format!("{source}: opening {shown}")));
    let program = handler::start(&settings.openers, &path, &home)?;
    let status = release::wait(program, &path, settings.hand_over_s)?;
    if record.is_view_only {
        return Ok(Outcome::Unchanged);
    }
    let gone = |reason: &str| Failure::failed(&format!("{source}: {shown} cannot be sent back: {reason}"));
    let document = Document::open(path.clone(), &gone)?.named(record.name);
    // By content: many programs touch a file that they only show. The device still holds what was sent.
    if document.is_equal(&device, HEADER_BYTES as u64, record.size_bytes)? {
        return if status.success() {
            Ok(Outcome::Unchanged)
        } else {
            Err(Failure::failed(&format!("{source}: {shown} was not opened: its program ended by {status}")))
        };
    }
    // An open device would keep dom0 from taking it away.
    drop(device);
    ask(session, &Verb::Umount, timeout)?;
    let _lock = session.locks.take(OUTGOING, timeout, "another tool is using the outgoing pendrive")?;
    let freshness = get_pendrive(session, true, Some(timeout), document.needed_mib(), &mut progress)?;
    put_on_pendrive(session, &document, false, freshness, &mut progress)?;
    let verb = Verb::Send { to: source, seq: Some(seq) };
    ask(session, &verb, timeout_of(&verb))?;
    Ok(Outcome::SentBack)
}

/// A fresh directory that only this user can look into.
#[derive(Debug)]
struct Folder {
    directory: OwnedFd,
    path: PathBuf,
}

impl Folder {
    fn make(home: &Path) -> Result<Self, Failure> {
        let failed =
            |errno: Errno| Failure::failed(&format!("cannot make a directory for the document: {errno}"));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat(CWD, home, flags, Mode::empty()).map_err(failed)?;
        let above = open_or_make(top.as_fd(), DIRECTORY).map_err(failed)?;
        check_owner(&above, &format!("~/{DIRECTORY}"))?;
        let name = random_hex()?;
        mkdirat(&above, name.as_str(), Mode::RWXU).map_err(failed)?;
        let directory = open_directory(above.as_fd(), name.as_bytes()).map_err(failed)?;
        // Without links: the kernel tells who has something open by its real path.
        let path = std::fs::canonicalize(home).map_err(|error| {
            Failure::failed(&format!("cannot find the home directory's real path: {error}"))
        })?;
        Ok(Self { directory, path: path.join(DIRECTORY).join(name) })
    }

    /// Puts the document there, under its name or, if that could mislead or is too long, one like it.
    fn receive(
        &self,
        device: &File,
        source: &protocol::types::VmName,
        progress: &mut crate::progress::Progress,
    ) -> Result<(PathBuf, Record), Failure> {
        let failed = |errno: Errno| Failure::failed(&format!("cannot make the document's file: {errno}"));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (directory, mode) = (self.directory.as_fd(), Mode::RUSR | Mode::WUSR);
        let output = File::from(open_beneath(directory, RECEIVING.as_bytes(), flags, mode).map_err(failed)?);
        let record = parse_document(device.as_fd(), &output, progress).map_err(|error| {
            let line = Line::new(&format!("{source}: nothing was opened: {error}"));
            if interrupt::requested() { Failure::Interrupted(line) } else { Failure::Failed(line) }
        })?;
        if record.is_view_only {
            fchmod(&output, Mode::RUSR).map_err(failed)?;
        }
        let (name, is_changed) = sanitise(record.name.as_str());
        renameat_with(directory, RECEIVING, directory, name.as_str(), RenameFlags::NOREPLACE)
            .map_err(failed)?;
        if is_changed {
            say(NAME, &Line::new(&format!("{source}: the name was changed to {}", name.as_str())));
        }
        Ok((self.path.join(name.as_str()), record))
    }
}
