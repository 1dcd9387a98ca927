//! Starting one worker: exactly the descriptors that its profile names, and no other.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use protocol::supervise::Role;
use sys::profile::{Profile, Stdio};
use sys::spawn::{Child, Spawn, SpawnError};

use crate::open::Opened;
use crate::{memory_file, xenstored};

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The kernel refused.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Something that it needs cannot be opened.
    #[error("{role}: {tried}: {error}")]
    Io {
        /// Which worker.
        role: Role,
        /// What was tried.
        tried: &'static str,
        /// The answer.
        error: io::Error,
    },
    /// Its profile asks for what it cannot have.
    #[error("{role}: its profile names the descriptor {name}, which the supervisor does not have for it")]
    Descriptor {
        /// Which worker.
        role: Role,
        /// The name in the profile.
        name: &'static str,
    },
}

/// The profile of a worker.
#[must_use]
pub fn profile(role: Role, dialog_has_window: bool) -> &'static Profile {
    match role {
        Role::Broker => &sandbox_profiles::BROKER,
        Role::Monitor => &sandbox_profiles::XS_MONITOR,
        Role::Gate => &sandbox_profiles::XS_GATE,
        Role::Attacher => &sandbox_profiles::ATTACHER,
        Role::Dialog if dialog_has_window => &sandbox_profiles::DIALOG_WINDOW,
        Role::Dialog => &sandbox_profiles::DIALOG_TERMINAL,
        Role::Launcher => &sandbox_profiles::DVM_LAUNCHER,
        Role::Control => &sandbox_profiles::CONTROL,
        Role::Notifier => &sandbox_profiles::NOTIFIER,
    }
}

/// Starts a worker. `edge` is its end of the edge to the broker (to the supervisor, for the broker itself), and
/// `stream` that of the one between gate and monitor, or between launcher and runner; `connected` is what a dialog with a
/// window and the notifier have besides, by the names of their profiles; `journald` is for the broker.
///
/// # Errors
/// [`WorkerError`]; nothing is left running then.
pub fn start(
    role: Role,
    opened: &Opened,
    edge: &OwnedFd,
    stream: Option<&OwnedFd>,
    connected: &[(&'static str, OwnedFd)],
    journald: Option<BorrowedFd<'_>>,
) -> Result<Child, WorkerError> {
    let fault = |tried| move |error| WorkerError::Io { role, tried, error };
    let xenstored = match role {
        Role::Gate | Role::Attacher => {
            let connected = xenstored::connect(&opened.xenstored_socket);
            Some(connected.map_err(fault("connecting to xenstored"))?)
        }
        Role::Broker | Role::Monitor | Role::Dialog | Role::Launcher | Role::Control | Role::Notifier => None,
    };
    let mut named = named(role, opened, edge, stream, xenstored.as_ref());
    named.extend(connected.iter().map(|(name, descriptor)| (*name, descriptor.as_fd())));
    let profile = profile(role, opened.display.is_some());
    let mut descriptors = Vec::new();
    for name in profile.descriptors {
        descriptors.push(*named.get(name).ok_or(WorkerError::Descriptor { role, name })?);
    }
    match (role, profile.rest) {
        (Role::Attacher, Some(_)) => descriptors.extend(opened.loops.as_ref().map(AsFd::as_fd)),
        (Role::Broker, Some(_)) => descriptors.extend(journald),
        (_, _) => {}
    }
    for shared in shared(role, opened) {
        memory_file::rewind(shared).map_err(fault("putting a file back to its beginning"))?;
    }
    let program = opened.programs.of(role).ok_or(WorkerError::Descriptor { role, name: "program" })?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let null = opened.null.as_fd();
    let spawn = Spawn {
        program,
        argv0: role.process(),
        args: &[],
        stdio: match profile.stdio {
            Stdio::Null => [null, null, null],
            Stdio::Log => [null, null, stderr.as_fd()],
            Stdio::Terminal => [stdin.as_fd(), stdout.as_fd(), null],
            Stdio::Inherited => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        },
        descriptors: &descriptors,
        account: opened.accounts.get(&role).copied(),
        namespaces: profile.namespaces,
    };
    Ok(spawn.start()?)
}

/// What a worker may have, by the names of its profile. What is not here, no profile can ask for.
fn named<'a>(
    role: Role,
    opened: &'a Opened,
    edge: &'a OwnedFd,
    stream: Option<&'a OwnedFd>,
    xenstored: Option<&'a OwnedFd>,
) -> BTreeMap<&'static str, BorrowedFd<'a>> {
    let [journal_a, journal_b] = &opened.journal.files;
    let all: Vec<(&'static str, Option<&OwnedFd>)> = match role {
        Role::Broker => vec![
            ("supervisor", Some(edge)),
            ("settings", Some(&opened.broker_settings)),
            ("journal-a", Some(journal_a)),
            ("journal-b", Some(journal_b)),
        ],
        Role::Attacher => vec![
            ("edge", Some(edge)),
            ("settings", Some(&opened.attacher_settings)),
            ("xenstored", xenstored),
            ("images", Some(&opened.images)),
        ],
        Role::Gate => vec![("edge", Some(edge)), ("xenstored", xenstored), ("monitor", stream)],
        Role::Monitor => vec![("edge", Some(edge)), ("gate", stream)],
        Role::Notifier => vec![("edge", Some(edge))],
        Role::Dialog => {
            vec![("edge", Some(edge)), ("settings", opened.display.as_ref().map(|display| &display.settings))]
        }
        Role::Launcher => {
            vec![("edge", Some(edge)), ("settings", Some(&opened.launcher_settings)), ("runner", stream)]
        }
        Role::Control => vec![
            ("edge", Some(edge)),
            ("settings", Some(&opened.control_settings)),
            ("listener", Some(&opened.control_socket)),
        ],
    };
    all.into_iter().filter_map(|(name, descriptor)| Some((name, descriptor?.as_fd()))).collect()
}

/// Files that a worker reads from their beginning, wherever the one before it stopped.
fn shared(role: Role, opened: &Opened) -> Vec<&OwnedFd> {
    let [journal_a, journal_b] = &opened.journal.files;
    match role {
        Role::Broker => vec![&opened.broker_settings, journal_a, journal_b],
        Role::Attacher => vec![&opened.attacher_settings],
        Role::Launcher => vec![&opened.launcher_settings],
        Role::Control => vec![&opened.control_settings],
        Role::Dialog => opened.display.iter().map(|display| &display.settings).collect(),
        Role::Monitor | Role::Gate | Role::Notifier => Vec::new(),
    }
}
