//! What /proc says about the processes of the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;

use crate::Outcome;

/// The processes that must be there, in the order in which they are shown.
const DAEMON: [&str; 8] =
    ["qfilexchgd", "broker", "xs-gate", "xs-monitor", "attacher", "dialog", "control", "dvm-launcher"];
/// The process that runs the toolstack, with the rights that this needs.
const RUNNER: &str = "dvm-runner";
/// The processes in VMs that read what another VM wrote; they may be too quick to be seen.
const READERS: [&str; 2] = ["fat-reader", "dvm-parser"];
/// The namespaces that /proc names.
const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
/// `Seccomp:` of a process with a filter.
const SECCOMP_FILTER: &str = "2";
/// What stands for what cannot be read.
const HIDDEN: &str = "(hidden)";

/// One process at one moment.
#[derive(Debug, Clone, Default)]
struct Row {
    pid: u32,
    uid: String,
    seccomp: String,
    no_new_privs: String,
    capabilities: String,
    namespaces: String,
    descriptors: String,
}

/// The processes, each as it was seen last.
#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<String, Row>,
}

impl Table {
    /// Looks at everything that descends from this process.
    pub fn look(&mut self, ancestor: u32) {
        for pid in descendants(ancestor) {
            let Some(row) = Row::read(pid) else { continue };
            let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
            let name = name.trim().to_owned();
            if !shown().any(|known| known == name) {
                continue;
            }
            // A process that has not entered its sandbox yet is not worth showing, unless it never does.
            let is_better = self.rows.get(&name).is_none_or(|old| old.seccomp <= row.seccomp);
            if is_better {
                self.rows.insert(name, row);
            }
        }
    }

    /// Whether every process was there, and confined.
    pub fn check(&self) -> Outcome<()> {
        for name in DAEMON {
            let Some(row) = self.rows.get(name) else { return Err(format!("there was no process {name}")) };
            if row.seccomp != SECCOMP_FILTER || row.no_new_privs != "1" {
                return Err(format!("{name} was not confined"));
            }
            if name != DAEMON[0] && row.capabilities != "none" {
                return Err(format!("{name} had capabilities"));
            }
        }
        Ok(())
    }
}

impl Row {
    fn read(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()).unwrap_or("?").to_owned()
        };
        let sets: BTreeSet<String> =
            ["CapInh", "CapPrm", "CapEff", "CapAmb"].into_iter().map(field).collect();
        let empty = sets.iter().all(|set| set.bytes().all(|digit| digit == b'0'));
        Some(Self {
            pid,
            uid: field("Uid"),
            seccomp: field("Seccomp"),
            no_new_privs: field("NoNewPrivs"),
            capabilities: if empty { "none".to_owned() } else { capabilities(&field("CapEff")) },
            namespaces: namespaces(pid),
            descriptors: descriptors(pid),
        })
    }
}

/// The processes that are shown, in this order.
fn shown() -> impl Iterator<Item = &'static str> {
    DAEMON.into_iter().chain([RUNNER]).chain(READERS)
}

/// The capabilities of a set: by name those that the daemon's first process has when root starts it, else by number
/// (linux/capability.h).
fn capabilities(hexadecimal: &str) -> String {
    let bits = u64::from_str_radix(hexadecimal, 16).unwrap_or(u64::MAX);
    let names = (0..u64::BITS).filter(|number| bits & (1 << number) != 0).map(|number| match number {
        6 => "SETGID".to_owned(),
        7 => "SETUID".to_owned(),
        31 => "SETFCAP".to_owned(),
        other => other.to_string(),
    });
    names.collect::<Vec<_>>().join(" ")
}

/// The namespaces that a process has for itself.
fn namespaces(pid: u32) -> String {
    let mut own = Vec::new();
    for kind in NAMESPACES {
        let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        match (link(&pid.to_string()), link("self")) {
            (Ok(theirs), Ok(ours)) if theirs != ours => own.push(kind),
            (Ok(_), Ok(_)) => {}
            (Err(_), _) | (_, Err(_)) => return HIDDEN.to_owned(),
        }
    }
    if own.is_empty() { "none".to_owned() } else { own.join(" ") }
}

/// What a process has open, with the number of each kind.
fn descriptors(pid: u32) -> String {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return HIDDEN.to_owned() };
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for entry in entries.flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
        *kinds.entry(kind(&target)).or_default() += 1;
    }
    let counted = kinds.iter().map(
        |(kind, count)| {
            if *count == 1 { kind.clone() } else { format!("{count} x {kind}") }
        },
    );
    counted.collect::<Vec<_>>().join(", ")
}

/// What a link in /proc/PID/fd points to, in short.
fn kind(target: &str) -> String {
    let before_number = target.split(":[").next().unwrap_or_default();
    let name = target.rsplit('/').next().unwrap_or_default();
    if let Some(what) = target.strip_prefix("anon_inode:") {
        what.trim_matches(['[', ']']).to_owned()
    } else if let Some(memory) = target.strip_prefix("/memfd:") {
        memory.trim_end_matches(" (deleted)").to_owned()
    } else if target.starts_with("/dev/") {
        target.to_owned()
    } else if target.starts_with('/') {
        name.to_owned()
    } else {
        before_number.to_owned()
    }
}

/// All processes beneath this one.
fn descendants(ancestor: u32) -> BTreeSet<u32> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: BTreeMap<u32, u32> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let is_beneath = |pid: &u32| {
        let mut at = *pid;
        // Longer than any chain of parents.
        for _ in 0..64 {
            match parents.get(&at) {
                Some(above) if *above == ancestor => return true,
                Some(above) => at = *above,
                None => return false,
            }
        }
        false
    };
    parents.keys().copied().filter(is_beneath).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = ["process", "pid", "uid", "seccomp", "no-new-privs", "capabilities", "own namespaces"];
        let [process, pid, uid, seccomp, privileges, capabilities, namespaces] = titles;
        writeln!(
            out,
            "{process:<12} {pid:>7} {uid:>6} {seccomp:<8} {privileges:<13} {capabilities:<23} {namespaces}"
        )?;
        for name in shown() {
            let Some(row) = self.rows.get(name) else { continue };
            let seccomp = if row.seccomp == SECCOMP_FILTER { "filter" } else { "NONE" };
            let privileges = if row.no_new_privs == "1" { "yes" } else { "NO" };
            let Row { pid, uid, capabilities, namespaces, descriptors, .. } = row;
            writeln!(
                out,
                "{name:<12} {pid:>7} {uid:>6} {seccomp:<8} {privileges:<13} {capabilities:<23} {namespaces}"
            )?;
            writeln!(out, "{:>12} {descriptors}", "holds")?;
        }
        let is_hidden = |row: &Row| row.descriptors == HIDDEN || row.namespaces == HIDDEN;
        if self.rows.values().any(is_hidden) {
            writeln!(out, "{HIDDEN}: the process is not dumpable, so only root may look at that")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_named_in_short() {
        for (target, short) in [
            ("socket:[1234]", "socket"),
            ("anon_inode:[pidfd]", "pidfd"),
            ("/memfd:settings of the broker (deleted)", "settings of the broker"),
            ("/dev/null", "/dev/null"),
            ("/tmp/x/journal/journal.a", "journal.a"),
            ("pipe:[5]", "pipe"),
        ] {
            assert_eq!(kind(target), short);
        }
    }

    #[test]
    fn this_process_descends_from_its_parent() {
        let me = std::process::id();
        assert!(descendants(parent(me).unwrap()).contains(&me));
        assert!(!descendants(me).contains(&me));
        assert_eq!(Row::read(me).unwrap().pid, me);
    }
}
