//! A pendrive with a document: who this VM is decides what becomes of it.
//!
//! | this VM | there is `~/.dvm/SEQ` | role |
//! |---|---|---|
//! | a DisposableVM | never asked | opens the document ([`super::disposable`]) |
//! | any other | yes | the answer to its own document ([`super::answer`]) |
//! | any other | no | refuses: nothing is opened or extracted, the pendrive is given back |
//!
//! Whether it is a DisposableVM says its name, which the toolstack gave it, or the setting `disposable`: never anything
//! that another VM can choose. So no sender can have an AppVM open what it sends, and no copy (SEQ 0) is a document.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use protocol::request::Verb;
use protocol::types::{Seq, VmName};
use xenstore::path::OwnPath;

use super::handler::Environment;
use super::seq::Store;
use super::{answer, disposable};
use crate::exit;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::session::Session;
use crate::settings::Settings;

/// How a DisposableVM is called, with a number behind it.
pub const DISPOSABLE_PREFIX: &str = "disp";

/// A document that has arrived, in a process that is the receiving user already.
#[derive(Debug)]
pub struct Arrival {
    /// The VM that it came from.
    pub source: VmName,
    /// The transaction.
    pub seq: Seq,
    /// The incoming pendrive.
    pub device: File,
    /// The user's home directory.
    pub home: PathBuf,
    /// Whose environment this process has.
    pub environment: Environment,
    /// How long to wait for dom0.
    pub timeout: Duration,
    /// Where to show how far it is.
    pub progress: Progress,
}

/// Does what this VM has to do about it. Gives the exit code.
///
/// # Errors
/// Whatever is no success.
pub fn receive(session: &mut Session, arrival: Arrival, settings: &Settings) -> Result<u8, Failure> {
    let is_disposable = match settings.disposable {
        Some(is_disposable) => is_disposable,
        None => session.read(&OwnPath::name())?.is_some_and(|name| is_name_of_disposable(&name)),
    };
    if is_disposable {
        return disposable::open(session, arrival, settings);
    }
    match Store::existing(&arrival.home)? {
        Some(store) if store.knows(arrival.seq) => {
            answer::receive(session, arrival, &store).map(|()| exit::DONE)
        }
        Some(_) | None => {
            let Arrival { source, seq, device, timeout, .. } = arrival;
            let text = format!("{source}: refused: {}", super::seq::NotAccepted::Unknown(seq));
            drop(device);
            Err(given_back(session, timeout, Failure::failed(&text)))
        }
    }
}

/// Nothing can be done about the document. By its name a DisposableVM then asks for its end, so that none lingers with
/// nothing to do; what the settings say of it may be what cannot be read.
pub fn ended_if_disposable(session: &mut Session, timeout: Duration, failure: Failure) -> Failure {
    let name = session.read(&OwnPath::name()).ok().flatten().unwrap_or_default();
    if !is_name_of_disposable(&name) {
        return failure;
    }
    match session.request(&Verb::Killme, timeout, &mut |_reason| {}) {
        Ok(()) => failure.with_remark("this DisposableVM has nothing left to do"),
        Err(_) => failure,
    }
}

/// `disp` and a number.
fn is_name_of_disposable(name: &[u8]) -> bool {
    name.strip_prefix(DISPOSABLE_PREFIX.as_bytes())
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Gives the pendrive back, which must not be open any longer, and says so at the failure's end.
pub(super) fn given_back(session: &mut Session, timeout: Duration, failure: Failure) -> Failure {
    match session.request(&Verb::Umount, timeout, &mut |_reason| {}) {
        Ok(()) => failure.with_remark("the pendrive was given back"),
        Err(second) => failure.with_remark(&second.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disposable_vm_is_known_by_its_name() {
        for name in ["disp1", "disp42", "disp0", "disp99999999999999999999"] {
            assert!(is_name_of_disposable(name.as_bytes()), "{name}");
        }
        for name in ["", "disp", "work", "Disp1", "xdisp1", "disp1a", "disp-1", "disposable", "disp 1", "1"] {
            assert!(!is_name_of_disposable(name.as_bytes()), "{name}");
        }
    }
}
