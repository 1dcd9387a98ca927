//! Running another program to its end: with a bound on the time and on what is kept of what it says.
//!
//! No shell: a program and its arguments, each as it is.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::interrupt;

/// How often a signal to this tool is looked for, in milliseconds.
const SLICE_MS: u64 = 200;
/// Read at once, in bytes.
const READ_BYTES: usize = 4096;
/// Most reads in a row: all that a full pipe holds, so that one who never stops writing cannot keep this tool.
const READS_MAX: u32 = 64;

/// Whether a signal to this tool ends the other program as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// No: it must not be stopped in the middle.
    Ignored,
    /// Yes.
    Passed,
}

/// How it ended.
#[derive(Debug)]
pub enum Ending {
    /// By itself.
    Finished(Finished),
    /// It ran for too long, and was killed.
    TooLong,
    /// This tool is to stop, and it was killed.
    Interrupted,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// The beginning of what it wrote to stdout.
    pub stdout: Vec<u8>,
    /// The beginning of what it wrote to stderr.
    pub stderr: Vec<u8>,
}

/// Runs a program without input, for at most `longest`, and keeps at most `kept_bytes_max` of each of its outputs.
///
/// One that does not die of SIGKILL, because a device does not answer, is left behind.
///
/// # Errors
/// It could not be started, or not be listened to.
pub fn run(
    command: &mut Command,
    longest: Duration,
    kept_bytes_max: usize,
    signals: Signals,
) -> io::Result<Ending> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let ending = listen(&mut child, longest, kept_bytes_max, signals);
    if !matches!(ending, Ok(Ending::Finished(_))) {
        // Nobody is left to be told of an error here.
        let _ = child.kill();
        let _ = child.try_wait();
    }
    ending
}

fn listen(
    child: &mut Child,
    longest: Duration,
    kept_bytes_max: usize,
    signals: Signals,
) -> io::Result<Ending> {
    let deadline = Instant::now() + longest;
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut stdout = Output::new(child.stdout.take(), kept_bytes_max)?;
    let mut stderr = Output::new(child.stderr.take(), kept_bytes_max)?;
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        let slice = rest.min(Duration::from_millis(SLICE_MS));
        let mut fds = vec![PollFd::new(&ended, PollFlags::IN)];
        fds.extend(
            [stdout.as_fd(), stderr.as_fd()]
                .into_iter()
                .flatten()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
        wait(&mut fds, slice)?;
        // Asked for before the pipes are emptied: nothing comes into them afterwards.
        let status = child.try_wait()?;
        stdout.take_in()?;
        stderr.take_in()?;
        if let Some(status) = status {
            return Ok(Ending::Finished(Finished { status, stdout: stdout.kept, stderr: stderr.kept }));
        }
        if signals == Signals::Passed && interrupt::requested() {
            return Ok(Ending::Interrupted);
        }
        if rest.is_zero() {
            return Ok(Ending::TooLong);
        }
    }
}

/// Waits for one of the descriptors, or so long, or for a signal.
///
/// # Errors
/// The kernel's.
pub fn wait(fds: &mut [PollFd<'_>], longest: Duration) -> io::Result<()> {
    let time = Timespec::try_from(longest).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    match poll(fds, Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// One of its outputs.
struct Output<R> {
    pipe: Option<R>,
    kept: Vec<u8>,
    kept_bytes_max: usize,
}

impl<R: Read + AsFd> Output<R> {
    fn new(pipe: Option<R>, kept_bytes_max: usize) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { pipe, kept: Vec::new(), kept_bytes_max })
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there; what is too much is dropped.
    fn take_in(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            let Some(pipe) = &mut self.pipe else { break };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    let free = self.kept_bytes_max.saturating_sub(self.kept.len());
                    self.kept.extend(buffer.iter().take(count.min(free)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_words(words: &[&str], longest_ms: u64, kept: usize) -> Ending {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        run(&mut command, Duration::from_millis(longest_ms), kept, Signals::Passed).unwrap()
    }

    #[test]
    fn l19_what_a_program_says_is_kept_up_to_the_limit() {
        for (said, kept) in [("", ""), ("a", "a"), ("abcd", "abcd"), ("abcde", "abcd")] {
            let Ending::Finished(finished) = run_words(&["printf", "%s", said], 60_000, 4) else { panic!() };
            assert!(finished.status.success() && finished.stderr.is_empty());
            assert_eq!(finished.stdout, kept.as_bytes());
        }
    }

    #[test]
    fn a_flood_does_not_stop_the_program_that_makes_it() {
        let Ending::Finished(finished) = run_words(&["head", "-c", "1000000", "/dev/zero"], 60_000, 10)
        else {
            panic!()
        };
        assert!(finished.status.success());
        assert_eq!(finished.stdout.len(), 10);
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        assert!(matches!(run_words(&["sleep", "1000"], 300, 10), Ending::TooLong));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let mut command = Command::new("/nonexistent/program");
        assert!(run(&mut command, Duration::from_secs(1), 1, Signals::Ignored).is_err());
    }
}
