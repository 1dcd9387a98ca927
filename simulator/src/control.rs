//! The control socket: one line asks, the first line of the answer is `ok` or `error` with a sentence.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::error::{SimError, Trying, refused};
use crate::files::{HostFiles, connect};

/// Longest request, in bytes.
pub(crate) const REQUEST_BYTES_MAX: u64 = 256;
/// How long the host may take to start or end a VM.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// What may be asked of a running host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// A new domain of that name.
    Start(String),
    /// A new domain of that name that knows nothing of an earlier one.
    StartDisposable(String),
    /// The number of a domain.
    Domid(String),
    /// The end of a domain.
    Destroy(String),
    /// Stops everything in a VM.
    Pause(String),
    /// Lets it go on.
    Unpause(String),
    /// How to get into a VM; `dom0` gives the path of its xenstore socket.
    Enter(String),
    /// One line per VM.
    List,
}

impl Command {
    /// The command as it travels, without its newline.
    fn line(&self) -> String {
        match self {
            Self::Start(vm) => format!("start {vm}"),
            Self::StartDisposable(vm) => format!("start-disposable {vm}"),
            Self::Domid(vm) => format!("domid {vm}"),
            Self::Destroy(vm) => format!("destroy {vm}"),
            Self::Pause(vm) => format!("pause {vm}"),
            Self::Unpause(vm) => format!("unpause {vm}"),
            Self::Enter(vm) => format!("enter {vm}"),
            Self::List => "ls".to_owned(),
        }
    }

    /// Reads a line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        if line == "ls" {
            return Some(Self::List);
        }
        let (verb, vm) = line.split_once(' ')?;
        let vm = vm.to_owned();
        Some(match verb {
            "start" => Self::Start(vm),
            "start-disposable" => Self::StartDisposable(vm),
            "domid" => Self::Domid(vm),
            "destroy" => Self::Destroy(vm),
            "pause" => Self::Pause(vm),
            "unpause" => Self::Unpause(vm),
            "enter" => Self::Enter(vm),
            _ => return None,
        })
    }

    /// Asks the host that runs in that directory.
    pub(crate) fn ask(&self, files: &HostFiles) -> Result<String, SimError> {
        let mut stream = connect(&files.control_socket())?;
        let what = || "the host does not answer".to_owned();
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).trying(what)?;
        writeln!(stream, "{}", self.line()).trying(what)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).trying(what)?;
        let (first, rest) = answer.split_once('\n').unwrap_or((&answer, ""));
        match first.split_once(' ').unwrap_or((first, "")) {
            ("ok", "") => Ok(rest.to_owned()),
            ("ok", detail) => Ok(detail.to_owned()),
            (_, sentence) => refused(sentence),
        }
    }
}

/// Reads one request of a client that has just connected.
pub(crate) fn receive(stream: &UnixStream) -> Option<Command> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut line).ok()?;
    Command::parse(&line)
}

/// Sends the answer and ends the connection.
pub(crate) fn answer(mut stream: UnixStream, result: &Result<String, SimError>) {
    let text = match result {
        Ok(detail) if detail.contains('\n') => format!("ok\n{detail}"),
        Ok(detail) => format!("ok {detail}\n").replace("ok \n", "ok\n"),
        Err(error) => format!("error {error}\n"),
    };
    // A client that has gone does not want it any more.
    let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = stream.write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_survive_the_wire() {
        let vm = || "work".to_owned();
        let all = [
            Command::Start(vm()),
            Command::StartDisposable(vm()),
            Command::Domid(vm()),
            Command::Destroy(vm()),
            Command::Pause(vm()),
            Command::Unpause(vm()),
            Command::Enter(vm()),
            Command::List,
        ];
        for command in all {
            assert_eq!(Command::parse(&format!("{}\n", command.line())), Some(command));
        }
        assert_eq!(Command::parse("reboot work\n"), None);
        assert_eq!(Command::parse(""), None);
    }
}
