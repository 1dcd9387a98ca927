//! dvm-launcher: whatever the toolstack prints and however its commands end, each order is answered once, and nothing
//! but a command that was asked for is run.

use std::collections::BTreeMap;

use attacher::launcher::machine::{Action, Event, Machine};
use protocol::launch::{
    DisposableNumber, LAUNCHES_OPEN_MAX, LaunchId, LaunchOrder, LaunchReply, LaunchRequest,
};
use protocol::runner::{Command, JOBS_MAX, JobId, Modified, RunEnd, RunOutput, RunReply, RunRequest};
use protocol::settings::LauncherSettings;

use crate::bytes::Bytes;

/// Events of one input.
const EVENTS_MAX: usize = 200;

struct Talk {
    machine: Machine,
    now_ms: u64,
    last_id: u64,
    /// Orders that wait for an answer.
    open: BTreeMap<LaunchId, LaunchOrder>,
    runs: BTreeMap<JobId, Command>,
    looks: usize,
    gave_up: bool,
}

pub(crate) fn run(mut bytes: Bytes<'_>) {
    let mut talk = Talk {
        machine: Machine::new(settings(&mut bytes)),
        now_ms: 0,
        last_id: 0,
        open: BTreeMap::new(),
        runs: BTreeMap::new(),
        looks: 0,
        gave_up: false,
    };
    for _ in 0..EVENTS_MAX {
        if bytes.is_empty() || talk.gave_up {
            break;
        }
        talk.step(&mut bytes);
    }
    talk.settle();
}

fn settings(bytes: &mut Bytes<'_>) -> LauncherSettings {
    let has_template = bytes.flag();
    LauncherSettings {
        has_exists: bytes.flag(),
        has_rebuild: bytes.flag() && has_template,
        has_free_memory: bytes.flag(),
        has_template,
        has_base: bytes.flag() && has_template,
        memory_mib_min: 300,
        create_ms_max: 60_000,
        destroy_ms_max: 30_000,
        rebuild_ms_max: 600_000,
        ask_ms_max: 5_000,
    }
}

impl Talk {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(8) {
            0 | 1 => {
                let number = DisposableNumber::new(u32::from(bytes.byte() % 12) + 1).expect("a number");
                let is_create = bytes.below(3) > 0;
                let order =
                    if is_create { LaunchOrder::Create { number } } else { LaunchOrder::Destroy { number } };
                self.last_id += 1;
                let id = LaunchId(self.last_id);
                self.open.insert(id, order);
                self.event(Event::Order(LaunchRequest { id, order }));
            }
            2 if self.looks > 0 => {
                self.looks -= 1;
                let mut age = || bytes.flag().then(|| Modified(i64::from(bytes.byte()), 0));
                let (template, base) = (age(), age());
                self.event(Event::Ran(RunReply::Seen { template, base }));
            }
            3 => {
                self.now_ms += u64::from(bytes.half()) * 8;
                self.event(Event::Tick);
            }
            _ => {
                let Some(job) = self.runs.keys().nth(bytes.below(8)).copied() else { return };
                let code = i32::from(bytes.byte().cast_signed());
                let how = match bytes.below(6) {
                    0 => RunEnd::Signal(code),
                    1 => RunEnd::NotStarted(code),
                    2 => RunEnd::Code(code),
                    _ => RunEnd::Code(0),
                };
                let length = bytes.half() % 400;
                self.ends(job, how, bytes.take(length.into()));
            }
        }
    }

    fn ends(&mut self, job: JobId, how: RunEnd, untrusted_printed: &[u8]) {
        self.runs.remove(&job);
        let output = RunOutput::last_of(untrusted_printed);
        self.event(Event::Ran(RunReply::Ended { job, how, output }));
    }

    fn event(&mut self, event: Event) {
        for action in self.machine.step(event, self.now_ms) {
            match action {
                Action::Tell(LaunchReply::Finished { id, .. }) => {
                    assert!(self.open.remove(&id).is_some(), "{id:?} is answered twice");
                }
                Action::Tell(LaunchReply::Rebuilding { id }) => assert!(self.open.contains_key(&id)),
                Action::Tell(LaunchReply::Log(line)) => {
                    assert!(line.text.as_str().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
                }
                Action::Run(RunRequest::Start { job, command }) => {
                    assert!(self.runs.insert(job, command).is_none(), "{job:?} runs already");
                    self.is_asked_for(command);
                }
                Action::Run(RunRequest::End { job }) => assert!(self.runs.contains_key(&job)),
                Action::Run(RunRequest::Look) => self.looks += 1,
                // Only dvm-runner's silence is a reason here.
                Action::GiveUp(why) => {
                    assert_eq!(why, "dvm-runner does not answer");
                    self.gave_up = true;
                }
            }
        }
        assert!(self.open.len() <= LAUNCHES_OPEN_MAX && self.looks <= 1);
    }

    /// A VM is made or ended only by an order that names it.
    fn is_asked_for(&self, command: Command) {
        let is_open = |wanted: LaunchOrder| self.open.values().any(|order| *order == wanted);
        let asked = match command {
            Command::Create { number } => is_open(LaunchOrder::Create { number }),
            Command::Destroy { number } | Command::Exists { number } => {
                is_open(LaunchOrder::Destroy { number })
            }
            Command::Rebuild | Command::FreeMemory => !self.open.is_empty(),
        };
        assert!(asked, "{command:?} was not asked for: {:?}", self.open);
    }

    /// When every command ends, every order is answered.
    fn settle(&mut self) {
        for _ in 0..8 * JOBS_MAX {
            if self.gave_up {
                return;
            }
            if self.looks > 0 {
                self.looks -= 1;
                let age = Some(Modified(1, 0));
                self.event(Event::Ran(RunReply::Seen { template: age, base: age }));
            } else if let Some(job) = self.runs.keys().next().copied() {
                self.ends(job, RunEnd::Code(0), b"4096\n");
            }
        }
        assert!(self.runs.is_empty() && self.open.is_empty(), "left over: {:?} {:?}", self.runs, self.open);
    }
}
