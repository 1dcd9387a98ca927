//! Options that every verb has which asks the daemon, and its further words.

use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser, ValueExt};
use protocol::control::CONTROL_SOCKET;
use supervisor::config::{CONFIG_FILE, Config};

use crate::Failure;

/// Most lines of the log that can be asked for: what the daemon remembers.
pub(crate) const LOG_LINES_MAX: u16 = 1000;
/// Lines of the log when none are asked for.
const LOG_LINES: u16 = 100;

/// What stands behind the verb.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) json: bool,
    pub(crate) lines: u16,
    pub(crate) words: Vec<String>,
    socket: Option<PathBuf>,
    config: Option<PathBuf>,
}

/// Either the options, or that only help is wanted.
pub(crate) enum Parsed {
    Options(Options),
    Help,
}

impl Options {
    /// Reads the rest of the command line, with at most `words_max` words.
    pub(crate) fn parse(
        arguments: &mut Parser,
        words_max: usize,
        has_lines: bool,
    ) -> Result<Parsed, Failure> {
        let mut options =
            Self { json: false, lines: LOG_LINES, words: Vec::new(), socket: None, config: None };
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => return Ok(Parsed::Help),
                Arg::Long("json") => options.json = true,
                Arg::Long("socket") => options.socket = Some(arguments.value()?.into()),
                Arg::Long("config") => options.config = Some(arguments.value()?.into()),
                Arg::Short('n') | Arg::Long("lines") if has_lines => {
                    options.lines = lines(&arguments.value()?.string()?)?;
                }
                Arg::Value(word) if options.words.len() < words_max => options.words.push(word.string()?),
                other @ (Arg::Short(_) | Arg::Long(_) | Arg::Value(_)) => {
                    return Err(other.unexpected().into());
                }
            }
        }
        Ok(Parsed::Options(options))
    }

    /// Where the daemon listens.
    pub(crate) fn socket(&self) -> Result<PathBuf, Failure> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let file = Path::new(CONFIG_FILE);
        match &self.config {
            Some(config) => Ok(Config::load(config)?.control.socket),
            None if file.exists() => Ok(Config::load(file)?.control.socket),
            None => Ok(PathBuf::from(CONTROL_SOCKET)),
        }
    }
}

fn lines(word: &str) -> Result<u16, Failure> {
    let number = word.parse().ok().filter(|number| (1..=LOG_LINES_MAX).contains(number));
    number.ok_or_else(|| Failure::Usage(format!("-n takes a number from 1 to {LOG_LINES_MAX}")))
}
