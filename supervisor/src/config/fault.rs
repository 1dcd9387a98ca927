//! What is wrong with the configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The configuration cannot be used. Shown as `FILE:LINE:COLUMN: text`, or `FILE: text` when no place is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line and column, both from 1; the column counts characters.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(out, ":{line}:{column}")?;
        }
        // The text may quote the file: a control character in it must not reach the terminal as such.
        out.write_str(": ")?;
        for letter in self.text.chars() {
            match letter {
                '\n' => out.write_str("; ")?,
                letter if letter.is_control() => write!(out, "{}", letter.escape_default())?,
                letter => write!(out, "{letter}")?,
            }
        }
        Ok(())
    }
}

impl ConfigError {
    /// A fault of a file as a whole.
    #[must_use]
    pub fn whole(file: &Path, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: None, text: text.into() }
    }
}

/// A fault at some bytes of the text, before the file's name is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where in the text; the beginning of the file when the key to blame is not in it.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub text: String,
}

impl Fault {
    /// Names file, line and column.
    pub fn in_file(self, file: &Path, source: &str) -> ConfigError {
        let start = self.span.map_or(0, |span| span.start);
        let (line, column) = line_and_column(source, start);
        ConfigError { file: file.to_owned(), place: Some((line, column)), text: self.text }
    }
}

/// Line and column, both from 1, of a byte in a text; a place beyond the end is the end.
fn line_and_column(source: &str, byte: usize) -> (usize, usize) {
    let mut place = (1, 1);
    for (at, letter) in source.char_indices() {
        if at >= byte {
            break;
        }
        place = if letter == '\n' { (place.0 + 1, 1) } else { (place.0, place.1 + 1) };
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "ab\nüx\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, 2), (1, 3));
        assert_eq!(line_and_column(text, 3), (2, 1));
        assert_eq!(line_and_column(text, 5), (2, 2));
        assert_eq!(line_and_column(text, 7), (3, 1));
        assert_eq!(line_and_column(text, 700), (3, 1));
        assert_eq!(line_and_column("", 0), (1, 1));
    }

    #[test]
    fn l7_what_the_text_quotes_is_escaped() {
        let error = ConfigError::whole(Path::new("f"), "key \u{1b}[2J\nhelp");
        assert_eq!(error.to_string(), "f: key \\u{1b}[2J; help");
    }
}
