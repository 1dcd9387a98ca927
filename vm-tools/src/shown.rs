//! Text that is safe on the person's terminal, whatever it was made of.

use std::fmt;
use std::io::Write;

use fat::Shown;

/// Longest line that is shown, in bytes before escaping.
pub const LINE_BYTES_MAX: usize = 4096;

/// One line without control characters or anything that turns the direction of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    /// Escapes and bounds it.
    #[must_use]
    pub fn new(untrusted_text: &str) -> Self {
        Self::from_bytes(untrusted_text.as_bytes())
    }

    /// The same for bytes that may be no text at all, such as a file's name.
    #[must_use]
    pub fn from_bytes(untrusted_bytes: &[u8]) -> Self {
        let bounded = untrusted_bytes.get(..LINE_BYTES_MAX).unwrap_or(untrusted_bytes);
        Self(Shown(bounded).to_string())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A line on stderr. That nobody reads it any more is no reason to stop.
pub fn say(tool: &str, line: &Line) {
    let _ = writeln!(std::io::stderr(), "{tool}: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l19_lines_of_0_1_4096_and_4097_bytes_are_bounded() {
        for length in [0, 1, LINE_BYTES_MAX, LINE_BYTES_MAX + 1] {
            assert_eq!(Line::new(&"x".repeat(length)).to_string().len(), length.min(LINE_BYTES_MAX));
        }
    }

    #[test]
    fn names_that_are_no_text_are_shown_escaped() {
        let line = Line::from_bytes(b"a\xff\n\x1b[31m").to_string();
        assert!(line.is_ascii() && !line.contains('\n') && !line.contains('\u{1b}'), "{line:?}");
        assert_eq!(Line::new("Grüße 日本").to_string(), "Grüße 日本");
    }
}
