//! `arrival-notice`: one notification, with "Open folder", for a limited time.
//!
//! It shows the source's name, a count and a directory: nothing that another VM chose but its own name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use lexopt::{Arg, Parser};
use protocol::types::VmName;

use super::arrival::{Arrived, BACK, PENDRIVE};
use super::toolkit::{Session, notify};
use super::unmarked;
use crate::child::{self, Ending, Signals};
use crate::cli::{self, Asked};
use crate::exit;
use crate::failure::Failure;

/// The program's name.
pub const NAME: &str = "arrival-notice";
/// How long it lives at most, in seconds.
pub const LIFE_SECONDS_MAX: u64 = 600;
/// Longest answer of notify-send that is looked at, in bytes.
const ANSWER_BYTES_MAX: usize = 64;
/// What notify-send says when "Open folder" was chosen.
const OPEN: &str = "open";

const HELP: &str = "\
Tells the desktop that something has arrived. qubes_add_pendrive_script runs it.

Usage: arrival-notice SOURCE COUNT|back=COUNT|pendrive DIRECTORY

";

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    source: VmName,
    arrived: Arrived,
    directory: PathBuf,
}

/// Reads the command line.
///
/// # Errors
/// [`Failure::Usage`].
pub fn parse(mut parser: Parser) -> Result<Asked<Options>, Failure> {
    let mut words = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Asked::Text(format!("{HELP}{}", exit::HELP))),
            Arg::Long("version") => return Ok(Asked::Text(cli::version(NAME))),
            Arg::Value(word) => words.push(word),
            Arg::Short(_) | Arg::Long(_) => return Err(arg.unexpected().into()),
        }
    }
    let [source, arrived, directory] = words.as_slice() else {
        return Err(Failure::usage("three words: the source, a count, back=COUNT or pendrive, a directory"));
    };
    let source = VmName::new(source.as_bytes()).map_err(|error| Failure::usage(&error.to_string()))?;
    let arrived = match arrived.as_bytes() {
        word if word == PENDRIVE.as_bytes() => Arrived::Pendrive,
        word => {
            let back = word.strip_prefix(BACK.as_bytes());
            let count = cli::number(back.unwrap_or(word));
            let count = count.ok_or_else(|| Failure::usage("the count is a number"))?;
            if back.is_some() { Arrived::Back(count) } else { Arrived::Files(count) }
        }
    };
    let directory = PathBuf::from(directory);
    if !directory.is_absolute() {
        return Err(Failure::usage("the directory is an absolute path"));
    }
    Ok(Asked::Work(Options { source, arrived, directory }))
}

/// Shows it, and opens the directory if the person wants that.
///
/// # Errors
/// None that matters to anybody.
pub fn work(options: Options) -> Result<u8, Failure> {
    let session = Session::find();
    let (summary, body) = texts(&options);
    let Some(program) = session.program("notify-send") else {
        notify(&session, &summary, &body);
        return Ok(exit::DONE);
    };
    let mut command = Command::new(program);
    // Actions need libnotify 0.8.
    command.args(["--app-name=qfilexchg", "--icon=folder-download", &format!("--action={OPEN}=Open folder")]);
    command.args([unmarked(&summary), unmarked(&body)]);
    let longest = Duration::from_secs(LIFE_SECONDS_MAX);
    match child::run(&mut command, longest, ANSWER_BYTES_MAX, Signals::Passed) {
        Ok(Ending::Finished(finished)) if finished.status.success() => {
            if finished.stdout.trim_ascii() == OPEN.as_bytes() {
                open(&session, options.directory.as_os_str());
            }
        }
        Ok(Ending::TooLong | Ending::Interrupted) => {}
        Ok(Ending::Finished(_)) | Err(_) => notify(&session, &summary, &body),
    }
    Ok(exit::DONE)
}

/// Starts whatever opens directories here. It stays when this program ends.
fn open(session: &Session, directory: &OsStr) {
    let Some(program) = session.program("xdg-open") else { return };
    let mut command = Command::new(program);
    command.arg(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(command.spawn());
}

fn texts(options: &Options) -> (String, String) {
    let Options { source, arrived, directory } = options;
    let directory = directory.display();
    match arrived {
        Arrived::Files(1) => (format!("A file from {source}"), format!("It is in {directory}")),
        Arrived::Files(count) => (format!("{count} files from {source}"), format!("They are in {directory}")),
        Arrived::Back(1) => (format!("A document is back from {source}"), format!("It is in {directory}")),
        Arrived::Back(count) => (
            format!("{count} documents are back from {source}"),
            format!("The first of them is in {directory}"),
        ),
        Arrived::Pendrive => (
            format!("A pendrive from {source}"),
            format!("It is mounted at {directory}. Unmount it when you are done."),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Asked<Options>, u8> {
        parse(Parser::from_args(words)).map_err(|failure| failure.exit_code())
    }

    #[test]
    fn only_a_name_a_count_and_an_absolute_directory_are_taken() {
        for words in [
            &[][..],
            &["work", "1"],
            &["../x", "1", "/a"],
            &["work", "-1", "/a"],
            &["work", "many", "/a"],
            &["work", "back=", "/a"],
            &["work", "back=back=1", "/a"],
            &["work", "1", "a"],
            &["work", "1", "/a", "b"],
        ] {
            assert_eq!(parsed(words), Err(exit::USAGE), "{words:?}");
        }
        assert!(matches!(parsed(&["work", "0", "/a"]), Ok(Asked::Work(_))));
    }

    #[test]
    fn what_the_receiver_says_is_understood() {
        let source = VmName::new(b"disp1").unwrap();
        for arrived in [Arrived::Files(0), Arrived::Files(u32::MAX), Arrived::Back(1), Arrived::Pendrive] {
            let directory = PathBuf::from("/home/user/a b");
            let words = super::super::arrival::arguments(&source, arrived, &directory);
            let options = Options { source: source.clone(), arrived, directory };
            assert_eq!(parse(Parser::from_args(words)).ok(), Some(Asked::Work(options)));
        }
    }

    #[test]
    fn one_many_and_a_pendrive_have_their_texts() {
        let text = |arrived: &str| {
            let Ok(Asked::Work(options)) = parsed(&["work", arrived, "/mnt/incoming"]) else { panic!() };
            texts(&options).0
        };
        assert_eq!(text("1"), "A file from work");
        assert_eq!(text("12"), "12 files from work");
        assert_eq!(text("back=1"), "A document is back from work");
        assert_eq!(text("back=3"), "3 documents are back from work");
        assert_eq!(text("pendrive"), "A pendrive from work");
    }
}
