//! The DisposableVM's side: the document is opened, and sent back if its content has changed.
//!
//! ```text
//! xvdh -> dvm-parser (or fat-reader: several documents) -> a private directory
//!      -> the handler, until the documents are released
//!      content as before, or to be looked at only -> umount -> killme
//!      changed                                    -> umount -> new -> header and document -> send
//! ```
//!
//! Whatever fails, the DisposableVM asks to be destroyed: nobody needs it any more. Only a person who stops this
//! program by hand keeps it.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use dvm_parser::document::header::{HEADER_BYTES, Rejection};
use dvm_parser::document::record::Record;
use dvm_parser::document::transfer::Trouble;
use dvm_parser::names::sanitise;
use protocol::request::Verb;
use protocol::types::VmName;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, fchmod, mkdirat, openat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::document::Document;
use super::open::{Load, put_on_pendrive};
use super::parser::{ParseError, parse_document};
use super::receive::Arrival;
use super::together::{Bundle, extract, open_extracted};
use super::{handler, release};
use crate::exit;
use crate::failure::Failure;
use crate::inbox::{check_owner, open_beneath, open_directory, open_or_make};
use crate::incoming::NAME;
use crate::interrupt;
use crate::lock::OUTGOING;
use crate::progress::Progress;
use crate::session::{Session, random_hex, timeout_of};
use crate::settings::Settings;
use crate::shown::{Line, say};

/// The directory in the home directory that documents are opened in: not hidden, since confined editors may not see
/// hidden ones.
pub const DIRECTORY: &str = "QubesDocument";
/// The document while it is received.
const RECEIVING: &str = ".receiving";
/// What was sent, read once more to compare it: several documents have no place on the device that is known here.
const SENT: &str = ".sent";

/// What became of the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// They were sent back; dom0 destroys this VM.
    SentBack,
    /// There is nothing to send back.
    Unchanged,
}

/// Opens the documents, and sees to it that this VM ends. Gives the exit code.
///
/// # Errors
/// What has not been said yet.
pub fn open(session: &mut Session, arrival: Arrival, settings: &Settings) -> Result<u8, Failure> {
    let timeout = arrival.timeout;
    match serve(session, arrival, settings) {
        Ok(Outcome::SentBack) => Ok(exit::DONE),
        Ok(Outcome::Unchanged) => {
            let unmounted = ask(session, &Verb::Umount, timeout);
            ask(session, &Verb::Killme, timeout).and(unmounted).map(|()| exit::DONE)
        }
        Err(failure @ Failure::Interrupted(_)) => Err(failure),
        Err(failure) => {
            // Said at once: there may be no time for it afterwards.
            say(NAME, &Line::new(&format!("{failure}; this DisposableVM has nothing left to do")));
            ask(session, &Verb::Killme, timeout).map(|()| failure.exit_code())
        }
    }
}

fn ask(session: &mut Session, verb: &Verb, timeout: Duration) -> Result<(), Failure> {
    session.request(verb, timeout, &mut |_reason| {})
}

fn serve(session: &mut Session, arrival: Arrival, settings: &Settings) -> Result<Outcome, Failure> {
    let Arrival { source, seq, device, home, environment, timeout, mut progress } = arrival;
    let folder = Folder::make(&home)?;
    let received = folder.receive(&device, &source, &mut progress)?;
    let open = |path: &Path| handler::start(&settings.openers, path, &home, environment);
    let programs = start(&source, &received, &open)?;
    let paths: Vec<PathBuf> = received.documents.iter().map(|document| document.path.clone()).collect();
    let ended = release::wait(programs, &folder.path, &paths, settings.hand_over_s)?;
    if received.is_view_only {
        return Ok(Outcome::Unchanged);
    }
    let changed = folder.changed(&device, &source, &received, &mut progress)?;
    // An open device would keep dom0 from taking it away.
    drop(device);
    let Some((_, first)) = changed.first() else { return unchanged(&source, &received, &ended) };
    let load = match received.record {
        Some(_) => Load::One(first, false),
        None => Load::Bundle(Bundle::new(
            changed.iter().map(|(number, document)| (*number, document)).collect(),
            false,
        )),
    };
    ask(session, &Verb::Umount, timeout)?;
    let _lock = session.locks.take(OUTGOING, timeout, "another tool is using the outgoing pendrive")?;
    put_on_pendrive(session, &load, true, Some(timeout), &mut progress)?;
    let verb = Verb::Send { to: source, seq: Some(seq) };
    ask(session, &verb, timeout_of(&verb))?;
    Ok(Outcome::SentBack)
}

/// Starts a program for each document.
fn start(
    source: &VmName,
    received: &Received,
    open: &dyn Fn(&Path) -> Result<Child, Failure>,
) -> Result<Vec<Child>, Failure> {
    let tell_and_open = |document: &Opened| {
        say(NAME, &Line::new(&format!("{source}: opening {}", shown(&document.path))));
        open(&document.path)
    };
    received.documents.iter().map(tell_and_open).collect()
}

/// Nothing has changed: either the person wanted it so, or no program has shown anything.
fn unchanged(source: &VmName, received: &Received, ended: &[ExitStatus]) -> Result<Outcome, Failure> {
    for (document, status) in received.documents.iter().zip(ended) {
        if !status.success() {
            let text =
                format!("{source}: {} was not opened: its program ended by {status}", shown(&document.path));
            return Err(Failure::failed(&text));
        }
    }
    Ok(Outcome::Unchanged)
}

fn shown(path: &Path) -> String {
    fat::Shown(path.as_os_str().as_encoded_bytes()).to_string()
}

/// Documents that have arrived.
#[derive(Debug)]
struct Received {
    documents: Vec<Opened>,
    is_view_only: bool,
    /// What dvm-parser said of a single one; `None`: several came in a volume.
    record: Option<Record>,
}

/// One of them.
#[derive(Debug)]
struct Opened {
    number: u32,
    name: OsString,
    path: PathBuf,
}

/// A fresh directory that only this user can look into.
#[derive(Debug)]
struct Folder {
    directory: OwnedFd,
    path: PathBuf,
}

impl Folder {
    fn make(home: &Path) -> Result<Self, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat(CWD, home, flags, Mode::empty()).map_err(not_made)?;
        let above = open_or_make(top.as_fd(), DIRECTORY).map_err(not_made)?;
        check_owner(&above, &format!("~/{DIRECTORY}"))?;
        let name = random_hex()?;
        mkdirat(&above, name.as_str(), Mode::RWXU).map_err(not_made)?;
        let directory = open_directory(above.as_fd(), name.as_bytes()).map_err(not_made)?;
        // Without links: the kernel tells who has something open by its real path.
        let path = std::fs::canonicalize(home).map_err(|error| {
            Failure::failed(&format!("cannot find the home directory's real path: {error}"))
        })?;
        Ok(Self { directory, path: path.join(DIRECTORY).join(name) })
    }

    /// Puts what has arrived there.
    fn receive(&self, device: &File, source: &VmName, progress: &mut Progress) -> Result<Received, Failure> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (directory, mode) = (self.directory.as_fd(), Mode::RUSR | Mode::WUSR);
        let output =
            File::from(open_beneath(directory, RECEIVING.as_bytes(), flags, mode).map_err(not_made)?);
        match parse_document(device.as_fd(), &output, progress) {
            Ok(record) => self.name(&output, source, record),
            Err(ParseError::Trouble(Trouble::Rejected(Rejection::FileSystem))) => {
                unlinkat(directory, RECEIVING, AtFlags::empty()).map_err(not_made)?;
                self.receive_bundle(device, source, progress)
            }
            Err(error) => Err(nothing_opened(source, &error)),
        }
    }

    /// Gives a single document its name or, if that could mislead or is too long, one like it.
    fn name(&self, output: &File, source: &VmName, record: Record) -> Result<Received, Failure> {
        if record.is_view_only {
            fchmod(output, Mode::RUSR).map_err(not_made)?;
        }
        let directory = self.directory.as_fd();
        let (name, is_changed) = sanitise(record.name.as_str());
        renameat_with(directory, RECEIVING, directory, name.as_str(), RenameFlags::NOREPLACE)
            .map_err(not_made)?;
        if is_changed {
            say(NAME, &Line::new(&format!("{source}: the name was changed to {}", name.as_str())));
        }
        let (name, path) = (OsString::from(name.as_str()), self.path.join(name.as_str()));
        let documents = vec![Opened { number: 1, name, path }];
        Ok(Received { documents, is_view_only: record.is_view_only, record: Some(record) })
    }

    /// Reads several documents off a volume.
    fn receive_bundle(
        &self,
        device: &File,
        source: &VmName,
        progress: &mut Progress,
    ) -> Result<Received, Failure> {
        let directory = self.directory.as_fd();
        let device = duplicate(device)?;
        let extracted =
            extract(device, directory, progress).map_err(|error| nothing_opened(source, &error))?;
        let mut documents = Vec::new();
        for (number, name) in extracted.documents {
            if extracted.is_view_only {
                let file = open_extracted(directory, number, &name).map_err(not_made)?;
                fchmod(file, Mode::RUSR).map_err(not_made)?;
            }
            let path = self.path.join(number.to_string()).join(&name);
            documents.push(Opened { number, name, path });
        }
        Ok(Received { documents, is_view_only: extracted.is_view_only, record: None })
    }

    /// Those of the documents that are no longer what was sent, with their numbers. By content: many programs touch a
    /// file that they only show. The device still holds what was sent.
    fn changed(
        &self,
        device: &File,
        source: &VmName,
        received: &Received,
        progress: &mut Progress,
    ) -> Result<Vec<(u32, Document)>, Failure> {
        let open = |opened: &Opened| {
            let gone = |reason: &str| {
                Failure::failed(&format!("{source}: {} cannot be sent back: {reason}", shown(&opened.path)))
            };
            Document::open(opened.path.clone(), &gone)
        };
        let mut changed = Vec::new();
        if let (Some(record), [opened]) = (received.record, received.documents.as_slice()) {
            let document = open(opened)?.named(record.name);
            if !document.is_equal(device, HEADER_BYTES as u64, record.size_bytes)? {
                changed.push((opened.number, document));
            }
            return Ok(changed);
        }
        mkdirat(&self.directory, SENT, Mode::RWXU).map_err(not_made)?;
        let sent = open_directory(self.directory.as_fd(), SENT.as_bytes()).map_err(not_made)?;
        let device = duplicate(device)?;
        extract(device, sent.as_fd(), progress).map_err(|error| Failure::failed(&error.to_string()))?;
        for opened in &received.documents {
            let was = open_extracted(sent.as_fd(), opened.number, &opened.name).map_err(not_made)?;
            let was_bytes = was.metadata().map_err(|error| Failure::failed(&error.to_string()))?.len();
            match open(opened) {
                Ok(document) if document.is_equal(&was, 0, was_bytes)? => {}
                Ok(document) => changed.push((opened.number, document)),
                // One that was removed does not keep the others here.
                Err(failure) => say(NAME, &Line::new(&failure.to_string())),
            }
        }
        Ok(changed)
    }
}

fn duplicate(device: &File) -> Result<OwnedFd, Failure> {
    let copy =
        device.try_clone().map_err(|error| Failure::failed(&format!("cannot read the pendrive: {error}")));
    copy.map(OwnedFd::from)
}

fn nothing_opened(source: &VmName, error: &dyn std::error::Error) -> Failure {
    let line = Line::new(&format!("{source}: nothing was opened: {error}"));
    if interrupt::requested() { Failure::Interrupted(line) } else { Failure::Failed(line) }
}

fn not_made(errno: Errno) -> Failure {
    Failure::failed(&format!("cannot make the document's file: {errno}"))
}
