//! `review`: what the kernel shows of each process of the daemon, beside what its profile says.
//!
//! For the person who installed it, on the running host. The daemon's word is not taken for anything: the kernel says who
//! listens at its socket, and everything else comes from /proc. What /proc does not show is not reviewed: the content of a
//! filter and the Landlock rules. That a filter is there, and one more than in the process that started it, is.

mod check;
mod descriptors;
mod seen;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use lexopt::Parser;
use protocol::supervise::Role;
use rustix::fs::PROC_SUPER_MAGIC;
use serde_json::{Value, json};
use supervisor::config::{Config, DialogKind};
use supervisor::programs::{self, PROGRAMS_DIRECTORY};
use supervisor::runner::RUNNER;
use supervisor::{accounts, control_socket, workers};
use sys::spawn::Account;

use crate::options::{Options, Parsed};
use crate::{Failure, HELP, text};
use check::{Daemon, Row};
use descriptors::Places;
use seen::Seen;

/// The program of the first process.
const DAEMON: &str = "qfilexchgd";
/// How often it is looked whether all processes are there, since one may just have been started anew.
const LOOKS_MAX: usize = 3;
/// Longest value that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// One process and its values.
struct Reviewed {
    process: String,
    pid: Option<u32>,
    rows: Vec<Row>,
}

pub(crate) fn answer(arguments: &mut Parser) -> Result<String, Failure> {
    let options = match Options::parse(arguments, 0, false)? {
        Parsed::Help => return Ok(HELP.to_owned()),
        Parsed::Options(options) => options,
    };
    let socket = options.socket()?;
    let pid = listener(&socket)?;
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::NotRoot);
    }
    let mut reviewed = review(pid)?;
    for _ in 1..LOOKS_MAX {
        if deviations(&reviewed) == 0 {
            break;
        }
        // A process that is just being started is not in its sandbox yet.
        std::thread::sleep(std::time::Duration::from_millis(500));
        reviewed = review(pid)?;
    }
    let (count, all) = (deviations(&reviewed), reviewed.iter().map(|one| one.rows.len()).sum());
    let table = if options.json { text::document(&as_json(&reviewed)) } else { as_text(&reviewed) };
    if count == 0 { Ok(table) } else { Err(Failure::Deviates { table, count, all }) }
}

/// Who listens at the daemon's socket, as the kernel says: the process that made it.
fn listener(socket: &Path) -> Result<u32, Failure> {
    let place = socket.display().to_string().escape_default().to_string();
    let connected = control_socket::connect(socket).map_err(|error| {
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            Failure::NoPermission(place.clone())
        } else {
            Failure::NotRunning(place.clone())
        }
    })?;
    let pid = sys::peer::pid_of(&connected)
        .map_err(|errno| Failure::Not(format!("asking who listens at {place}: {errno}")))?;
    if pid == 0 {
        return Err(Failure::Not(format!("who listens at {place} is in another pid namespace")));
    }
    Ok(pid)
}

/// Looks at everything once.
fn review(pid: u32) -> Result<Vec<Reviewed>, Failure> {
    if rustix::fs::statfs("/proc").map_or(true, |found| found.f_type != PROC_SUPER_MAGIC) {
        return Err(Failure::Not("/proc is not the kernel's".to_owned()));
    }
    let supervisor = look(pid)?.ok_or_else(|| Failure::NotRunning("that socket any more".to_owned()))?;
    if supervisor.program.file_name() != Some(OsStr::new(DAEMON)) {
        let program = shown(&supervisor.program.to_string_lossy());
        return Err(Failure::Not(format!(
            "process {pid}, which listens there, is {program} and not {DAEMON}"
        )));
    }
    let config = configuration(&supervisor)?;
    let mut all = Vec::new();
    for pid in children(pid)? {
        all.extend(look(pid)?);
    }
    let accounts =
        if switches_accounts(&supervisor) { accounts::of_root(&config.accounts)? } else { BTreeMap::new() };
    let places = Places::of(&config);
    let daemon = Daemon { supervisor: &supervisor, all: &all, places: &places };
    let mut reviewed = vec![Reviewed {
        process: DAEMON.to_owned(),
        pid: Some(supervisor.pid),
        rows: check::supervisor(&supervisor, &sandbox_profiles::SUPERVISOR),
    }];
    let mut missing = expected(&config);
    for seen in &all {
        reviewed.push(one(seen, &mut missing, &config, &accounts, &daemon)?);
    }
    reviewed.extend(missing.into_iter().map(|(name, may_be_missing)| {
        let why = if may_be_missing { "may be: what it connects to is not there" } else { "running" };
        let row = Row::must("process", "not running", why, may_be_missing);
        Reviewed { process: name.to_owned(), pid: None, rows: vec![row] }
    }));
    Ok(reviewed)
}

/// Judges one child of the first process.
fn one(
    seen: &Seen,
    missing: &mut BTreeMap<&'static str, bool>,
    config: &Config,
    accounts: &BTreeMap<Role, Account>,
    daemon: &Daemon<'_>,
) -> Result<Reviewed, Failure> {
    let kind = config.dialog.kind;
    let name = seen.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let role = Role::ALL.into_iter().find(|role| programs::program(*role, kind) == name);
    let known = role.map(|role| programs::program(role, kind)).or_else(|| (name == RUNNER).then_some(RUNNER));
    let is_due = known.is_some_and(|name| missing.remove(name).is_some());
    let beside = daemon.supervisor.program.parent();
    let is_ours = is_due && [beside, Some(Path::new(PROGRAMS_DIRECTORY))].contains(&seen.program.parent());
    let program = seen.program.to_string_lossy();
    let mut rows = vec![Row::must("program", &program, "one of the daemon's, and not twice", is_ours)];
    match role {
        Some(role) => {
            let profile = workers::profile(role, kind == DialogKind::Window);
            rows.extend(check::worker(seen, profile, accounts.get(&role).copied(), daemon));
            let started = children(seen.pid)?.len();
            rows.push(Row::equal("processes that it started", &started.to_string(), "0"));
        }
        None => rows.extend(check::runner(seen, daemon)),
    }
    let process = role.map_or_else(|| shown(&name), |role| role.process().to_owned());
    Ok(Reviewed { process, pid: Some(seen.pid), rows })
}

/// The programs that must run, and which of them may be missing.
fn expected(config: &Config) -> BTreeMap<&'static str, bool> {
    let kind = config.dialog.kind;
    let mut names = BTreeMap::new();
    for role in Role::ALL {
        let (is_wanted, may_be_missing) = match role {
            Role::Broker | Role::Monitor | Role::Gate | Role::Attacher | Role::Control => (true, false),
            Role::Dialog => (kind.has_process(), kind == DialogKind::Window),
            Role::Launcher => (config.disposables.are_made(), false),
            Role::Notifier => (config.notifications_bus.is_some(), true),
        };
        if is_wanted {
            names.insert(programs::program(role, kind), may_be_missing);
        }
    }
    if config.disposables.are_made() {
        names.insert(RUNNER, false);
    }
    names
}

/// The configuration that the daemon was started with, as its command line says.
fn configuration(supervisor: &Seen) -> Result<Config, Failure> {
    let mut file = PathBuf::from(supervisor::config::CONFIG_FILE);
    let mut dialog = None;
    let mut words = Parser::from_args(supervisor.arguments.iter().skip(1));
    while let Some(argument) = words.next()? {
        match argument {
            lexopt::Arg::Long("config") => file = words.value()?.into(),
            lexopt::Arg::Long("dialog") => {
                let word = words.value()?;
                dialog = Some(DialogKind::from_name(&word.to_string_lossy()).map_err(Failure::Not)?);
            }
            lexopt::Arg::Long(_) | lexopt::Arg::Short(_) | lexopt::Arg::Value(_) => {}
        }
    }
    if !file.is_absolute() {
        return Err(Failure::Not(
            "the daemon was started with a relative path to its configuration".to_owned(),
        ));
    }
    let mut config = Config::load(&file)?;
    config.dialog.kind = dialog.unwrap_or(config.dialog.kind);
    Ok(config)
}

/// As the daemon decides it: it is root, in a user namespace that knows all ids.
fn switches_accounts(supervisor: &Seen) -> bool {
    supervisor.field("Uid").starts_with("0 ") && seen::one_spaced(&supervisor.uid_map) == "0 0 4294967295"
}

fn look(pid: u32) -> Result<Option<Seen>, Failure> {
    match Seen::look(pid) {
        Err(error) => Err(Failure::Not(format!("looking at process {pid}: {error}"))),
        Ok(seen) => Ok(seen),
    }
}

fn children(pid: u32) -> Result<Vec<u32>, Failure> {
    seen::children(pid).map_err(|error| Failure::Not(format!("listing /proc: {error}")))
}

fn deviations(reviewed: &[Reviewed]) -> usize {
    reviewed.iter().flat_map(|one| &one.rows).filter(|row| !row.holds).count()
}

fn as_text(reviewed: &[Reviewed]) -> String {
    let mut text = String::new();
    for one in reviewed {
        let pid = one.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        text.push_str(&format!("{}{pid}\n", one.process));
        for row in &one.rows {
            let verdict = match (&row.expected, row.holds) {
                (Some(expected), false) => format!("  DEVIATES, should be: {expected}"),
                (Some(_), true) => "  ok".to_owned(),
                (None, _) => String::new(),
            };
            text.push_str(&format!("  {:<28}{}{verdict}\n", row.what, shown(&row.found)));
        }
    }
    let values: usize = reviewed.iter().map(|one| one.rows.len()).sum();
    text.push_str(&format!("{values} values, {} deviate\n", deviations(reviewed)));
    text
}

fn as_json(reviewed: &[Reviewed]) -> Value {
    let row = |row: &Row| json!({ "what": row.what, "found": shown(&row.found), "expected": row.expected, "holds": row.holds });
    let process = |one: &Reviewed| {
        let rows: Vec<Value> = one.rows.iter().map(row).collect();
        json!({ "process": one.process, "pid": one.pid, "values": rows })
    };
    let processes: Vec<Value> = reviewed.iter().map(process).collect();
    json!({ "processes": processes, "deviations": deviations(reviewed) })
}

/// A value of /proc, which a process may have chosen: printable, and not too long.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_default).collect()
}
