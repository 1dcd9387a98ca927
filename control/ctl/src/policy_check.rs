//! `policy check`: what the policy says of one transfer, and which line says so.
//!
//! It reads the files, as the daemon did at its start: after a change the daemon has to be started anew.

use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser, ValueExt};
use policy::{Operation, Party, Policy};
use protocol::types::VmName;
use serde_json::json;
use supervisor::config::ConfigError;
use supervisor::config::{CONFIG_FILE, Config};
use supervisor::policy_files::PolicyFiles;

use crate::{Failure, text};

pub(crate) const HELP: &str = "\
qfilexchgctl policy check - say what the policy decides, and by which line

usage:
  qfilexchgctl policy check [OPTIONS] SOURCE TARGET

SOURCE and TARGET are names of VMs, or @dispvm for a DisposableVM.

options:
  --operation copy|dvm   what is to be done; copy when not given
  --config FILE          the daemon's configuration, which says where the policy is;
                         /etc/qfilexchgd/qfilexchgd.toml when not given
  --policy-dir DIR       the policy in DIR instead, without a configuration
  --tags FILE            the tags of VMs, with --policy-dir only
  --json                 the answer as JSON

The answer is one line: the decision (ask, allow or deny), then the place and the text of the
line that decides, or \"default\" if no line matches:

  ask: /etc/qfilexchgd/policy.d/90-default.policy:24: copy  @anyvm  @anyvm  ask
  ask: default

Exit codes: 0 whatever the decision, 64 wrong usage, 78 configuration or policy unusable.
";

/// One end of the transfer, as the command line names it.
enum End {
    Vm(VmName),
    Disposable,
}

impl End {
    fn from_word(word: &str) -> Result<Self, Failure> {
        if word == "@dispvm" {
            return Ok(Self::Disposable);
        }
        let name = VmName::new(word.as_bytes()).map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Self::Vm(name))
    }

    fn party(&self) -> Party<'_> {
        match self {
            Self::Vm(name) => Party::Vm { name, disposable: false },
            // A DisposableVM that has no name yet: rules by name do not match it.
            Self::Disposable => Party::NewDisposable,
        }
    }
}

/// What the command line asks.
#[derive(Default)]
struct Question {
    operation: Option<Operation>,
    json: bool,
    files: Files,
    ends: Vec<End>,
}

pub(crate) fn answer(arguments: &mut Parser) -> Result<String, Failure> {
    let mut question = Question::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(HELP.to_owned()),
            Arg::Long("operation") => question.operation = Some(operation(&arguments.value()?.string()?)?),
            Arg::Long("json") => question.json = true,
            Arg::Long("config") => question.files.config = Some(arguments.value()?.into()),
            Arg::Long("policy-dir") => question.files.directory = Some(arguments.value()?.into()),
            Arg::Long("tags") => question.files.tags = Some(arguments.value()?.into()),
            Arg::Value(end) if question.ends.len() < 2 => {
                question.ends.push(End::from_word(&end.string()?)?);
            }
            other @ (Arg::Short(_) | Arg::Long(_) | Arg::Value(_)) => return Err(other.unexpected().into()),
        }
    }
    decide(&question)
}

fn operation(word: &str) -> Result<Operation, Failure> {
    Operation::from_word(word).ok_or_else(|| Failure::Usage("an operation is copy or dvm".to_owned()))
}

fn decide(question: &Question) -> Result<String, Failure> {
    let [source, target] = question.ends.as_slice() else {
        return Err(Failure::Usage("two VMs are needed: SOURCE TARGET".to_owned()));
    };
    let files = question.files.read()?;
    let policy = files.parse()?;
    let operation = question.operation.unwrap_or(Operation::Copy);
    let decision = policy.decide(operation, &source.party(), &target.party());
    let word = decision.action.word();
    let place = decision.origin.map(|origin| files.place(&origin.to_string()));
    if question.json {
        return Ok(text::document(&json!({
            "action": word,
            "notify": decision.notify,
            "file": place.as_ref().map(|place| &place.file),
            "line": place.as_ref().map(|place| place.line),
            "text": place.as_ref().map(|place| &place.text),
        })));
    }
    Ok(match place {
        None => format!("{word}: default\n"),
        Some(Place { file, line, text }) => format!("{word}: {file}:{line}: {text}\n"),
    })
}

/// Where the command line says that the policy is.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) config: Option<PathBuf>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) tags: Option<PathBuf>,
}

impl Files {
    pub(crate) fn read(&self) -> Result<Read, Failure> {
        if let Some(directory) = &self.directory {
            if self.config.is_some() {
                return Err(Failure::Usage("--config and --policy-dir exclude each other".to_owned()));
            }
            // A file that is not there holds no tags.
            let tags = self.tags.clone().unwrap_or_else(|| directory.join("../tags"));
            return Ok(Read { directory: directory.clone(), files: PolicyFiles::read(directory, &tags)? });
        }
        if self.tags.is_some() {
            return Err(Failure::Usage("--tags goes with --policy-dir".to_owned()));
        }
        let config = Config::load(self.config.as_deref().unwrap_or(Path::new(CONFIG_FILE)))?;
        let files = PolicyFiles::read(&config.policy_directory, &config.tags_file)?;
        Ok(Read { directory: config.policy_directory, files })
    }
}

/// The policy's files, and where they are.
pub(crate) struct Read {
    directory: PathBuf,
    files: PolicyFiles,
}

/// A line of the policy.
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) text: String,
}

impl Read {
    pub(crate) fn parse(&self) -> Result<Policy, ConfigError> {
        self.files.parse()
    }

    /// The line that an origin `file:line` names.
    pub(crate) fn place(&self, origin: &str) -> Place {
        let (file, line) = origin.rsplit_once(':').unwrap_or((origin, ""));
        // Without the comment: only the part in front of it was checked to be printable.
        let text = self.files.line(origin).and_then(|line| line.split('#').next()).unwrap_or_default();
        Place {
            file: self.directory.join(file).display().to_string(),
            line: line.parse().unwrap_or_default(),
            text: text.trim().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn policy() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("policy.d")).unwrap();
        let text =
            "# mine\ncopy work  vault allow notify=yes # since June\n* @dispvm * deny\n* @tag:red * deny\n";
        fs::write(directory.path().join("policy.d/10.policy"), text).unwrap();
        fs::write(directory.path().join("tags"), "mail red\n").unwrap();
        let config = format!(
            "[policy]\ndirectory = \"{0}/policy.d\"\ntags_file = \"{0}/tags\"\n",
            directory.path().display()
        );
        fs::write(directory.path().join("c.toml"), config).unwrap();
        directory
    }

    fn ask(directory: &tempfile::TempDir, line: &str) -> Result<String, String> {
        let line = line.replace("DIR", &directory.path().display().to_string());
        let words = ["policy", "check"].into_iter().chain(line.split_whitespace());
        crate::answer(&mut Parser::from_args(words)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_deciding_line_is_shown_without_its_comment() {
        let directory = policy();
        let place = directory.path().join("policy.d/10.policy").display().to_string();
        for how in
            ["--config DIR/c.toml", "--policy-dir DIR/policy.d", "--policy-dir DIR/policy.d --tags DIR/tags"]
        {
            let asked = |ends: &str| ask(&directory, &format!("{how} {ends}")).unwrap();
            assert_eq!(asked("work vault"), format!("allow: {place}:2: copy work  vault allow notify=yes\n"));
            assert_eq!(asked("vault work"), "ask: default\n");
            assert_eq!(asked("--operation dvm work vault"), "ask: default\n");
            assert_eq!(asked("@dispvm vault"), format!("deny: {place}:3: * @dispvm * deny\n"));
            assert_eq!(asked("mail vault"), format!("deny: {place}:4: * @tag:red * deny\n"));
        }
    }

    #[test]
    fn a_policy_that_does_not_parse_gives_no_decision() {
        let directory = policy();
        fs::write(directory.path().join("policy.d/20.policy"), "copy a b maybe\n").unwrap();
        let error = ask(&directory, "--config DIR/c.toml work vault").unwrap_err();
        assert!(error.contains("20.policy:1:10: "), "{error}");
    }

    #[test]
    fn a_command_line_that_makes_no_sense_is_refused() {
        let directory = policy();
        for line in [
            "",
            "work",
            "work vault mail",
            "--operation move work vault",
            "--config DIR/c.toml --policy-dir DIR/policy.d work vault",
            "--tags DIR/tags work vault",
            "--policy-dir DIR/policy.d .work vault",
            "--policy-dir DIR/policy.d @anyvm vault",
        ] {
            assert!(ask(&directory, line).unwrap_err().contains("--help"), "{line}");
        }
    }
}
