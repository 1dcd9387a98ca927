//! The loop around the state machine: descriptors, clock, and nothing to decide.

use crate::domains::Node;
use crate::machine::{Action, Event, Monitor};
use protocol::channel::{Channel, ChannelError};
use protocol::log::{Level, LogLine};
use protocol::monitor::MonitorEvent;
use protocol::types::Domid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::sandbox::Sandboxed;
use thiserror::Error;
use xenstore::path::{DomainListPath, DomainPath, SpecialWatch};
use xenstore::{Client, Token, missing_is_none};

/// Most requests to xenstore before the broker's edge and the clock are looked at again.
pub const TURNS_MAX: usize = 32;

/// What the watches are about, in their tokens.
const KIND_DOMAINS: u8 = 1;
const KIND_NAME: u8 = 2;
const KIND_QPEN: u8 = 3;

/// The edge to the broker, which says nothing on it.
pub type Edge = Channel<MonitorEvent, ()>;

/// Why the monitor ended.
#[derive(Debug, Error)]
pub enum Ended {
    /// The broker is gone, or says something on an edge where it has nothing to say.
    #[error("the edge to the broker has ended: {0}")]
    Broker(#[from] ChannelError),
    /// The broker said something.
    #[error("the broker has spoken where it has nothing to say")]
    BrokerSpoke,
    /// xs-gate is gone or out of step.
    #[error("xenstore cannot be reached: {0}")]
    Xenstore(#[from] xenstore::Error),
    /// poll(2) failed.
    #[error("waiting failed: {0}")]
    Os(#[from] Errno),
}

/// The monitor with its two descriptors.
#[derive(Debug)]
pub struct Shell {
    edge: Edge,
    client: Client,
    monitor: Monitor,
    began: Instant,
}

impl Shell {
    /// Takes the edge to the broker and the stream to xs-gate.
    ///
    /// # Errors
    /// [`Ended::Xenstore`] when the stream does not take what is set on it.
    pub fn new(edge: OwnedFd, gate: OwnedFd) -> Result<Self, Ended> {
        Ok(Self {
            edge: Channel::new(edge),
            client: Client::new(gate)?,
            monitor: Monitor::new(),
            began: Instant::now(),
        })
    }

    /// Works until something ends it.
    pub fn run(&mut self, sandboxed: &Sandboxed) -> Ended {
        let _inside = sandboxed;
        self.serve()
    }

    /// Says why the monitor ended, if the broker is there to hear it.
    pub fn report(&mut self, ended: &Ended) {
        // Nothing is left to do when even this fails: the process ends right after it.
        drop(self.edge.send(&MonitorEvent::Log(LogLine::new(Level::Warning, &ended.to_string()))));
    }

    fn serve(&mut self) -> Ended {
        match self.watch_domains() {
            Err(ended) => ended,
            Ok(()) => loop {
                if let Err(ended) = self.turn() {
                    break ended;
                }
            },
        }
    }

    fn watch_domains(&mut self) -> Result<(), Ended> {
        self.client.watch(&SpecialWatch::IntroduceDomain, Token::plain(KIND_DOMAINS))?;
        // The same token for both: neither says which domain, so one event is as good as two.
        self.client.watch(&SpecialWatch::ReleaseDomain, Token::plain(KIND_DOMAINS))?;
        Ok(())
    }

    /// Some work, then a wait for the next.
    fn turn(&mut self) -> Result<(), Ended> {
        // While the broker does not read, nothing is read of VMs either: what they write waits in xenstore, and only
        // the newest value counts. So no request is lost and no queue grows.
        for _ in 0..TURNS_MAX {
            self.take_events()?;
            if self.edge.wants_write() || !self.has_work() {
                break;
            }
            self.step(Event::Turn)?;
        }
        self.wait()
    }

    fn wait(&mut self) -> Result<(), Ended> {
        let timeout = self.timeout();
        let out = if self.edge.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
        let mut fds = [
            PollFd::from_borrowed_fd(self.edge.as_fd(), PollFlags::IN | out),
            PollFd::from_borrowed_fd(self.client.fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        let [edge, gate] = fds.map(|fd| fd.revents());
        if !edge.is_empty() {
            self.edge.flush()?;
            if let Some(()) = self.edge.receive()? {
                return Err(Ended::BrokerSpoke);
            }
        }
        if !gate.is_empty() {
            self.client.pump()?;
        }
        Ok(())
    }

    /// Nothing when only a descriptor can wake the monitor.
    fn timeout(&self) -> Option<Timespec> {
        if self.edge.wants_write() {
            return None;
        }
        let wake_ms = self.monitor.wake_ms()?;
        let left = Duration::from_millis(wake_ms.saturating_sub(self.now_ms()));
        Timespec::try_from(left).ok()
    }

    fn has_work(&self) -> bool {
        self.monitor.wake_ms().is_some_and(|wake_ms| wake_ms <= self.now_ms())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn take_events(&mut self) -> Result<(), Ended> {
        while let Some(event) = self.client.next_event() {
            let Token { kind, domid, .. } = event.token;
            let event = match (kind, Domid::new(domid)) {
                (KIND_NAME, Ok(domid)) => Event::NodeChanged { domid, node: Node::Name },
                (KIND_QPEN, Ok(domid)) => Event::NodeChanged { domid, node: Node::Qpen },
                // No other token was ever given to the client, and it drops foreign ones.
                (_, _) => Event::DomainsChanged,
            };
            self.step(event)?;
        }
        Ok(())
    }

    /// Gives one event to the machine, and does what it says until nothing follows.
    fn step(&mut self, event: Event) -> Result<(), Ended> {
        let mut actions = VecDeque::from(self.monitor.step(event, self.now_ms()));
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.perform(action)? {
                actions.extend(self.monitor.step(event, self.now_ms()));
            }
        }
        Ok(())
    }

    fn perform(&mut self, action: Action) -> Result<Option<Event>, Ended> {
        match action {
            Action::Tell(event) => {
                self.edge.send(&event)?;
                Ok(None)
            }
            Action::List => {
                let names = recoverable(missing_is_none(self.client.directory(&DomainListPath::new())))?;
                // Without the directory there is no domain.
                let names = names.map(Option::unwrap_or_default);
                Ok(Some(names.map_or(Event::ListFailed, |names| Event::Listed { names })))
            }
            Action::Watch { domid } => {
                let name = self.client.watch(&DomainPath::name(domid), token(KIND_NAME, domid));
                let name = recoverable(name)?;
                let qpen = self.client.watch(&DomainPath::qpen(domid), token(KIND_QPEN, domid));
                let qpen = recoverable(qpen)?;
                Ok(name.and(qpen).map_or(Some(Event::WatchFailed { domid }), |()| None))
            }
            Action::Unwatch { domid } => {
                // That a watch is not there any more is as good.
                recoverable(self.client.unwatch(&DomainPath::name(domid), token(KIND_NAME, domid)))?;
                recoverable(self.client.unwatch(&DomainPath::qpen(domid), token(KIND_QPEN, domid)))?;
                Ok(None)
            }
            Action::Read { domid, node } => {
                let path = match node {
                    Node::Name => DomainPath::name(domid),
                    Node::Qpen => DomainPath::qpen(domid),
                };
                let value = recoverable(missing_is_none(self.client.read(&path)))?;
                Ok(Some(value.map_or(Event::ReadFailed { domid, node }, |untrusted_value| Event::NodeRead {
                    domid,
                    node,
                    untrusted_value,
                })))
            }
        }
    }
}

fn token(kind: u8, domid: Domid) -> Token {
    Token::of_domain(kind, domid.get())
}

/// `None` for an error that the connection survives.
fn recoverable<T>(result: Result<T, xenstore::Error>) -> Result<Option<T>, Ended> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_fatal() => Err(error.into()),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
