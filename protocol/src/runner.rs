//! The edges of dvm-runner, which alone runs the toolstack: dvm-launcher says which of the configured commands, the
//! supervisor hands over each new launcher.
//!
//! No message can hold a path, a name or a word of a command: a command is one of [`Command`], a VM is a number.

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use crate::launch::{DisposableNumber, LAUNCHES_OPEN_MAX};
use crate::types::{ValueError, checked_message_field};

/// Most commands that run at once: one for each open order, one rebuild, one look at the memory.
pub const JOBS_MAX: usize = LAUNCHES_OPEN_MAX + 2;
/// How much of what a command prints is kept, in bytes: the end of it, so that it fits a line of the log.
pub const OUTPUT_BYTES_MAX: usize = 320;

/// What the name of a VM is put in place of, in every word of a command but the first.
pub const NAME_MARK: &str = "{name}";

/// The number of one run of a command, never used twice by one launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct JobId(pub u32);

/// The configured commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Makes a DisposableVM.
    Create {
        /// Which one.
        number: DisposableNumber,
    },
    /// Ends it.
    Destroy {
        /// Which one.
        number: DisposableNumber,
    },
    /// Says whether it exists.
    Exists {
        /// Which one.
        number: DisposableNumber,
    },
    /// Makes the template anew.
    Rebuild,
    /// Prints the free memory.
    FreeMemory,
}

/// What dvm-launcher wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum RunRequest {
    /// Run a command.
    Start {
        /// The number of this run.
        job: JobId,
        /// Which command.
        command: Command,
    },
    /// End it at once, with all that it has started. Nothing happens to one that has ended.
    End {
        /// Which run.
        job: JobId,
    },
    /// Say how old the template and its base are.
    Look,
}

/// What dvm-runner answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RunReply {
    /// A run is over.
    Ended {
        /// Which one.
        job: JobId,
        /// How.
        how: RunEnd,
        /// What it printed last.
        output: RunOutput,
    },
    /// The answer to [`RunRequest::Look`].
    Seen {
        /// The template, if it is there.
        template: Option<Modified>,
        /// Its base, if it is there.
        base: Option<Modified>,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum RunEnd {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It did not begin; the kernel's error number.
    NotStarted(i32),
}

/// When a file was changed last: seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Modified(pub i64, pub u32);

/// The end of what a command printed, at most [`OUTPUT_BYTES_MAX`] bytes of anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOutput(Vec<u8>);

impl RunOutput {
    /// Keeps the end of these bytes.
    #[must_use]
    pub fn last_of(untrusted_bytes: &[u8]) -> Self {
        let begin = untrusted_bytes.len().saturating_sub(OUTPUT_BYTES_MAX);
        Self(untrusted_bytes.get(begin..).unwrap_or_default().to_vec())
    }

    /// The bytes.
    #[must_use]
    pub fn untrusted_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn checked(untrusted_bytes: Vec<u8>) -> Result<RunOutput, ValueError> {
    if untrusted_bytes.len() <= OUTPUT_BYTES_MAX {
        Ok(RunOutput(untrusted_bytes))
    } else {
        Err(ValueError::Output)
    }
}

checked_message_field!(RunOutput, Vec<u8>, |outer| &outer.0, checked, "output of a command");

/// What the supervisor tells dvm-runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum RunnerNotice {
    /// A new launcher begins; the datagram carries dvm-runner's end of the edge to it. What the one before has open
    /// is ended.
    NewLauncher,
}

/// What dvm-runner is told when the daemon begins: the commands, word by word, and two files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct RunnerSettings {
    /// Makes a DisposableVM.
    pub create: Vec<String>,
    /// Ends it.
    pub destroy: Vec<String>,
    /// Says whether it exists; may be empty.
    pub exists: Vec<String>,
    /// Makes the template anew; may be empty.
    pub rebuild: Vec<String>,
    /// Prints the free memory; may be empty.
    pub free_memory: Vec<String>,
    /// What DisposableVMs are made from: an absolute path, or empty.
    pub template: String,
    /// What the template is made from: an absolute path, or empty.
    pub base: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn l19_output_is_bounded_when_made_and_when_decoded() {
        for length in [0, 1, OUTPUT_BYTES_MAX, OUTPUT_BYTES_MAX + 1] {
            let bytes: Vec<u8> = (0..=255).cycle().take(length).collect();
            let kept = RunOutput::last_of(&bytes);
            let begin = length.saturating_sub(OUTPUT_BYTES_MAX);
            assert_eq!(kept.untrusted_bytes(), &bytes[begin..]);
            let decoded = decode::<RunOutput>(&encode(&bytes).unwrap());
            assert_eq!(decoded.is_ok(), length <= OUTPUT_BYTES_MAX, "{length} bytes");
        }
    }

    #[test]
    fn l19_a_vm_is_a_number_within_bounds_and_nothing_else() {
        for (number, fits) in [(0_u32, false), (1, true), (9_999, true), (10_000, false), (u32::MAX, false)] {
            // Variant `Start`, the job, variant `Create`, the number.
            let bytes = encode(&(0_u32, 7_u32, 0_u32, number)).unwrap();
            assert_eq!(decode::<RunRequest>(&bytes).is_ok(), fits, "{number}");
        }
    }
}
