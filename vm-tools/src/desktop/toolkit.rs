//! Which program shows windows here, and the few windows that there are.
//!
//! Each text is passed as one argument, begins with words of this program's own, and has gone through
//! [`unmarked`](super::unmarked).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use protocol::types::VmName;

use super::unmarked;
use crate::child::{self, Ending, Finished};
use crate::failure::Failure;
use crate::interrupt;

/// How long a person may take for a window, in seconds.
const WINDOW_SECONDS_MAX: u64 = 3600;
/// Longest time for a notification that nobody answers, in seconds.
const NOTICE_SECONDS_MAX: u64 = 20;
/// Longest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 256;
/// How often a wrong name is asked for again.
const TRIES_MAX: u32 = 5;
/// The title of every window.
const TITLE: &str = "Send to VM";
/// What kdialog's list says in place of a name; no VM has that one.
const OTHER: &str = "/other";

/// Shows windows, or asks on the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Toolkit {
    Zenity(PathBuf),
    Kdialog(PathBuf),
    Terminal,
}

/// What is known about the session.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// `PATH`.
    pub path: OsString,
    /// `XDG_CURRENT_DESKTOP`.
    pub desktop: String,
    pub has_display: bool,
    pub has_terminal: bool,
}

impl Session {
    pub(super) fn find() -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self {
            path: std::env::var_os("PATH").unwrap_or_default(),
            desktop: std::env::var("XDG_CURRENT_DESKTOP").unwrap_or_default(),
            has_display: is_set("DISPLAY") || is_set("WAYLAND_DISPLAY"),
            has_terminal: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        }
    }

    /// A program in `PATH`.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        let is_program = |path: &PathBuf| {
            path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        std::env::split_paths(&self.path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(name))
            .find(is_program)
    }

    /// The program that fits the session, else the other one, else the terminal.
    pub(super) fn toolkit(&self) -> Result<Toolkit, Failure> {
        if self.has_display {
            let zenity = || self.program("zenity").map(Toolkit::Zenity);
            let kdialog = || self.program("kdialog").map(Toolkit::Kdialog);
            let is_qt = self.desktop.split(':').any(|name| matches!(name, "KDE" | "LXQt"));
            let found = if is_qt { kdialog().or_else(zenity) } else { zenity().or_else(kdialog) };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        if self.has_terminal {
            return Ok(Toolkit::Terminal);
        }
        Err(Failure::failed(
            "cannot ask here: install zenity or kdialog, or use qvm-copy-to-vm in a terminal",
        ))
    }
}

impl Toolkit {
    /// Asks for the target; `None` when the person changes their mind.
    pub(super) fn ask_target(&self, recent: &[VmName]) -> Result<Option<VmName>, Failure> {
        for _ in 0..TRIES_MAX {
            let Some(answer) = self.ask_name(recent)? else { return Ok(None) };
            match VmName::new(answer.trim_ascii()) {
                Ok(name) => return Ok(Some(name)),
                Err(error) => self.error(&format!("That is no name of a VM: {error}"))?,
            }
        }
        Err(Failure::failed("no name of a VM was given"))
    }

    fn ask_name(&self, recent: &[VmName]) -> Result<Option<Vec<u8>>, Failure> {
        let question = "Send to which VM?";
        match self {
            Self::Zenity(program) => {
                let mut command = Command::new(program);
                command.args(["--entry", &format!("--title={TITLE}"), &format!("--text={question}")]);
                // Two or more make a list to choose from or to type in; a name cannot be taken for an option.
                command.args(recent.iter().map(VmName::as_str));
                answer(&mut command)
            }
            Self::Kdialog(program) => {
                if let Some(first) = recent.first() {
                    let mut command = Command::new(program);
                    command.args(["--title", TITLE, "--menu", question]);
                    command.args(recent.iter().flat_map(|name| [name.as_str(), name.as_str()]));
                    command.args([OTHER, "Another VM", "--default", first.as_str()]);
                    match answer(&mut command)? {
                        Some(chosen) if chosen.trim_ascii() == OTHER.as_bytes() => {}
                        chosen => return Ok(chosen),
                    }
                }
                answer(Command::new(program).args(["--title", TITLE, "--inputbox", question]))
            }
            Self::Terminal => ask_terminal(question, recent),
        }
    }

    /// A question with *no* as the way out.
    pub(super) fn confirm(&self, text: &str) -> Result<bool, Failure> {
        let text = unmarked(text);
        let mut command = match self {
            Self::Zenity(program) => {
                let mut command = Command::new(program);
                command.args(["--question", "--default-cancel", &format!("--title={TITLE}")]);
                command.arg(format!("--text={text}"));
                command
            }
            Self::Kdialog(program) => {
                let mut command = Command::new(program);
                command.args(["--title", TITLE, "--warningcontinuecancel", &text]);
                command
            }
            Self::Terminal => {
                let answer = ask_terminal(&format!("{text} Type yes to go on:"), &[])?;
                return Ok(answer.is_some_and(|answer| answer.trim_ascii() == b"yes"));
            }
        };
        Ok(show(&mut command)?.status.success())
    }

    /// Something went wrong. Waits until the person has seen it.
    pub(super) fn error(&self, text: &str) -> Result<(), Failure> {
        let text = unmarked(text);
        match self {
            Self::Zenity(program) => {
                let arguments = [format!("--title={TITLE}"), format!("--text={text}")];
                show(Command::new(program).args(["--error", "--width=400"]).args(arguments)).map(drop)
            }
            Self::Kdialog(program) => {
                show(Command::new(program).args(["--title", TITLE, "--error", &text])).map(drop)
            }
            Self::Terminal => {
                let _ = writeln!(std::io::stderr(), "{text}");
                Ok(())
            }
        }
    }

    /// A window that stays while something is done. The terminal has none: the tool itself shows there how far it is.
    pub(super) fn open_progress(&self, text: &str, has_percent: bool) -> Result<Option<Child>, Failure> {
        let text = unmarked(text);
        let mut command = match self {
            Self::Zenity(program) => {
                let mut command = Command::new(program);
                command.args(["--progress", "--width=400", &format!("--title={TITLE}")]);
                command.args(["--percentage=0", &format!("--text={text}")]);
                command.args((!has_percent).then_some("--pulsate"));
                command
            }
            // kdialog's own progress window is driven over D-Bus by a program that not every VM has.
            Self::Kdialog(program) => {
                let mut command = Command::new(program);
                command.args(["--title", TITLE, "--continue-label", "Hide", "--cancel-label", "Cancel"]);
                command.args(["--warningcontinuecancel", &text]);
                command
            }
            Self::Terminal => return Ok(None),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let window = command.spawn();
        window.map(Some).map_err(|error| Failure::failed(&format!("cannot show a window: {error}")))
    }

    /// Whether the progress window understands lines on its stdin.
    pub(super) fn takes_lines(&self) -> bool {
        matches!(self, Self::Zenity(_))
    }
}

/// Shows a window; what is answered if it is not closed or cancelled.
fn answer(command: &mut Command) -> Result<Option<Vec<u8>>, Failure> {
    let finished = show(command)?;
    Ok(finished.status.success().then_some(finished.stdout))
}

fn show(command: &mut Command) -> Result<Finished, Failure> {
    let longest = Duration::from_secs(WINDOW_SECONDS_MAX);
    match child::run(command, longest, ANSWER_BYTES_MAX, child::Signals::Passed) {
        // 1 is *cancel* and *no*; a program that cannot reach its display ends with 1 as well, but says so.
        Ok(Ending::Finished(finished)) if finished.status.code().is_some_and(|code| code <= 2) => {
            Ok(finished)
        }
        Ok(Ending::Finished(finished)) => {
            Err(Failure::failed(&format!("cannot show a window: {}", finished.status)))
        }
        Ok(Ending::TooLong) => Err(Failure::failed("nobody answered")),
        Ok(Ending::Interrupted) => {
            interrupt::check("nothing was sent").and(Err(Failure::failed("interrupted")))
        }
        Err(error) => Err(Failure::failed(&format!("cannot show a window: {error}"))),
    }
}

fn ask_terminal(question: &str, recent: &[VmName]) -> Result<Option<Vec<u8>>, Failure> {
    let mut prompt = question.to_owned();
    if !recent.is_empty() {
        let names: Vec<&str> = recent.iter().map(VmName::as_str).collect();
        prompt.push_str(&format!(" (recently: {})", names.join(", ")));
    }
    let _ = write!(std::io::stderr(), "{prompt} ");
    read_line(std::io::stdin().lock())
}

/// One line of bounded length; nothing at all means *no*.
fn read_line(input: impl Read) -> Result<Option<Vec<u8>>, Failure> {
    let mut line = Vec::new();
    let limit = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
    let read = BufReader::new(input.take(limit)).read_until(b'\n', &mut line);
    read.map_err(|error| Failure::failed(&format!("cannot read the answer: {error}")))?;
    interrupt::check("nothing was sent")?;
    Ok(Some(line).filter(|line| !line.trim_ascii().is_empty()))
}

/// Beside the running program, else in `PATH`.
pub(super) fn own_program(name: &str, session: &Session) -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(|directory| directory.join(name));
    beside.filter(|path| File::open(path).is_ok()).or_else(|| session.program(name))
}

/// Tells the desktop something that nobody needs to answer, if there is a way to do so. Best effort.
pub(super) fn notify(session: &Session, summary: &str, body: &str) {
    let (summary, body) = (unmarked(summary), unmarked(body));
    let text = format!("{summary}. {body}");
    let seconds = "10";
    let notify_send: [&OsStr; 4] =
        ["--app-name=qfilexchg".as_ref(), "--icon=document-send".as_ref(), summary.as_ref(), body.as_ref()];
    let zenity = format!("--text={text}");
    let ways: [(&str, Vec<&OsStr>); 3] = [
        ("notify-send", notify_send.to_vec()),
        ("kdialog", vec!["--passivepopup".as_ref(), text.as_ref(), seconds.as_ref()]),
        ("zenity", vec!["--notification".as_ref(), zenity.as_ref(), "--timeout=10".as_ref()]),
    ];
    for (name, arguments) in ways {
        let Some(program) = session.program(name) else { continue };
        let longest = Duration::from_secs(NOTICE_SECONDS_MAX);
        let shown = child::run(Command::new(program).args(arguments), longest, 0, child::Signals::Passed);
        if matches!(shown, Ok(Ending::Finished(finished)) if finished.status.success()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn session(programs: &[&str], desktop: &str) -> (tempfile::TempDir, Session) {
        let dir = tempfile::tempdir().unwrap();
        for name in programs {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = dir.path().into();
        (dir, Session { path, desktop: desktop.to_owned(), has_display: true, has_terminal: false })
    }

    #[test]
    fn the_program_that_fits_the_session_is_used() {
        let both = ["zenity", "kdialog"];
        for (programs, desktop, expected) in [
            (&both[..], "KDE", "kdialog"),
            (&both, "ubuntu:GNOME", "zenity"),
            (&both, "XFCE", "zenity"),
            (&both, "", "zenity"),
            (&both, "LXQt", "kdialog"),
            (&both[..1], "KDE", "zenity"),
            (&both[1..], "GNOME", "kdialog"),
        ] {
            let (dir, session) = session(programs, desktop);
            let (Toolkit::Zenity(path) | Toolkit::Kdialog(path)) = session.toolkit().unwrap() else {
                panic!()
            };
            assert_eq!(path, dir.path().join(expected), "{desktop}");
        }
    }

    #[test]
    fn without_a_program_or_a_display_the_terminal_serves_or_nothing_does() {
        let (_dir, mut session) = session(&[], "GNOME");
        assert!(session.toolkit().unwrap_err().to_string().contains("install zenity or kdialog"));
        session.has_terminal = true;
        assert_eq!(session.toolkit(), Ok(Toolkit::Terminal));
    }

    #[test]
    fn l19_a_typed_line_is_bounded_and_an_empty_one_is_a_no() {
        for (typed, length) in [(0, None), (1, Some(1)), (256, Some(256)), (257, Some(256))] {
            let line = read_line(&vec![b'a'; typed][..]).unwrap();
            assert_eq!(line.map(|line| line.len()), length, "{typed}");
        }
        assert_eq!(read_line(&b" \nvault\n"[..]), Ok(None));
    }
}
