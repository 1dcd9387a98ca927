//! The loop around the state machine: descriptors, clock, randomness, journal and log. It decides nothing.

mod clock;
mod edges;
mod log;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use policy::Policy;
use protocol::channel::{Channel, ChannelError};
use protocol::codec;
use protocol::control::{ControlCommand, ControlReply};
use protocol::journald::{Event as Happened, Note};
use protocol::log::Level;
use protocol::settings::BrokerSettings;
use protocol::supervise::{Role, SupervisorNotice, SupervisorOrder};
use protocol::types::ImageId;
use rustix::event::{PollFd, Timespec, poll};
use rustix::io::{Errno, pread};
use rustix::rand::{GetRandomFlags, getrandom};
use sys::inherit::{InheritError, Inherited};
use sys::sandbox::Sandboxed;

use crate::journal::{Journal, JournalError, Past};
use crate::machine::{Action, Event, Machine, Surroundings};
use clock::Clock;
use edges::{Edges, Heard};
use log::Log;

/// Most messages that are taken from one edge before the others have their turn.
pub const MESSAGES_PER_TURN_MAX: usize = 16;
/// Questions begin at a random number up to this, short enough to be typed.
const FIRST_QUESTION_MAX: u16 = 900;
/// Longest sleep, in milliseconds, when no deadline is nearer.
const SLEEP_MS_MAX: u64 = 60_000;
/// How long after its edge was closed a worker must have ended, in milliseconds.
pub const CLOSED_MS_MAX: u64 = 1_000;

/// Exit code when the supervisor is gone: there is nobody left to work for.
pub const EXIT_OK: u8 = 0;
/// Exit code when something failed that the broker cannot live without; sysexits.h calls it `EX_IOERR`.
pub const EXIT_FAILED: u8 = 74;

/// Why the broker ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A descriptor is missing.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// The settings cannot be read.
    #[error("the settings handed over by the supervisor cannot be read")]
    Settings,
    /// The journal cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The supervisor said what it never says, or does not read.
    #[error("the edge to the supervisor is of no more use: {0}")]
    Supervisor(ChannelError),
    /// The kernel gave no randomness, or poll failed.
    #[error("system call failed: {0}")]
    Os(#[from] Errno),
}

/// Runs until the supervisor goes away. Returns the exit code.
#[must_use]
pub fn run(inherited: Inherited, sandboxed: &Sandboxed) -> u8 {
    let clock = Clock::new();
    let mut inherited = inherited;
    let mut log = Log::new(clock, inherited.take_rest().pop());
    match Broker::start(inherited, sandboxed, clock).and_then(|mut broker| broker.serve(&mut log)) {
        Ok(()) => EXIT_OK,
        Err(error) => {
            log.line(Level::Error, &Note::new(Happened::Failed, error.to_string()));
            EXIT_FAILED
        }
    }
}

struct Broker {
    machine: Machine,
    journal: Journal,
    edges: Edges,
    /// Workers that have closed their edges and are not known to have ended, and when they are ended.
    closed: BTreeMap<Role, u64>,
    clock: Clock,
}

impl Broker {
    fn start(mut inherited: Inherited, _sandboxed: &Sandboxed, clock: Clock) -> Result<Self, RunError> {
        let supervisor = Channel::new(inherited.take("supervisor")?);
        let bytes = read_settings(&inherited.take("settings")?)?;
        let (settings, policy): (BrokerSettings, Policy) =
            codec::decode_settings(&bytes).map_err(|_| RunError::Settings)?;
        let files = [inherited.take("journal-a")?, inherited.take("journal-b")?];
        let (mut journal, records) = Journal::open(files)?;
        let past = Past::from_records(&records, settings.boot_id);
        let mut random = [0; 2];
        getrandom(&mut random[..], GetRandomFlags::empty())?;
        let first_question = 1 + u64::from(u16::from_le_bytes(random) % FIRST_QUESTION_MAX);
        let machine = Machine::new(settings, policy, past, first_question);
        journal.checkpoint(&machine.snapshot())?;
        Ok(Self { machine, journal, edges: Edges::new(supervisor), closed: BTreeMap::new(), clock })
    }

    fn serve(&mut self, log: &mut Log) -> Result<(), RunError> {
        loop {
            self.sleep()?;
            if !self.hear_supervisor(log)? {
                return Ok(());
            }
            for role in [
                Role::Attacher,
                Role::Dialog,
                Role::Launcher,
                Role::Control,
                Role::Monitor,
                Role::Gate,
                Role::Notifier,
            ] {
                self.hear(role, log)?;
            }
            self.end_closed(log)?;
            self.step(Event::Tick, log)?;
        }
    }

    /// Waits until a descriptor is ready or a deadline is due.
    fn sleep(&mut self) -> Result<(), RunError> {
        let now = self.clock.ms();
        let due = self.closed.values().copied().chain(self.machine.next_deadline()).min().unwrap_or(u64::MAX);
        let sleep_ms = due.saturating_sub(now).min(SLEEP_MS_MAX);
        let timeout = Timespec {
            tv_sec: i64::try_from(sleep_ms / 1000).unwrap_or_default(),
            tv_nsec: i64::try_from(sleep_ms % 1000 * 1_000_000).unwrap_or_default(),
        };
        let mut fds: Vec<PollFd<'_>> =
            self.edges.descriptors().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Hears the supervisor. `false` when it is gone.
    fn hear_supervisor(&mut self, log: &mut Log) -> Result<bool, RunError> {
        if let Err(error) = self.edges.supervisor.flush() {
            return gone_or(error);
        }
        for _ in 0..MESSAGES_PER_TURN_MAX {
            match self.edges.supervisor.receive_with() {
                Ok(None) => break,
                Ok(Some((notice, descriptor))) => self.noticed(notice, descriptor, log)?,
                Err(error) => return gone_or(error),
            }
        }
        Ok(true)
    }

    fn noticed(
        &mut self,
        notice: SupervisorNotice,
        descriptor: Option<OwnedFd>,
        log: &mut Log,
    ) -> Result<(), RunError> {
        match (notice, descriptor) {
            (SupervisorNotice::Started { role }, Some(edge)) => {
                self.closed.remove(&role);
                self.edges.open(role, edge);
                self.step(Event::Started(role), log)
            }
            (SupervisorNotice::Ended { role, how }, None) => {
                self.closed.remove(&role);
                self.edges.close(role);
                self.step(Event::Ended(role, how), log)
            }
            // From here, so that the answer shows that this loop turns.
            (SupervisorNotice::AreYouAlive { number }, None) => {
                self.tell_supervisor(&SupervisorOrder::Alive { number })
            }
            (SupervisorNotice::Started { .. }, None)
            | (SupervisorNotice::Ended { .. } | SupervisorNotice::AreYouAlive { .. }, Some(_)) => {
                Err(RunError::Supervisor(ChannelError::Descriptors))
            }
        }
    }

    /// Hears one worker for its turn.
    fn hear(&mut self, role: Role, log: &mut Log) -> Result<(), RunError> {
        for _ in 0..MESSAGES_PER_TURN_MAX {
            match self.edges.hear(role) {
                Ok(Heard::Nothing) => return Ok(()),
                Ok(Heard::Event(event)) => self.step(event, log)?,
                Ok(Heard::Log(line)) => {
                    let text = format!("{role}: {}", line.text.as_str());
                    log.line(line.level, &Note::about_process(Happened::ProcessSaid, role, text));
                }
                Err(error) => return self.lost(role, &error, log),
            }
        }
        Ok(())
    }

    /// An edge is of no more use. The supervisor says when its worker has ended.
    fn lost(&mut self, role: Role, error: &ChannelError, log: &mut Log) -> Result<(), RunError> {
        self.edges.close(role);
        if matches!(error, ChannelError::Closed) {
            self.closed.insert(role, self.clock.ms().saturating_add(CLOSED_MS_MAX));
            return Ok(());
        }
        let text = format!("{role} is restarted: {error}");
        log.line(Level::Error, &Note::about_process(Happened::ProcessEnded, role, text));
        self.tell_supervisor(&SupervisorOrder::Restart { role })
    }

    /// A worker that closed its edge and lives on would neither be heard nor started anew.
    fn end_closed(&mut self, log: &mut Log) -> Result<(), RunError> {
        let now = self.clock.ms();
        let due: Vec<Role> =
            self.closed.iter().filter(|(_, when)| **when <= now).map(|(role, _)| *role).collect();
        for role in due {
            self.closed.remove(&role);
            let text = format!("{role} is restarted: it closed its edge and goes on");
            log.line(Level::Error, &Note::about_process(Happened::ProcessEnded, role, text));
            self.tell_supervisor(&SupervisorOrder::Restart { role })?;
        }
        Ok(())
    }

    fn tell_supervisor(&mut self, order: &SupervisorOrder) -> Result<(), RunError> {
        self.edges.supervisor.send(order).map_err(RunError::Supervisor)
    }

    /// One step of the machine, and everything that follows from it.
    fn step(&mut self, event: Event, log: &mut Log) -> Result<(), RunError> {
        let mut failure = None;
        let mut fresh_image = || {
            let mut bytes = [0; 16];
            failure = getrandom(&mut bytes[..], GetRandomFlags::empty()).err().or(failure);
            ImageId(bytes)
        };
        let mut around = Surroundings { now: self.clock.ms(), fresh_image: &mut fresh_image };
        let actions = self.machine.step(event, &mut around);
        if let Some(errno) = failure {
            return Err(errno.into());
        }
        for action in actions {
            self.carry_out(action, log)?;
        }
        if self.journal.is_long() {
            self.journal.checkpoint(&self.machine.snapshot())?;
        }
        Ok(())
    }

    fn carry_out(&mut self, action: Action, log: &mut Log) -> Result<(), RunError> {
        let broken = match action {
            Action::Record(record) => return Ok(self.journal.append(&record)?),
            Action::Log(level, note) => {
                log.line(level, &note);
                return Ok(());
            }
            Action::Order(request) => {
                self.journal.sync()?;
                self.edges.order(&request).map_err(|error| (Role::Attacher, error))
            }
            Action::Dialog(command) => {
                self.journal.sync()?;
                self.edges.tell_dialog(&command).map_err(|error| (Role::Dialog, error))
            }
            Action::Notify(notice) => {
                self.journal.sync()?;
                self.edges.notify(&notice).map_err(|error| (Role::Notifier, error))
            }
            Action::Launch(request) => {
                self.journal.sync()?;
                self.edges.launch(&request).map_err(|error| (Role::Launcher, error))
            }
            Action::Control(command) => {
                self.journal.sync()?;
                self.edges.tell_control(&command).map_err(|error| (Role::Control, error))
            }
            Action::TellLog { ticket, from } => {
                let reply = ControlReply::Log(log.page(from));
                let command = ControlCommand { ticket, reply };
                self.edges.tell_control(&command).map_err(|error| (Role::Control, error))
            }
            Action::Restart(role) => {
                self.edges.close(role);
                return self.tell_supervisor(&SupervisorOrder::Restart { role });
            }
            Action::Ready => return self.tell_supervisor(&SupervisorOrder::Ready),
        };
        broken.or_else(|(role, error)| self.lost(role, &error, log))
    }
}

/// The end of the supervisor is the end of the broker; anything else is an error.
fn gone_or(error: ChannelError) -> Result<bool, RunError> {
    match error {
        ChannelError::Closed => Ok(false),
        ChannelError::Codec(_)
        | ChannelError::Truncated
        | ChannelError::Descriptors
        | ChannelError::Overflow
        | ChannelError::Os(_) => Err(RunError::Supervisor(error)),
    }
}

/// Reads the sealed memory file whole.
fn read_settings(file: &OwnedFd) -> Result<Vec<u8>, RunError> {
    let mut bytes = vec![0; codec::SETTINGS_BYTES_MAX];
    let mut length = 0;
    loop {
        let free = bytes.get_mut(length..).filter(|free| !free.is_empty()).ok_or(RunError::Settings)?;
        match pread(file, free, u64::try_from(length).unwrap_or(u64::MAX)) {
            Ok(0) => break,
            Ok(count) => length = length.saturating_add(count),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}
