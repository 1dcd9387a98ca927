//! Text to rules. Every refusal names file, line and column.

use protocol::log::LogText;
use protocol::types::VmName;

use crate::Policy;
use crate::rule::{Action, Operation, OperationMatch, Origin, Rule, VmMatch};
use crate::tags::Tags;

/// Longest policy or tags file, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// Longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 1024;
/// Most rules in all files.
pub const RULES_MAX: usize = 4096;
/// Most policy files.
pub const DIRECTORY_FILES_MAX: usize = 256;
/// How the name of a policy file ends; other files of the directory are not read.
pub const POLICY_FILE_SUFFIX: &str = ".policy";

/// A text that is no policy, and where it stops being one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {text}")]
pub struct PolicyError {
    /// The file's name.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in bytes.
    pub column: usize,
    /// What is wrong and what would be right.
    pub text: String,
}

/// Reads a whole policy: every file as (name, content), sorted here by name, and the tags file.
///
/// # Errors
/// The first [`PolicyError`] of any file.
pub fn load(files: &[(String, Vec<u8>)], tags_file: (&str, &[u8])) -> Result<Policy, PolicyError> {
    let tags = Tags::parse(tags_file.0, tags_file.1)?;
    if files.len() > DIRECTORY_FILES_MAX {
        return Err(at_top(&tags_file_of(files), "there are more than 256 policy files"));
    }
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by(|left, right| left.0.cmp(&right.0));
    let mut rules = Vec::new();
    for (name, content) in sorted {
        parse_file(name, content, &tags, &mut rules)?;
    }
    Ok(Policy::new(rules, tags))
}

fn tags_file_of(files: &[(String, Vec<u8>)]) -> String {
    files.last().map(|(name, _)| name.clone()).unwrap_or_default()
}

fn parse_file(file: &str, content: &[u8], tags: &Tags, rules: &mut Vec<Rule>) -> Result<(), PolicyError> {
    for mut line in Reader::lines(file, content)? {
        let Some(first) = line.word() else { continue };
        let rule = parse_rule(&mut line, first, tags)?;
        if rules.len() >= RULES_MAX {
            return Err(line.error(first, "there are more than 4096 rules"));
        }
        rules.push(rule);
    }
    Ok(())
}

fn parse_rule(line: &mut Reader<'_>, first: Word<'_>, tags: &Tags) -> Result<Rule, PolicyError> {
    let operation = match first.text {
        "*" => OperationMatch::Any,
        word => OperationMatch::Only(
            Operation::from_word(word).ok_or_else(|| line.error(first, "an operation is copy, dvm or *"))?,
        ),
    };
    let source = line.word().ok_or_else(|| line.error_at_end("the source VM is missing"))?;
    let source = parse_vm(line, source, tags)?;
    let target = line.word().ok_or_else(|| line.error_at_end("the target VM is missing"))?;
    let target = parse_vm(line, target, tags)?;
    let action = line.word().ok_or_else(|| line.error_at_end("ask, allow or deny is missing"))?;
    let action = Action::from_word(action.text)
        .ok_or_else(|| line.error(action, "an action is ask, allow or deny"))?;
    let mut notify = None;
    while let Some(option) = line.word() {
        let value = match option.text {
            "notify=yes" => true,
            "notify=no" => false,
            _ => return Err(line.error(option, "an option is notify=yes or notify=no")),
        };
        if notify.replace(value).is_some() {
            return Err(line.error(option, "notify is given twice"));
        }
    }
    let origin = Origin(LogText::new(&format!("{}:{}", line.file, line.number)));
    Ok(Rule { operation, source, target, action, notify: notify.unwrap_or(false), origin })
}

fn parse_vm(line: &Reader<'_>, word: Word<'_>, tags: &Tags) -> Result<VmMatch, PolicyError> {
    if let Some(tag) = word.text.strip_prefix("@tag:") {
        let tag = VmName::new(tag.as_bytes()).map_err(|_| line.error(word, "this is no tag name"))?;
        // A misspelt tag in a rule that denies would let a later rule allow.
        return if tags.knows(&tag) {
            Ok(VmMatch::Tagged(tag))
        } else {
            Err(line.error(word, "no VM has this tag in the tags file"))
        };
    }
    match word.text {
        "*" | "@anyvm" => Ok(VmMatch::Any),
        "@dispvm" => Ok(VmMatch::Disposable),
        text if text.starts_with('@') => Err(line.error(word, "a keyword is @anyvm, @dispvm or @tag:NAME")),
        text => VmName::new(text.as_bytes())
            .map(VmMatch::Named)
            .map_err(|error| line.error(word, &error.to_string())),
    }
}

/// One word of a line, and the column at which it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word<'a> {
    pub(crate) text: &'a str,
    column: usize,
}

/// The words of one line.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    file: &'a str,
    number: usize,
    rest: &'a str,
    column: usize,
}

impl<'a> Reader<'a> {
    /// The lines of a file, without comments.
    pub(crate) fn lines(file: &'a str, untrusted_text: &'a [u8]) -> Result<Vec<Self>, PolicyError> {
        if untrusted_text.len() > FILE_BYTES_MAX {
            return Err(at_top(file, "a policy or tags file is at most 262144 bytes"));
        }
        let lines = untrusted_text.split(|byte| *byte == b'\n').enumerate();
        lines
            .map(|(index, untrusted_line)| Self::line(file, index.saturating_add(1), untrusted_line))
            .collect()
    }

    /// Its length first: no column lies further to the right than one byte after the longest line.
    fn line(file: &'a str, number: usize, untrusted_line: &'a [u8]) -> Result<Self, PolicyError> {
        let error = |bytes_before: usize, text: &str| PolicyError {
            file: file.to_owned(),
            line: number,
            column: bytes_before.saturating_add(1),
            text: text.to_owned(),
        };
        if untrusted_line.len() > LINE_BYTES_MAX {
            return Err(error(LINE_BYTES_MAX, "a line is at most 1024 bytes"));
        }
        let whole = std::str::from_utf8(untrusted_line)
            .map_err(|refused| error(refused.valid_up_to(), "this is not UTF-8"))?;
        let content = whole.split('#').next().unwrap_or_default();
        let unfit = |byte: u8| !matches!(byte, b' ' | b'\t') && !byte.is_ascii_graphic();
        match content.bytes().position(unfit) {
            Some(unfit) => Err(error(unfit, "only printable ASCII, spaces and tabs belong here")),
            None => Ok(Self { file, number, rest: content, column: 1 }),
        }
    }

    /// The next word.
    pub(crate) fn word(&mut self) -> Option<Word<'a>> {
        let trimmed = self.rest.trim_start_matches([' ', '\t']);
        let column = self.column.saturating_add(self.rest.len().saturating_sub(trimmed.len()));
        let text = trimmed.split([' ', '\t']).next().filter(|text| !text.is_empty())?;
        self.rest = trimmed.get(text.len()..).unwrap_or_default();
        self.column = column.saturating_add(text.len());
        Some(Word { text, column })
    }

    pub(crate) fn error(&self, word: Word<'_>, text: &str) -> PolicyError {
        PolicyError {
            file: self.file.to_owned(),
            line: self.number,
            column: word.column,
            text: text.to_owned(),
        }
    }

    pub(crate) fn error_at_end(&self, text: &str) -> PolicyError {
        PolicyError {
            file: self.file.to_owned(),
            line: self.number,
            column: self.column,
            text: text.to_owned(),
        }
    }
}

fn at_top(file: &str, text: &str) -> PolicyError {
    PolicyError { file: file.to_owned(), line: 1, column: 1, text: text.to_owned() }
}
