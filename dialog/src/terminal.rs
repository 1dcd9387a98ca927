//! The person's terminal, or two pipes in its place: never waited for, never trusted to be there.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, tcflush};

use crate::lines::ends_mid_line;

/// Most bytes that one read takes.
pub const READ_BYTES_MAX: usize = 512;
/// Most reads that drop typed-ahead input. Whoever types more meanwhile is no person.
pub const DRAIN_READS_MAX: usize = 256;
/// Most bytes that wait for a terminal that is stopped (Ctrl-S). What does not fit is not shown.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Most bytes that one write gives. A terminal or a pipe that says it has room takes this many without blocking.
pub const WRITE_BYTES_MAX: usize = 256;

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing, now.
    Nothing,
    /// Nothing, ever, as far as one can tell.
    Ended,
}

/// How dropping typed-ahead input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nothing is left; the last line that was dropped had its end.
    Clean,
    /// Nothing is left; the last line that was dropped was not ended.
    MidLine,
    /// Input has ended, or does not stop coming.
    Ended,
}

/// Descriptors 0 and 1 of the dialog.
#[derive(Debug)]
pub struct Terminal<'a> {
    input: BorrowedFd<'a>,
    output: BorrowedFd<'a>,
    pending: VecDeque<u8>,
}

impl<'a> Terminal<'a> {
    /// Takes the two descriptors as they are. They may be shared with a shell, so none of their flags is changed.
    #[must_use]
    pub fn new(input: BorrowedFd<'a>, output: BorrowedFd<'a>) -> Self {
        Self { input, output, pending: VecDeque::new() }
    }

    /// Where typed bytes come from.
    #[must_use]
    pub fn input(&self) -> BorrowedFd<'a> {
        self.input
    }

    /// Where the text goes.
    #[must_use]
    pub fn output(&self) -> BorrowedFd<'a> {
        self.output
    }

    /// Whether text waits for the terminal to take it.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Reads what is there.
    #[must_use]
    pub fn read(&self) -> Input {
        if !is_ready(self.input, PollFlags::IN) {
            return Input::Nothing;
        }
        let mut untrusted_bytes = [0; READ_BYTES_MAX];
        match rustix::io::read(self.input, &mut untrusted_bytes) {
            Ok(0) => Input::Ended,
            Ok(count) => Input::Bytes(untrusted_bytes.get(..count).unwrap_or_default().to_vec()),
            Err(Errno::INTR | Errno::AGAIN) => Input::Nothing,
            // A terminal that was hung up, or that belongs to another process group now.
            Err(_) => Input::Ended,
        }
    }

    /// Drops everything that was typed so far (L13).
    #[must_use]
    pub fn drain(&self) -> Drained {
        // A terminal also holds the line that is being typed, and only this drops it. Nothing but a terminal takes it.
        let _ = tcflush(self.input, QueueSelector::IFlush);
        let mut result = Drained::Clean;
        for _ in 0..DRAIN_READS_MAX {
            match self.read() {
                Input::Bytes(bytes) if ends_mid_line(&bytes) => result = Drained::MidLine,
                Input::Bytes(_) => result = Drained::Clean,
                Input::Nothing => return result,
                Input::Ended => return Drained::Ended,
            }
        }
        Drained::Ended
    }

    /// Shows this as soon as the terminal takes it.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn print(&mut self, text: &str) -> Result<(), Errno> {
        if self.pending.len().saturating_add(text.len()) <= OUTPUT_BYTES_MAX {
            self.pending.extend(text.as_bytes());
        }
        self.flush()
    }

    /// Shows as much of what waits as the terminal takes now.
    ///
    /// # Errors
    /// The terminal is gone; what waited is forgotten.
    pub fn flush(&mut self) -> Result<(), Errno> {
        while !self.pending.is_empty() && is_ready(self.output, PollFlags::OUT) {
            let (piece, _) = self.pending.as_slices();
            let piece = piece.get(..WRITE_BYTES_MAX).unwrap_or(piece);
            match rustix::io::write(self.output, piece) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => {
                    self.pending.clear();
                    return Err(errno);
                }
            }
        }
        Ok(())
    }
}

/// Whether a call would not block: the wanted thing is there, or the other end is gone.
fn is_ready(fd: BorrowedFd<'_>, wanted: PollFlags) -> bool {
    let mut fds = [PollFd::new(&fd, wanted)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&at_once)), Ok(count) if count > 0)
}

/// Descriptors 0 and 1 of this process, which whoever starts it leaves open.
#[must_use]
pub fn standard() -> Terminal<'static> {
    Terminal::new(rustix::stdio::stdin(), rustix::stdio::stdout())
}
