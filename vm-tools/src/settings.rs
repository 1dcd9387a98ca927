//! The settings of the tools in this VM: one TOML file, every key bounded, unknown keys refused.
//!
//! `packaging/vm.toml` is the reference: it names every key with its default and its bounds, and a test holds it
//! against this file. A missing file means the defaults.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::failure::Failure;

/// Where the settings are.
pub const SETTINGS_FILE: &str = "/etc/qfilexchg/vm.toml";
/// Names another file; whoever sets it could run the tool's steps without the tool as well.
pub const SETTINGS_FILE_ENV: &str = "QFILEXCHG_VM_SETTINGS";
/// Longest settings file, in bytes.
pub const SETTINGS_BYTES_MAX: usize = 64 * 1024;
/// Most words of a command.
pub const COMMAND_WORDS_MAX: usize = 32;
/// Longest word of a command, in bytes.
pub const COMMAND_WORD_BYTES_MAX: usize = 4096;

/// Longest time for handing a document over, in seconds.
pub const HAND_OVER_S_MAX: u32 = 600;
/// The time for it when nothing is configured, in seconds.
const HAND_OVER_S: u32 = 10;

/// What opens a file when nothing is configured: the first of these that is installed.
const OPENERS: [&[&str]; 2] = [&["xdg-open"], &["mimeopen", "-n"]];

/// A program and its first arguments.
pub type Command = Vec<String>;

/// How files get onto an outgoing pendrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outgoing {
    /// The tool writes the volume itself.
    #[default]
    Write,
    /// The kernel mounts the pendrive, and files are copied into it.
    Mount,
}

/// How files get off an incoming pendrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Incoming {
    /// A confined process reads the volume (L10).
    #[default]
    Extract,
    /// The kernel mounts the pendrive, and the person takes what is wanted.
    Mount,
}

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How files get onto an outgoing pendrive.
    pub outgoing: Outgoing,
    /// How files get off an incoming pendrive.
    pub incoming: Incoming,
    /// What opens a received document: the first one that is installed. The document's path is added as the last
    /// argument. Never empty, and no command in it is.
    pub openers: Vec<Command>,
    /// How long after its start that program may hand the document to another one, in seconds, at most
    /// [`HAND_OVER_S_MAX`].
    pub hand_over_s: u32,
    /// Whether this VM is a DisposableVM; `None`: its name says it.
    pub disposable: Option<bool>,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    open_with: Option<Command>,
    hand_over_s: Option<i64>,
    disposable: Option<bool>,
    outgoing: Outgoing,
    incoming: Incoming,
}

impl Default for Settings {
    fn default() -> Self {
        let words = |command: &&[&str]| command.iter().map(|&word| word.to_owned()).collect();
        Self {
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            openers: OPENERS.iter().map(words).collect(),
            hand_over_s: HAND_OVER_S,
            disposable: None,
        }
    }
}

impl Settings {
    /// Reads [`SETTINGS_FILE`], or the file that [`SETTINGS_FILE_ENV`] names.
    ///
    /// # Errors
    /// It cannot be read, is too long, or holds what is no setting.
    pub fn load() -> Result<Self, Failure> {
        let named = std::env::var_os(SETTINGS_FILE_ENV).map(PathBuf::from);
        Self::load_from(named.as_deref().unwrap_or(Path::new(SETTINGS_FILE)))
    }

    /// Reads that file.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_from(path: &Path) -> Result<Self, Failure> {
        let failed = |text: &str| Failure::failed(&format!("{}: {text}", path.display()));
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(&error.to_string())),
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(SETTINGS_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes).map_err(|error| failed(&error.to_string()))?;
        if bytes.len() > SETTINGS_BYTES_MAX {
            return Err(failed(&format!("more than {SETTINGS_BYTES_MAX} bytes")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| failed("not UTF-8"))?;
        Self::parse(text).map_err(|text| failed(&text))
    }

    /// Checks the text of the file.
    ///
    /// # Errors
    /// A sentence about what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let raw: Raw = toml::from_str(text).map_err(|error| match error.span() {
            Some(span) => {
                let before = text.get(..span.start).unwrap_or_default();
                format!("line {}: {}", before.matches('\n').count().saturating_add(1), error.message())
            }
            None => error.message().to_owned(),
        })?;
        let mut settings = Self { outgoing: raw.outgoing, incoming: raw.incoming, ..Self::default() };
        if let Some(command) = raw.open_with {
            settings.openers = vec![check_command("open_with", command)?];
        }
        if let Some(seconds) = raw.hand_over_s {
            let right = || format!("hand_over_s is a number from 0 to {HAND_OVER_S_MAX}");
            settings.hand_over_s =
                u32::try_from(seconds).ok().filter(|it| *it <= HAND_OVER_S_MAX).ok_or_else(right)?;
        }
        settings.disposable = raw.disposable;
        Ok(settings)
    }
}

/// A command that can be started.
fn check_command(key: &str, command: Command) -> Result<Command, String> {
    if command.is_empty() || command.len() > COMMAND_WORDS_MAX {
        return Err(format!("{key} is a list of 1 to {COMMAND_WORDS_MAX} words, the program first"));
    }
    if command.first().is_some_and(String::is_empty) {
        return Err(format!("the first word of {key} is a program's name"));
    }
    if command.iter().any(|word| word.len() > COMMAND_WORD_BYTES_MAX || word.contains('\0')) {
        return Err(format!("a word of {key} has at most {COMMAND_WORD_BYTES_MAX} bytes and no NUL"));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../packaging/vm.toml");

    #[test]
    fn the_shipped_file_is_the_default_and_its_examples_are_valid() {
        assert_eq!(Settings::parse(SHIPPED), Ok(Settings::default()));
        // Examples are lines "# key = value"; prose begins with "# " and a capital letter, or goes on from such a line.
        let example = |line: &&str| line.strip_prefix("# ").is_some_and(|rest| rest.contains(" = "));
        let examples: Vec<&str> = SHIPPED.lines().filter(example).collect();
        assert!(!examples.is_empty());
        for line in examples {
            assert!(Settings::parse(line.trim_start_matches("# ")).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_configured_command_replaces_the_defaults() {
        let settings = Settings::parse("open_with = [\"editor\", \"--wait\"]").unwrap();
        assert_eq!(settings.openers, [["editor", "--wait"]]);
        assert_eq!(Settings::default().openers, [vec!["xdg-open"], vec!["mimeopen", "-n"]]);
    }

    #[test]
    fn mounting_is_a_setting_and_never_the_default() {
        let default = Settings::default();
        assert_eq!((default.outgoing, default.incoming), (Outgoing::Write, Incoming::Extract));
        let settings = Settings::parse("outgoing = \"mount\"\nincoming = \"mount\"").unwrap();
        assert_eq!((settings.outgoing, settings.incoming), (Outgoing::Mount, Incoming::Mount));
        let settings = Settings::parse("outgoing = \"write\"\nincoming = \"extract\"").unwrap();
        assert_eq!(settings, default);
    }

    #[test]
    fn what_is_no_setting_is_refused_with_its_line() {
        for (text, said) in [
            ("\n\nopen_wiht = [\"a\"]", "line 3: unknown field"),
            ("open_with = \"a b\"", "line 1: "),
            ("open_with = [1]", "line 1: "),
            ("open_with = [\"a\"", "line 1: "),
            ("open_with = []", "1 to 32 words"),
            ("\noutgoing = \"Mount\"", "line 2: unknown variant `Mount`, expected `write` or `mount`"),
            ("incoming = \"write\"", "expected `extract` or `mount`"),
            ("incoming = true", "line 1: "),
            ("open_with = [\"\"]", "a program's name"),
            ("open_with = [\"a\", \"b\\u0000\"]", "no NUL"),
        ] {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn l19_commands_of_0_1_32_and_33_words_and_words_up_to_4096_bytes() {
        for (count, fits) in
            [(0, false), (1, true), (COMMAND_WORDS_MAX, true), (COMMAND_WORDS_MAX + 1, false)]
        {
            assert_eq!(check_command("k", vec!["w".to_owned(); count]).is_ok(), fits, "{count}");
        }
        for (bytes, fits) in [(0, true), (1, true), (4096, true), (4097, false)] {
            let command = vec!["program".to_owned(), "w".repeat(bytes)];
            assert_eq!(check_command("k", command).is_ok(), fits, "{bytes}");
        }
    }

    #[test]
    fn l19_hand_over_s_from_0_to_600() {
        for (seconds, fits) in
            [(-1, false), (0, true), (1, true), (600, true), (601, false), (i64::MAX, false)]
        {
            let parsed = Settings::parse(&format!("hand_over_s = {seconds}"));
            assert_eq!(parsed.is_ok(), fits, "{seconds}");
        }
        assert_eq!(Settings::parse("disposable = true").unwrap().disposable, Some(true));
        assert!(Settings::parse("disposable = 1").is_err());
    }

    #[test]
    fn l19_a_file_that_is_missing_empty_full_or_too_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vm.toml");
        assert_eq!(Settings::load_from(&path), Ok(Settings::default()));
        for (bytes, fits) in
            [(0, true), (1, true), (SETTINGS_BYTES_MAX, true), (SETTINGS_BYTES_MAX + 1, false)]
        {
            std::fs::write(&path, "#".repeat(bytes)).unwrap();
            assert_eq!(Settings::load_from(&path).is_ok(), fits, "{bytes}");
        }
        std::fs::write(&path, b"\xff").unwrap();
        assert!(Settings::load_from(&path).unwrap_err().to_string().ends_with("not UTF-8"));
        assert!(Settings::load_from(directory.path()).is_err());
    }
}
