//! The AppVM's side of an answer: the changed document replaces the old one, whole or not at all (L9).
//!
//! ```text
//! ~/.dvm/SEQ -> a file beside the document <- dvm-parser <- xvdh
//!            -> owner, mode, attributes; to the disk -> number used up -> rename -> umount
//! ```
//!
//! Several documents come in a volume ([`super::together`]), which fat-reader reads into a private directory first.
//!
//! The name in the answer's header is not looked at: which document it is says `~/.dvm/SEQ` alone.
//!
//! | what happened | the document | the number | the pendrive |
//! |---|---|---|---|
//! | whole | replaced | used up | given back |
//! | no document, a damaged one, dvm-parser broke | as it was | used up | given back |
//! | no space, no right to write, dvm-parser missing | as it was | still valid | stays |
//! | whole, but the document was changed here meanwhile | as it was, the answer beside it | used up | given back |

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use protocol::request::Verb;
use protocol::types::VmName;

use super::parser::parse_document;
use super::receive::{Arrival, given_back};
use super::replace::{Replacement, Target};
use super::seq::{Entry, NotAccepted, Store};
use super::together::{ExtractError, extract, open_extracted};
use crate::desktop::arrival::{self, Arrived};
use crate::failure::Failure;
use crate::incoming::{Fate, NAME, STAYS, fate_of};
use crate::interrupt;
use crate::session::Session;
use crate::shown::{Line, say};

/// Receives the answer.
///
/// # Errors
/// The document could not be replaced; it is as it was.
pub fn receive(session: &mut Session, arrival: Arrival, store: &Store) -> Result<(), Failure> {
    let (source, timeout) = (arrival.source.clone(), arrival.timeout);
    let received = take(arrival, store);
    // The device is closed by now: an open one would keep dom0 from taking it away.
    match received {
        Ok(back) => {
            say(NAME, &Line::new(&format!("{source}: {}", back.text)));
            let given_back = session.request(&Verb::Umount, timeout, &mut |_reason| {});
            arrival::announce(&source, Arrived::Back(back.count), &back.directory);
            given_back
        }
        Err(NotTaken::Stays(failure)) => Err(failure.with_remark(STAYS)),
        Err(NotTaken::Refused(failure)) => Err(given_back(session, timeout, failure)),
    }
}

/// What an answer has become.
struct Back {
    /// What to say about it.
    text: String,
    /// How many documents it held.
    count: u32,
    /// Where the first of them is.
    directory: PathBuf,
}

/// Why an answer was not taken.
enum NotTaken {
    /// Another try may work.
    Stays(Failure),
    /// It will not be taken.
    Refused(Failure),
}

/// Everything up to the new documents; says what became of them.
fn take(mut arrival: Arrival, store: &Store) -> Result<Back, NotTaken> {
    let source = arrival.source.clone();
    let entry = store.accept(arrival.seq).map_err(|refusal| match refusal {
        NotAccepted::Unknown(_) | NotAccepted::Taken(_) => {
            NotTaken::Refused(Failure::failed(&format!("{source}: refused: {refusal}")))
        }
        NotAccepted::Store(failure) => NotTaken::Stays(failure),
    })?;
    let documents = entry.documents.clone();
    match documents.as_slice() {
        [document] => {
            let target = Target::open(document).map_err(NotTaken::Stays)?;
            let replacement = target.begin().map_err(NotTaken::Stays)?;
            let parsed = parse_document(arrival.device.as_fd(), &replacement.file, &mut arrival.progress);
            if let Err(error) = parsed {
                let text = format!("{source}: {} is as it was: {error}", target.shown());
                return Err(not_read(&text, error.is_of_this_vm(), entry));
            }
            finish(&source, entry, vec![replacement])
        }
        several => take_bundle(arrival, store, entry, several),
    }
}

/// The same for several documents: none is touched before all are ready.
fn take_bundle(
    mut arrival: Arrival,
    store: &Store,
    entry: Entry<'_>,
    documents: &[PathBuf],
) -> Result<Back, NotTaken> {
    let source = arrival.source.clone();
    let place = store.scratch().map_err(NotTaken::Stays)?;
    let extracted = match extract(arrival.device.into(), place.directory(), &mut arrival.progress) {
        Ok(extracted) => extracted,
        Err(error) => {
            let text = format!("{source}: the documents are as they were: {error}");
            let is_of_this_vm = match &error {
                ExtractError::Unpack(error) => fate_of(error) == Fate::Stays,
                ExtractError::Own(_) => true,
                ExtractError::NoDocuments => false,
            };
            return Err(not_read(&text, is_of_this_vm, entry));
        }
    };
    let mut targets = Vec::new();
    for (number, name) in extracted.documents {
        let document = usize::try_from(number).ok().and_then(|number| documents.get(number.checked_sub(1)?));
        let Some(document) = document else {
            let text = format!("{source}: the documents are as they were: there are more than were sent");
            return Err(not_read(&text, false, entry));
        };
        targets.push((number, name, Target::open(document).map_err(NotTaken::Stays)?));
    }
    let mut replacements = Vec::new();
    for (number, name, target) in &targets {
        let mut replacement = target.begin().map_err(NotTaken::Stays)?;
        let failed = |error: &dyn std::fmt::Display| {
            NotTaken::Stays(Failure::failed(&format!("cannot write {}: {error}", target.shown())))
        };
        let mut content = open_extracted(place.directory(), *number, name).map_err(|errno| failed(&errno))?;
        std::io::copy(&mut content, &mut replacement.file).map_err(|error| failed(&error))?;
        replacements.push(replacement);
    }
    finish(&source, entry, replacements)
}

/// Uses the number up, and puts the new contents in place.
fn finish(source: &VmName, entry: Entry<'_>, replacements: Vec<Replacement<'_>>) -> Result<Back, NotTaken> {
    for replacement in &replacements {
        replacement.make_ready().map_err(NotTaken::Stays)?;
    }
    let (made, seq) = (entry.made(), entry.seq());
    let count = u32::try_from(replacements.len()).unwrap_or(u32::MAX);
    let first = entry.documents.first().and_then(|document| document.parent());
    let directory = first.map(Path::to_path_buf).unwrap_or_default();
    // The last step before the rename: whoever comes second finds no entry.
    entry.consume().map_err(|refusal| {
        NotTaken::Refused(Failure::failed(&format!("{source}: nothing was changed: {refusal}")))
    })?;
    let (mut said, mut first_failure) = (Vec::new(), None);
    for replacement in replacements {
        let shown = replacement.target().shown();
        let is_changed_here = replacement.target().modified().is_some_and(|modified| modified > made);
        let put = if is_changed_here {
            replacement.put_beside(&format!(".from-dvm-{seq}")).map(|beside| {
                let beside = fat::Shown(beside.as_os_str().as_bytes()).to_string();
                format!("{shown} was changed here meanwhile and is as it was; what came back is in {beside}")
            })
        } else {
            replacement.put_in_place().map(|()| format!("{shown} was changed and has come back"))
        };
        match put {
            Ok(text) => said.push(text),
            // The others have come back all the same.
            Err(failure) => first_failure = first_failure.or(Some(failure)),
        }
    }
    match first_failure {
        None => Ok(Back { text: said.join("; "), count, directory }),
        Some(failure) => {
            Err(NotTaken::Refused(said.iter().fold(failure, |failure, text| failure.with_remark(text))))
        }
    }
}

fn not_read(text: &str, is_of_this_vm: bool, entry: Entry<'_>) -> NotTaken {
    let line = Line::new(text);
    let failure = if interrupt::requested() { Failure::Interrupted(line) } else { Failure::Failed(line) };
    if is_of_this_vm {
        return NotTaken::Stays(failure);
    }
    // Each number is accepted once, and this was its answer.
    match entry.consume() {
        Ok(()) | Err(NotAccepted::Unknown(_) | NotAccepted::Taken(_)) => NotTaken::Refused(failure),
        Err(NotAccepted::Store(second)) => NotTaken::Refused(failure.with_remark(&second.to_string())),
    }
}
