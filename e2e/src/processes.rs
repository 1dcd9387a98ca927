//! The daemon's processes, as /proc shows them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Host;

/// The processes of a daemon with a terminal dialog, by their names.
pub const DAEMON_PROCESSES: [&str; 7] =
    ["qfilexchgd", "broker", "attacher", "xs-gate", "xs-monitor", "dialog", "control"];

/// One process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The fields of /proc/PID/status.
    pub status: BTreeMap<String, String>,
}

/// The descendants of a process, itself not counted.
#[must_use]
pub fn processes(ancestor: u32) -> Vec<Process> {
    let mut all = Vec::new();
    if let Ok(entries) = std::fs::read_dir("/proc") {
        for entry in entries.flatten() {
            if let Some(process) = read(&entry.path()) {
                all.push(process);
            }
        }
    }
    let mut wanted = vec![ancestor];
    let mut found = Vec::new();
    while let Some(parent) = wanted.pop() {
        for process in &all {
            if process.status.get("PPid").and_then(|text| text.parse().ok()) == Some(parent) {
                wanted.push(process.pid);
                found.push(process.clone());
            }
        }
    }
    found
}

fn read(folder: &Path) -> Option<Process> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let text = std::fs::read_to_string(folder.join("status")).ok()?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let status: BTreeMap<String, String> =
        fields.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect();
    let name = status.get("Name")?.clone();
    Some(Process { pid, name, status })
}

impl Host {
    /// Ends a worker of the daemon by SIGKILL.
    pub fn kill(&self, worker: &str) {
        let all = processes(self.pid());
        let victim = all.iter().find(|process| process.name == worker);
        let pid = victim.unwrap_or_else(|| panic!("no process {worker}")).pid;
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}
