//! Everything that runs in a VM, found by its namespace.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{SimError, Trying, refused};

/// How long all processes may take to stop: one that is in the kernel stops when it comes back.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);
/// How long to wait before the list is read again.
const ROUND_TIME: Duration = Duration::from_millis(1);

/// Stops all processes of the VM whose first process this is.
pub(super) fn stop_all(first: Pid) -> Result<(), SimError> {
    let deadline = Instant::now() + STOP_TIME_MAX;
    while Instant::now() < deadline {
        let running: Vec<Pid> = members(first)?.into_iter().filter(|pid| !is_stopped(*pid)).collect();
        if running.is_empty() {
            return Ok(());
        }
        for pid in running {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::STOP);
        }
        std::thread::sleep(ROUND_TIME);
    }
    refused("the processes of the VM do not stop")
}

/// Lets all processes of the VM go on.
pub(super) fn resume_all(first: Pid) -> Result<(), SimError> {
    for pid in members(first)? {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::CONT);
    }
    Ok(())
}

fn members(first: Pid) -> Result<Vec<Pid>, SimError> {
    let what = || "cannot list the processes of the VM".to_owned();
    let namespace = fs::read_link(namespace_of(first.as_raw_pid())).trying(what)?;
    let all = fs::read_dir("/proc").trying(what)?;
    let numbers = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let inside = |number: &i32| fs::read_link(namespace_of(*number)).is_ok_and(|other| other == namespace);
    Ok(numbers.filter(inside).filter_map(Pid::from_raw).collect())
}

fn namespace_of(number: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{number}/ns/pid"))
}

/// Whether a process is stopped, or has ended.
fn is_stopped(pid: Pid) -> bool {
    let Ok(line) = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())) else { return true };
    let state = line.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
}
