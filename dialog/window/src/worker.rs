//! The loop of the dialog with a window: waits, hands what happened to [`step`], and shows what comes of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dialog::queue::Breach;
use dialog::window::{Action, Event, State, View, step};
use dialog::worker::BrokerEdge;
use protocol::channel::ChannelError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sys::sandbox::Sandboxed;

use crate::picture::Picture;
use crate::screen::{Screen, ScreenError};

/// Most events of the display that are looked at before everything else has its turn.
const EVENTS_PER_TURN_MAX: usize = 64;

/// Why the dialog cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The broker is gone, or sends what it must not.
    #[error("the broker's edge: {0}")]
    Edge(#[from] ChannelError),
    /// The broker asks what it must not.
    #[error(transparent)]
    Breach(#[from] Breach),
    /// The display is gone.
    #[error(transparent)]
    Screen(#[from] ScreenError),
    /// The kernel refused to wait.
    #[error("poll failed: {0}")]
    Poll(#[from] Errno),
}

struct Worker<'a> {
    edge: &'a mut BrokerEdge,
    screen: Screen,
    picture: Picture,
    state: State,
    /// What is on the screen.
    view: View,
    started: Instant,
}

/// Puts questions to the person until the broker or the display goes away.
///
/// # Errors
/// Why it cannot go on; [`ChannelError::Closed`] is the usual end.
pub fn run(
    edge: &mut BrokerEdge,
    screen: Screen,
    picture: Picture,
    _sandboxed: &Sandboxed,
) -> Result<(), WorkerError> {
    let (state, started) = (State::default(), Instant::now());
    let mut worker = Worker { edge, screen, picture, state, view: View::Nothing, started };
    loop {
        worker.edge.flush()?;
        // The broker first: a question that it takes away must not be answered by what was pressed meanwhile.
        while let Some(command) = worker.edge.receive()? {
            worker.handle(Event::Command(command))?;
        }
        let is_more_to_come = worker.hear_display()?;
        worker.handle(Event::Tick)?;
        worker.draw()?;
        if !is_more_to_come {
            worker.wait()?;
        }
    }
}

impl Worker<'_> {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes what the display has said; whether there may be more.
    fn hear_display(&mut self) -> Result<bool, WorkerError> {
        for _ in 0..EVENTS_PER_TURN_MAX {
            let Some(event) = self.screen.event(&self.picture)? else { return Ok(false) };
            self.handle(event)?;
        }
        Ok(true)
    }

    /// Takes one event, and those that follow from doing what it asks for.
    fn handle(&mut self, event: Event) -> Result<(), WorkerError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (state, actions) = step(std::mem::take(&mut self.state), event, self.now_ms());
            self.state = state;
            for action in actions {
                match action {
                    Action::Send(event) => self.edge.send(&event)?,
                    Action::LookAtHands => self.look_at_hands(&mut events)?,
                    Action::End(breach) => return Err(breach.into()),
                }
            }
        }
        Ok(())
    }

    /// What was pressed before the display answered comes before its answer.
    fn look_at_hands(&mut self, events: &mut VecDeque<Event>) -> Result<(), WorkerError> {
        let are_free = self.screen.hands_are_free()?;
        for _ in 0..EVENTS_PER_TURN_MAX {
            match self.screen.event(&self.picture)? {
                Some(event) => events.push_back(event),
                None => {
                    events.push_back(Event::HandsFree(are_free));
                    return Ok(());
                }
            }
        }
        // Whoever presses so much has no free hands.
        events.push_back(Event::HandsFree(false));
        Ok(())
    }

    fn draw(&mut self) -> Result<(), WorkerError> {
        let view = self.state.view(self.now_ms());
        if view == self.view {
            return Ok(());
        }
        let rows = self.picture.draw(&view);
        self.screen.show(view != View::Nothing)?;
        if let Some(rows) = rows {
            self.screen.put(&self.picture, rows)?;
        }
        self.view = view;
        Ok(())
    }

    fn wait(&self) -> Result<(), WorkerError> {
        let writes = if self.edge.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
        let display = self.screen.socket();
        let mut fds =
            [PollFd::new(&*self.edge, PollFlags::IN | writes), PollFd::new(&display, PollFlags::IN)];
        let now_ms = self.now_ms();
        let timeout = self.state.next_tick_ms(now_ms).and_then(|tick_ms| {
            Timespec::try_from(Duration::from_millis(tick_ms.saturating_sub(now_ms))).ok()
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
