//! Whether the namespaces of this process were made for it alone.
//!
//! A process cannot ask whether it shares a namespace with its parent. But every namespace has an owner, the user
//! namespace in which it was made. When this process is number 1 of its pid namespace, is alone mapped to id 0, and each of
//! its namespaces is owned by its own user namespace, then all of them were made with it.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{SandboxError, call};
use crate::inherit::last_errno;
use crate::profile::Namespaces;

/// `NS_GET_USERNS` of `linux/nsfs.h`: the user namespace that owns a namespace.
const NS_GET_USERNS: libc::c_ulong = 0xb701;

/// More than the text of a `uid_map` with three lines needs.
const UID_MAP_BYTES_MAX: usize = 128;

const PROC_ADVICE: &str = "mount /proc where this program is started";

/// Refuses a process with more than one thread: the others would not be confined.
pub(super) fn check_single_thread() -> Result<(), SandboxError> {
    let tasks =
        rustix::fs::stat("/proc/self/task").map_err(call("looking at /proc/self/task", PROC_ADVICE))?;
    let threads = tasks.st_nlink.saturating_sub(2);
    if threads == 1 { Ok(()) } else { Err(SandboxError::Threads(threads)) }
}

/// Refuses namespaces that are shared with anybody, for those that the profile wants.
pub(super) fn check_own(wanted: Namespaces) -> Result<(), SandboxError> {
    if !wanted.user {
        return check_nothing_without_user(wanted);
    }
    check_mapped_ids(wanted.all_ids)?;
    let own_user = identity(
        &rustix::fs::stat("/proc/self/ns/user")
            .map_err(call("looking at /proc/self/ns/user", PROC_ADVICE))?,
    );
    if wanted.pid {
        check_owner("pid", "/proc/self/ns/pid", own_user)?;
        if std::process::id() != 1 {
            return Err(refused("pid", "this process is not the first one in it"));
        }
    }
    if wanted.net {
        check_owner("net", "/proc/self/ns/net", own_user)?;
    }
    if wanted.ipc {
        check_owner("ipc", "/proc/self/ns/ipc", own_user)?;
    }
    if wanted.uts {
        check_owner("uts", "/proc/self/ns/uts", own_user)?;
    }
    let has_no_cgroups = matches!(rustix::fs::stat("/proc/self/ns/cgroup"), Err(Errno::NOENT));
    if wanted.cgroup && !has_no_cgroups {
        check_owner("cgroup", "/proc/self/ns/cgroup", own_user)?;
    }
    Ok(())
}

/// Ownership is only evidence together with a user namespace of one's own.
fn check_nothing_without_user(wanted: Namespaces) -> Result<(), SandboxError> {
    if wanted == Namespaces::NONE {
        return Ok(());
    }
    Err(refused("user", "the profile asks for other namespaces without this one"))
}

/// The kernel writes one line per range of ids: `inside outside count`.
fn check_mapped_ids(all_ids: bool) -> Result<(), SandboxError> {
    let file = rustix::fs::openat(CWD, "/proc/self/uid_map", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(call("opening /proc/self/uid_map", PROC_ADVICE))?;
    let mut buffer = [0_u8; UID_MAP_BYTES_MAX];
    let length =
        rustix::io::read(&file, &mut buffer).map_err(call("reading /proc/self/uid_map", PROC_ADVICE))?;
    let text = buffer.get(..length).unwrap_or_default();
    if maps_one_id_to_zero(text) || (all_ids && maps_all_ids(text)) {
        return Ok(());
    }
    Err(refused("user", "it maps other ids than the profile has, so it was not made for this process"))
}

fn maps_one_id_to_zero(uid_map: &[u8]) -> bool {
    let words: Vec<&[u8]> =
        uid_map.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty()).collect();
    matches!(words.as_slice(), [inside, _, count] if *inside == b"0" && *count == b"1")
}

/// As `spawn` writes it: the process's own id first, and nobody else's as 0.
fn maps_all_ids(uid_map: &[u8]) -> bool {
    let mut lines = uid_map.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.next().is_some_and(maps_one_id_to_zero) && (1..=2).contains(&lines.count())
}

fn check_owner(name: &'static str, path: &'static str, own_user: (u64, u64)) -> Result<(), SandboxError> {
    let namespace = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(call("opening a namespace in /proc/self/ns", PROC_ADVICE))?;
    let owner = match owner_of(&namespace) {
        Ok(owner) => owner,
        // The owner is outside of what this process may see, so it is not its own.
        Err(Errno::PERM) => return Err(refused(name, "it was not made for this process")),
        Err(errno) => return Err(call("asking for the owner of a namespace", "Linux 4.9 is needed")(errno)),
    };
    let stat = rustix::fs::fstat(&owner).map_err(call("looking at a user namespace", PROC_ADVICE))?;
    if identity(&stat) == own_user { Ok(()) } else { Err(refused(name, "it was not made for this process")) }
}

fn owner_of(namespace: &OwnedFd) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open, and this request has no memory argument.
    let number = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if number < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn refused(namespace: &'static str, problem: &'static str) -> SandboxError {
    SandboxError::Namespace { namespace, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_map_of_one_id_to_zero_is_accepted() {
        assert!(maps_one_id_to_zero(b"         0       1001          1\n"));
        assert!(!maps_one_id_to_zero(b"         0          0 4294967295\n"));
        assert!(!maps_one_id_to_zero(b"         1       1001          1\n"));
        assert!(!maps_one_id_to_zero(b"0 1001 1\n1 100000 65536\n"));
        assert!(!maps_one_id_to_zero(b""));
    }

    #[test]
    fn a_map_of_all_ids_has_the_own_one_first() {
        let own = b"         0      64306          1\n         1          0      64306\n";
        assert!(maps_all_ids(own));
        assert!(maps_all_ids(&[&own[..], b"     64307      64307 4294902988\n"].concat()));
        assert!(!maps_all_ids(b"         0          0 4294967295\n"));
        assert!(!maps_all_ids(b"         0       1001          1\n"));
        assert!(!maps_all_ids(b""));
    }

    #[test]
    fn the_namespaces_of_the_test_runner_are_refused() {
        let refused = check_own(Namespaces::ALL);
        assert!(matches!(refused, Err(SandboxError::Namespace { .. })), "{refused:?}");
    }

    #[test]
    fn namespaces_without_a_user_namespace_are_refused() {
        let wanted = Namespaces { net: true, ..Namespaces::NONE };
        assert!(check_own(wanted).is_err());
        assert!(check_own(Namespaces::NONE).is_ok());
    }
}
