//! The verbs of `qfilexchgctl`, one module each.

mod policy_check;

use std::io::Write;
use std::process::ExitCode;

use lexopt::{Arg, Parser};

/// The command line makes no sense (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// The configuration or the policy cannot be used (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;
/// The answer could not be written (`EX_IOERR` of sysexits.h).
pub const EXIT_OUTPUT: u8 = 74;

const HELP: &str = "\
qfilexchgctl - ask about qfilexchgd

usage:
  qfilexchgctl policy check [OPTIONS] SOURCE TARGET
                           say what the policy decides, and by which line
  qfilexchgctl --help      this text; after a verb: the text of that verb
  qfilexchgctl --version   the version

exit codes:
   0  the answer was printed
  64  the command line makes no sense
  74  the answer could not be written
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
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Config(_) => EXIT_CONFIG,
        }
    }
}

/// Answers one command line, on stdout; what goes wrong is on stderr.
#[must_use]
pub fn run(mut arguments: Parser) -> ExitCode {
    match answer(&mut arguments) {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("cannot write the answer: {error}"), EXIT_OUTPUT),
        },
        Err(failure) => fail(&failure.to_string(), failure.exit_code()),
    }
}

fn fail(text: &str, code: u8) -> ExitCode {
    // Where even that cannot be written, the exit code has to do.
    let _ = writeln!(std::io::stderr(), "qfilexchgctl: {text}");
    ExitCode::from(code)
}

/// Picks the verb.
fn answer(arguments: &mut Parser) -> Result<String, Failure> {
    match arguments.next()? {
        None => Err(Failure::Usage("a verb is missing".to_owned())),
        Some(Arg::Short('h') | Arg::Long("help")) => Ok(HELP.to_owned()),
        Some(Arg::Long("version")) => Ok(format!("qfilexchgctl {}\n", env!("CARGO_PKG_VERSION"))),
        Some(Arg::Value(verb)) if verb == "policy" => policy_check::answer(arguments),
        Some(other) => Err(other.unexpected().into()),
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
        for line in ["", "policies", "--frob", "policy", "policy frob", "-x"] {
            let failure = ask(line).unwrap_err();
            assert_eq!(failure.exit_code(), EXIT_USAGE, "{line}");
        }
    }

    #[test]
    fn help_is_an_answer() {
        for line in ["--help", "-h", "policy --help", "policy check --help", "policy check a --help"] {
            assert!(ask(line).unwrap().contains("usage:"), "{line}");
        }
        assert!(ask("--version").unwrap().starts_with("qfilexchgctl 0"));
    }
}
