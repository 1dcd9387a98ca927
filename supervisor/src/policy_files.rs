//! The policy as the administrator wrote it: the files `*.policy` of one directory, and the tags file.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use policy::{DIRECTORY_FILES_MAX, FILE_BYTES_MAX, POLICY_FILE_SUFFIX, Policy, PolicyError};

use crate::config::ConfigError;
use crate::files::read_text;

/// Most names in the policy directory, of whatever kind.
const DIRECTORY_NAMES_MAX: usize = 4096;

/// The texts of a policy, in the order in which their lines are tried.
#[derive(Debug, Clone)]
pub struct PolicyFiles {
    directory: PathBuf,
    tags_file: PathBuf,
    files: Vec<(String, Vec<u8>)>,
    tags: Vec<u8>,
}

impl PolicyFiles {
    /// Reads every file `*.policy` whose name does not begin with a dot, and the tags file. A tags file that is
    /// not there is an empty one: a rule that names a tag is then refused by [`PolicyFiles::parse`].
    ///
    /// # Errors
    /// [`ConfigError`]: the directory or a file cannot be read, is not trustworthy, or is too much.
    pub fn read(directory: &Path, tags_file: &Path) -> Result<Self, ConfigError> {
        let mut files = Vec::new();
        for name in names(directory)? {
            let file = directory.join(&name);
            let Ok(name) = name.into_string() else {
                return Err(ConfigError::whole(&file, "the name of a policy file must be UTF-8"));
            };
            files.push((name, read_text(&file, FILE_BYTES_MAX)?.into_bytes()));
        }
        files.sort();
        let tags = if tags_file.exists() { read_text(tags_file, FILE_BYTES_MAX)? } else { String::new() };
        let (directory, tags_file) = (directory.to_owned(), tags_file.to_owned());
        Ok(Self { directory, tags_file, files, tags: tags.into_bytes() })
    }

    /// Turns the texts into rules.
    ///
    /// # Errors
    /// [`ConfigError`] with file, line and column of the first text that is no rule.
    pub fn parse(&self) -> Result<Policy, ConfigError> {
        let tags_name = self.tags_file.to_string_lossy();
        policy::load(&self.files, (&tags_name, &self.tags)).map_err(|error| self.place(error))
    }

    /// The text of the line that a rule stands on, by the `file:line` of its origin.
    #[must_use]
    pub fn line(&self, origin: &str) -> Option<&str> {
        let (name, number) = origin.rsplit_once(':')?;
        let index = number.parse::<usize>().ok()?.checked_sub(1)?;
        let (_, content) = self.files.iter().find(|(file, _)| file == name)?;
        std::str::from_utf8(content).ok()?.split('\n').nth(index)
    }

    fn place(&self, error: PolicyError) -> ConfigError {
        // Joining an absolute path, that of the tags file, gives that path.
        let file = self.directory.join(error.file);
        ConfigError { file, place: Some((error.line, error.column)), text: error.text }
    }
}

/// The names of the policy files in a directory.
fn names(directory: &Path) -> Result<Vec<OsString>, ConfigError> {
    let fault = |error| ConfigError::whole(directory, format!("cannot list the policy directory: {error}"));
    let mut found = Vec::new();
    for (count, entry) in fs::read_dir(directory).map_err(fault)?.enumerate() {
        if count >= DIRECTORY_NAMES_MAX {
            let text = format!("the policy directory holds more than {DIRECTORY_NAMES_MAX} names");
            return Err(ConfigError::whole(directory, text));
        }
        let name = entry.map_err(fault)?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(POLICY_FILE_SUFFIX.as_bytes()) && !bytes.starts_with(b".") {
            found.push(name);
        }
    }
    if found.len() > DIRECTORY_FILES_MAX {
        let text = format!("there are more than {DIRECTORY_FILES_MAX} policy files");
        return Err(ConfigError::whole(directory, text));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn load(directory: &tempfile::TempDir) -> Result<Policy, String> {
        let read = PolicyFiles::read(directory.path(), &directory.path().join("tags"));
        read.and_then(|files| files.parse()).map_err(|error| error.to_string())
    }

    #[test]
    fn only_policy_files_are_read_in_the_order_of_their_names() {
        let directory = directory(&[
            ("20.policy", "copy a b deny\n"),
            ("10.policy", "\n# first\ncopy a b allow\n"),
            ("README", "not a rule"),
            (".hidden.policy", "not a rule"),
            ("30.policy~", "not a rule"),
        ]);
        let policy = load(&directory).unwrap();
        let origins: Vec<String> = policy.rules().iter().map(|rule| rule.origin.to_string()).collect();
        assert_eq!(origins, ["10.policy:3", "20.policy:1"]);
        let files = PolicyFiles::read(directory.path(), &directory.path().join("tags")).unwrap();
        assert_eq!(files.line("10.policy:3"), Some("copy a b allow"));
        assert_eq!(files.line("10.policy:0"), None);
        assert_eq!(files.line("11.policy:1"), None);
    }

    #[test]
    fn a_text_that_is_no_rule_is_refused_with_its_whole_path() {
        let directory = directory(&[("a.policy", "copy * * ask\ncopy x\n")]);
        let path = directory.path().display().to_string();
        let error = load(&directory).unwrap_err();
        assert!(error.starts_with(&format!("{path}/a.policy:2:7: ")), "{error}");
        fs::write(directory.path().join("a.policy"), "").unwrap();
        fs::write(directory.path().join("tags"), "work").unwrap();
        let error = load(&directory).unwrap_err();
        assert!(error.starts_with(&format!("{path}/tags:1:5: ")), "{error}");
    }

    #[test]
    fn a_rule_with_a_tag_needs_the_tags_file() {
        let directory = directory(&[("a.policy", "copy @tag:red * deny\n")]);
        assert!(load(&directory).is_err());
        fs::write(directory.path().join("tags"), "work red\n").unwrap();
        assert!(load(&directory).is_ok());
    }

    #[test]
    fn a_directory_that_is_missing_or_untrustworthy_is_no_policy() {
        let directory = directory(&[("a.policy", "copy * * allow\n")]);
        assert!(PolicyFiles::read(&directory.path().join("none"), Path::new("/none")).is_err());
        let file = directory.path().join("a.policy");
        fs::set_permissions(file, fs::Permissions::from_mode(0o646)).unwrap();
        assert!(load(&directory).unwrap_err().contains("everybody"));
    }

    #[test]
    fn the_shipped_policy_asks_for_every_copy() {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/policy.d"));
        let policy = PolicyFiles::read(shipped, Path::new("/none")).unwrap().parse().unwrap();
        assert_eq!(policy.rules().last().unwrap().action, policy::Action::Ask);
        assert!(policy.rules().iter().all(|rule| rule.action != policy::Action::Allow));
    }
}
