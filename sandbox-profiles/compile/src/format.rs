//! The keys of a profile, as README.md describes them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::condition::Condition;
use super::names::Arch;

/// A profile's file. README.md says what each key means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The process's name.
    pub process: String,
    /// The account that it runs as when root starts the daemon.
    pub user: String,
    /// What descriptors 0, 1 and 2 are.
    pub stdio: Stdio,
    /// The names of descriptors 3, 4, ….
    pub descriptors: Vec<String>,
    /// Further descriptors of one kind.
    pub rest: Option<Rest>,
    /// Descriptors that it opens or is sent later.
    #[serde(default)]
    pub later: Vec<Later>,
    /// What it sees as `/`.
    pub root: Root,
    /// The namespaces that it has for itself.
    pub namespaces: Vec<Namespace>,
    /// Which ids its user namespace knows.
    #[serde(default)]
    pub ids: Ids,
    /// The capabilities that stay.
    pub capabilities: Vec<String>,
    /// Resource limits, in the kernel's units.
    pub rlimits: BTreeMap<Resource, u64>,
    /// How few system calls it should need.
    pub aim: Option<Aim>,
    landlock: toml::Value,
    syscalls: BTreeMap<String, toml::Value>,
}

/// How few system calls a process should need, by name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aim {
    /// So many.
    pub calls_max: usize,
    /// Why it needs more, where it does.
    pub missed: Option<String>,
}

/// What descriptors 0, 1 and 2 are.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdio {
    /// `/dev/null`, all three.
    Null,
    /// 2 is the log.
    Log,
    /// 0 and 1 are a terminal.
    Terminal,
    /// As in whoever starts it.
    Inherited,
}

/// Descriptors of one kind whose number is known only at the start.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rest {
    /// Their common name.
    pub name: String,
    /// Most of them.
    pub count_max: usize,
}

/// Descriptors that a process opens or is sent once it runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Later {
    /// What they refer to.
    pub kind: Kind,
    /// Most of them at once.
    pub count_max: usize,
    /// What for.
    pub reason: String,
}

/// What a descriptor can refer to, as far as `/proc` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A socket.
    Socket,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A file that exists in memory only.
    Memory,
    /// A process.
    Process,
    /// Signals that wait.
    Signals,
    /// `/dev/null`.
    Null,
}

/// What a process sees as `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// An empty, read-only file system.
    Empty,
    /// What whoever started it sees.
    Inherited,
}

/// Which ids a user namespace knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ids {
    /// The process's own.
    #[default]
    Own,
    /// Every one.
    All,
}

/// The kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    /// User and group ids.
    User,
    /// Process ids.
    Pid,
    /// Network.
    Net,
    /// System V IPC and message queues.
    Ipc,
    /// Host name.
    Uts,
    /// View of the control groups.
    Cgroup,
}

/// The resources that may be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Address space, in bytes.
    As,
    /// Core dump, in bytes.
    Core,
    /// Processor time, in seconds.
    Cpu,
    /// Data segment, in bytes.
    Data,
    /// Size of a written file, in bytes.
    Fsize,
    /// Locked memory, in bytes.
    Memlock,
    /// POSIX message queues, in bytes.
    Msgqueue,
    /// Descriptors.
    Nofile,
    /// Processes of the user.
    Nproc,
    /// Stack, in bytes.
    Stack,
}

/// The landlock part.
#[derive(Debug)]
pub enum Landlock {
    /// What may be reached.
    Rules(Vec<LandlockRule>),
    /// The word of a process that starts others.
    NotForStarters,
}

/// What may be reached beneath one descriptor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LandlockRule {
    /// The descriptor's name.
    pub descriptor: String,
    /// The rights.
    pub access: Vec<FsAccess>,
    /// What for.
    pub reason: String,
}

/// Landlock's rights on files.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FsAccess {
    /// Open a file for reading.
    ReadFile,
    /// List a directory.
    ReadDir,
    /// Open a file for writing.
    WriteFile,
    /// Change a file's size.
    Truncate,
    /// Make a regular file.
    MakeReg,
    /// Make a directory.
    MakeDir,
    /// Remove a file.
    RemoveFile,
    /// Remove a directory.
    RemoveDir,
    /// Link or rename into another directory.
    Refer,
    /// Use ioctl on a device.
    IoctlDev,
}

/// One permitted system call, or one of several ways to make it.
#[derive(Debug)]
pub struct Grant {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: i64,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// What for.
    pub reason: String,
    /// Why no run of the tests makes it, where none does.
    pub rare: Option<String>,
}

/// One value of a system call's key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Way {
    when: Option<Vec<String>>,
    reason: String,
    rare: Option<String>,
}

impl Grant {
    /// Whether it permits a call with these arguments.
    #[must_use]
    pub fn permits(&self, number: i64, arguments: &[u64; 6]) -> bool {
        number == self.number && self.conditions.iter().all(|condition| condition.holds(arguments))
    }
}

impl File {
    /// Each permitted call, in the order of their names.
    ///
    /// # Errors
    /// What is not understood, as a sentence.
    pub fn grants(&self, arch: Arch) -> Result<Vec<Grant>, String> {
        let mut grants = Vec::new();
        for (name, value) in &self.syscalls {
            let number = arch
                .syscall_number(name)
                .ok_or_else(|| format!("unknown system call {name} of {}", arch.name()))?;
            let in_call = |error: String| format!("system call {name}: {error}");
            for way in ways(value).map_err(in_call)? {
                let conditions = conditions(way.when, arch).map_err(in_call)?;
                let (reason, rare) = (way.reason, way.rare);
                grants.push(Grant { name: name.clone(), number, conditions, reason, rare });
            }
        }
        Ok(grants)
    }

    /// The landlock part.
    ///
    /// # Errors
    /// What is not understood, as a sentence.
    pub fn landlock(&self) -> Result<Landlock, String> {
        if self.landlock.as_str() == Some("not-for-starters") {
            return Ok(Landlock::NotForStarters);
        }
        let rules =
            self.landlock.as_array().ok_or("landlock must be a list of rules, or \"not-for-starters\"")?;
        let parse = |rule: &toml::Value| {
            LandlockRule::deserialize(rule.clone()).map_err(|error| format!("landlock: {error}"))
        };
        rules.iter().map(parse).collect::<Result<_, _>>().map(Landlock::Rules)
    }
}

/// A reason alone, one set of conditions with its reason, or a list of such sets of which one must hold.
fn ways(value: &toml::Value) -> Result<Vec<Way>, String> {
    if let Some(reason) = value.as_str() {
        return Ok(vec![Way { when: None, reason: reason.to_owned(), rare: None }]);
    }
    let way = |value: &toml::Value| Way::deserialize(value.clone()).map_err(|error| error.to_string());
    if value.is_table() {
        return Ok(vec![way(value)?]);
    }
    match value.as_array() {
        Some(list) if !list.is_empty() => {
            let ways: Vec<Way> = list.iter().map(way).collect::<Result<_, _>>()?;
            if ways.iter().any(|way| way.when.is_none()) {
                return Err("one of several ways needs conditions".to_owned());
            }
            Ok(ways)
        }
        Some(_) | None => {
            Err("wants a reason, or { when = [...], reason = \"...\" }, or a list of these".to_owned())
        }
    }
}

fn conditions(when: Option<Vec<String>>, arch: Arch) -> Result<Vec<Condition>, String> {
    match when {
        None => Ok(Vec::new()),
        Some(texts) if texts.is_empty() => Err("the list of conditions is empty".to_owned()),
        Some(texts) => texts.iter().map(|text| Condition::parse(text, arch)).collect(),
    }
}
