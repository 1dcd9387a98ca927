//! One process, as /proc shows it (proc(5)).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Longest file of /proc that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 4096;
/// The namespaces that a process can have for itself.
pub(super) const NAMESPACES: [&str; 7] = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"];
/// Which field of /proc/PID/stat, counted from 0 behind the name, is the time of the start.
const STAT_START: usize = 19;

/// What is known about a process. Read in one go, and only believed if it is the same process before and after.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) pid: u32,
    /// The program that it runs.
    pub(super) program: PathBuf,
    /// Its command line.
    pub(super) arguments: Vec<OsString>,
    /// The kind of each of its namespaces, and what identifies it.
    pub(super) namespaces: BTreeMap<&'static str, String>,
    /// Each open descriptor.
    pub(super) descriptors: BTreeMap<u32, Target>,
    /// How many names its root directory holds.
    pub(super) root_names: usize,
    /// The file systems that it can reach.
    pub(super) mounts: String,
    /// Which ids its user namespace knows.
    pub(super) uid_map: String,
    /// Each limit by its name: soft and hard.
    limits: BTreeMap<String, (String, String)>,
    status: BTreeMap<String, String>,
}

/// What a descriptor refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// As the link in /proc says it.
    pub(super) link: String,
    pub(super) kind: TargetKind,
    /// Device and inode of the file.
    pub(super) identity: (u64, u64),
}

/// The kinds of such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetKind {
    Socket,
    /// A file that exists in memory only.
    Memory,
    File,
    Directory,
    BlockDevice,
    /// `/dev/null`.
    Null,
    /// Another device of characters: a terminal.
    CharDevice,
    /// A process.
    Process,
    /// Signals that wait.
    Signals,
    Other,
}

impl Seen {
    /// Looks at a process. `None`: it has ended, whether it was waited for or not, or another one has its number meanwhile.
    pub(super) fn look(pid: u32) -> io::Result<Option<Self>> {
        let before = started(pid);
        let seen = Self::look_once(pid);
        if before.is_none() || before != started(pid) || has_ended(pid) {
            return Ok(None);
        }
        seen.map(Some)
    }

    fn look_once(pid: u32) -> io::Result<Self> {
        let folder = folder(pid);
        let text = |name: &str| read(&folder.join(name));
        let limits = text("limits")?.lines().filter_map(limit).collect();
        let mut namespaces = BTreeMap::new();
        for name in NAMESPACES {
            // A kernel without control groups has no such namespace.
            if let Ok(link) = fs::read_link(folder.join("ns").join(name)) {
                namespaces.insert(name, link.to_string_lossy().into_owned());
            }
        }
        Ok(Self {
            pid,
            program: fs::read_link(folder.join("exe"))?,
            arguments: arguments(&folder)?,
            namespaces,
            descriptors: descriptors(&folder.join("fd"))?,
            root_names: fs::read_dir(folder.join("root/"))?.take(DESCRIPTORS_MAX).count(),
            mounts: text("mountinfo")?,
            uid_map: text("uid_map")?,
            limits,
            status: status(pid)?,
        })
    }

    /// A field of /proc/PID/status, with single spaces.
    pub(super) fn field(&self, name: &str) -> String {
        self.status.get(name).map_or_else(|| "(unknown)".to_owned(), |text| one_spaced(text))
    }

    /// A limit: soft and hard.
    pub(super) fn limit(&self, name: &str) -> Option<(&str, &str)> {
        self.limits.get(name).map(|(soft, hard)| (soft.as_str(), hard.as_str()))
    }
}

/// Every process whose parent is this one.
pub(super) fn children(parent: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile is nobody's child.
        let Ok(fields) = status(pid) else { continue };
        if fields.get("PPid").and_then(|text| text.parse().ok()) == Some(parent) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn folder(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// When the process was started: with its number, this is what identifies it.
fn started(pid: u32) -> Option<String> {
    let stat = read(&folder(pid).join("stat")).ok()?;
    // The name is in parentheses, and may hold some itself.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(STAT_START).map(str::to_owned)
}

fn has_ended(pid: u32) -> bool {
    let state = status(pid).ok().and_then(|fields| fields.get("State").cloned());
    state.is_none_or(|state| state.starts_with(['Z', 'X']))
}

fn status(pid: u32) -> io::Result<BTreeMap<String, String>> {
    let text = read(&folder(pid).join("status"))?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    Ok(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

fn arguments(folder: &Path) -> io::Result<Vec<OsString>> {
    let bytes = read_bytes(&folder.join("cmdline"))?;
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes).split(|byte| *byte == 0);
    Ok(words.map(|word| OsString::from_vec(word.to_vec())).collect())
}

fn descriptors(folder: &Path) -> io::Result<BTreeMap<u32, Target>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)?.take(DESCRIPTORS_MAX) {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let number = number.ok_or_else(|| io::Error::other("a descriptor without a number"))?;
        // One that is closed meanwhile is none.
        if let (Ok(link), Ok(meta)) = (fs::read_link(&path), fs::metadata(&path)) {
            let link = link.to_string_lossy().into_owned();
            found.insert(
                number,
                Target { kind: kind(&link, &meta), identity: (meta.dev(), meta.ino()), link },
            );
        }
    }
    Ok(found)
}

fn kind(link: &str, meta: &fs::Metadata) -> TargetKind {
    let file_type = meta.file_type();
    if file_type.is_socket() {
        TargetKind::Socket
    } else if link.starts_with("/memfd:") {
        TargetKind::Memory
    } else if file_type.is_dir() {
        TargetKind::Directory
    } else if file_type.is_block_device() {
        TargetKind::BlockDevice
    } else if file_type.is_char_device() {
        // Major 1, minor 3 (Documentation/admin-guide/devices.txt of Linux).
        if meta.rdev() == rustix::fs::makedev(1, 3) { TargetKind::Null } else { TargetKind::CharDevice }
    } else if link.contains("pidfd") && !link.starts_with('/') {
        TargetKind::Process
    } else if link == "anon_inode:[signalfd]" {
        TargetKind::Signals
    } else if file_type.is_file() && link.starts_with('/') {
        TargetKind::File
    } else {
        TargetKind::Other
    }
}

/// `Max open files            64                   64                   files`: names are of up to 25 characters.
fn limit(line: &str) -> Option<(String, (String, String))> {
    let (name, rest) = line.split_at_checked(25)?;
    let mut words = rest.split_whitespace();
    Some((name.trim().to_owned(), (words.next()?.to_owned(), words.next()?.to_owned())))
}

fn read(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read_bytes(path)?).into_owned())
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn one_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_as_it_is() {
        let own = Seen::look(std::process::id()).unwrap().unwrap();
        assert_eq!(own.program, std::env::current_exe().unwrap());
        assert_eq!(own.field("Pid"), std::process::id().to_string());
        assert!(own.namespaces.contains_key("user") && own.descriptors.contains_key(&1));
        assert!(own.limit("Max open files").is_some() && own.limit("Max cake").is_none());
        assert_eq!(own.field("NoSuchField"), "(unknown)");
    }

    #[test]
    fn a_process_that_has_ended_is_not_seen() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // Ended, but not waited for, which is seen by waiting for its end without taking it.
        let pid = rustix::process::Pid::from_child(&child);
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).unwrap();
        assert!(Seen::look(child.id()).unwrap().is_none());
        child.wait().unwrap();
        assert!(Seen::look(child.id()).unwrap().is_none());
    }

    #[test]
    fn limits_are_read_by_the_columns_of_the_kernel() {
        let line = "Max address space         268435456            unlimited            bytes     ";
        let (name, values) = limit(line).unwrap();
        assert_eq!((name.as_str(), values), ("Max address space", ("268435456".into(), "unlimited".into())));
        assert_eq!(limit("short"), None);
    }
}
