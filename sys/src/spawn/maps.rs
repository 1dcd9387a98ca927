//! Namespaces and id maps of a new process: the parent's part.

use std::fs::OpenOptions;
use std::io::Write;

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::Account;
use crate::profile::Namespaces;

/// The flags of clone3 for these namespaces. A kernel without control groups has no such namespace to make.
pub(super) fn clone_flags(namespaces: Namespaces) -> u64 {
    let has_cgroups = rustix::fs::stat("/proc/self/ns/cgroup").is_ok();
    let flags = [
        (namespaces.user, libc::CLONE_NEWUSER),
        (namespaces.pid, libc::CLONE_NEWPID),
        (namespaces.net, libc::CLONE_NEWNET),
        (namespaces.ipc, libc::CLONE_NEWIPC),
        (namespaces.uts, libc::CLONE_NEWUTS),
        (namespaces.cgroup && has_cgroups, libc::CLONE_NEWCGROUP),
    ];
    flags.iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | u64::from(flag.unsigned_abs()))
}

/// Maps id 0 of the new process's user namespace to the account, or to the caller's own ids.
///
/// Without the privilege to map any group, the kernel demands that the process can never drop groups (`setgroups`
/// could take away a group that is there to deny access).
pub(super) fn write(pid: u32, account: Option<Account>) -> Result<(), (&'static str, Errno)> {
    let outside = account.unwrap_or_else(|| Account {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    });
    if !has_setgid() {
        put(pid, "setgroups", "deny").map_err(|errno| ("writing setgroups", errno))?;
    }
    put(pid, "gid_map", &format!("0 {} 1", outside.gid)).map_err(|errno| ("writing gid_map", errno))?;
    put(pid, "uid_map", &format!("0 {} 1", outside.uid)).map_err(|errno| ("writing uid_map", errno))
}

fn has_setgid() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SETGID))
}

/// The kernel takes a map in one write only.
fn put(pid: u32, file: &str, text: &str) -> Result<(), Errno> {
    let written = OpenOptions::new()
        .write(true)
        .open(format!("/proc/{pid}/{file}"))
        .and_then(|mut map| map.write_all(text.as_bytes()));
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Whether this text of `/proc/self/uid_map` is that of the first user namespace: all 2^32 - 1 ids, unchanged.
pub(super) fn knows_all_ids(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_user_namespace_knows_all_ids() {
        assert!(knows_all_ids("         0          0 4294967295\n"));
        assert!(!knows_all_ids("         0       1001          1\n"));
        assert!(!knows_all_ids(""));
    }
}
