//! The edge between fat-reader and the program that started it.
//!
//! fat-reader reads what another VM wrote, so whoever listens to it judges every message again: it tells one
//! story from beginning to end ([`UnpackState`]), its numbers only grow, its names are safe to show.

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use crate::log::LogText;

/// Names that are told one by one; beyond that only their number is.
pub const RENAMED_TOLD_MAX: u32 = 20;
/// Progress is told after so many bytes …
pub const PROGRESS_BYTES: u64 = 4 << 20;
/// … or so many files and directories, whichever comes first; never after less of both, so that a fat-reader that was
/// taken over cannot keep its parent for ever by ever smaller steps.
pub const PROGRESS_ENTRIES: u32 = 256;
/// Longest name in bytes, as on Linux's file systems.
pub const SHOWN_NAME_BYTES_MAX: usize = 255;

/// What fat-reader tells its parent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum UnpackNotice {
    /// So much has been written. Sent now and then.
    Progress(UnpackProgress),
    /// A file or directory did not get the name that the volume has. At most [`RENAMED_TOLD_MAX`] times.
    Renamed(ShownName),
    /// The whole tree has been written. The last message.
    Done(UnpackSummary),
    /// The tree is not whole and never will be. The last message.
    Failed(UnpackFailure),
    /// fat-reader ends because of a mistake in it, or because it cannot enter its sandbox. The last message.
    Stopped(LogText),
}

/// What the parent tells fat-reader: nothing. It can only go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum UnpackOrder {}

/// How much has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct UnpackProgress {
    /// Files, the current one included.
    pub files: u32,
    /// Directories.
    pub directories: u32,
    /// Bytes of all files.
    pub bytes: u64,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct UnpackSummary {
    /// Files.
    pub files: u32,
    /// Directories.
    pub directories: u32,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files and directories that did not get the name that the volume has.
    pub renamed: u32,
    /// Files with more space on the volume than their size needs; that space was not read.
    pub overlong: u32,
}

/// Why the tree is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum UnpackFailure {
    /// Reading failed.
    #[error("the device cannot be read")]
    DeviceUnreadable,
    /// No FAT boot sector, or one that contradicts itself or the device.
    #[error("the device holds no FAT file system that this program can read")]
    NotFat,
    /// A disk with partitions.
    #[error("the device has a partition table; its file system must begin at its first byte")]
    PartitionTable,
    /// The file system contradicts itself.
    #[error("the file system is damaged; ask the sender to write it again")]
    Damaged,
    /// A limit of fat-reader.
    #[error("there are too many files and directories")]
    TooManyEntries,
    /// A limit of fat-reader.
    #[error("a directory has too many entries")]
    DirectoryTooLarge,
    /// A limit of fat-reader.
    #[error("directories are nested too deep, or a path is too long")]
    TooDeep,
    /// The output's file system or quota is full.
    #[error("there is no space left for the files; make room and let the file system be sent again")]
    NoSpace,
    /// Something in the output directory was changed by somebody else.
    #[error("somebody else has changed the directory that the files are written to")]
    OutputChanged,
    /// Writing failed otherwise.
    #[error("the files cannot be written (error {errno})")]
    OutputFailed {
        /// The kernel's error number.
        errno: i32,
    },
}

/// A name that is safe to show: 1 to [`SHOWN_NAME_BYTES_MAX`] bytes without `/`, control characters, line
/// separators, replacement characters and characters that change the direction of text (L7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownName(String);

impl ShownName {
    /// Accepts a safe name.
    #[must_use]
    pub fn new(untrusted_name: &str) -> Option<Self> {
        let fits = (1..=SHOWN_NAME_BYTES_MAX).contains(&untrusted_name.len());
        (fits && untrusted_name.chars().all(is_shown)).then(|| Self(untrusted_name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_shown(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '/' | '\u{FFFD}' | '\u{FEFF}' | '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}')
}

impl Encode for ShownName {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<Context> Decode<Context> for ShownName {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let untrusted_name = String::decode(decoder)?;
        Self::new(&untrusted_name).ok_or(DecodeError::Other("name not safe to show"))
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for ShownName {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// Where this edge is.
///
/// | message | while reading | after the end |
/// |---|---|---|
/// | `Progress` | if no number is smaller than before, and it is [`PROGRESS_BYTES`] or [`PROGRESS_ENTRIES`] further | never |
/// | `Renamed` | at most [`RENAMED_TOLD_MAX`] times | never |
/// | `Done` | if no number is smaller than before, and it names as many names as were told or more | never |
/// | `Failed`, `Stopped` | always | never |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnpackState {
    /// fat-reader works.
    Reading {
        /// What it has said last.
        progress: UnpackProgress,
        /// Names that it has told.
        renamed: u32,
    },
    /// It has sent its last message.
    Ended,
}

impl Default for UnpackState {
    fn default() -> Self {
        Self::Reading { progress: UnpackProgress::default(), renamed: 0 }
    }
}

impl UnpackState {
    /// The state after this message, or `None` if it may not arrive now.
    #[must_use]
    pub fn after(self, notice: &UnpackNotice) -> Option<Self> {
        let Self::Reading { progress, renamed } = self else {
            return None;
        };
        match notice {
            UnpackNotice::Progress(next) => {
                next.is_step_after(progress).then_some(Self::Reading { progress: *next, renamed })
            }
            UnpackNotice::Renamed(_) => {
                (renamed < RENAMED_TOLD_MAX).then_some(Self::Reading { progress, renamed: renamed + 1 })
            }
            UnpackNotice::Done(UnpackSummary { files, directories, bytes, renamed: all, .. }) => {
                let last = UnpackProgress { files: *files, directories: *directories, bytes: *bytes };
                (last.follows(progress) && *all >= renamed).then_some(Self::Ended)
            }
            UnpackNotice::Failed(_) | UnpackNotice::Stopped(_) => Some(Self::Ended),
        }
    }
}

impl UnpackProgress {
    /// Whether so much has happened since `before` that it is told.
    #[must_use]
    pub fn is_step_after(self, before: Self) -> bool {
        let entries = |progress: Self| progress.files.saturating_add(progress.directories);
        self.follows(before)
            && (self.bytes.saturating_sub(before.bytes) >= PROGRESS_BYTES
                || entries(self).saturating_sub(entries(before)) >= PROGRESS_ENTRIES)
    }

    fn follows(self, before: Self) -> bool {
        self.files >= before.files && self.directories >= before.directories && self.bytes >= before.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn progress(files: u32, directories: u32, bytes: u64) -> UnpackNotice {
        UnpackNotice::Progress(UnpackProgress { files, directories, bytes })
    }

    fn done(files: u32, renamed: u32) -> UnpackNotice {
        UnpackNotice::Done(UnpackSummary { files, directories: 0, bytes: 0, renamed, overlong: 0 })
    }

    fn all_notices() -> Vec<UnpackNotice> {
        vec![
            progress(1, 2, PROGRESS_BYTES),
            UnpackNotice::Renamed(ShownName::new("a").unwrap()),
            done(9, 9),
            UnpackNotice::Failed(UnpackFailure::OutputFailed { errno: 5 }),
            UnpackNotice::Stopped(LogText::new("panic")),
        ]
    }

    #[test]
    fn messages_come_back_as_they_were_sent() {
        for notice in all_notices() {
            let bytes = codec::encode(&notice).unwrap();
            assert_eq!(codec::decode::<UnpackNotice>(&bytes), Ok(notice));
        }
    }

    #[test]
    fn nothing_may_follow_the_last_message() {
        for notice in all_notices() {
            assert_eq!(UnpackState::Ended.after(&notice), None, "{notice:?}");
            assert!(UnpackState::default().after(&notice).is_some(), "{notice:?}");
        }
        for notice in all_notices().split_off(2) {
            assert_eq!(UnpackState::default().after(&notice), Some(UnpackState::Ended), "{notice:?}");
        }
    }

    #[test]
    fn numbers_that_shrink_are_refused() {
        let bytes = 10 * PROGRESS_BYTES;
        let state = UnpackState::default().after(&progress(500, 500, bytes)).unwrap();
        assert!(state.after(&progress(500, 500, 2 * bytes)).is_some());
        for less in [
            progress(499, 500, 2 * bytes),
            progress(500, 499, 2 * bytes),
            progress(5000, 500, bytes - 1),
            done(500, 0),
        ] {
            assert_eq!(state.after(&less), None, "{less:?}");
        }
    }

    #[test]
    fn l19_a_step_that_is_too_small_to_be_told_is_refused() {
        let (bytes, entries) = (PROGRESS_BYTES, PROGRESS_ENTRIES);
        let state = UnpackState::default().after(&progress(entries, 0, 0)).unwrap();
        for (step, is_told) in [
            (progress(entries, 0, 0), false),
            (progress(entries + 1, 0, 1), false),
            (progress(entries + 1, entries - 2, bytes - 1), false),
            (progress(entries + 1, entries - 1, 0), true),
            (progress(entries, 0, bytes), true),
            (progress(u32::MAX, u32::MAX, u64::MAX), true),
        ] {
            assert_eq!(state.after(&step).is_some(), is_told, "{step:?}");
        }
    }

    #[test]
    fn l19_names_beyond_the_limit_are_refused() {
        let name = UnpackNotice::Renamed(ShownName::new("a").unwrap());
        let mut state = UnpackState::default();
        for _ in 0..RENAMED_TOLD_MAX {
            state = state.after(&name).unwrap();
        }
        assert_eq!(state.after(&name), None);
        assert_eq!(state.after(&done(0, RENAMED_TOLD_MAX - 1)), None);
        assert!(state.after(&done(0, RENAMED_TOLD_MAX)).is_some());
    }

    #[test]
    fn l7_names_that_are_not_safe_to_show_do_not_decode() {
        for name in ["", "a/b", "a\nb", "\u{1b}[2J", "a\u{202e}b", "a\u{2028}b", "\u{fffd}", &"x".repeat(256)]
        {
            assert_eq!(ShownName::new(name), None, "{name:?}");
            // A variant's number in four bytes, then the text.
            let bytes = codec::encode(&(1_u32, name.to_owned())).unwrap();
            assert_eq!(codec::decode::<UnpackNotice>(&bytes), Err(codec::CodecError::Malformed), "{name:?}");
        }
        let longest = "x".repeat(255);
        for name in ["a", ".b c", "日本語 😀", &longest] {
            let bytes = codec::encode(&(1_u32, name.to_owned())).unwrap();
            let notice = UnpackNotice::Renamed(ShownName::new(name).unwrap());
            assert_eq!(codec::decode::<UnpackNotice>(&bytes), Ok(notice));
        }
    }
}
