//! The simulated host as a child of this program.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::documents::{SETTINGS, VM};
use crate::Outcome;
use crate::run::{self, step};
use crate::workspace::SIMULATOR;

/// How long the host may take to serve requests.
const READY_S_MAX: u64 = 60;
/// How long it may take to end.
const END_S_MAX: u64 = 30;
const LOOK_MS: u64 = 50;
/// Where the log goes while the terminal belongs to the person.
const LOG: &str = "log";

/// How the dialog's question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// By the person at the terminal.
    Typed,
    /// By this program, with *yes*.
    Given,
}

/// A running host.
pub struct Host {
    simulator: PathBuf,
    folder: PathBuf,
    child: Child,
}

impl Host {
    /// Starts it, and returns when requests are served.
    pub fn start(programs: &Path, folder: &Path, answers: Answers) -> Outcome<Self> {
        let simulator = programs.join(SIMULATOR);
        let settings = folder.join("vm.toml");
        fs::write(&settings, SETTINGS).map_err(|error| format!("a file for the VMs' settings: {error}"))?;
        let mut command = Command::new(&simulator);
        command
            .arg("up")
            .arg("--dir")
            .arg(folder)
            .args(["--vm", "work", "--vm", "vault", "--vm", VM, "--dialog", "terminal", "--disposables"])
            .arg("--vm-config")
            .arg(&settings);
        match answers {
            Answers::Given => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
            }
            Answers::Typed => {
                // Lines of the log would stand between the question and its answer.
                command.stderr(
                    File::create(folder.join(LOG)).map_err(|error| format!("a file for the log: {error}"))?,
                );
            }
        }
        let child = command.spawn().map_err(|error| format!("{}: {error}", simulator.display()))?;
        let mut host = Self { simulator, folder: folder.to_owned(), child };
        let started = match (host.child.stdin.take(), host.child.stdout.take()) {
            (Some(keys), Some(screen)) => host.wait_for_word(keys, screen),
            _ => host.wait_for_control(),
        };
        match started {
            Ok(()) => Ok(host),
            Err(error) => {
                let _ = host.end();
                Err(error)
            }
        }
    }

    /// A program in a VM.
    pub fn exec(&self, vm: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.simulator);
        command.arg("exec").arg("--dir").arg(&self.folder).arg(vm).arg("--").args(words);
        command
    }

    /// Whether a DisposableVM runs.
    pub fn has_disposables(&self) -> Outcome<bool> {
        let mut command = Command::new(&self.simulator);
        let output = command.arg("ls").arg("--dir").arg(&self.folder).output();
        let output = output.map_err(|error| format!("asking which VMs run: {error}"))?;
        run::check(output.status, "asking which VMs run")?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().any(|line| line.starts_with("disp")))
    }

    /// The process that all others of the host descend from.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in an orderly manner; whatever else happens, it does not outlive this.
    pub fn end(&mut self) -> Outcome<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself, which its exit code tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(END_S_MAX) {
            let ended = self.child.try_wait().map_err(|error| format!("the host: {error}"))?;
            if let Some(status) = ended {
                self.show_log();
                return run::check(status, "the host");
            }
            sleep(Duration::from_millis(LOOK_MS));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.show_log();
        Err(format!("the host did not end within {END_S_MAX} s"))
    }

    /// The log, where it was kept off the terminal.
    fn show_log(&self) {
        if let Ok(log) = fs::read_to_string(self.folder.join(LOG)) {
            step("the log of the host and of the daemon");
            print!("{log}");
        }
    }

    /// Where nobody types, its output comes here, and so do the answers from here.
    fn wait_for_word(&self, keys: ChildStdin, screen: ChildStdout) -> Outcome<()> {
        let (ready, is_ready): (Sender<()>, Receiver<()>) = channel();
        thread::spawn(move || answer(screen, keys, &ready));
        let waited = is_ready.recv_timeout(Duration::from_secs(READY_S_MAX));
        waited.map_err(|_| format!("the host was not ready within {READY_S_MAX} s, or ended"))
    }

    /// Where the terminal belongs to the dialog, the host is asked whether it is there.
    fn wait_for_control(&mut self) -> Outcome<()> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(READY_S_MAX) {
            if let Some(status) = self.child.try_wait().map_err(|error| format!("the host: {error}"))? {
                return Err(format!("the host has ended: {status}"));
            }
            let mut command = Command::new(&self.simulator);
            command.arg("ls").arg("--dir").arg(&self.folder).stdout(Stdio::null()).stderr(Stdio::null());
            if command.status().is_ok_and(|status| status.success()) {
                return Ok(());
            }
            sleep(Duration::from_millis(LOOK_MS));
        }
        Err(format!("the host was not ready within {READY_S_MAX} s"))
    }
}

/// Shows what the host prints, says when it is ready, and answers each question with *yes*. Ends with its output.
fn answer(screen: ChildStdout, mut keys: ChildStdin, ready: &Sender<()>) {
    let mut screen = BufReader::new(screen);
    let mut line = Vec::new();
    let mut byte = [0];
    // Byte by byte: a prompt does not end with a line.
    while screen.read(&mut byte).is_ok_and(|count| count == 1) {
        let [letter] = byte;
        line.push(letter);
        let text = String::from_utf8_lossy(&line).into_owned();
        if let Some(number) = prompted(&text) {
            println!("{text}yes {number}");
            let typed = writeln!(keys, "yes {number}").and_then(|()| keys.flush());
            if let Err(error) = typed {
                println!("cannot answer: {error}");
            }
            line.clear();
        } else if letter == b'\n' {
            print!("{text}");
            if text.trim() == "ready" {
                // Nobody waits any more if it is said twice.
                let _ = ready.send(());
            }
            line.clear();
        }
    }
    let rest = screen.buffer();
    line.extend_from_slice(rest);
    let length = rest.len();
    screen.consume(length);
    print!("{}", String::from_utf8_lossy(&line));
}

/// The number of the question whose prompt this is.
fn prompted(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("\"yes ")?;
    let (number, rest) = rest.split_once('"')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && rest.ends_with(": ")).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_answered_only_when_it_is_whole() {
        let prompt = "  Type \"yes 12\" to allow it; \"no\" or Enter alone refuses: ";
        assert_eq!(prompted(prompt), Some("12"));
        for length in 0..prompt.len() {
            assert_eq!(prompted(&prompt[..length]), None, "{length}");
        }
        assert_eq!(prompted("Type \"yes x\" to: "), None);
    }
}
