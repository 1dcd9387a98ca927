//! The AppVM's side of an answer: the changed document replaces the old one, whole or not at all (L9).
//!
//! ```text
//! ~/.dvm/SEQ -> a file beside the document <- dvm-parser <- xvdh
//!            -> owner, mode, attributes; to the disk -> number used up -> rename -> umount
//! ```
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

use protocol::request::Verb;

use super::parser::{ParseError, parse_document};
use super::receive::{Arrival, given_back};
use super::replace::Target;
use super::seq::{Entry, NotAccepted, Store};
use crate::failure::Failure;
use crate::incoming::{NAME, STAYS};
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
        Ok(text) => {
            say(NAME, &Line::new(&format!("{source}: {text}")));
            session.request(&Verb::Umount, timeout, &mut |_reason| {})
        }
        Err(NotTaken::Stays(failure)) => Err(failure.with_remark(STAYS)),
        Err(NotTaken::Refused(failure)) => Err(given_back(session, timeout, failure)),
    }
}

/// Why an answer was not taken.
enum NotTaken {
    /// Another try may work.
    Stays(Failure),
    /// It will not be taken.
    Refused(Failure),
}

/// Everything up to the new document; says what became of it.
fn take(mut arrival: Arrival, store: &Store) -> Result<String, NotTaken> {
    let source = arrival.source.clone();
    let entry = store.accept(arrival.seq).map_err(|refusal| match refusal {
        NotAccepted::Unknown(_) | NotAccepted::Taken(_) => {
            NotTaken::Refused(Failure::failed(&format!("{source}: refused: {refusal}")))
        }
        NotAccepted::Store(failure) => NotTaken::Stays(failure),
    })?;
    let [document] = entry.documents.as_slice() else {
        let text = format!("{source}: refused: document {} is several documents", arrival.seq);
        return Err(NotTaken::Refused(Failure::failed(&text)));
    };
    let shown = fat::Shown(document.as_os_str().as_bytes()).to_string();
    let target = Target::open(document).map_err(NotTaken::Stays)?;
    let replacement = target.begin().map_err(NotTaken::Stays)?;
    let parsed = parse_document(arrival.device.as_fd(), &replacement.file, &mut arrival.progress);
    if let Err(error) = parsed {
        return Err(not_parsed(&format!("{source}: {shown} is as it was: {error}"), &error, entry));
    }
    replacement.make_ready().map_err(NotTaken::Stays)?;
    let is_changed = target.modified().is_some_and(|modified| modified > entry.made());
    let seq = arrival.seq;
    // The last step before the rename: whoever comes second finds no entry.
    entry.consume().map_err(|refusal| {
        NotTaken::Refused(Failure::failed(&format!("{source}: {shown} is as it was: {refusal}")))
    })?;
    if is_changed {
        let beside = replacement.put_beside(&format!(".from-dvm-{seq}")).map_err(NotTaken::Refused)?;
        let beside = fat::Shown(beside.as_os_str().as_bytes()).to_string();
        return Ok(format!(
            "{shown} was changed here meanwhile and is as it was; what came back is in {beside}"
        ));
    }
    replacement.put_in_place().map_err(NotTaken::Refused)?;
    Ok(format!("{shown} was changed and has come back"))
}

fn not_parsed(text: &str, error: &ParseError, entry: Entry<'_>) -> NotTaken {
    let line = Line::new(text);
    let failure = if interrupt::requested() { Failure::Interrupted(line) } else { Failure::Failed(line) };
    if error.is_of_this_vm() {
        return NotTaken::Stays(failure);
    }
    // Each number is accepted once, and this was its answer.
    match entry.consume() {
        Ok(()) | Err(NotAccepted::Unknown(_) | NotAccepted::Taken(_)) => NotTaken::Refused(failure),
        Err(NotAccepted::Store(second)) => NotTaken::Refused(failure.with_remark(&second.to_string())),
    }
}
