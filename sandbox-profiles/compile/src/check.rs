//! What no profile may say, whoever wrote it.

use std::collections::BTreeSet;

use super::condition::{Comparison, Condition};
use super::format::{Aim, File, Grant, Landlock, Namespace, Root};
use super::names::{self, Arch};

/// Calls that only the process that starts the others may have, since they inherit its filter.
const NEVER_FOR_WORKERS: &[&str] = &[
    "accept",
    "acct",
    "add_key",
    "bind",
    "bpf",
    "capset",
    "chroot",
    "clone",
    "clone3",
    "connect",
    "creat",
    "delete_module",
    "execve",
    "execveat",
    "finit_module",
    "fork",
    "fsconfig",
    "fsmount",
    "fsopen",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "kill",
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "listen",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "personality",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "pivot_root",
    "prctl",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "reboot",
    "request_key",
    "seccomp",
    "setgid",
    "setgroups",
    "setns",
    "setresgid",
    "setresuid",
    "setuid",
    "socket",
    "socketpair",
    "swapon",
    "tkill",
    "umount2",
    "unshare",
    "userfaultfd",
    "vfork",
];

/// Calls that reach a file by its name: only with a landlock rule that says beneath which descriptor.
const BY_NAME: &[&str] = &["openat", "openat2", "mkdirat", "unlinkat", "renameat2", "linkat"];

/// Calls whose protection argument must not say "executable".
const PROTECTING: &[&str] = &["mmap", "mprotect"];

/// Checks everything but the system calls.
///
/// # Errors
/// What may not be, as a sentence.
pub fn file(file: &File) -> Result<(), String> {
    not_empty("process", &file.process)?;
    not_empty("user", &file.user)?;
    for name in &file.descriptors {
        not_empty("a descriptor's name", name)?;
    }
    for name in &file.capabilities {
        names::capability(name).ok_or_else(|| format!("unknown capability {name}"))?;
    }
    for later in &file.later {
        not_empty("the reason of a later descriptor", &later.reason)?;
    }
    if file.rlimits.is_empty() {
        return Err("the list of resource limits is empty".to_owned());
    }
    match file.landlock()? {
        Landlock::NotForStarters if file.root == Root::Inherited => Ok(()),
        Landlock::NotForStarters => {
            Err("landlock may be left out only where the root is inherited".to_owned())
        }
        Landlock::Rules(rules) => {
            for rule in &rules {
                landlock_rule(file, &rule.descriptor)?;
                not_empty("the reason of a landlock rule", &rule.reason)?;
            }
            worker(file)
        }
    }
}

fn landlock_rule(file: &File, descriptor: &str) -> Result<(), String> {
    let is_rest = file.rest.as_ref().is_some_and(|rest| rest.name == descriptor);
    if is_rest || file.descriptors.iter().any(|name| name == descriptor) {
        return Ok(());
    }
    Err(format!("landlock: {descriptor} is not one of the descriptors"))
}

/// A process that reads from a peer has everything for itself, and no capability.
fn worker(file: &File) -> Result<(), String> {
    let all =
        [Namespace::User, Namespace::Pid, Namespace::Net, Namespace::Ipc, Namespace::Uts, Namespace::Cgroup];
    if let Some(missing) = all.iter().find(|wanted| !file.namespaces.contains(wanted)) {
        return Err(format!("the namespace {missing:?} is missing"));
    }
    if file.root != Root::Empty || !file.capabilities.is_empty() {
        return Err("a confined process has an empty root and no capabilities".to_owned());
    }
    Ok(())
}

/// Checks the system calls.
///
/// # Errors
/// What may not be, as a sentence.
pub fn grants(file: &File, grants: &[Grant], arch: Arch) -> Result<(), String> {
    if grants.is_empty() {
        return Err("the list of system calls is empty".to_owned());
    }
    aim(file.aim.as_ref(), grants)?;
    let landlock = file.landlock()?;
    for grant in grants {
        let in_call = |error: String| format!("system call {}: {error}", grant.name);
        not_empty("its reason", &grant.reason).map_err(in_call)?;
        grant.rare.iter().try_for_each(|why| not_empty("why it is rare", why)).map_err(in_call)?;
        match &landlock {
            Landlock::NotForStarters => {}
            Landlock::Rules(rules) => of_worker(grant, rules.is_empty(), arch).map_err(in_call)?,
        }
    }
    Ok(())
}

/// The number of calls that a profile is meant to have, or the reason why it has more.
fn aim(aim: Option<&Aim>, grants: &[Grant]) -> Result<(), String> {
    let Some(Aim { calls_max, missed }) = aim else { return Ok(()) };
    let calls = count(grants);
    match missed {
        None if calls > *calls_max => Err(format!(
            "{calls} system calls, which are more than the {calls_max} of its aim: say why, in missed"
        )),
        Some(_) if calls <= *calls_max => {
            Err(format!("{calls} system calls meet its aim of {calls_max}: remove missed"))
        }
        Some(why) => not_empty("why the aim is missed", why),
        None => Ok(()),
    }
}

/// How many system calls are granted, by name.
#[must_use]
pub fn count(grants: &[Grant]) -> usize {
    grants.iter().map(|grant| grant.number).collect::<BTreeSet<_>>().len()
}

fn of_worker(grant: &Grant, no_landlock_rules: bool, arch: Arch) -> Result<(), String> {
    let name = grant.name.as_str();
    if NEVER_FOR_WORKERS.contains(&name) {
        return Err("no confined process may have it".to_owned());
    }
    if BY_NAME.contains(&name) && no_landlock_rules {
        return Err("needs a landlock rule".to_owned());
    }
    if PROTECTING.contains(&name)
        && !grant.conditions.iter().any(|it| forbids_bits(it, 2, arch.constant("PROT_EXEC")))
    {
        return Err("needs the condition \"arg2 & PROT_EXEC == 0\"".to_owned());
    }
    if name == "tgkill" && !grant.conditions.iter().any(|it| demands(it, 2, arch.constant("SIGABRT"))) {
        return Err("needs the condition \"int2 == SIGABRT\"".to_owned());
    }
    if name == "accept4" && !grant.conditions.iter().any(|it| demands(it, 0, Some(it.value))) {
        return Err("needs a condition \"int0 == DESCRIPTOR\", the socket that it was given".to_owned());
    }
    if name == "getsockopt" && !grant.conditions.iter().any(|it| demands(it, 2, Some(it.value))) {
        return Err("needs a condition \"int2 == OPTION\"".to_owned());
    }
    if (name == "ioctl" || name == "fcntl")
        && !grant.conditions.iter().any(|it| demands(it, 1, Some(it.value)))
    {
        return Err("needs a condition \"int1 == REQUEST\"".to_owned());
    }
    Ok(())
}

fn forbids_bits(condition: &Condition, argument: u8, bits: Option<u64>) -> bool {
    let Comparison::MaskedEqual(mask) = condition.comparison else { return false };
    condition.argument == argument && condition.value == 0 && bits.is_some_and(|bits| mask & bits == bits)
}

fn demands(condition: &Condition, argument: u8, value: Option<u64>) -> bool {
    condition.argument == argument
        && condition.comparison == Comparison::Equal
        && Some(condition.value) == value
}

fn not_empty(what: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err(format!("{what} is empty")) } else { Ok(()) }
}
