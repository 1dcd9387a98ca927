//! The verbs of `qfilexchgctl`, one module each.

mod ask;
mod client;
mod list;
mod options;
mod person;
mod policy_check;
mod policy_list;
mod review;
mod text;

use std::io::Write;
use std::process::ExitCode;

use lexopt::{Arg, Parser};
use protocol::channel::ChannelError;
use protocol::control::Refusal;

/// It was refused, or could not be done.
pub const EXIT_REFUSED: u8 = 1;
/// The command line makes no sense (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// The daemon does not run, or went away (`EX_UNAVAILABLE` of sysexits.h).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// The answer could not be written (`EX_IOERR` of sysexits.h).
pub const EXIT_OUTPUT: u8 = 74;
/// The daemon answered what cannot be understood (`EX_PROTOCOL` of sysexits.h).
pub const EXIT_PROTOCOL: u8 = 76;
/// This account may not ask (`EX_NOPERM` of sysexits.h).
pub const EXIT_PERMISSION: u8 = 77;
/// The configuration or the policy cannot be used (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

const HELP: &str = "\
qfilexchgctl - ask about qfilexchgd, and answer for the person

usage:
  qfilexchgctl status                  how the daemon is
  qfilexchgctl log [-n LINES]          the newest lines of its log, 100 when not given
  qfilexchgctl pendrives               the pendrives that exist
  qfilexchgctl disposables             the DisposableVMs that the daemon made
  qfilexchgctl questions               the open questions
  qfilexchgctl answer                  show questions as they come, and take answers: a terminal
  qfilexchgctl answer ID yes|no        answer one question
  qfilexchgctl kill PENDRIVE           take a pendrive from whoever holds it, and destroy it; PENDRIVE
                                       is its identity, or the first 8 or more digits of it
  qfilexchgctl policy check SOURCE TARGET
                                       say what the policy decides, and by which line
  qfilexchgctl policy list             every rule in the order in which they are tried
  qfilexchgctl review                  compare what the kernel shows of each process with its
                                       profile; for root
  qfilexchgctl --help                  this text; after policy: the text of that verb
  qfilexchgctl --version               the version

options:
  --json           the answer as JSON
  --socket PATH    where the daemon listens, instead of what the configuration says
  --config FILE    the daemon's configuration; /etc/qfilexchgd/qfilexchgd.toml when not given

Whoever asks the daemon must be root, or in the group that [control] of the configuration names.

exit codes:
   0  done, and the answer was printed
   1  refused, or not possible; one line on stderr says why. After review: something deviates
  64  the command line makes no sense
  69  the daemon does not run, or went away
  74  the answer could not be written
  76  the daemon's answer could not be understood
  77  this account may not ask
  78  the configuration or the policy cannot be used
";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    #[error("{0}\ntry: qfilexchgctl --help")]
    Usage(String),
    /// The configuration or the policy cannot be used.
    #[error("{0}")]
    Config(#[from] supervisor::config::ConfigError),
    /// Nobody listens.
    #[error("the daemon does not run: nobody listens at {0}")]
    NotRunning(String),
    /// The kernel does not let this account connect.
    #[error("no permission to connect to {0}: be root, or in the group that [control] names")]
    NoPermission(String),
    /// The connection broke.
    #[error("the daemon went away, or does not answer: {0}")]
    Lost(String),
    /// control passes nothing on.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// What came cannot be understood.
    #[error("the daemon's answer was not understood: are qfilexchgctl and the daemon of one version?")]
    Protocol,
    /// It was refused, or cannot be done.
    #[error("{0}")]
    Not(String),
    /// Only root can look into all processes.
    #[error("only root can look into the processes of the daemon")]
    NotRoot,
    /// Something is not as it should be. The answer says what.
    #[error("{count} of {all} values deviate from the profiles")]
    Deviates {
        /// The answer.
        table: String,
        /// How many deviate.
        count: usize,
        /// Of how many.
        all: usize,
    },
    /// The terminal is gone.
    #[error("cannot write the answer: {0}")]
    Output(std::io::Error),
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Codec(_) | ChannelError::Truncated | ChannelError::Descriptors => Self::Protocol,
            ChannelError::Closed | ChannelError::Overflow | ChannelError::Os(_) => {
                Self::Lost(error.to_string())
            }
        }
    }
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Config(_) => EXIT_CONFIG,
            Self::NotRunning(_) | Self::Lost(_) => EXIT_UNAVAILABLE,
            Self::NoPermission(_) | Self::NotRoot | Self::Refused(Refusal::NotPermitted) => EXIT_PERMISSION,
            Self::Protocol | Self::Refused(Refusal::NotUnderstood) => EXIT_PROTOCOL,
            Self::Not(_) | Self::Deviates { .. } | Self::Refused(Refusal::TooMany) => EXIT_REFUSED,
            Self::Output(_) => EXIT_OUTPUT,
        }
    }
}

/// Answers one command line, on stdout; what goes wrong is on stderr.
#[must_use]
pub fn run(mut arguments: Parser) -> ExitCode {
    match answer(&mut arguments) {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&Failure::Output(error)),
        },
        Err(failure) => {
            if let Failure::Deviates { table, .. } = &failure
                && let Err(error) = std::io::stdout().write_all(table.as_bytes())
            {
                return fail(&Failure::Output(error));
            }
            fail(&failure)
        }
    }
}

fn fail(failure: &Failure) -> ExitCode {
    // Where even that cannot be written, the exit code has to do.
    let _ = writeln!(std::io::stderr(), "qfilexchgctl: {failure}");
    ExitCode::from(failure.exit_code())
}

/// Picks the verb.
fn answer(arguments: &mut Parser) -> Result<String, Failure> {
    let verb = match arguments.next()? {
        None => return Err(Failure::Usage("a verb is missing".to_owned())),
        Some(Arg::Short('h') | Arg::Long("help")) => return Ok(HELP.to_owned()),
        Some(Arg::Long("version")) => return Ok(format!("qfilexchgctl {}\n", env!("CARGO_PKG_VERSION"))),
        Some(Arg::Value(verb)) => verb,
        Some(other @ (Arg::Short(_) | Arg::Long(_))) => return Err(other.unexpected().into()),
    };
    match verb.to_str() {
        Some("policy") => policy(arguments),
        Some("status") => ask::status(arguments),
        Some("log") => ask::log(arguments),
        Some("pendrives") => ask::pendrives(arguments),
        Some("disposables") => ask::disposables(arguments),
        Some("questions") => ask::questions(arguments),
        Some("kill") => ask::kill(arguments),
        Some("answer") => person::answer(arguments),
        Some("review") => review::answer(arguments),
        _ => Err(Arg::Value(verb).unexpected().into()),
    }
}

fn policy(arguments: &mut Parser) -> Result<String, Failure> {
    match arguments.next()? {
        Some(Arg::Value(verb)) if verb == "check" => policy_check::answer(arguments),
        Some(Arg::Value(verb)) if verb == "list" => policy_list::answer(arguments),
        Some(Arg::Short('h') | Arg::Long("help")) => {
            Ok(format!("{}\n{}", policy_check::HELP, policy_list::HELP))
        }
        Some(other) => Err(other.unexpected().into()),
        None => Err(Failure::Usage("policy has two verbs: check, list".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<String, Failure> {
        answer(&mut Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn what_is_no_verb_is_a_usage_error() {
        for line in [
            "",
            "policies",
            "--frob",
            "policy",
            "policy frob",
            "-x",
            "status frob",
            "status -x",
            "log -n",
            "log -n x",
            "log -n 0",
            "log -n 1001",
            "kill",
            "kill a b",
            "kill 0123456",
            "kill 0123456g",
            "answer 1",
            "answer x yes",
            "answer 1 maybe",
            "answer 1 yes 2",
            "answer --json",
            "questions 1",
            "review 1",
            "review -n 1",
        ] {
            let failure = ask(line).unwrap_err();
            assert_eq!(failure.exit_code(), EXIT_USAGE, "{line}: {failure}");
        }
    }

    #[test]
    fn help_is_an_answer() {
        for line in [
            "--help",
            "-h",
            "policy --help",
            "policy check --help",
            "policy check a --help",
            "status --help",
            "kill -h",
            "review --help",
        ] {
            assert!(ask(line).unwrap().contains("usage:"), "{line}");
        }
        assert!(ask("--version").unwrap().starts_with("qfilexchgctl 0"));
    }

    #[test]
    fn a_daemon_that_does_not_run_is_said_to() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s").display().to_string();
        for verb in ["status", "log", "pendrives", "questions", "answer 1 yes", "kill 01234567"] {
            let failure = ask(&format!("{verb} --socket {socket}")).unwrap_err();
            assert_eq!(failure.exit_code(), EXIT_UNAVAILABLE, "{verb}: {failure}");
            assert!(failure.to_string().contains(&socket));
        }
    }
}
