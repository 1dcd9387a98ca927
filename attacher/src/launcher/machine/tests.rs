//! Every stage of an order with every event, and what the launcher promises across many steps.

use protocol::launch::DISPOSABLE_NUMBER_MAX;
use protocol::runner::OUTPUT_BYTES_MAX;

use super::*;

mod matrix;
mod promises;

const CREATE_MS: u32 = 1_000;
const REBUILD_MS: u32 = 10_000;
const ASK_MS: u32 = 100;

/// Everything is configured, and a VM needs 100 MiB.
fn settings() -> LauncherSettings {
    LauncherSettings {
        has_exists: true,
        has_rebuild: true,
        has_free_memory: true,
        has_template: true,
        has_base: true,
        memory_mib_min: 100,
        create_ms_max: CREATE_MS,
        destroy_ms_max: CREATE_MS,
        rebuild_ms_max: REBUILD_MS,
        ask_ms_max: ASK_MS,
    }
}

/// Nothing is looked at before a VM is made.
fn plain() -> LauncherSettings {
    LauncherSettings {
        has_exists: false,
        has_rebuild: false,
        has_free_memory: false,
        has_template: false,
        has_base: false,
        ..settings()
    }
}

fn number(number: u32) -> DisposableNumber {
    DisposableNumber::new(number).unwrap()
}

fn create(id: u64) -> Event {
    let number = number(u32::try_from(id).unwrap());
    Event::Order(LaunchRequest { id: LaunchId(id), order: LaunchOrder::Create { number } })
}

fn destroy(id: u64, of: u32) -> Event {
    Event::Order(LaunchRequest { id: LaunchId(id), order: LaunchOrder::Destroy { number: number(of) } })
}

fn seen(template: Option<i64>, base: Option<i64>) -> Event {
    let at = |seconds| Modified(seconds, 0);
    Event::Ran(RunReply::Seen { template: template.map(at), base: base.map(at) })
}

fn good() -> Event {
    seen(Some(2), Some(1))
}

fn stale() -> Event {
    seen(Some(1), Some(2))
}

fn ran(job: u32, how: RunEnd, output: &str) -> Event {
    let output = RunOutput::last_of(output.as_bytes());
    Event::Ran(RunReply::Ended { job: JobId(job), how, output })
}

fn well(job: u32) -> Event {
    ran(job, RunEnd::Code(0), "")
}

fn free(job: u32, mib: u32) -> Event {
    ran(job, RunEnd::Code(0), &format!("{mib}\n"))
}

/// What was done, without the log.
fn words(actions: &[Action]) -> String {
    let shown: Vec<String> = actions.iter().filter_map(word).collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

fn word(action: &Action) -> Option<String> {
    Some(match action {
        Action::Tell(LaunchReply::Log(_)) => return None,
        Action::Tell(LaunchReply::Rebuilding { id }) => format!("{} rebuilding", id.0),
        Action::Tell(LaunchReply::Finished { id, outcome: LaunchOutcome::Done }) => format!("{} done", id.0),
        Action::Tell(LaunchReply::Finished { id, outcome: LaunchOutcome::Failed(failure) }) => {
            format!("{} {failure:?}", id.0)
        }
        Action::Run(RunRequest::Start { job, command }) => format!("{} as job {}", name(*command), job.0),
        Action::Run(RunRequest::End { job }) => format!("end job {}", job.0),
        Action::Run(RunRequest::Look) => "look".to_owned(),
        Action::GiveUp(_) => "give up".to_owned(),
    })
}

fn logged(actions: &[Action]) -> Vec<&str> {
    let line = |action| match action {
        &Action::Tell(LaunchReply::Log(ref line)) => Some(line.text.as_str()),
        Action::Tell(_) | Action::Run(_) | Action::GiveUp(_) => None,
    };
    actions.iter().filter_map(line).collect()
}
