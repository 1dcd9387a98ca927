//! One run of a command: the process, and the end of what it prints.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use protocol::runner::{OUTPUT_BYTES_MAX, RunEnd, RunOutput};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use sys::spawn::{Child, Command, Ended, SpawnError};

/// Most bytes that are read of one command before anything else is looked at; as much as a pipe holds.
const READ_PER_TURN_BYTES_MAX: usize = 64 * 1024;

/// A command that runs. It is killed when dropped.
#[derive(Debug)]
pub(super) struct Job {
    child: Child,
    /// What it prints; `None` once nobody can print any more.
    output: Option<OwnedFd>,
    /// The end of what it printed.
    untrusted_printed: Vec<u8>,
}

impl Job {
    /// Starts a command with `null` as its input.
    pub(super) fn start(
        program: &str,
        args: &[&OsStr],
        environment: &[&OsStr],
        null: BorrowedFd<'_>,
    ) -> Result<Self, Errno> {
        let (output, printed) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&output, OFlags::NONBLOCK)?;
        let stdio = [null, printed.as_fd(), printed.as_fd()];
        let child = Command { program, args, environment, stdio }.start().map_err(|error| match error {
            SpawnError::Child { errno, .. } | SpawnError::Parent { errno, .. } => errno,
            SpawnError::Argument(_) | SpawnError::NotAbsolute(_) => Errno::INVAL,
        })?;
        Ok(Self { child, output: Some(output), untrusted_printed: Vec::new() })
    }

    /// What becomes readable when there is something to [`Job::poll`] for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.child.pidfd()).chain(self.output.as_ref().map(AsFd::as_fd))
    }

    /// Ends it, with what it has started; it is over when [`Job::poll`] says so.
    pub(super) fn end(&self) {
        // The signal may not be sent to a program that has changed its user. Then its end is waited for.
        let _ = self.child.kill_session();
    }

    /// Reads what it printed, and says how it ended if it has. What it has started may live on, and print for nobody.
    pub(super) fn poll(&mut self) -> Option<(RunEnd, RunOutput)> {
        // In this order: what it printed before its end is there then.
        let ended = self.child.try_wait();
        self.read();
        let how = match ended {
            Ok(None) => return None,
            Ok(Some(Ended::Code(code))) => RunEnd::Code(code),
            Ok(Some(Ended::Signal(signal))) => RunEnd::Signal(signal),
            // Nobody else waits for it, so this does not happen; a lost one must not be waited for for ever.
            Err(_) => RunEnd::NotStarted(Errno::CHILD.raw_os_error()),
        };
        Some((how, RunOutput::last_of(&self.untrusted_printed)))
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        let mut count_left = READ_PER_TURN_BYTES_MAX;
        while let Some(output) = &self.output
            && count_left > 0
        {
            match rustix::io::read(output, &mut buffer) {
                Ok(count) if count > 0 => {
                    count_left = count_left.saturating_sub(count);
                    self.untrusted_printed.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    let begin = self.untrusted_printed.len().saturating_sub(OUTPUT_BYTES_MAX);
                    self.untrusted_printed.drain(..begin);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // The end of the pipe.
                Ok(_) | Err(_) => self.output = None,
            }
        }
    }
}
