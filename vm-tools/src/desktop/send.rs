//! `qvm-send-dialog`: what the menus of file managers run.
//!
//! ```text
//! ask for the VM -> run the tool, with a progress window -> tell how it ended
//! ```

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use lexopt::{Arg, Parser};
use protocol::types::{Device, VmName};

use super::recent::Recent;
use super::run::{Ended, run};
use super::toolkit::{Session, Toolkit, notify, own_program};
use super::unmarked;
use crate::cli::{self, Asked};
use crate::copy;
use crate::device::Devices;
use crate::exit;
use crate::failure::Failure;
use crate::shown::{Line, say};

/// The tool's name.
pub const NAME: &str = "qvm-send-dialog";
/// The tool that opens documents.
const OPEN: &str = "qvm-open-in-dvm";

const HELP: &str = "\
Sends files to another VM, or opens them in DisposableVMs, with windows in place
of a command line. The menus of file managers run this.

Usage: qvm-send-dialog send FILE...
       qvm-send-dialog open FILE...
       qvm-send-dialog view FILE...

    send     asks for the name of the VM, and runs qvm-copy-to-vm
    open     runs qvm-open-in-dvm
    view     runs qvm-open-in-dvm --view-only

Windows are shown by kdialog or zenity, whichever fits the session; without both
the question is asked on the terminal. Cancelling the progress window stops the
tool as Ctrl-C does: nothing is sent that was not sent before.

Options:
    --help             this text
    --version          the version

";

/// What is done with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Send,
    Open,
    View,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    action: Action,
    files: Vec<OsString>,
}

/// Reads the command line.
///
/// # Errors
/// [`Failure::Usage`].
pub fn parse(mut parser: Parser) -> Result<Asked<Options>, Failure> {
    let (mut action, mut files) = (None, Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Asked::Text(format!("{HELP}{}", exit::HELP))),
            Arg::Long("version") => return Ok(Asked::Text(cli::version(NAME))),
            Arg::Value(word) if action.is_none() => {
                action = Some(match word.as_bytes() {
                    b"send" => Action::Send,
                    b"open" => Action::Open,
                    b"view" => Action::View,
                    _ => return Err(Failure::usage("say what to do: send, open or view")),
                });
            }
            Arg::Value(file) => files.push(file),
            Arg::Short(_) | Arg::Long(_) => return Err(arg.unexpected().into()),
        }
    }
    let action = action.ok_or_else(|| Failure::usage("say what to do: send, open or view"))?;
    if files.is_empty() {
        return Err(Failure::usage("say with which files"));
    }
    Ok(Asked::Work(Options { action, files }))
}

/// Asks, and runs the tool. The exit code is the tool's.
///
/// # Errors
/// The person cancelled, or there is no way to ask.
pub fn work(options: Options) -> Result<u8, Failure> {
    let session = Session::find();
    let toolkit = session.toolkit()?;
    let recent = Recent::find(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"));
    let cancelled = || Failure::Interrupted(Line::new("cancelled: nothing was sent"));
    let target = match options.action {
        Action::Send => Some(toolkit.ask_target(&recent.names())?.ok_or_else(cancelled)?),
        Action::Open | Action::View => None,
    };
    let reuse = Devices::default().is_present(Device::Outgoing);
    if reuse && !toolkit.confirm("A pendrive that was not sent is still here. Overwrite what is on it?")? {
        return Err(cancelled());
    }
    let tool = match options.action {
        Action::Send => copy::NAME,
        Action::Open | Action::View => OPEN,
    };
    let program = own_program(tool, &session);
    let Some(program) = program else {
        let line = format!("{tool} is not installed");
        toolkit.error(&line)?;
        return Err(Failure::failed(&line));
    };
    let mut command = Command::new(program);
    command.args(arguments(options.action, target.as_ref(), reuse, toolkit == Toolkit::Terminal));
    command.arg("--").args(target.iter().map(VmName::as_str)).args(&options.files);
    let doing = doing(options.action, target.as_ref(), options.files.len());
    let has_percent = target.is_some() && toolkit.takes_lines();
    let window = toolkit.open_progress(&doing, has_percent)?;
    let ended = run(&mut command, window, has_percent)
        .map_err(|error| Failure::failed(&format!("{tool}: {error}")))?;
    tell_end(&toolkit, &session, &ended, &doing, tool)?;
    let code = ended.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED);
    if let (Some(target), exit::DONE | exit::SKIPPED) = (&target, code)
        && let Err(error) = recent.note(target)
    {
        say(NAME, &Line::new(&format!("the name is not remembered: {error}")));
    }
    Ok(code)
}

fn arguments(action: Action, target: Option<&VmName>, reuse: bool, on_terminal: bool) -> Vec<&'static str> {
    let mut arguments = Vec::new();
    if target.is_some() {
        arguments.push("--progress-lines");
    }
    if action == Action::View {
        arguments.push("--view-only");
    }
    if reuse {
        arguments.push("--reuse");
    }
    if on_terminal {
        arguments.push("--progress");
    }
    arguments
}

/// Counts, no names: those may come from another VM.
fn doing(action: Action, target: Option<&VmName>, count: usize) -> String {
    let what = if count == 1 { "1 item".to_owned() } else { format!("{count} items") };
    match (action, target) {
        (Action::Send, Some(target)) => format!("Sending {what} to {target}"),
        (Action::Send, None) => format!("Sending {what}"),
        (Action::Open, _) => format!("Opening {what} in a DisposableVM"),
        (Action::View, _) => format!("Opening {what} read-only in a DisposableVM"),
    }
}

fn tell_end(
    toolkit: &Toolkit,
    session: &Session,
    ended: &Ended,
    doing: &str,
    tool: &str,
) -> Result<(), Failure> {
    let said = ended.line.strip_prefix(tool).and_then(|line| line.strip_prefix(": ")).unwrap_or(&ended.line);
    let code = ended.status.code().and_then(|code| u8::try_from(code).ok());
    // Who has cancelled knows it; what was left is on stderr, and a later try asks about the pendrive.
    if ended.is_cancelled && code == Some(exit::INTERRUPTED) {
        say(NAME, &Line::new(said));
        return Ok(());
    }
    match code {
        Some(exit::DONE) => {
            if *toolkit == Toolkit::Terminal {
                say(NAME, &Line::new(&format!("{doing}: done")));
            } else {
                notify(session, doing, "Done.");
            }
            Ok(())
        }
        Some(exit::SKIPPED) => {
            toolkit.error(&format!("{doing}: done, but some were left out. The last one: {}", unmarked(said)))
        }
        Some(_) => toolkit.error(&format!("{doing} failed: {said}")),
        None => toolkit.error(&format!("{doing} failed: {tool} ended by {}", ended.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Asked<Options>, u8> {
        parse(Parser::from_args(words)).map_err(|failure| failure.exit_code())
    }

    #[test]
    fn an_action_and_at_least_one_file_are_needed() {
        for words in [&[][..], &["send"], &["copy", "x"], &["", "x"], &["send", "x", "--nonsense"]] {
            assert_eq!(parsed(words), Err(exit::USAGE), "{words:?}");
        }
        let Ok(Asked::Work(options)) = parsed(&["view", "a", "--", "--help"]) else { panic!() };
        assert_eq!((options.action, options.files), (Action::View, vec!["a".into(), "--help".into()]));
    }

    #[test]
    fn l21_what_is_being_done_is_told_without_the_names_of_files() {
        let vault = VmName::new(b"vault").unwrap();
        assert_eq!(doing(Action::Send, Some(&vault), 1), "Sending 1 item to vault");
        assert_eq!(doing(Action::View, None, 2), "Opening 2 items read-only in a DisposableVM");
    }

    #[test]
    fn each_action_has_its_options() {
        let vault = VmName::new(b"vault").unwrap();
        assert_eq!(arguments(Action::Send, Some(&vault), true, false), ["--progress-lines", "--reuse"]);
        assert_eq!(arguments(Action::View, None, false, true), ["--view-only", "--progress"]);
        assert!(arguments(Action::Open, None, false, false).is_empty());
    }
}
