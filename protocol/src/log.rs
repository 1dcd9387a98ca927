//! Log lines that a worker hands to the broker, the only worker that can write a log.

use std::fmt;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

/// Longest text of a log line, in bytes after escaping.
pub const LOG_TEXT_BYTES_MAX: usize = 400;

/// How much a line matters, as syslog names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Level {
    /// Something the daemon could not do.
    Error,
    /// Something a VM or a worker should not have done.
    Warning,
    /// A step of a transfer.
    Info,
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// Text that is safe on any terminal: printable ASCII, at most [`LOG_TEXT_BYTES_MAX`] bytes. It is escaped
/// when it is made and escaped again when it is decoded (L7).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogText(String);

impl LogText {
    /// Escapes whatever is not printable ASCII, and cuts what is too long.
    #[must_use]
    pub fn new(untrusted_text: &str) -> Self {
        let mut text = String::new();
        for character in untrusted_text.chars() {
            let before = text.len();
            if character == ' ' || character.is_ascii_graphic() {
                text.push(character);
            } else {
                text.extend(character.escape_default());
            }
            if text.len() > LOG_TEXT_BYTES_MAX {
                text.truncate(before);
                break;
            }
        }
        Self(text)
    }

    /// The escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Encode for LogText {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<Context> Decode<Context> for LogText {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        String::decode(decoder).map(|untrusted_text| Self::new(&untrusted_text))
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for LogText {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// One line of a worker's log. The broker adds the time and the worker's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub text: LogText,
}

impl LogLine {
    /// Makes a line; the text is escaped and bounded.
    #[must_use]
    pub fn new(level: Level, text: &str) -> Self {
        Self { level, text: LogText::new(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn l7_control_characters_and_bidi_never_reach_a_log_raw() {
        let text = LogText::new("a\u{1b}[31m\n\r\0\u{202e}\u{e9}z");
        assert_eq!(text.as_str(), "a\\u{1b}[31m\\n\\r\\u{0}\\u{202e}\\u{e9}z");
        let raw = codec::encode(&(Level::Info, String::from("\u{1b}]0;x\u{7}"))).unwrap();
        let decoded: LogLine = codec::decode(&raw).unwrap();
        assert!(decoded.text.as_str().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
    }

    #[test]
    fn l19_log_text_is_bounded_after_escaping() {
        assert_eq!(LogText::new("").as_str(), "");
        assert_eq!(LogText::new(&"x".repeat(LOG_TEXT_BYTES_MAX)).as_str().len(), LOG_TEXT_BYTES_MAX);
        assert_eq!(LogText::new(&"x".repeat(LOG_TEXT_BYTES_MAX + 1)).as_str().len(), LOG_TEXT_BYTES_MAX);
        assert!(LogText::new(&"\u{1b}".repeat(LOG_TEXT_BYTES_MAX)).as_str().len() <= LOG_TEXT_BYTES_MAX);
    }
}
