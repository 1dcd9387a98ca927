//! The keys of a profile, as README.md describes them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::condition::Condition;
use super::names;

/// A profile's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub process: String,
    pub user: String,
    pub stdio: Stdio,
    pub descriptors: Vec<String>,
    pub rest: Option<Rest>,
    pub root: Root,
    pub namespaces: Vec<Namespace>,
    #[serde(default)]
    pub ids: Ids,
    pub capabilities: Vec<String>,
    pub rlimits: BTreeMap<Resource, u64>,
    landlock: toml::Value,
    syscalls: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdio {
    Null,
    Log,
    Terminal,
    Inherited,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rest {
    pub name: String,
    pub count_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    Empty,
    Inherited,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ids {
    #[default]
    Own,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    User,
    Pid,
    Net,
    Ipc,
    Uts,
    Cgroup,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Memlock,
    Msgqueue,
    Nofile,
    Nproc,
    Stack,
}

/// The landlock part: rules, or the word of a process that starts others.
#[derive(Debug)]
pub enum Landlock {
    Rules(Vec<LandlockRule>),
    NotForStarters,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LandlockRule {
    pub descriptor: String,
    pub access: Vec<FsAccess>,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FsAccess {
    ReadFile,
    ReadDir,
    WriteFile,
    Truncate,
    MakeReg,
    MakeDir,
    RemoveFile,
    RemoveDir,
    Refer,
    IoctlDev,
}

/// One permitted system call, or one of several ways to make it.
#[derive(Debug)]
pub struct Grant {
    pub name: String,
    pub number: i64,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conditional {
    when: Vec<String>,
    reason: String,
}

impl File {
    /// Each permitted call, in the order of their names.
    pub fn grants(&self) -> Result<Vec<Grant>, String> {
        let mut grants = Vec::new();
        for (name, value) in &self.syscalls {
            let number = names::syscall_number(name).ok_or_else(|| format!("unknown system call {name}"))?;
            let in_call = |error: String| format!("system call {name}: {error}");
            for (conditions, reason) in ways(value).map_err(in_call)? {
                grants.push(Grant { name: name.clone(), number, conditions, reason });
            }
        }
        Ok(grants)
    }

    /// The landlock part.
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
fn ways(value: &toml::Value) -> Result<Vec<(Vec<Condition>, String)>, String> {
    if let Some(reason) = value.as_str() {
        return Ok(vec![(Vec::new(), reason.to_owned())]);
    }
    if value.is_table() {
        return Ok(vec![conditional(value)?]);
    }
    match value.as_array() {
        Some(list) if !list.is_empty() => list.iter().map(conditional).collect(),
        Some(_) | None => {
            Err("wants a reason, or { when = [...], reason = \"...\" }, or a list of these".to_owned())
        }
    }
}

fn conditional(value: &toml::Value) -> Result<(Vec<Condition>, String), String> {
    let Conditional { when, reason } =
        Conditional::deserialize(value.clone()).map_err(|error| error.to_string())?;
    if when.is_empty() {
        return Err("the list of conditions is empty".to_owned());
    }
    let conditions = when.iter().map(|text| Condition::parse(text)).collect::<Result<_, _>>()?;
    Ok((conditions, reason))
}
