//! The loop of the daemon's first process.
//!
//! *Runs as* whoever starts the daemon, root or not · *Holds* the journal, the image directory, the programs and
//! settings of the workers, its end of the edge to the broker · *May* start workers in namespaces of their own and
//! end them, connect to xenstored for them · *Must never* read a byte that a VM chose, or anything but small typed
//! orders of the broker · *Trusts* the administrator's files, the kernel, xenstored's socket · *Ends when* it is
//! told to (SIGTERM, SIGINT, SIGHUP), or when a worker ends again and again.

mod told;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use protocol::channel::{self, Channel, ChannelError};
use protocol::journald::{Event as Happened, Note};
use protocol::log::Level;
use protocol::supervise::{Ending, Role, SupervisorNotice, SupervisorOrder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sys::sandbox::Sandboxed;
use sys::signals::Signals;
use sys::spawn::{Child, Ended};

use crate::display::Connected;
use crate::machine::{Action, Event, Machine, RESTART_WINDOW_MS, RESTARTS_MAX, Unit, Wanted};
use crate::notify;
use crate::open::Opened;
use crate::watchdog::Watchdog;
use crate::workers::{self, WorkerError};

pub use told::Told;

/// Most orders of the broker that are looked at before everything else has its turn.
const ORDERS_PER_TURN_MAX: usize = 16;

/// Why the daemon gives up.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A worker cannot be started.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A worker ends again and again.
    #[error(
        "{} ended more than {RESTARTS_MAX} times within {} s: giving up, see the lines above",
        name(*.0),
        RESTART_WINDOW_MS / 1000
    )]
    EndsAgainAndAgain(Unit),
    /// The broker cannot be confined.
    #[error(
        "no process of the daemon can be confined on this machine, so it does not begin: see the lines above"
    )]
    NoSandbox,
    /// What runs the toolstack's commands cannot be started again from within the sandbox.
    #[error("dvm-runner ended ({0}), and can be started only with the whole daemon: giving up")]
    RunnerEnded(Ended),
    /// A system call of its own failed.
    #[error("{tried}: {error}")]
    Io {
        /// What was tried.
        tried: &'static str,
        /// The answer.
        error: io::Error,
    },
}

/// The edge to the broker.
type BrokerEdge = Channel<SupervisorNotice, SupervisorOrder>;

/// The daemon's first process.
struct Supervisor<'a> {
    opened: Opened,
    signals: Signals,
    told: Told<'a>,
    watchdog: Option<Watchdog>,
    machine: Machine,
    children: BTreeMap<Role, Child>,
    /// Those that were told to end: their end is no news.
    killed: BTreeSet<Role>,
    /// How others have ended, until it is said.
    unreported: BTreeMap<Role, String>,
    is_ending: bool,
    broker: Option<BrokerEdge>,
    events: VecDeque<Event>,
    began: Instant,
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// [`RunError`]; every worker has been ended then.
pub fn run(
    opened: Opened,
    signals: Signals,
    watchdog: Option<Watchdog>,
    told: Told<'_>,
    _sandboxed: &Sandboxed,
) -> Result<(), RunError> {
    let wanted = Wanted {
        dialog: opened.has_dialog,
        launcher: opened.runner.is_some(),
        notifier: opened.session_bus.is_some(),
    };
    let mut supervisor = Supervisor {
        machine: Machine::new(wanted),
        opened,
        signals,
        told,
        watchdog,
        children: BTreeMap::new(),
        killed: BTreeSet::new(),
        unreported: BTreeMap::new(),
        is_ending: false,
        broker: None,
        events: VecDeque::from([Event::Begin]),
        began: Instant::now(),
    };
    loop {
        while let Some(event) = supervisor.events.pop_front() {
            if let Event::Ended { role, how } = event {
                supervisor.report(role, how);
            }
            let now_ms = supervisor.now_ms();
            for action in supervisor.machine.step(event, now_ms) {
                if supervisor.perform(action)? == Turn::Over {
                    return Ok(());
                }
            }
        }
        supervisor.wait()?;
        if supervisor.machine.next_tick_ms().is_some_and(|due_ms| due_ms <= supervisor.now_ms()) {
            supervisor.events.push_back(Event::Tick);
        }
        supervisor.ask_broker();
    }
}

/// Whether the daemon goes on.
#[derive(PartialEq, Eq)]
enum Turn {
    On,
    Over,
}

impl Supervisor<'_> {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn perform(&mut self, action: Action) -> Result<Turn, RunError> {
        match action {
            Action::Start(unit) => self.start(unit)?,
            Action::Kill(role) => {
                if let Some(child) = self.children.get(&role) {
                    child.kill().map_err(|error| RunError::Io { tried: "ending a worker", error })?;
                    // The broker is ended when its edge breaks, which it does because the broker has ended.
                    if role != Role::Broker || self.is_ending {
                        self.killed.insert(role);
                    }
                }
            }
            Action::Tell(notice) => self.tell(|broker| broker.send(&notice)),
            Action::NotifyReady => {
                self.log(Level::Info, Note::new(Happened::Serving, "requests are served".to_owned()));
                self.notify(notify::READY);
            }
            Action::NotifyStopping => {
                self.is_ending = true;
                let text = "told to end, so all processes are ended".to_owned();
                self.log(Level::Info, Note::new(Happened::Stopping, text));
                self.notify(notify::STOPPING);
            }
            Action::GiveUp(unit) => return Err(RunError::EndsAgainAndAgain(unit)),
            Action::Refuse => return Err(RunError::NoSandbox),
            Action::Exit => return Ok(Turn::Over),
        }
        Ok(Turn::On)
    }

    fn start(&mut self, unit: Unit) -> Result<(), RunError> {
        // The two of the monitoring unit talk over a stream of their own.
        let (mut gates_end, mut monitors_end) = (None, None);
        if unit == Unit::Monitoring {
            let (gate, monitor) = UnixStream::pair().map_err(io_error("making a stream"))?;
            (gates_end, monitors_end) = (Some(OwnedFd::from(gate)), Some(OwnedFd::from(monitor)));
        }
        let mut launchers_end = None;
        if let (Unit::Launcher, Some(runner)) = (unit, &mut self.opened.runner) {
            launchers_end = Some(runner.new_launcher().map_err(io_error("announcing a launcher"))?);
        }
        for role in unit.roles() {
            let stream = match role {
                Role::Gate => gates_end.as_ref(),
                Role::Monitor => monitors_end.as_ref(),
                Role::Launcher => launchers_end.as_ref(),
                Role::Broker | Role::Attacher | Role::Dialog | Role::Control | Role::Notifier => None,
            };
            self.start_one(*role, stream)?;
        }
        Ok(())
    }

    fn start_one(&mut self, role: Role, stream: Option<&OwnedFd>) -> Result<(), RunError> {
        let Some(connected) = self.connect(role) else {
            self.events.push_back(Event::Unconnected(role));
            return Ok(());
        };
        let (far_end, workers_end) =
            channel::pair().map_err(|errno| io_error("making an edge")(errno.into()))?;
        let journald = self.told.log.journald();
        let child = workers::start(role, &self.opened, &workers_end, stream, &connected, journald)?;
        self.children.insert(role, child);
        if role == Role::Broker {
            self.broker = Some(Channel::new(far_end));
            self.watchdog.iter_mut().for_each(Watchdog::broker_started);
        } else {
            self.tell(|broker| broker.send_with(&SupervisorNotice::Started { role }, far_end));
        }
        Ok(())
    }

    /// What a dialog with a window or the notifier is connected to; `None` if that is not there.
    fn connect(&mut self, role: Role) -> Option<Vec<(&'static str, OwnedFd)>> {
        if let (Role::Dialog, Some(display)) = (role, &mut self.opened.display) {
            let attempt = display.connect(&self.opened.null);
            let news = display.news(&attempt);
            self.log_news(role, news);
            let Connected { socket, xauthority } = attempt.ok()?;
            return Some(vec![("display", socket), ("xauthority", xauthority)]);
        }
        if let (Role::Notifier, Some(bus)) = (role, &mut self.opened.session_bus) {
            let attempt = bus.connect();
            let news = bus.news(&attempt);
            self.log_news(role, news);
            return Some(vec![("bus", attempt.ok()?)]);
        }
        Some(Vec::new())
    }

    /// Says something to the broker. One that cannot be told anything is lost.
    fn tell(&mut self, send: impl FnOnce(&mut BrokerEdge) -> Result<(), ChannelError>) {
        if let Some(broker) = &mut self.broker
            && let Err(error) = send(broker)
        {
            self.lose_broker(&error);
        }
    }

    fn lose_broker(&mut self, error: &ChannelError) {
        // When the broker ends, its edge does too; the line about its end says it better.
        if !matches!(error, ChannelError::Closed) {
            self.end_broker(&error.to_string());
        } else {
            self.broker = None;
            self.events.push_back(Event::BrokerLost);
        }
    }

    /// Waits until something happens, and makes events of it.
    fn wait(&mut self) -> Result<(), RunError> {
        let (roles, ready) = self.poll()?;
        let mut ready = ready.into_iter();
        if ready.next() == Some(true) && self.signals.next().map_err(io_error("reading a signal"))?.is_some()
        {
            self.events.push_back(Event::Terminate);
        }
        if let Some(runner) = &mut self.opened.runner
            && ready.next() == Some(true)
            && let Some(ended) = runner.try_wait().map_err(io_error("waiting for dvm-runner"))?
        {
            return Err(RunError::RunnerEnded(ended));
        }
        if self.broker.is_some() && ready.next() == Some(true) {
            self.serve_broker();
        }
        for (role, is_ready) in roles.into_iter().zip(ready) {
            if is_ready {
                self.reap(role)?;
            }
        }
        Ok(())
    }

    /// Which of these is ready: the signals, dvm-runner and the broker's edge if there are any, the workers in this order.
    fn poll(&self) -> Result<(Vec<Role>, Vec<bool>), RunError> {
        let mut waiting = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(runner) = &self.opened.runner {
            waiting.push(PollFd::from_borrowed_fd(runner.pidfd(), PollFlags::IN));
        }
        if let Some(broker) = &self.broker {
            let out = if broker.wants_write() { PollFlags::OUT } else { PollFlags::empty() };
            waiting.push(PollFd::from_borrowed_fd(broker.as_fd(), PollFlags::IN | out));
        }
        let mut roles = Vec::new();
        for (role, child) in &self.children {
            roles.push(*role);
            waiting.push(PollFd::from_borrowed_fd(child.pidfd(), PollFlags::IN));
        }
        let to_ask_ms = self.broker.as_ref().and(self.watchdog.as_ref()).and_then(Watchdog::due_ms);
        let next_ms = self.machine.next_tick_ms().into_iter().chain(to_ask_ms).min();
        let timeout = next_ms.and_then(|due_ms| {
            let left = Duration::from_millis(due_ms.saturating_sub(self.now_ms()));
            Timespec::try_from(left).ok()
        });
        loop {
            match poll(&mut waiting, timeout.as_ref()) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io_error("waiting")(errno.into())),
                Ok(_) => break,
            }
        }
        Ok((roles, waiting.iter().map(|one| !one.revents().is_empty()).collect()))
    }

    fn serve_broker(&mut self) {
        for _ in 0..ORDERS_PER_TURN_MAX {
            let Some(broker) = &mut self.broker else { return };
            match broker.flush().and_then(|()| broker.receive()) {
                Ok(None) => return,
                Ok(Some(SupervisorOrder::Alive { number })) => self.broker_lives(number),
                Ok(Some(order)) => {
                    if let SupervisorOrder::Restart { role } = order {
                        let text = format!("the broker wants {role} to be started anew");
                        self.log(Level::Warning, Note::about_process(Happened::ProcessEnded, role, text));
                    }
                    self.events.push_back(Event::Order(order));
                }
                Err(error) => self.lose_broker(&error),
            }
        }
    }

    fn reap(&mut self, role: Role) -> Result<(), RunError> {
        let Some(child) = self.children.get_mut(&role) else { return Ok(()) };
        let Some(ended) = child.try_wait().map_err(io_error("waiting for a worker"))? else { return Ok(()) };
        let how = match ended {
            Ended::Code(code) => Ending::Code(code),
            Ended::Signal(signal) => Ending::Signal(signal),
        };
        if !self.killed.remove(&role) {
            self.unreported.insert(role, format!("{role} (process {}) ended: {ended}", child.pid()));
        }
        self.children.remove(&role);
        if role == Role::Broker {
            self.broker = None;
        }
        self.events.push_back(Event::Ended { role, how });
        Ok(())
    }

    /// Says that a process has ended, when what it said before has been taken in: what follows depends on that.
    fn report(&mut self, role: Role, how: Ending) {
        let is_refused = self.machine.is_refused(role, how);
        if let Some(ended) = self.unreported.remove(&role) {
            let text = format!("{ended}; {}", what_now(role, is_refused));
            self.told.log.line(Level::Error, &Note::about_process(Happened::ProcessEnded, role, text));
        }
        if role == Role::Broker && !self.is_ending && !is_refused {
            self.notify(notify::RENEWING);
        }
    }
}

/// What follows the end of a process.
fn what_now(role: Role, is_refused: bool) -> &'static str {
    if is_refused {
        return "the daemon ends";
    }
    if role == Role::Broker { "everything is started anew" } else { "it is started anew" }
}

fn io_error(tried: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::Io { tried, error }
}

fn name(unit: Unit) -> String {
    unit.roles().iter().map(|role| role.process()).collect::<Vec<_>>().join(" or ")
}
