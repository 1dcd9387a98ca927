//! The dialog's loop: waits, hands what happened to [`step`], and does what it says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::channel::{Channel, ChannelError};
use protocol::dialog::{DialogCommand, DialogEvent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sys::sandbox::Sandboxed;

use crate::queue::Breach;
use crate::state::{Action, Event, State, step};
use crate::terminal::{Drained, Input, Terminal};

/// The broker's edge, seen from here.
pub type BrokerEdge = Channel<DialogEvent, DialogCommand>;

/// Why the dialog cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The broker is gone, or sends what it must not.
    #[error("the broker's edge: {0}")]
    Edge(#[from] ChannelError),
    /// The broker asks what it must not.
    #[error(transparent)]
    Breach(#[from] Breach),
    /// The kernel refused to wait.
    #[error("poll failed: {0}")]
    Poll(#[from] Errno),
}

struct Worker<'a> {
    edge: BrokerEdge,
    terminal: Terminal<'a>,
    state: State,
    started: Instant,
}

/// Puts questions to the person until the broker goes away.
///
/// # Errors
/// Why it cannot go on; [`ChannelError::Closed`] is the usual end.
pub fn run(edge: BrokerEdge, terminal: Terminal<'_>, _sandboxed: &Sandboxed) -> Result<(), WorkerError> {
    let mut worker = Worker { edge, terminal, state: State::default(), started: Instant::now() };
    loop {
        let ready = worker.wait()?;
        if ready.edge_takes {
            worker.edge.flush()?;
        }
        if ready.terminal_takes && worker.terminal.flush().is_err() {
            worker.handle(Event::InputEnded)?;
        }
        // The broker first: a question that it takes away must not be answered by what was typed meanwhile.
        while let Some(command) = worker.edge.receive()? {
            worker.handle(Event::Command(command))?;
        }
        if ready.typed {
            match worker.terminal.read() {
                Input::Bytes(bytes) => worker.handle(Event::Input(bytes))?,
                Input::Nothing => {}
                Input::Ended => worker.handle(Event::InputEnded)?,
            }
        }
        worker.handle(Event::Tick)?;
    }
}

/// What [`Worker::wait`] waited for.
struct Ready {
    edge_takes: bool,
    typed: bool,
    terminal_takes: bool,
}

impl Worker<'_> {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until something can be done. Input is not looked at while nothing is asked: it stays where it is until
    /// the next question drops it.
    fn wait(&self) -> Result<Ready, Errno> {
        let edge_events =
            if self.edge.wants_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let (input, output) = (self.terminal.input(), self.terminal.output());
        let mut fds = vec![PollFd::new(&self.edge, edge_events)];
        if self.state.is_asking() {
            fds.push(PollFd::new(&input, PollFlags::IN));
        }
        if self.terminal.wants_write() {
            fds.push(PollFd::new(&output, PollFlags::OUT));
        }
        let timeout = self.state.next_tick_ms().and_then(|tick_ms| {
            let left = Duration::from_millis(tick_ms.saturating_sub(self.now_ms()));
            Timespec::try_from(left).ok()
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let edge_takes = ready.next().unwrap_or_default() && self.edge.wants_write();
        let typed = self.state.is_asking() && ready.next().unwrap_or_default();
        let terminal_takes = self.terminal.wants_write() && ready.next().unwrap_or_default();
        Ok(Ready { edge_takes, typed, terminal_takes })
    }

    /// Takes one event, and those that follow from doing what it asks for: at most a few for each open question.
    fn handle(&mut self, event: Event) -> Result<(), WorkerError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (state, actions) = step(std::mem::take(&mut self.state), event, self.now_ms());
            self.state = state;
            for action in actions {
                events.extend(self.act(action)?);
            }
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<Option<Event>, WorkerError> {
        match action {
            Action::Drain => Ok(match self.terminal.drain() {
                Drained::Clean => None,
                Drained::MidLine => Some(Event::DrainedMidLine),
                Drained::Ended => Some(Event::InputEnded),
            }),
            Action::Print(text) => Ok(self.terminal.print(&text).err().map(|_| Event::InputEnded)),
            Action::Send(event) => {
                self.edge.send(&event)?;
                Ok(None)
            }
            Action::End(breach) => Err(breach.into()),
        }
    }
}
