//! A tool as a child process, with a progress window beside it. Closing the window asks the tool to stop, as Ctrl-C
//! does; how it ended is always the tool's own word.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::unmarked;
use crate::child::wait;
use crate::interrupt;
use crate::shown::Line;

/// How often a signal to this program is looked for, in milliseconds.
const SLICE_MS: u64 = 200;
/// Longest line of a tool that is read, in bytes; a longer one is passed over.
const LINE_BYTES_MAX: usize = 4096;
/// Read at once, in bytes.
const READ_BYTES: usize = 4096;
/// What a window shows at most before the tool has ended: it might take 100 for the end.
const PERCENT_MAX: u64 = 99;

/// How a tool ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub status: ExitStatus,
    /// The last line that it wrote to stderr.
    pub line: String,
    /// The person has closed the window.
    pub is_cancelled: bool,
}

/// Runs the tool to its end. Its lines on stdout are those of `--progress-lines`.
pub(super) fn run(command: &mut Command, window: Option<Child>, has_percent: bool) -> io::Result<Ended> {
    let mut window = Window::new(window, has_percent)?;
    let mut tool = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let ended = listen(&mut tool, &mut window);
    if ended.is_err() {
        stop(&tool);
    }
    window.close();
    ended
}

fn listen(tool: &mut Child, window: &mut Window) -> io::Result<Ended> {
    let tool_end = pidfd_open(Pid::from_child(tool), PidfdFlags::empty())?;
    let mut stdout = Lines::new(tool.stdout.take())?;
    let mut stderr = Lines::new(tool.stderr.take())?;
    let (mut last_line, mut is_cancelled, mut is_stopped) = (String::new(), false, false);
    loop {
        let mut fds = vec![PollFd::new(&tool_end, PollFlags::IN)];
        fds.extend(window.end().map(|end| PollFd::new(end, PollFlags::IN)));
        fds.extend(stdout.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        fds.extend(stderr.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        wait(&mut fds, Duration::from_millis(SLICE_MS))?;
        // Asked for before the pipes are emptied: nothing comes into them afterwards.
        let status = tool.try_wait()?;
        stdout.take_in(&mut |line| window.tell(line))?;
        stderr.take_in(&mut |line| last_line = Line::from_bytes(line).to_string())?;
        if let Some(status) = status {
            return Ok(Ended { status, line: last_line, is_cancelled });
        }
        is_cancelled |= window.is_closed()?;
        if (is_cancelled || interrupt::requested()) && !is_stopped {
            stop(tool);
            is_stopped = true;
        }
    }
}

/// Asks it to stop; it says itself what is left then.
fn stop(tool: &Child) {
    let _ = kill_process(Pid::from_child(tool), Signal::TERM);
}

/// The progress window, or none.
struct Window {
    child: Option<(Child, OwnedFd)>,
    has_percent: bool,
}

impl Window {
    fn new(child: Option<Child>, has_percent: bool) -> io::Result<Self> {
        let Some(child) = child else { return Ok(Self { child: None, has_percent }) };
        if let Some(stdin) = &child.stdin {
            // A window that hangs must not stop the copy.
            ioctl_fionbio(stdin, true)?;
        }
        let end = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Self { child: Some((child, end)), has_percent })
    }

    fn end(&self) -> Option<&OwnedFd> {
        self.child.as_ref().map(|(_, end)| end)
    }

    /// Whether the person has cancelled it. One that has ended well was only hidden.
    fn is_closed(&mut self) -> io::Result<bool> {
        let Some((child, _)) = &mut self.child else { return Ok(false) };
        let Some(status) = child.try_wait()? else { return Ok(false) };
        self.child = None;
        Ok(!status.success())
    }

    /// Shows what a line of the tool says.
    fn tell(&mut self, line: &[u8]) {
        let Some(text) = self.lines_for(line) else { return };
        if let Some(stdin) = self.child.as_mut().and_then(|(child, _)| child.stdin.as_mut()) {
            let _ = stdin.write_all(text.as_bytes());
        }
    }

    /// What zenity understands: a percentage, or a text behind `#`.
    fn lines_for(&self, line: &[u8]) -> Option<String> {
        if !self.has_percent {
            return None;
        }
        let line = Line::from_bytes(line).to_string();
        let (word, rest) = line.split_once(' ')?;
        match word {
            "progress" => {
                let (done, total) = rest.split_once(' ')?;
                let (done, total): (u64, u64) = (done.parse().ok()?, total.parse().ok()?);
                let percent = done.saturating_mul(100).checked_div(total).unwrap_or(PERCENT_MAX);
                Some(format!("{}\n", percent.min(PERCENT_MAX)))
            }
            "note" => Some(format!("# {}\n", unmarked(rest))),
            _ => None,
        }
    }

    fn close(self) {
        if let Some((mut child, _)) = self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A pipe, line by line.
struct Lines<R> {
    pipe: Option<R>,
    line: Vec<u8>,
    is_too_long: bool,
}

impl<R: Read + AsFd> Lines<R> {
    fn new(pipe: Option<R>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { pipe, line: Vec::new(), is_too_long: false })
    }

    fn take_in(&mut self, told: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        loop {
            let Some(pipe) = &mut self.pipe else { return Ok(()) };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    let read = buffer.get(..count).unwrap_or_default();
                    read.iter().for_each(|&byte| self.take_byte(byte, told));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take_byte(&mut self, byte: u8, told: &mut dyn FnMut(&[u8])) {
        if byte == b'\n' {
            if !self.is_too_long {
                told(&self.line);
            }
            self.line.clear();
            self.is_too_long = false;
        } else if self.line.len() < LINE_BYTES_MAX {
            self.line.push(byte);
        } else {
            self.is_too_long = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_a_tool_says_becomes_what_the_window_understands() {
        let window = Window { child: None, has_percent: true };
        for (line, shown) in [
            (&b"progress 0 200"[..], Some("0\n")),
            (b"progress 50 200", Some("25\n")),
            (b"progress 200 200", Some("99\n")),
            (b"progress 0 0", Some("99\n")),
            (b"progress 18446744073709551615 1", Some("99\n")),
            (
                b"note waiting for <b>dom0</b>",
                Some("# waiting for \u{2039}b\u{203a}dom0\u{2039}/b\u{203a}\n"),
            ),
            (b"progress 1", None),
            (b"progress -1 2", None),
            (b"100", None),
            (b"", None),
        ] {
            assert_eq!(window.lines_for(line).as_deref(), shown, "{line:?}");
        }
        assert_eq!(Window { child: None, has_percent: false }.lines_for(b"progress 1 2"), None);
    }

    #[test]
    fn l19_lines_of_0_1_4096_and_4097_bytes() {
        let (own, mut theirs) = UnixStream::pair().unwrap();
        for length in [0, 1, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 2] {
            let mut line = vec![b'x'; length];
            line.push(b'\n');
            theirs.write_all(&line).unwrap();
        }
        drop(theirs);
        let mut lengths = Vec::new();
        Lines::new(Some(own)).unwrap().take_in(&mut |line| lengths.push(line.len())).unwrap();
        assert_eq!(lengths, [0, 1, LINE_BYTES_MAX, 2]);
    }
}
