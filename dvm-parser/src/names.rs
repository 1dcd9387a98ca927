//! What becomes of a file's name that another VM chose.
//!
//! A [`SafeName`] is one component of a path that may be shown and created: 1 to 255 bytes of UTF-8, not `.`
//! or `..`, without `/`, control characters, and characters that change how the rest is displayed or that
//! display as nothing. Each forbidden character becomes `_`.
//!
//! Kept on purpose:
//!
//! - `-` and `.` at the beginning, and spaces anywhere: ordinary names have them, and programs that take
//!   names apart wrongly are not helped by other names. The tree lies in a directory of its own.
//! - Names that Windows reserves (`con`) and characters that FAT forbids (`:` or `*`): they mean nothing here.
//! - Joiners and variation selectors between characters beyond ASCII, because emoji and several scripts
//!   are written with them. Next to ASCII they are invisible and are replaced.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes of UTF-8 in a name: the limit of Linux's file systems.
pub const NAME_BYTES_MAX: usize = 255;
/// An extension up to so many bytes, with its dot, is kept when a name is cut.
pub const EXTENSION_BYTES_MAX: usize = 32;
/// What a forbidden character becomes.
pub const REPLACEMENT: char = '_';
/// Room kept for ` (4294967295)` when a name is made unique.
const SUFFIX_BYTES_MAX: usize = 13;

/// One component of a path, safe to create and to show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SafeName(String);

impl SafeName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Makes a safe name out of any text; the flag says whether anything had to be changed.
#[must_use]
pub fn sanitise(untrusted_name: &str) -> (SafeName, bool) {
    let mut name = String::with_capacity(untrusted_name.len().min(NAME_BYTES_MAX));
    let mut before = None;
    let mut characters = untrusted_name.chars().peekable();
    while let Some(character) = characters.next() {
        let after = characters.peek().copied();
        name.push(if is_allowed(character, before, after) { character } else { REPLACEMENT });
        before = Some(character);
    }
    let name = match name.as_str() {
        "" | "." => "_".to_owned(),
        ".." => "__".to_owned(),
        _ => shorten(&name, NAME_BYTES_MAX),
    };
    let changed = name != untrusted_name;
    (SafeName(name), changed)
}

fn is_allowed(character: char, before: Option<char>, after: Option<char>) -> bool {
    match character {
        '/' | char::REPLACEMENT_CHARACTER => false,
        // Zero-width joiner and non-joiner.
        '\u{200C}' | '\u{200D}' => {
            before.is_some_and(is_visible_beyond_ascii) && after.is_some_and(is_visible_beyond_ascii)
        }
        // Text and emoji style; with U+20E3 also after an ASCII digit: a keycap.
        '\u{FE0E}' | '\u{FE0F}' => {
            before.is_some_and(|before| !before.is_ascii() && !is_hidden(before)) || after == Some('\u{20E3}')
        }
        _ => !character.is_control() && !is_hidden(character),
    }
}

/// A character that a joiner may stand beside. An emoji may carry its style.
fn is_visible_beyond_ascii(character: char) -> bool {
    !character.is_ascii()
        && !character.is_control()
        && (!is_hidden(character) || character == '\u{FE0F}')
        && character != char::REPLACEMENT_CHARACTER
}

/// Characters that change the direction or the layout of others, or that show nothing: Unicode's format
/// characters, line separators, default-ignorable characters and non-characters.
fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{00AD}' | '\u{034F}' | '\u{0600}'..='\u{0605}' | '\u{061C}' | '\u{06DD}' | '\u{070F}'
        | '\u{0890}'..='\u{0891}' | '\u{08E2}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FDD0}'..='\u{FDEF}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1343F}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
        || u32::from(character) & 0xFFFE == 0xFFFE
}

/// Cuts at a character's boundary so that the whole has at most `bytes_max` bytes, keeping a short extension.
fn shorten(name: &str, bytes_max: usize) -> String {
    if name.len() <= bytes_max {
        return name.to_owned();
    }
    let (stem, extension) = split_extension(name);
    let room = bytes_max.saturating_sub(extension.len());
    format!("{}{extension}", prefix(stem, room))
}

/// Stem and extension with its dot; a name that begins with its only dot has none, and so has one whose
/// extension is long.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.').and_then(|dot| name.split_at_checked(dot)) {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= EXTENSION_BYTES_MAX => {
            (stem, extension)
        }
        _ => (name, ""),
    }
}

/// The longest beginning of at most `bytes_max` bytes that ends between two characters.
fn prefix(text: &str, bytes_max: usize) -> &str {
    let end = text.floor_char_boundary(bytes_max);
    text.get(..end).unwrap_or_default()
}

/// The text that all names which a FAT directory takes for one have in common: upper case, where that is a
/// single character. A letter beyond ASCII never becomes one of ASCII, nor does one beyond the BMP change, so
/// that no two names of a well-formed volume are the same here.
fn folded(name: &str) -> String {
    let fold = |letter: char| {
        let mut capitals = letter.to_uppercase();
        match (capitals.next(), capitals.next()) {
            _ if letter.is_ascii() => letter.to_ascii_uppercase(),
            (Some(capital), None) if !capital.is_ascii() && letter.len_utf16() == 1 => capital,
            _ => letter,
        }
    };
    name.chars().map(fold).collect()
}

/// The names of one directory, compared without case: a volume with two files that differ in case only, or
/// only in what was replaced, yields two files.
#[derive(Debug, Default)]
pub struct Siblings {
    /// Names in use, [`folded`].
    taken: BTreeSet<String>,
    /// The number to try next for a stem and extension. It only grows, which keeps the work for a directory
    /// full of the same name linear.
    next_number: BTreeMap<(String, String), u32>,
}

impl Siblings {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a name: itself if it is free, otherwise `stem (2).extension` and so on. The flag says whether it
    /// was changed.
    #[must_use]
    pub fn take(&mut self, name: SafeName) -> (SafeName, bool) {
        if self.taken.insert(folded(&name.0)) {
            return (name, false);
        }
        let (stem, extension) = split_extension(&name.0);
        let stem = prefix(stem, NAME_BYTES_MAX.saturating_sub(SUFFIX_BYTES_MAX + extension.len()));
        let key = (folded(stem), folded(extension));
        let number = self.next_number.entry(key).or_insert(2);
        loop {
            let unique = format!("{stem} ({number}){extension}");
            // Ends at the latest when all names of the directory were tried, which is long before 2^32.
            *number = number.wrapping_add(1);
            if self.taken.insert(folded(&unique)) {
                return (SafeName(unique), true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn safe(untrusted_name: &str) -> String {
        sanitise(untrusted_name).0.0
    }

    /// Names that arrive as they were sent.
    #[test]
    fn ordinary_names_of_many_scripts_are_kept() {
        let names = [
            "a",
            "report.pdf",
            " leading and trailing ",
            "-rf",
            ".bashrc",
            "...",
            "con",
            "a:b*c?",
            "ÄÖÜ ß.txt",
            "日本語　全角.txt",
            "мир",
            "e\u{301}",
            "😀",
            "👨\u{200D}👩\u{200D}👧",
            "🏳\u{FE0F}\u{200D}🌈",
            "1\u{FE0F}\u{20E3}",
            "می\u{200C}خواهم",
            "क\u{94D}\u{200D}ष",
            "a\u{A0}b",
        ];
        for name in names {
            assert_eq!(sanitise(name), (SafeName(name.to_owned()), false), "{name:?}");
        }
    }

    #[test]
    fn characters_that_deceive_are_replaced() {
        let cases = [
            ("", "_"),
            (".", "_"),
            ("..", "__"),
            ("/", "_"),
            ("a/../b", "a_.._b"),
            ("a\0b", "a_b"),
            ("a\x1b[2Jb", "a_[2Jb"),
            ("a\x7fb\u{9b}c", "a_b_c"),
            ("a\u{FFFD}", "a_"),
            ("a\u{200B}b", "a_b"),
            ("a\u{200D}b", "a_b"),
            ("日\u{200D}b", "日_b"),
            ("a\u{FE0F}", "a_"),
            ("\u{200D}日", "_日"),
            ("日\u{200D}\u{200D}日", "日__日"),
            ("line\u{2028}para\u{2029}", "line_para_"),
            ("\u{E0041}", "_"),
            ("soft\u{AD}hyphen", "soft_hyphen"),
            ("\u{3164}", "_"),
            ("\u{FEFF}bom", "_bom"),
            ("\u{10FFFF}", "_"),
        ];
        for (name, expected) in cases {
            assert_eq!(sanitise(name), (SafeName(expected.to_owned()), true), "{name:?}");
        }
        let directions = ['\u{061C}', '\u{200E}', '\u{200F}'];
        for character in directions.into_iter().chain('\u{202A}'..='\u{202E}').chain('\u{2066}'..='\u{2069}')
        {
            assert_eq!(safe(&format!("a{character}gpj.exe")), "a_gpj.exe", "{character:?}");
            assert_eq!(safe(&format!("日{character}本")), "日_本", "{character:?}");
        }
    }

    #[test]
    fn l19_names_of_0_1_255_and_256_bytes() {
        assert_eq!(safe(""), "_");
        assert_eq!(safe("a"), "a");
        assert_eq!(safe(&"a".repeat(255)), "a".repeat(255));
        assert_eq!(safe(&"a".repeat(256)), "a".repeat(255));
        assert_eq!(safe(&format!("{}.txt", "a".repeat(251))).len(), 255);
        assert_eq!(safe(&format!("{}.txt", "a".repeat(252))), format!("{}.txt", "a".repeat(251)));
        // 85 characters of three bytes are 255 bytes; the cut falls between two characters.
        assert_eq!(safe(&"語".repeat(85)), "語".repeat(85));
        assert_eq!(safe(&"語".repeat(86)), "語".repeat(85));
        assert_eq!(safe(&format!("{}.c", "語".repeat(85))), format!("{}.c", "語".repeat(84)));
        // An extension of 32 bytes is one, of 33 is not.
        let (short, long) = ("e".repeat(31), "e".repeat(32));
        assert!(safe(&format!("{}.{short}", "a".repeat(255))).ends_with(&format!("a.{short}")));
        assert!(safe(&format!("{}.{long}", "a".repeat(255))).ends_with("aa"));
        assert_eq!(safe(&format!(".{}", "a".repeat(255))), format!(".{}", "a".repeat(254)));
    }

    #[test]
    fn l24_duplicates_get_numbers_whatever_their_case() {
        let mut siblings = Siblings::new();
        let mut take = |name: &str| siblings.take(sanitise(name).0).0.0;
        assert_eq!(take("a.txt"), "a.txt");
        assert_eq!(take("A.TXT"), "A (2).TXT");
        assert_eq!(take("a.txt"), "a (3).txt");
        assert_eq!(take("a (4).txt"), "a (4).txt");
        assert_eq!(take("a.txt"), "a (5).txt");
        assert_eq!(take("ä"), "ä");
        assert_eq!(take("Ä"), "Ä (2)");
        assert_eq!(take("k"), "k");
        assert_eq!(take("\u{212A}"), "\u{212A}", "the Kelvin sign is no K");
        assert_eq!(take(".x"), ".x");
        assert_eq!(take(".X"), ".X (2)");
        let long = "n".repeat(255);
        assert_eq!(take(&long), long);
        assert_eq!(take(&long), format!("{} (2)", "n".repeat(242)));
    }

    #[test]
    fn a_directory_of_65_536_equal_names_takes_linear_time() {
        let mut siblings = Siblings::new();
        let mut distinct = BTreeSet::new();
        // Names that differ only in what is cut off when a number is added are the worst case.
        for index in 0..32_768 {
            let name = sanitise(&format!("{}{index:05}", "n".repeat(250))).0;
            for _ in 0..2 {
                assert!(distinct.insert(siblings.take(name.clone()).0));
            }
        }
        assert_eq!(distinct.len(), 65_536);
    }

    proptest! {
        #[test]
        fn whatever_comes_the_name_is_safe(name in "\\PC{0,40}|.{0,300}|[./\u{200d}\u{202e}a語]{0,12}") {
            let (safe, changed) = sanitise(&name);
            let text = safe.as_str();
            prop_assert!((1..=NAME_BYTES_MAX).contains(&text.len()));
            prop_assert!(text != "." && text != "..");
            prop_assert!(!text.contains('/'));
            let rogue = |character: char| character.is_control()
                || matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FFFD}');
            prop_assert!(!text.chars().any(rogue));
            prop_assert_eq!(changed, text != name);
        }

        #[test]
        fn a_safe_name_is_kept_as_it_is(name in "\\PC{0,40}|.{0,300}|[./\u{200d}\u{202e}a語]{0,12}") {
            let once = sanitise(&name).0;
            let twice = sanitise(once.as_str());
            prop_assert_eq!(twice, (once, false));
        }

        #[test]
        fn siblings_are_distinct_and_safe(names in proptest::collection::vec("[aAäÄ.]{1,3}|a{250,260}", 1..60)) {
            let mut siblings = Siblings::new();
            let mut distinct = BTreeSet::new();
            for name in &names {
                let (unique, _) = siblings.take(sanitise(name).0);
                prop_assert!(distinct.insert(folded(unique.as_str())));
                prop_assert_eq!(sanitise(unique.as_str()), (unique, false));
            }
        }
    }
}
