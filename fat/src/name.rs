//! Which names a FAT volume can hold, and which of them it takes for the same.

/// UTF-16 units of the longest name.
pub const NAME_UNITS_MAX: usize = 255;

/// The unit that fills the last part of a long name; in a name it would be taken for the filling.
const FILLER: char = '\u{FFFF}';

/// Why a name cannot stand in a FAT directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// It has no bytes.
    #[error("the name is empty")]
    Empty,
    /// It is not UTF-8, so that there is no telling which characters it has.
    #[error("the name is not valid UTF-8")]
    NotUtf8,
    /// It is longer than [`NAME_UNITS_MAX`].
    #[error("the name is longer than {NAME_UNITS_MAX} UTF-16 units")]
    TooLong,
    /// It has a control character (all of Unicode's: receivers change them).
    #[error("the name has a control character, U+{0:04X}")]
    Control(u32),
    /// It has one of `" * / : < > ? \ |`.
    #[error("a FAT name cannot have the character {0}")]
    Forbidden(char),
    /// It has U+FFFF, which fills up names on the volume.
    #[error("a FAT name cannot have the noncharacter U+FFFF")]
    Filler,
    /// It ends in a dot or a space, which Linux and Windows cut off (this includes `.` and `..`).
    #[error("a FAT name cannot end in a dot or a space")]
    TrailingDotOrSpace,
}

/// The name, if a FAT directory can hold it and Linux's vfat shows it as it is.
///
/// Names of DOS devices, such as `CON`, are let through: they mean nothing to Linux, and Windows shows them.
pub(crate) fn check(name: &[u8]) -> Result<&str, NameFault> {
    let name = str::from_utf8(name).map_err(|_| NameFault::NotUtf8)?;
    for letter in name.chars() {
        match letter {
            '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|' => return Err(NameFault::Forbidden(letter)),
            FILLER => return Err(NameFault::Filler),
            _ if letter.is_control() => return Err(NameFault::Control(u32::from(letter))),
            _ => {}
        }
    }
    match name.chars().next_back() {
        None => Err(NameFault::Empty),
        Some('.' | ' ') => Err(NameFault::TrailingDotOrSpace),
        Some(_) if name.encode_utf16().count() > NAME_UNITS_MAX => Err(NameFault::TooLong),
        Some(_) => Ok(name),
    }
}

/// The same text for all names that a FAT directory takes for one: upper case, where that is a single
/// character.
///
/// A letter outside ASCII never becomes one of ASCII, nor does one beyond the BMP change: Windows compares
/// UTF-16 units by a table that has neither.
pub(crate) fn folded(name: &str) -> String {
    name.chars().map(upper).collect()
}

fn upper(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_uppercase();
    }
    let mut capitals = letter.to_uppercase();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) if !capital.is_ascii() && letter.len_utf16() == 1 => capital,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_held() {
        for name in [
            "a",
            "CON",
            "con.txt",
            "nul",
            ".profile",
            " x",
            "a b",
            "x.y.z",
            "+,;=[]",
            "~",
            "für",
            "日本語",
            "😀",
            "\u{E000}",
            "\u{FFFD}",
            "...x",
            "%40",
        ] {
            assert_eq!(check(name.as_bytes()), Ok(name));
        }
    }

    #[test]
    fn names_that_fat_cannot_hold_are_refused() {
        assert_eq!(check(b"\xff"), Err(NameFault::NotUtf8));
        assert_eq!(check(b"\xed\xa0\x80"), Err(NameFault::NotUtf8), "a lone surrogate");
        for letter in "\"*/:<>?\\|".chars() {
            assert_eq!(check(format!("a{letter}b").as_bytes()), Err(NameFault::Forbidden(letter)));
        }
        for code in (0..0x20).chain(0x7F..0xA0) {
            let letter = char::from_u32(code).unwrap();
            assert_eq!(check(format!("a{letter}b").as_bytes()), Err(NameFault::Control(code)));
        }
        assert_eq!(check("a\u{FFFF}".as_bytes()), Err(NameFault::Filler));
        for name in [".", "..", "a.", "a ", " ", "a. .", "..."] {
            assert_eq!(check(name.as_bytes()), Err(NameFault::TrailingDotOrSpace), "{name}");
        }
    }

    #[test]
    fn l19_names_have_1_to_255_units() {
        assert_eq!(check(b""), Err(NameFault::Empty));
        for (letter, units) in [("a", 1), ("ü", 1), ("語", 1), ("😀", 2)] {
            let max = NAME_UNITS_MAX / units;
            for count in [1, max - 1, max] {
                assert!(check(letter.repeat(count).as_bytes()).is_ok(), "{count} of {letter}");
            }
            assert_eq!(check(letter.repeat(max + 1).as_bytes()), Err(NameFault::TooLong));
        }
        assert!(check(format!("{}a", "😀".repeat(127)).as_bytes()).is_ok());
        assert_eq!(check(format!("{}aa", "😀".repeat(127)).as_bytes()), Err(NameFault::TooLong));
    }

    #[test]
    fn names_that_differ_in_case_alone_are_the_same() {
        for (one, other) in [("readme", "README"), ("für", "FÜR"), ("ЖУК", "жук"), ("σς", "ΣΣ")] {
            assert_eq!(folded(one), folded(other));
        }
        for (one, other) in
            [("a", "b"), ("straße", "STRASSE"), ("ı", "I"), ("ſ", "S"), ("u", "ü"), ("𐐨", "𐐀")]
        {
            assert_ne!(folded(one), folded(other));
        }
    }
}
