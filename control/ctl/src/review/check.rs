//! What a process should show, by its profile, beside what it shows.

use sys::profile::{Profile, Resource, Root};
use sys::spawn::Account;

use super::descriptors::{self, Places};
use super::seen::{NAMESPACES, Seen};

/// One value of one process.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) found: String,
    /// `None`: whatever it is.
    pub(super) expected: Option<String>,
    pub(super) holds: bool,
}

impl Row {
    /// A value that must be this one.
    pub(super) fn equal(what: &str, found: &str, expected: &str) -> Self {
        let (found, holds) = (found.to_owned(), found == expected);
        Self { what: what.to_owned(), found, expected: Some(expected.to_owned()), holds }
    }

    /// A value that must have a property.
    pub(super) fn must(what: &str, found: &str, property: &str, holds: bool) -> Self {
        let (what, found) = (what.to_owned(), found.to_owned());
        Self { what, found, expected: Some(property.to_owned()), holds }
    }

    /// A value that is only shown.
    pub(super) fn shown(what: &str, found: &str) -> Self {
        Self { what: what.to_owned(), found: found.to_owned(), expected: None, holds: true }
    }
}

/// What is known besides about the daemon.
pub(super) struct Daemon<'a> {
    pub(super) supervisor: &'a Seen,
    /// All of its processes, for what no two may share.
    pub(super) all: &'a [Seen],
    pub(super) places: &'a Places,
}

/// Judges a worker.
pub(super) fn worker(
    seen: &Seen,
    profile: &Profile,
    account: Option<Account>,
    daemon: &Daemon<'_>,
) -> Vec<Row> {
    let filters =
        number(&daemon.supervisor.field("Seccomp_filters")).map_or(0, |count| count.saturating_add(1));
    let mut rows = confinement(seen, profile, filters);
    for (set, name) in CAPABILITY_SETS {
        rows.push(Row::equal(set, &seen.field(name), NO_CAPABILITIES));
    }
    rows.extend(ids(seen, profile, account, daemon));
    rows.extend(namespaces(seen, profile, daemon));
    if profile.root == Root::Empty {
        rows.push(Row::equal("names in its root directory", &seen.root_names.to_string(), "0"));
        rows.push(mounts(seen));
    }
    rows.extend(limits(seen, profile));
    rows.extend(descriptors::of_worker(seen, profile, daemon));
    rows
}

/// Judges the first process.
pub(super) fn supervisor(seen: &Seen, profile: &Profile) -> Vec<Row> {
    let filters = number(&seen.field("Seccomp_filters")).unwrap_or(0).max(1);
    let mut rows = confinement(seen, profile, filters);
    let kept = profile
        .capabilities
        .iter()
        .fold(0_u64, |set, bit| set | 1_u64.checked_shl(u32::from(*bit)).unwrap_or(0));
    for (set, name) in CAPABILITY_SETS {
        let found = seen.field(name);
        let holds = u64::from_str_radix(&found, 16).is_ok_and(|set| set & !kept == 0);
        // An ordinary user cannot empty it, and with no_new_privs it gives nothing.
        let is_harmless = set == "bounding set" && seen.field("CapPrm") == NO_CAPABILITIES;
        rows.push(Row::must(set, &found, &format!("at most {kept:016x}"), holds || is_harmless));
    }
    rows.push(Row::shown("uids", &seen.field("Uid")));
    rows.push(Row::shown("gids", &seen.field("Gid")));
    rows.extend(limits(seen, profile));
    rows.extend(descriptors::of_supervisor(seen, profile));
    rows
}

/// Shows what the one process without a profile is.
pub(super) fn runner(seen: &Seen, daemon: &Daemon<'_>) -> Vec<Row> {
    let filters =
        number(&daemon.supervisor.field("Seccomp_filters")).map_or(0, |count| count.saturating_sub(1));
    let mut rows = vec![
        Row::equal("filters", &seen.field("Seccomp_filters"), &filters.to_string()),
        Row::equal("threads", &seen.field("Threads"), "1"),
        Row::shown("uids", &seen.field("Uid")),
        Row::shown("effective capabilities", &seen.field("CapEff")),
    ];
    rows.extend(descriptors::of_runner(seen));
    rows
}

const NO_CAPABILITIES: &str = "0000000000000000";

const CAPABILITY_SETS: [(&str, &str); 5] = [
    ("bounding set", "CapBnd"),
    ("effective capabilities", "CapEff"),
    ("permitted capabilities", "CapPrm"),
    ("inheritable capabilities", "CapInh"),
    ("ambient capabilities", "CapAmb"),
];

fn confinement(seen: &Seen, profile: &Profile, filters: u32) -> Vec<Row> {
    // The kernel keeps 15 characters of a name.
    let name = profile.process.get(..15).unwrap_or(profile.process);
    let mut rows = Vec::new();
    if profile.root == Root::Empty {
        rows.push(Row::equal("name", &seen.field("Name"), name));
        rows.push(Row::equal("threads", &seen.field("Threads"), "1"));
    }
    rows.push(Row::equal("seccomp", &seen.field("Seccomp"), "2"));
    rows.push(Row::equal("filters", &seen.field("Seccomp_filters"), &filters.to_string()));
    rows.push(Row::equal("no new privileges", &seen.field("NoNewPrivs"), "1"));
    rows
}

fn ids(seen: &Seen, profile: &Profile, account: Option<Account>, daemon: &Daemon<'_>) -> Vec<Row> {
    let own = |name: &str| first_word(&daemon.supervisor.field(name));
    let (uid, gid) = match account {
        Some(account) => (account.uid.to_string(), account.gid.to_string()),
        None => (own("Uid"), own("Gid")),
    };
    let four = |id: &str| [id; 4].join(" ");
    let mut rows = vec![
        Row::equal("uids", &seen.field("Uid"), &four(&uid)),
        Row::equal("gids", &seen.field("Gid"), &four(&gid)),
    ];
    if account.is_some() {
        rows.push(Row::equal("groups", &seen.field("Groups"), ""));
    }
    let map = super::seen::one_spaced(&seen.uid_map);
    let (first, more) = (format!("0 {uid} 1"), profile.namespaces.all_ids && account.is_some());
    let holds = map == first || (more && map.starts_with(&format!("{first} ")));
    let property = if more { "its own id as 0, and others" } else { "its own id alone, as 0" };
    rows.push(Row::must("ids that it knows", &map, property, holds));
    rows
}

/// Each that the profile names, and the mount namespace of an empty root, is nobody else's.
fn namespaces(seen: &Seen, profile: &Profile, daemon: &Daemon<'_>) -> Vec<Row> {
    let wanted = profile.namespaces;
    let mut rows = Vec::new();
    for name in NAMESPACES {
        let is_own = match name {
            "user" => wanted.user,
            "pid" => wanted.pid,
            "mnt" => profile.root == Root::Empty,
            "net" => wanted.net,
            "ipc" => wanted.ipc,
            "uts" => wanted.uts,
            _ => wanted.cgroup,
        };
        // What the supervisor does not have either, this kernel does not know.
        let Some(of_supervisor) = daemon.supervisor.namespaces.get(name) else { continue };
        let found = seen.namespaces.get(name).map_or("(unknown)", String::as_str);
        let sharing = daemon.all.iter().filter(|other| other.pid != seen.pid);
        let is_shared = found == of_supervisor
            || sharing.filter_map(|other| other.namespaces.get(name)).any(|other| other == found);
        let what = format!("{name} namespace");
        rows.push(if is_own {
            Row::must(&what, found, "nobody else's", seen.namespaces.contains_key(name) && !is_shared)
        } else {
            Row::shown(&what, found)
        });
    }
    rows
}

fn mounts(seen: &Seen) -> Row {
    let is_empty = |line: &str| line.contains(" / / ro,nosuid,nodev,noexec") && line.contains(" tmpfs ");
    let holds = seen.mounts.lines().count() == 1 && seen.mounts.lines().all(is_empty);
    let found = super::seen::one_spaced(seen.mounts.lines().next().unwrap_or("(none)"));
    Row::must("file systems", &found, "one, empty and ro,nosuid,nodev,noexec", holds)
}

fn limits(seen: &Seen, profile: &Profile) -> Vec<Row> {
    let row = |limit: &sys::profile::Limit| {
        let name = limit_name(limit.resource);
        let (soft, hard) = seen.limit(name).unwrap_or(("(unknown)", "(unknown)"));
        // A lower hard limit that was there before stays.
        let at_most = |text: &str| text.parse().is_ok_and(|value: u64| value <= limit.value);
        let what = format!("limit: {}", name.trim_start_matches("Max "));
        Row::must(
            &what,
            &format!("{soft} {hard}"),
            &format!("at most {}", limit.value),
            at_most(soft) && at_most(hard),
        )
    };
    profile.rlimits.iter().map(row).collect()
}

/// As `fs/proc/base.c` of Linux writes them.
fn limit_name(resource: Resource) -> &'static str {
    match resource {
        Resource::As => "Max address space",
        Resource::Core => "Max core file size",
        Resource::Cpu => "Max cpu time",
        Resource::Data => "Max data size",
        Resource::Fsize => "Max file size",
        Resource::Memlock => "Max locked memory",
        Resource::Msgqueue => "Max msgqueue size",
        Resource::Nofile => "Max open files",
        Resource::Nproc => "Max processes",
        Resource::Stack => "Max stack size",
    }
}

fn first_word(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This process is in no sandbox at all.
    #[test]
    fn of_a_process_without_a_sandbox_every_part_deviates() {
        let own = Seen::look(std::process::id()).unwrap().unwrap();
        let config = supervisor::config::Config::parse(std::path::Path::new("/none"), "").unwrap();
        let (all, places) = ([], Places::of(&config));
        let daemon = Daemon { supervisor: &own, all: &all, places: &places };
        let rows = worker(&own, &sandbox_profiles::XS_MONITOR, None, &daemon);
        let deviating: Vec<&str> =
            rows.iter().filter(|row| !row.holds).map(|row| row.what.as_str()).collect();
        for what in
            ["name", "threads", "seccomp", "filters", "no new privileges", "names in its root directory"]
        {
            assert!(deviating.contains(&what), "{what}: {deviating:?}");
        }
        let of_namespaces = deviating.iter().filter(|what| what.contains("namespace")).count();
        assert!(of_namespaces >= NAMESPACES.len() - 1, "{deviating:?}");
    }
}
