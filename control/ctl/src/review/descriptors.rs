//! Which descriptors a process may have: those with a name in its profile, the duplicate of its edge on which a panic is
//! told, and so many of each kind as the profile says that it opens or is sent later.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use supervisor::config::Config;
use sys::profile::{Kind, Later, Profile, Stdio};

use super::check::{Daemon, Row};
use super::seen::{Seen, Target, TargetKind};

/// The first one behind stdin, stdout and stderr.
const FIRST: u32 = 3;
/// How many dvm-runner is started with.
const RUNNER_COUNT: u32 = 2;

/// Where the daemon's own files are.
#[derive(Debug)]
pub(super) struct Places {
    images: PathBuf,
    journal: [PathBuf; 2],
}

impl Places {
    pub(super) fn of(config: &Config) -> Self {
        let journal = supervisor::directories::JOURNAL_FILES.map(|name| config.journal_directory.join(name));
        Self { images: config.images.directory.clone(), journal }
    }
}

/// Those of a worker.
pub(super) fn of_worker(seen: &Seen, profile: &Profile, daemon: &Daemon<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for number in 0..FIRST {
        rows.push(standard(seen, profile, number, daemon));
    }
    let images = std::fs::metadata(&daemon.places.images);
    let mut left = Left::new(profile.later, images.ok().map(|meta| meta.dev()));
    let edge = seen.descriptors.get(&FIRST);
    let mut has_duplicate = false;
    for (number, target) in seen.descriptors.range(FIRST..) {
        let what = format!("descriptor {number}");
        let name = name_of(profile, *number);
        let found = |what: &str| format!("{what} ({})", target.link);
        let is_duplicate = !has_duplicate && edge == Some(target) && *number != FIRST;
        rows.push(match name {
            _ if is_duplicate => {
                has_duplicate = true;
                Row::must(&what, &found("the edge again, for the report of a panic"), "as now", true)
            }
            Some(name) if is_named(target, name, daemon.places) => Row::must(&what, &found(name), name, true),
            Some(_) | None => left.take(&what, target),
        });
    }
    if edge.is_none() {
        rows.push(Row::must("descriptor 3", "(closed)", "its edge", false));
    }
    rows
}

/// Those of the first process, which opens everything.
pub(super) fn of_supervisor(seen: &Seen, profile: &Profile) -> Vec<Row> {
    let mut left = Left::new(profile.later, None);
    let others = seen.descriptors.range(FIRST..);
    let rows = others.map(|(number, target)| left.take(&format!("descriptor {number}"), target));
    rows.collect()
}

/// Those of dvm-runner: its edge, its settings, and a socket for each launcher and command.
pub(super) fn of_runner(seen: &Seen) -> Vec<Row> {
    let null =
        (0..FIRST).all(|number| seen.descriptors.get(&number).is_some_and(|it| it.kind == TargetKind::Null));
    let count = seen.descriptors.len();
    vec![
        Row::must("descriptors 0 to 2", if null { "/dev/null" } else { "something else" }, "/dev/null", null),
        Row::shown("descriptors", &format!("{count}, of which it was started with {}", FIRST + RUNNER_COUNT)),
    ]
}

fn standard(seen: &Seen, profile: &Profile, number: u32, daemon: &Daemon<'_>) -> Row {
    let what = format!("descriptor {number}");
    let found = seen.descriptors.get(&number);
    let of_supervisor = daemon.supervisor.descriptors.get(&number);
    let is_null = found.is_some_and(|target| target.kind == TargetKind::Null);
    let is_inherited = found == of_supervisor;
    let (expected, holds) = match (profile.stdio, number) {
        (Stdio::Null, _) | (Stdio::Log, 0 | 1) | (Stdio::Terminal, 2) => ("/dev/null", is_null),
        (Stdio::Log, _) => ("the log, as of the supervisor", is_inherited),
        (Stdio::Terminal, _) => ("the terminal, as of the supervisor", is_inherited),
        (Stdio::Inherited, _) => ("as of the supervisor", is_inherited),
    };
    Row::must(&what, found.map_or("(closed)", |target| target.link.as_str()), expected, holds)
}

/// The name in the profile of a descriptor with this number.
fn name_of(profile: &Profile, number: u32) -> Option<&'static str> {
    let place = usize::try_from(number.checked_sub(FIRST)?).ok()?;
    let behind = place.checked_sub(profile.descriptors.len());
    match (profile.descriptors.get(place), behind, profile.rest) {
        (Some(name), _, _) => Some(name),
        (None, Some(behind), Some(rest)) if behind < rest.count_max => Some(rest.name),
        (None, _, _) => None,
    }
}

/// Whether this is what has that name: its number may have been closed and given to another one since.
fn is_named(target: &Target, name: &str, places: &Places) -> bool {
    match name {
        "settings" => target.kind == TargetKind::Memory,
        "images" => is_file(target, &places.images),
        "journal-a" => places.journal.first().is_some_and(|path| is_file(target, path)),
        "journal-b" => places.journal.last().is_some_and(|path| is_file(target, path)),
        "loops" => target.kind == TargetKind::Directory,
        "xauthority" => matches!(target.kind, TargetKind::File | TargetKind::Null),
        _ => target.kind == TargetKind::Socket,
    }
}

fn is_file(target: &Target, path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| target.identity == (meta.dev(), meta.ino()))
}

/// How many more of each kind there may be.
struct Left {
    counts: BTreeMap<&'static str, usize>,
    /// The file system that regular files must be on, if it matters.
    files_on: Option<u64>,
}

impl Left {
    fn new(later: &[Later], files_on: Option<u64>) -> Self {
        Self { counts: later.iter().map(|one| (word(one.kind), one.count_max)).collect(), files_on }
    }

    fn take(&mut self, what: &str, target: &Target) -> Row {
        let kind = match target.kind {
            TargetKind::Socket => Some(Kind::Socket),
            TargetKind::Memory => Some(Kind::Memory),
            TargetKind::File => Some(Kind::File),
            TargetKind::Directory => Some(Kind::Directory),
            TargetKind::BlockDevice => Some(Kind::BlockDevice),
            TargetKind::Null => Some(Kind::Null),
            TargetKind::Process => Some(Kind::Process),
            TargetKind::Signals => Some(Kind::Signals),
            TargetKind::CharDevice | TargetKind::Other => None,
        };
        let is_elsewhere =
            kind == Some(Kind::File) && self.files_on.is_some_and(|device| device != target.identity.0);
        let count = kind.and_then(|kind| self.counts.get_mut(word(kind)));
        let holds = !is_elsewhere
            && count.is_some_and(|count| {
                let some = *count > 0;
                *count = count.saturating_sub(1);
                some
            });
        let found = format!("{} ({})", kind.map_or("something", word), target.link);
        Row::must(what, &found, "one that its profile names", holds)
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Socket => "a socket",
        Kind::Memory => "a file in memory",
        Kind::File => "a file",
        Kind::Directory => "a directory",
        Kind::BlockDevice => "a block device",
        Kind::Null => "/dev/null",
        Kind::Process => "a process",
        Kind::Signals => "signals",
    }
}
