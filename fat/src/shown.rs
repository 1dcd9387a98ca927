//! Names on a screen.

use std::fmt::{self, Display, Formatter, Write};

/// A name or path made harmless for a terminal: bytes that are not UTF-8, control characters, and those that
/// turn or break a line are shown as escapes; everything else as it is.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a [u8]);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                if is_hidden(letter) {
                    write!(f, "{}", letter.escape_default())?
                } else {
                    f.write_char(letter)?
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l7_what_could_drive_a_terminal_is_escaped() {
        let text = |bytes: &[u8]| Shown(bytes).to_string();
        assert_eq!(text(b""), "");
        assert_eq!(text("dir/für 日本 😀".as_bytes()), "dir/für 日本 😀");
        assert_eq!(text(b"a\x1b[2Jb\n\xffc"), "a\\u{1b}[2Jb\\n\\xffc");
        assert_eq!(text("x\u{202E}gpj.exe\u{2066}".as_bytes()), "x\\u{202e}gpj.exe\\u{2066}");
        assert_eq!(text("\u{85}\u{7f}".as_bytes()), "\\u{85}\\u{7f}");
    }
}
