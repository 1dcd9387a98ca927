//! How DisposableVMs are made on this host: commands of the toolstack, as lists of words that no shell ever sees.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use protocol::runner::NAME_MARK;
use toml::Spanned;

use super::check::{at, number, path, span};
use super::fault::Fault;
use super::raw::{Key, RawDisposables};

/// Most words of one command.
pub const COMMAND_WORDS_MAX: usize = 32;
/// Longest word of a command, in bytes.
pub const COMMAND_WORD_BYTES_MAX: usize = 1024;

/// How long a command that only asks the toolstack something may take, in seconds.
pub const ASK_S_MAX: u32 = 10;
/// What the ways between the processes may take, in seconds, on top of the commands.
const WAYS_S_MAX: u32 = 10;

/// Most DisposableVMs at once: [`protocol::launch::DISPOSABLES_MAX`].
const TOTAL: RangeInclusive<u32> = 1..=32;
const PER_VM: RangeInclusive<u32> = 1..=32;
const MEMORY_MIB: RangeInclusive<u32> = 0..=1_048_576;
const COMMAND_S: RangeInclusive<u32> = 1..=600;
const REBUILD_S: RangeInclusive<u32> = 1..=7200;

/// The section `[disposables]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposables {
    /// Makes one; empty: this host makes none.
    pub create: Vec<String>,
    /// Ends one.
    pub destroy: Vec<String>,
    /// Says by its exit code whether there is one; empty: a `destroy` that fails has failed.
    pub exists: Vec<String>,
    /// Makes the template anew; empty: a template that is missing or too old is a refusal.
    pub rebuild: Vec<String>,
    /// Prints how many MiB are free; empty: that is not looked at.
    pub free_memory: Vec<String>,
    /// The file that they are made from; `None`: nothing is looked at.
    pub template: Option<PathBuf>,
    /// The file that the template is made from, and must not be older than.
    pub base: Option<PathBuf>,
    /// MiB that must be free for each one that is made.
    pub memory_mib_min: u32,
    /// Most at once.
    pub total_max: u32,
    /// Most at once that one VM asked for.
    pub per_vm_max: u32,
    /// How long `create` may take, in seconds.
    pub create_s_max: u32,
    /// How long `destroy` may take, in seconds.
    pub destroy_s_max: u32,
    /// How long `rebuild` may take, in seconds.
    pub rebuild_s_max: u32,
}

impl Disposables {
    /// Whether this host makes any.
    #[must_use]
    pub fn are_made(&self) -> bool {
        !self.create.is_empty()
    }

    /// How long any order of dvm-launcher may take, in seconds.
    #[must_use]
    pub fn launch_s_max(&self) -> u32 {
        let create = ASK_S_MAX.saturating_add(self.rebuild_s_max).saturating_add(self.create_s_max);
        let destroy = self.destroy_s_max.saturating_add(ASK_S_MAX);
        create.max(destroy).saturating_add(WAYS_S_MAX)
    }
}

/// Checks the section.
pub(super) fn disposables(raw: &RawDisposables) -> Result<Disposables, Fault> {
    let disposables = Disposables {
        create: command(&raw.create, Name::Needed)?,
        destroy: command(&raw.destroy, Name::Needed)?,
        exists: command(&raw.exists, Name::Needed)?,
        rebuild: command(&raw.rebuild, Name::Unknown)?,
        free_memory: command(&raw.free_memory, Name::Unknown)?,
        template: file(&raw.template)?,
        base: file(&raw.base)?,
        memory_mib_min: number(&raw.memory_mib_min, 512, &MEMORY_MIB)?,
        total_max: number(&raw.total_max, 8, &TOTAL)?,
        per_vm_max: number(&raw.per_vm_max, 4, &PER_VM)?,
        create_s_max: number(&raw.create_s_max, 60, &COMMAND_S)?,
        destroy_s_max: number(&raw.destroy_s_max, 30, &COMMAND_S)?,
        rebuild_s_max: number(&raw.rebuild_s_max, 600, &REBUILD_S)?,
    };
    let fault = |span, text: &str| Err(Fault { span, text: text.to_owned() });
    if disposables.are_made() && disposables.destroy.is_empty() {
        return fault(span(&raw.create), "create without destroy: no DisposableVM would ever end");
    }
    if disposables.base.is_some() && disposables.template.is_none() {
        return fault(span(&raw.base), "base without template: there is nothing to compare it with");
    }
    if disposables.per_vm_max > disposables.total_max {
        return fault(span(&raw.per_vm_max), "per_vm_max exceeds total_max");
    }
    Ok(disposables)
}

/// Whether a command is about one VM.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Needed,
    Unknown,
}

fn command(key: &Key<Vec<Spanned<String>>>, name: Name) -> Result<Vec<String>, Fault> {
    let Some(key) = key else { return Ok(Vec::new()) };
    let words = key.get_ref();
    if words.len() > COMMAND_WORDS_MAX {
        return Err(at(key, &format!("a command has at most {COMMAND_WORDS_MAX} words")));
    }
    for word in words {
        if word.get_ref().len() > COMMAND_WORD_BYTES_MAX || word.get_ref().contains('\0') {
            let right = format!("a word of a command has at most {COMMAND_WORD_BYTES_MAX} bytes and no NUL");
            return Err(at(word, &right));
        }
    }
    let Some((program, rest)) = words.split_first() else { return Ok(Vec::new()) };
    if !program.get_ref().starts_with('/') || program.get_ref().contains(NAME_MARK) {
        return Err(at(program, "the program of a command is an absolute path, the same for every VM"));
    }
    let named = rest.iter().any(|word| word.get_ref().contains(NAME_MARK));
    match name {
        Name::Needed if !named => {
            Err(at(key, "no word of this command has {name}, so it could not say which VM it is about"))
        }
        Name::Unknown if named => Err(at(key, "this command is about no VM: {name} cannot be in it")),
        Name::Needed | Name::Unknown => Ok(words.iter().map(|word| word.get_ref().clone()).collect()),
    }
}

/// An absolute path, or nothing.
fn file(key: &Key<String>) -> Result<Option<PathBuf>, Fault> {
    match key {
        Some(given) if !given.get_ref().is_empty() => path(key, "").map(Some),
        Some(_) | None => Ok(None),
    }
}
