//! What the launcher does about each event: pure, and bounded by [`LAUNCHES_OPEN_MAX`] orders.
//!
//! An order to create goes through these stages; what is not configured is left out.
//!
//! | stage | waits for | then |
//! |---|---|---|
//! | `Looking` | the ages of template and base | good: `Weighing`; too old: `Rebuilding`, or a refusal |
//! | `Rebuilding` | the one rebuild, which all such orders share | ended well: `Looking` again; else a refusal |
//! | `Weighing` | the one look at the memory, which all such orders share | enough: `Making`; else a refusal |
//! | `Making` | the command | its end is the answer |
//!
//! An order to destroy is `Ending` until its command ends, and `Asking` when that failed: one that does not exist is
//! destroyed. A command that takes too long is told to end, and its order is answered when it has, or
//! [`END_MS_MAX`] later.

mod words;

use std::collections::BTreeMap;

use protocol::launch::{
    DisposableNumber, LAUNCHES_OPEN_MAX, LaunchFailure, LaunchId, LaunchOrder, LaunchOutcome, LaunchReply,
    LaunchRequest,
};
use protocol::log::{Level, LogLine};
use protocol::runner::{Command, JobId, Modified, RunEnd, RunOutput, RunReply, RunRequest};
use protocol::settings::LauncherSettings;

use words::{account, name, read_memory};

/// How long a command may take to end when it was told to, in milliseconds.
pub const END_MS_MAX: u64 = 5_000;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The broker orders something.
    Order(LaunchRequest),
    /// The runner answers.
    Ran(RunReply),
    /// Time has passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell the broker.
    Tell(LaunchReply),
    /// Ask the runner.
    Run(RunRequest),
    /// Give up: somebody does not keep to the protocol, or does not answer.
    GiveUp(&'static str),
}

/// Where an order to create is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// `rebuilt`: the template was made anew for it already.
    Looking {
        rebuilt: bool,
    },
    Rebuilding,
    Weighing,
    Making,
    Ending,
    Asking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    order: LaunchOrder,
    stage: Stage,
}

/// Whose command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// One order's.
    Order(LaunchId),
    /// That of all orders that wait for the template.
    Rebuild,
    /// That of all orders that wait for memory. Those that were `Making` when it began may have taken none yet.
    Weigh { making: usize },
    /// Nobody's any more: its order was answered without it.
    Nobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    purpose: Purpose,
    command: Command,
    deadline_ms: u64,
    /// It took too long, and was told to end.
    told_to_end: bool,
}

/// Every open order, and every command that runs.
#[derive(Debug)]
pub struct Machine {
    settings: LauncherSettings,
    orders: BTreeMap<LaunchId, Open>,
    runs: BTreeMap<JobId, Run>,
    /// When the runner must have said how old the template is.
    look_deadline_ms: Option<u64>,
    next_job: u32,
    actions: Vec<Action>,
}

impl Machine {
    /// Begins with nothing open.
    #[must_use]
    pub fn new(settings: LauncherSettings) -> Self {
        let (orders, runs) = (BTreeMap::new(), BTreeMap::new());
        Self { settings, orders, runs, look_deadline_ms: None, next_job: 1, actions: Vec::new() }
    }

    /// Takes one event. `now_ms` is any clock that never goes back.
    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        match event {
            Event::Order(request) => self.ordered(request, now_ms),
            Event::Ran(RunReply::Ended { job, how, output }) => self.ended(job, how, &output, now_ms),
            Event::Ran(RunReply::Seen { template, base }) => self.seen(template, base, now_ms),
            Event::Tick => {}
        }
        self.time_passed(now_ms);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        let runs = self.runs.values().filter(|run| run.purpose != Purpose::Nobody);
        runs.map(|run| run.deadline_ms).chain(self.look_deadline_ms).min()
    }

    fn ordered(&mut self, LaunchRequest { id, order }: LaunchRequest, now_ms: u64) {
        let number = number_of(order);
        if self.orders.contains_key(&id) {
            return self.actions.push(Action::GiveUp("the broker uses the number of an open order again"));
        }
        let is_taken = self.orders.values().any(|open| number_of(open.order) == number);
        if is_taken || self.orders.len() >= LAUNCHES_OPEN_MAX {
            return self.tell(LaunchReply::Finished { id, outcome: failed(LaunchFailure::Conflict) });
        }
        match order {
            LaunchOrder::Create { .. } => {
                self.orders.insert(id, Open { order, stage: Stage::Looking { rebuilt: false } });
                if !self.settings.has_template {
                    self.weigh(&[id], now_ms);
                } else if self.is_running(|purpose| purpose == Purpose::Rebuild) {
                    // The file that is there may be half of one.
                    self.await_rebuild(id);
                } else {
                    self.look(now_ms);
                }
            }
            LaunchOrder::Destroy { number } => {
                self.orders.insert(id, Open { order, stage: Stage::Ending });
                self.run(Purpose::Order(id), Command::Destroy { number }, now_ms);
            }
        }
    }

    fn look(&mut self, now_ms: u64) {
        if self.look_deadline_ms.is_none() {
            self.look_deadline_ms = Some(now_ms.saturating_add(u64::from(self.settings.ask_ms_max)));
            self.actions.push(Action::Run(RunRequest::Look));
        }
    }

    fn seen(&mut self, template: Option<Modified>, base: Option<Modified>, now_ms: u64) {
        if self.look_deadline_ms.take().is_none() {
            return self.actions.push(Action::GiveUp("dvm-runner answers what was not asked"));
        }
        let has_base = self.settings.has_base;
        let is_good = template.is_some() && (!has_base || base.is_some() && template >= base);
        let first = self.at(|stage| stage == Stage::Looking { rebuilt: false });
        let again = self.at(|stage| stage == Stage::Looking { rebuilt: true });
        if is_good {
            self.weigh(&[first, again].concat(), now_ms);
            return;
        }
        let reason = match (template, base) {
            (_, None) if has_base => "the base of the template is missing",
            (None, _) => "the template is missing",
            (Some(_), _) => "the template is older than its base",
        };
        for id in again {
            self.log(Level::Error, &format!("after the template was rebuilt: {reason}"));
            self.finish(id, failed(LaunchFailure::RebuildFailed));
        }
        if first.is_empty() {
            return;
        }
        if !self.settings.has_rebuild || has_base && base.is_none() {
            self.log(Level::Error, reason);
            first.into_iter().for_each(|id| self.finish(id, failed(LaunchFailure::NoTemplate)));
        } else {
            self.log(Level::Info, &format!("{reason}, so it is made anew"));
            first.into_iter().for_each(|id| self.await_rebuild(id));
            self.run(Purpose::Rebuild, Command::Rebuild, now_ms);
        }
    }

    fn await_rebuild(&mut self, id: LaunchId) {
        self.move_to(id, Stage::Rebuilding);
        self.tell(LaunchReply::Rebuilding { id });
    }

    fn weigh(&mut self, orders: &[LaunchId], now_ms: u64) {
        orders.iter().for_each(|id| self.move_to(*id, Stage::Weighing));
        if !self.settings.has_free_memory {
            self.make(orders, now_ms);
        } else if !orders.is_empty() && !self.is_running(|purpose| matches!(purpose, Purpose::Weigh { .. })) {
            let making = self.at(|stage| stage == Stage::Making).len();
            self.run(Purpose::Weigh { making }, Command::FreeMemory, now_ms);
        }
    }

    fn make(&mut self, orders: &[LaunchId], now_ms: u64) {
        for id in orders {
            let Some(Open { order: LaunchOrder::Create { number }, .. }) = self.orders.get(id).copied()
            else {
                continue;
            };
            self.move_to(*id, Stage::Making);
            self.run(Purpose::Order(*id), Command::Create { number }, now_ms);
        }
    }

    fn run(&mut self, purpose: Purpose, command: Command, now_ms: u64) {
        let limits = &self.settings;
        let ms_max = match command {
            Command::Create { .. } => limits.create_ms_max,
            Command::Destroy { .. } => limits.destroy_ms_max,
            Command::Rebuild => limits.rebuild_ms_max,
            Command::Exists { .. } | Command::FreeMemory => limits.ask_ms_max,
        };
        let deadline_ms = now_ms.saturating_add(u64::from(ms_max));
        let job = JobId(self.next_job);
        self.next_job = self.next_job.wrapping_add(1);
        self.runs.insert(job, Run { purpose, command, deadline_ms, told_to_end: false });
        self.actions.push(Action::Run(RunRequest::Start { job, command }));
    }

    fn ended(&mut self, job: JobId, how: RunEnd, output: &RunOutput, now_ms: u64) {
        let Some(run) = self.runs.remove(&job) else {
            return self
                .actions
                .push(Action::GiveUp("dvm-runner tells the end of a command that does not run"));
        };
        let is_answer = matches!((run.command, how), (Command::Exists { .. }, RunEnd::Code(_)));
        if !run.told_to_end && how != RunEnd::Code(0) && !is_answer {
            self.log(Level::Warning, &account(run.command, how, output));
        }
        let result = match how {
            _ if run.told_to_end => Err(LaunchFailure::TimedOut),
            RunEnd::Code(0) => Ok(()),
            RunEnd::Code(_) | RunEnd::Signal(_) => Err(LaunchFailure::CommandFailed),
            RunEnd::NotStarted(_) => Err(LaunchFailure::NotStarted),
        };
        match run.purpose {
            Purpose::Nobody => {}
            Purpose::Rebuild => self.rebuilt(result, now_ms),
            Purpose::Weigh { making } => {
                let free_mib = result.and_then(|()| read_memory(output).ok_or(LaunchFailure::CommandFailed));
                self.weighed(free_mib, making, now_ms);
            }
            Purpose::Order(id) => self.order_ended(id, result, how, now_ms),
        }
    }

    fn order_ended(&mut self, id: LaunchId, result: Result<(), LaunchFailure>, how: RunEnd, now_ms: u64) {
        let Some(open) = self.orders.get(&id).copied() else { return };
        let outcome = result.map_or_else(LaunchOutcome::Failed, |()| LaunchOutcome::Done);
        match (open.stage, open.order) {
            (Stage::Ending, LaunchOrder::Destroy { number })
                if self.settings.has_exists && result == Err(LaunchFailure::CommandFailed) =>
            {
                self.move_to(id, Stage::Asking);
                self.run(Purpose::Order(id), Command::Exists { number }, now_ms);
            }
            (Stage::Asking, LaunchOrder::Destroy { number }) => {
                // A code other than 0 says that there is none. Every other end says nothing.
                let is_gone = matches!(how, RunEnd::Code(code) if code != 0);
                if is_gone && result != Err(LaunchFailure::TimedOut) {
                    self.log(Level::Info, &format!("{number} does not exist"));
                    self.finish(id, LaunchOutcome::Done);
                } else {
                    self.finish(id, failed(LaunchFailure::CommandFailed));
                }
            }
            (_, LaunchOrder::Create { .. } | LaunchOrder::Destroy { .. }) => self.finish(id, outcome),
        }
    }

    fn rebuilt(&mut self, result: Result<(), LaunchFailure>, now_ms: u64) {
        let waiting = self.at(|stage| stage == Stage::Rebuilding);
        for id in &waiting {
            if result.is_ok() {
                self.move_to(*id, Stage::Looking { rebuilt: true });
            } else {
                self.finish(*id, failed(LaunchFailure::RebuildFailed));
            }
        }
        if result.is_ok() && !waiting.is_empty() {
            self.look(now_ms);
        }
    }

    /// Each order in turn: what is being made may still take its memory, so it is counted as well.
    fn weighed(&mut self, free_mib: Result<u64, LaunchFailure>, making: usize, now_ms: u64) {
        let waiting = self.at(|stage| stage == Stage::Weighing);
        let free_mib = match free_mib {
            Ok(free_mib) => free_mib,
            Err(failure) => {
                self.log(Level::Error, "the free memory is not known, so no DisposableVM is made");
                waiting.into_iter().for_each(|id| self.finish(id, failed(failure)));
                return;
            }
        };
        let each_mib = u64::from(self.settings.memory_mib_min);
        let mut needed_mib = u64::try_from(making).unwrap_or(u64::MAX).saturating_mul(each_mib);
        for id in waiting {
            needed_mib = needed_mib.saturating_add(each_mib);
            if needed_mib <= free_mib {
                self.make(&[id], now_ms);
            } else {
                let text = format!("{free_mib} MiB are free, {needed_mib} MiB are needed");
                self.log(Level::Warning, &text);
                self.finish(id, failed(LaunchFailure::NoMemory));
            }
        }
    }

    fn time_passed(&mut self, now_ms: u64) {
        if self.look_deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            self.actions.push(Action::GiveUp("dvm-runner does not answer"));
        }
        let is_due = |run: &Run| run.purpose != Purpose::Nobody && run.deadline_ms <= now_ms;
        let due = self.runs.iter().filter(|(_, run)| is_due(run));
        let due: Vec<(JobId, Run)> = due.map(|(job, run)| (*job, *run)).collect();
        for (job, run) in due {
            if run.told_to_end {
                // It may be stuck in the kernel. It stays known, so that its end is no surprise.
                self.give_up_on(job, run, now_ms);
            } else {
                self.log(Level::Error, &format!("{} took too long and is ended", name(run.command)));
                let deadline_ms = now_ms.saturating_add(END_MS_MAX);
                self.runs.insert(job, Run { told_to_end: true, deadline_ms, ..run });
                self.actions.push(Action::Run(RunRequest::End { job }));
            }
        }
    }

    fn give_up_on(&mut self, job: JobId, run: Run, now_ms: u64) {
        self.log(Level::Error, &format!("{} does not end", name(run.command)));
        self.runs.insert(job, Run { purpose: Purpose::Nobody, ..run });
        let result = Err(LaunchFailure::TimedOut);
        match run.purpose {
            Purpose::Nobody => {}
            Purpose::Rebuild => self.rebuilt(result, now_ms),
            Purpose::Weigh { making } => self.weighed(Err(LaunchFailure::TimedOut), making, now_ms),
            Purpose::Order(id) => self.finish(id, failed(LaunchFailure::TimedOut)),
        }
    }

    fn at(&self, wanted: impl Fn(Stage) -> bool) -> Vec<LaunchId> {
        self.orders.iter().filter(|(_, open)| wanted(open.stage)).map(|(id, _)| *id).collect()
    }

    fn is_running(&self, wanted: impl Fn(Purpose) -> bool) -> bool {
        self.runs.values().any(|run| wanted(run.purpose))
    }

    fn move_to(&mut self, id: LaunchId, stage: Stage) {
        if let Some(open) = self.orders.get_mut(&id) {
            open.stage = stage;
        }
    }

    fn finish(&mut self, id: LaunchId, outcome: LaunchOutcome) {
        if self.orders.remove(&id).is_some() {
            self.tell(LaunchReply::Finished { id, outcome });
        }
    }

    fn tell(&mut self, reply: LaunchReply) {
        self.actions.push(Action::Tell(reply));
    }

    fn log(&mut self, level: Level, text: &str) {
        self.tell(LaunchReply::Log(LogLine::new(level, text)));
    }
}

fn failed(failure: LaunchFailure) -> LaunchOutcome {
    LaunchOutcome::Failed(failure)
}

fn number_of(order: LaunchOrder) -> DisposableNumber {
    match order {
        LaunchOrder::Create { number } | LaunchOrder::Destroy { number } => number,
    }
}

#[cfg(test)]
mod tests;
