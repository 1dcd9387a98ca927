//! The broker's ends of its edges, and who is at the other.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use protocol::attach::{AttachReply, AttachRequest};
use protocol::channel::{Channel, ChannelError};
use protocol::control::{ControlCommand, ControlEvent};
use protocol::dialog::{DialogCommand, DialogEvent};
use protocol::launch::{LaunchReply, LaunchRequest};
use protocol::log::LogLine;
use protocol::monitor::MonitorEvent;
use protocol::notify::Notice;
use protocol::supervise::{Role, SupervisorNotice, SupervisorOrder};

use crate::machine::Event;
use rustix::event::PollFlags;

/// What a worker's edge yields.
#[derive(Debug)]
pub enum Heard {
    /// No message is there.
    Nothing,
    /// A message for the state machine.
    Event(Event),
    /// A line for the log, from a worker that says nothing else.
    Log(LogLine),
}

/// Every edge. Those of workers come and go.
#[derive(Debug)]
pub struct Edges {
    pub supervisor: Channel<SupervisorOrder, SupervisorNotice>,
    attacher: Option<Channel<AttachRequest, AttachReply>>,
    dialog: Option<Channel<DialogCommand, DialogEvent>>,
    launcher: Option<Channel<LaunchRequest, LaunchReply>>,
    control: Option<Channel<ControlCommand, ControlEvent>>,
    monitor: Option<Channel<(), MonitorEvent>>,
    gate: Option<Channel<(), LogLine>>,
    notifier: Option<Channel<Notice, LogLine>>,
}

impl Edges {
    pub fn new(supervisor: Channel<SupervisorOrder, SupervisorNotice>) -> Self {
        Self {
            supervisor,
            attacher: None,
            dialog: None,
            launcher: None,
            control: None,
            monitor: None,
            gate: None,
            notifier: None,
        }
    }

    /// A worker runs, and this is the broker's end of its edge.
    pub fn open(&mut self, role: Role, edge: OwnedFd) {
        match role {
            Role::Attacher => self.attacher = Some(Channel::new(edge)),
            Role::Dialog => self.dialog = Some(Channel::new(edge)),
            Role::Launcher => self.launcher = Some(Channel::new(edge)),
            Role::Control => self.control = Some(Channel::new(edge)),
            Role::Monitor => self.monitor = Some(Channel::new(edge)),
            Role::Gate => self.gate = Some(Channel::new(edge)),
            Role::Notifier => self.notifier = Some(Channel::new(edge)),
            Role::Broker => {}
        }
    }

    /// Nothing is heard from or said to this worker until it was started anew.
    pub fn close(&mut self, role: Role) {
        match role {
            Role::Attacher => self.attacher = None,
            Role::Dialog => self.dialog = None,
            Role::Launcher => self.launcher = None,
            Role::Control => self.control = None,
            Role::Monitor => self.monitor = None,
            Role::Gate => self.gate = None,
            Role::Notifier => self.notifier = None,
            Role::Broker => {}
        }
    }

    /// Every descriptor, and what to wait for there.
    pub fn descriptors(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let supervisor = Some((self.supervisor.as_fd(), both(self.supervisor.wants_write())));
        let attacher = self.attacher.as_ref().map(|edge| (edge.as_fd(), both(edge.wants_write())));
        let dialog = self.dialog.as_ref().map(|edge| (edge.as_fd(), both(edge.wants_write())));
        let launcher = self.launcher.as_ref().map(|edge| (edge.as_fd(), both(edge.wants_write())));
        let control = self.control.as_ref().map(|edge| (edge.as_fd(), either(edge.wants_write())));
        let monitor = self.monitor.as_ref().map(|edge| (edge.as_fd(), PollFlags::IN));
        let gate = self.gate.as_ref().map(|edge| (edge.as_fd(), PollFlags::IN));
        let notifier = self.notifier.as_ref().map(|edge| (edge.as_fd(), both(edge.wants_write())));
        [supervisor, attacher, dialog, launcher, control, monitor, gate, notifier].into_iter().flatten()
    }

    /// Takes one message of a worker, and sends what waited for it.
    pub fn hear(&mut self, role: Role) -> Result<Heard, ChannelError> {
        match role {
            Role::Attacher => hear(self.attacher.as_mut(), |reply| Heard::Event(Event::Attacher(reply))),
            Role::Dialog => hear(self.dialog.as_mut(), |event| Heard::Event(Event::Dialog(event))),
            Role::Launcher => hear(self.launcher.as_mut(), |reply| Heard::Event(Event::Launcher(reply))),
            Role::Control => match &mut self.control {
                // Answers are long. While one waits, no other is made: whoever does not read asks nothing (L18).
                Some(edge) if edge.wants_write() => edge.flush().map(|()| Heard::Nothing),
                edge => hear(edge.as_mut(), |event| Heard::Event(Event::Control(event))),
            },
            Role::Monitor => hear(self.monitor.as_mut(), |event| Heard::Event(Event::Monitor(event))),
            Role::Gate => hear(self.gate.as_mut(), Heard::Log),
            Role::Notifier => hear(self.notifier.as_mut(), Heard::Log),
            Role::Broker => Ok(Heard::Nothing),
        }
    }

    /// Gives the attacher an order. Without an attacher it is dropped: the state machine orders again.
    pub fn order(&mut self, request: &AttachRequest) -> Result<(), ChannelError> {
        self.attacher.as_mut().map_or(Ok(()), |edge| edge.send(request))
    }

    /// Gives dvm-launcher an order. Without one it is dropped: its end has been, or will be, an event.
    pub fn launch(&mut self, request: &LaunchRequest) -> Result<(), ChannelError> {
        self.launcher.as_mut().map_or(Ok(()), |edge| edge.send(request))
    }

    /// Tells the dialog. Without one it is dropped: its end has been, or will be, an event.
    pub fn tell_dialog(&mut self, command: &DialogCommand) -> Result<(), ChannelError> {
        self.dialog.as_mut().map_or(Ok(()), |edge| edge.send(command))
    }

    /// Has the notifier show something. Without one it is dropped: its end has been, or will be, an event.
    pub fn notify(&mut self, notice: &Notice) -> Result<(), ChannelError> {
        self.notifier.as_mut().map_or(Ok(()), |edge| edge.send(notice))
    }

    /// Answers control. Without one it is dropped: whoever asked has lost its connection.
    pub fn tell_control(&mut self, command: &ControlCommand) -> Result<(), ChannelError> {
        self.control.as_mut().map_or(Ok(()), |edge| edge.send(command))
    }
}

/// What to wait for at an edge on which messages may wait.
fn both(wants_write: bool) -> PollFlags {
    if wants_write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
}

/// The same for an edge that is not heard while messages wait.
fn either(wants_write: bool) -> PollFlags {
    if wants_write { PollFlags::OUT } else { PollFlags::IN }
}

fn hear<Out, In>(
    edge: Option<&mut Channel<Out, In>>,
    meaning: impl FnOnce(In) -> Heard,
) -> Result<Heard, ChannelError>
where
    Out: bincode::Encode,
    In: bincode::Decode<()>,
{
    let Some(edge) = edge else { return Ok(Heard::Nothing) };
    edge.flush()?;
    Ok(edge.receive()?.map_or(Heard::Nothing, meaning))
}
