//! What SECURITY.md says that a compromise of a process does not give, where the reason is that nobody gives it to that
//! process. (That the kernel keeps a process to its profile is shown in sys/tests/profiles.)

use std::collections::BTreeSet;

use sandbox_profiles::ALL;
use sys::profile::{Landlock, Profile, Root};

/// Every process in its empty root, and the descriptors that it begins with. Two for the dialog: terminal and window.
const GIVEN: [(&str, &[&str]); 11] = [
    ("attacher", &["edge", "settings", "xenstored", "images"]),
    ("broker", &["supervisor", "settings", "journal-a", "journal-b"]),
    ("control", &["edge", "settings", "listener"]),
    ("dialog", &["edge"]),
    ("dialog", &["edge", "settings", "display", "xauthority"]),
    ("dvm-launcher", &["edge", "settings", "runner"]),
    ("dvm-parser", &["device", "output"]),
    ("fat-reader", &["edge", "device", "output"]),
    ("notifier", &["edge", "bus"]),
    ("xs-gate", &["edge", "xenstored", "monitor"]),
    ("xs-monitor", &["edge", "gate"]),
];

/// What opens, makes or names a file, or takes what another process opened for it.
const BY_NAME: [&str; 24] = [
    "open",
    "openat",
    "openat2",
    "open_by_handle_at",
    "creat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "newfstatat",
    "statx",
    "readlinkat",
    "getdents64",
    "chdir",
];

fn workers() -> impl Iterator<Item = &'static Profile> {
    ALL.iter().copied().filter(|profile| profile.root == Root::Empty)
}

fn calls(profile: &Profile) -> BTreeSet<&'static str> {
    profile.syscalls.iter().map(|call| call.name).collect()
}

/// The processes with any of these calls.
fn with(wanted: &[&str]) -> Vec<&'static str> {
    let has = |profile: &&Profile| calls(profile).iter().any(|call| wanted.contains(call));
    workers().filter(has).map(|profile| profile.process).collect()
}

#[test]
fn a_process_begins_with_the_descriptors_that_are_written_down_here_and_no_other() {
    let mut given: Vec<_> = workers().map(|profile| (profile.process, profile.descriptors)).collect();
    given.sort_unstable();
    assert_eq!(given, GIVEN);
    let more: Vec<_> = workers().filter_map(|profile| Some((profile.process, profile.rest?.name))).collect();
    assert_eq!(more, [("attacher", "loops"), ("broker", "journald")]);
}

#[test]
fn nothing_but_the_attacher_and_fat_reader_reaches_a_file_by_name() {
    assert_eq!(with(&BY_NAME), ["attacher", "fat-reader"]);
    let beneath: Vec<(&str, Vec<&str>)> = workers()
        .filter_map(|profile| match profile.landlock {
            Landlock::Rules([]) | Landlock::NotForStarters => None,
            Landlock::Rules(rules) => {
                Some((profile.process, rules.iter().map(|rule| rule.descriptor).collect()))
            }
        })
        .collect();
    assert_eq!(beneath, [("attacher", vec!["images", "loops"]), ("fat-reader", vec!["output"])]);
}

#[test]
fn nothing_but_control_takes_connections_and_nothing_makes_one() {
    assert_eq!(with(&["accept", "accept4"]), ["control"]);
    assert_eq!(with(&["socket", "socketpair", "connect", "bind", "listen"]), [""; 0]);
}

/// It has to tell who its clients are. Every other worker knows no id but its own, which is nobody's outside.
#[test]
fn no_user_namespace_but_that_of_control_knows_every_id() {
    let all: Vec<&str> =
        workers().filter(|profile| profile.namespaces.all_ids).map(|profile| profile.process).collect();
    assert_eq!(all, ["control"]);
}

#[test]
fn no_process_makes_another_or_touches_one() {
    let touching =
        ["fork", "vfork", "clone", "clone3", "execve", "execveat", "kill", "tkill", "ptrace", "pidfd_open"];
    assert_eq!(with(&touching), [""; 0]);
    // The call by which a process ends itself is granted with its own number and signal alone.
    let tgkill = workers().filter_map(|profile| profile.syscalls.iter().find(|call| call.name == "tgkill"));
    assert!(tgkill.into_iter().all(|call| !call.conditions.is_empty()));
    assert!(workers().all(|profile| profile.capabilities.is_empty()));
    let one = sys::profile::Resource::Nproc;
    for profile in workers() {
        let limit = profile.rlimits.iter().find(|limit| limit.resource == one);
        assert_eq!(limit.unwrap().value, 1, "{}", profile.process);
    }
}
