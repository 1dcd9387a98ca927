//! The loop of dvm-launcher: it passes messages to the machine and carries out what that decides.

use std::os::fd::OwnedFd;
use std::time::Instant;

use protocol::channel::{Channel, ChannelError};
use protocol::launch::{LaunchReply, LaunchRequest};
use protocol::log::{Level, LogLine};
use protocol::runner::{RunReply, RunRequest};
use protocol::settings::LauncherSettings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sys::sandbox::Sandboxed;

use super::machine::{Action, Event, Machine};

/// Most messages that are taken from one side before the other has its turn.
const MESSAGES_PER_TURN_MAX: usize = 16;
/// Longest sleep, in milliseconds, when no deadline is nearer.
const SLEEP_MS_MAX: u64 = 60_000;

/// Why dvm-launcher ends.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The edge to the broker.
    #[error("the edge to the broker: {0}")]
    Broker(ChannelError),
    /// The edge to the runner.
    #[error("the edge to dvm-runner: {0}")]
    Runner(ChannelError),
    /// Somebody does not keep to the protocol.
    #[error("{0}")]
    Breach(&'static str),
    /// The kernel refused to wait.
    #[error("poll: {0}")]
    Poll(Errno),
}

type BrokerEdge = Channel<LaunchReply, LaunchRequest>;
type RunnerEdge = Channel<RunRequest, RunReply>;

/// Runs until the broker or the runner is gone. `Ok` is the broker's end.
///
/// # Errors
/// [`Ended`]; it has been told to the broker.
pub fn run(
    broker: OwnedFd,
    runner: OwnedFd,
    settings: LauncherSettings,
    _confined: &Sandboxed,
) -> Result<(), Ended> {
    let mut launcher = Launcher {
        broker: Channel::new(broker),
        runner: Channel::new(runner),
        machine: Machine::new(settings),
        began: Instant::now(),
    };
    loop {
        match launcher.turn() {
            Ok(()) => {}
            Err(Ended::Broker(ChannelError::Closed)) => return Ok(()),
            Err(ended) => {
                // The edge may be what is broken.
                let line = LogLine::new(Level::Error, &format!("the launcher ends: {ended}"));
                let _ = launcher.broker.send(&LaunchReply::Log(line));
                return Err(ended);
            }
        }
    }
}

struct Launcher {
    broker: BrokerEdge,
    runner: RunnerEdge,
    machine: Machine,
    began: Instant,
}

impl Launcher {
    fn turn(&mut self) -> Result<(), Ended> {
        self.wait()?;
        self.broker.flush().map_err(Ended::Broker)?;
        self.runner.flush().map_err(Ended::Runner)?;
        for _ in 0..MESSAGES_PER_TURN_MAX {
            let Some(request) = self.broker.receive().map_err(Ended::Broker)? else { break };
            self.step(Event::Order(request))?;
        }
        for _ in 0..MESSAGES_PER_TURN_MAX {
            let Some(reply) = self.runner.receive().map_err(Ended::Runner)? else { break };
            self.step(Event::Ran(reply))?;
        }
        self.step(Event::Tick)
    }

    fn step(&mut self, event: Event) -> Result<(), Ended> {
        let now_ms = self.now_ms();
        for action in self.machine.step(event, now_ms) {
            match action {
                Action::Tell(reply) => self.broker.send(&reply).map_err(Ended::Broker)?,
                Action::Run(request) => self.runner.send(&request).map_err(Ended::Runner)?,
                Action::GiveUp(why) => return Err(Ended::Breach(why)),
            }
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wait(&self) -> Result<(), Ended> {
        let due_ms = self.machine.deadline_ms().unwrap_or(u64::MAX);
        let sleep_ms = due_ms.saturating_sub(self.now_ms()).min(SLEEP_MS_MAX);
        let timeout = Timespec {
            tv_sec: i64::try_from(sleep_ms / 1000).unwrap_or_default(),
            tv_nsec: i64::try_from(sleep_ms % 1000 * 1_000_000).unwrap_or_default(),
        };
        let flags = |wants_write| if wants_write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut waiting = [
            PollFd::new(&self.broker, flags(self.broker.wants_write())),
            PollFd::new(&self.runner, flags(self.runner.wants_write())),
        ];
        match poll(&mut waiting, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Ended::Poll(errno)),
        }
    }
}
