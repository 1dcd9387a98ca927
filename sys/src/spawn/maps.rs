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

/// What clone3 was for, where its error number alone would mislead: a host that permits no namespaces to unprivileged
/// users says "no space left on device".
pub(super) fn clone_tried(namespaces: Namespaces, errno: Errno) -> &'static str {
    match errno {
        Errno::PERM | Errno::NOSPC | Errno::USERS if namespaces.user => {
            "clone3 with namespaces of its own (unprivileged user namespaces must be permitted on this machine, see \
             /proc/sys/user and kernel.unprivileged_userns_clone)"
        }
        _ => "clone3",
    }
}

/// The highest id of all; one more means "no id".
const ID_MAX: u32 = u32::MAX - 1;

/// Maps id 0 of the new process's user namespace to the account, or to the caller's own ids, and the others after it
/// where all of them are to be known.
///
/// Without the privilege to map any group, the kernel demands that the process can never drop groups (`setgroups`
/// could take away a group that is there to deny access).
pub(super) fn write(pid: u32, account: Option<Account>, all_ids: bool) -> Result<(), (&'static str, Errno)> {
    // Without an account there is no privilege to map anybody else.
    let all_ids = all_ids && account.is_some();
    let outside = account.unwrap_or_else(|| Account {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    });
    if !has_setgid() {
        put(pid, "setgroups", "deny").map_err(|errno| ("writing setgroups", errno))?;
    }
    put(pid, "gid_map", &map(outside.gid, all_ids)).map_err(|errno| ("writing gid_map", errno))?;
    put(pid, "uid_map", &map(outside.uid, all_ids)).map_err(|errno| ("writing uid_map", errno))
}

/// The lines of a map, each `INSIDE OUTSIDE COUNT` (user_namespaces(7)).
fn map(own: u32, all_ids: bool) -> String {
    let mut lines = format!("0 {own} 1\n");
    if all_ids {
        if own > 0 {
            lines.push_str(&format!("1 0 {own}\n"));
        }
        let next = own.saturating_add(1);
        if own < ID_MAX {
            lines.push_str(&format!("{next} {next} {}\n", ID_MAX - own));
        }
    }
    lines
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
    fn a_map_of_all_ids_has_each_once_on_both_sides() {
        for own in [0, 1, 2, 1000, 64_306, ID_MAX - 1, ID_MAX] {
            let text = map(own, true);
            let mut extents: Vec<[u64; 3]> = Vec::new();
            for line in text.lines() {
                let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
                extents.push(numbers.try_into().unwrap());
            }
            for side in [0, 1] {
                extents.sort_by_key(|extent| extent[side]);
                let end = extents.iter().fold(0, |end, extent| {
                    assert_eq!(extent[side], end, "{own}: {text}");
                    end + extent[2]
                });
                assert_eq!(end, u64::from(u32::MAX), "{own}: {text}");
            }
            for outside in [0, 1, 999, 1000, 1001, 64_305, 64_306, 64_307, ID_MAX] {
                let inside = Account::inside(own, outside);
                assert_eq!(Account::outside(own, inside), outside);
                let there = u64::from(outside);
                let extent = extents.iter().find(|it| (it[1]..it[1] + it[2]).contains(&there)).unwrap();
                assert_eq!(u64::from(inside), there - extent[1] + extent[0], "{own} {outside}");
            }
        }
        assert_eq!(map(7, false), "0 7 1\n");
    }

    #[test]
    fn only_the_first_user_namespace_knows_all_ids() {
        assert!(knows_all_ids("         0          0 4294967295\n"));
        assert!(!knows_all_ids("         0       1001          1\n"));
        assert!(!knows_all_ids(""));
    }
}
