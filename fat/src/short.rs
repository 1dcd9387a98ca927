//! Short names, as DOS has them: eight characters and three.
//!
//! Every entry also gets a long name, so nobody needs to like the short one; it must be unique in its
//! directory, and must not be equal to another entry's long name, or else a search for that one finds this
//! one.

use std::collections::{BTreeMap, BTreeSet};

/// Eight characters and three, each part filled up with spaces.
pub(crate) type ShortName = [u8; 11];

const STEM_BYTES: usize = 8;
const EXTENSION_BYTES: usize = 3;
/// Digits behind the `~`, at most. A directory has far fewer than a million entries.
const DIGITS_MAX: u32 = 6;

/// The short names of one directory.
///
/// All names that are their own short name must be reserved before the first name is [made
/// up](ShortNames::make).
#[derive(Default)]
pub(crate) struct ShortNames {
    reserved: BTreeSet<ShortName>,
    /// The next number for each stem, cut to the length that leaves room for so many digits, and extension.
    /// Numbers of different lengths are counted apart, so that no number is tried twice: the work is linear
    /// in the names.
    next: BTreeMap<(u32, [u8; STEM_BYTES], [u8; EXTENSION_BYTES]), u32>,
}

impl ShortNames {
    /// The name in capitals, if it is its own short name (but for case). It is not given out afterwards.
    pub(crate) fn reserve(&mut self, name: &str) -> Option<ShortName> {
        let short = exact(name)?;
        self.reserved.insert(short);
        Some(short)
    }

    /// A short name for a name that cannot be its own: what is left of its letters, `~` and a number.
    ///
    /// `None` when there are no numbers left, which takes more entries than a directory can have.
    pub(crate) fn make(&mut self, name: &str) -> Option<ShortName> {
        let (stem, extension) = basis(name);
        for digits in 1..=DIGITS_MAX {
            let stem = &stem[..];
            let kept: Vec<u8> = stem.iter().copied().take(STEM_BYTES - 1 - digits as usize).collect();
            let key = (digits, padded(&kept), padded(&extension));
            let next = self.next.entry(key).or_insert(10_u32.pow(digits - 1));
            while *next < 10_u32.pow(digits) {
                let stem: Vec<u8> = kept.iter().copied().chain(format!("~{next}").into_bytes()).collect();
                let short = joined(&stem, &extension);
                *next += 1;
                if !self.reserved.contains(&short) {
                    return Some(short);
                }
            }
        }
        None
    }
}

/// The name in capitals, if it is eight characters and three already.
fn exact(name: &str) -> Option<ShortName> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = (1..=STEM_BYTES).contains(&stem.len())
        && extension.len() <= EXTENSION_BYTES
        && name.contains('.') != extension.is_empty()
        && stem.bytes().chain(extension.bytes()).all(is_short);
    fits.then(|| {
        joined(&stem.to_ascii_uppercase().into_bytes(), &extension.to_ascii_uppercase().into_bytes())
    })
}

/// What a short name is made of: the first letters before the last dot and behind it, spaces and other dots
/// left out, letters that a short name cannot have replaced by `_`.
fn basis(name: &str) -> (Vec<u8>, Vec<u8>) {
    let name = name.trim_start_matches(['.', ' ']);
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    (letters(stem, STEM_BYTES), letters(extension, EXTENSION_BYTES))
}

fn letters(text: &str, count: usize) -> Vec<u8> {
    let kept = text.chars().filter(|letter| !matches!(letter, ' ' | '.'));
    let short = kept.map(|letter| match u8::try_from(letter) {
        Ok(byte) if is_short(byte) => byte.to_ascii_uppercase(),
        _ => b'_',
    });
    short.take(count).collect()
}

/// Characters of short names. Those outside ASCII depend on a code page, which nobody can know.
fn is_short(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'()-@^_`{}~".contains(&byte)
}

fn joined(stem: &[u8], extension: &[u8]) -> ShortName {
    let mut short = [b' '; STEM_BYTES + EXTENSION_BYTES];
    let (stem_place, extension_place) = short.split_at_mut(STEM_BYTES);
    stem_place.iter_mut().zip(stem).for_each(|(place, byte)| *place = *byte);
    extension_place.iter_mut().zip(extension).for_each(|(place, byte)| *place = *byte);
    short
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut padded = [b' '; N];
    padded.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn one(name: &str) -> String {
        let mut names = ShortNames::default();
        let short = names.reserve(name).or_else(|| names.make(name)).unwrap();
        String::from_utf8(short.to_vec()).unwrap()
    }

    #[test]
    fn short_names_are_what_other_systems_make_of_long_ones() {
        for (name, short) in [
            ("readme.txt", "README  TXT"),
            ("A", "A          "),
            ("12345678.123", "12345678123"),
            ("a.b", "A       B  "),
            ("123456789", "123456~1   "),
            ("a.text", "A~1     TEX"),
            ("a.b.c", "AB~1    C  "),
            (".profile", "PROFIL~1   "),
            ("two words.doc", "TWOWOR~1DOC"),
            ("für", "F_R~1      "),
            ("a+b", "A_B~1      "),
            ("日本語.日本", "___~1   __ "),
            ("😀", "_~1        "),
            (" x", "X~1        "),
            ("a~1", "A~1        "),
        ] {
            assert_eq!(one(name), short, "{name}");
        }
    }

    #[test]
    fn no_made_up_name_is_the_name_of_another_entry() {
        let mut names = ShortNames::default();
        for number in 1..=8 {
            assert!(names.reserve(&format!("abcdef~{number}.txt")).is_some());
        }
        assert_eq!(&names.make("abcdefgh1.txt").unwrap(), b"ABCDEF~9TXT");
        assert_eq!(&names.make("abcdefgh2.txt").unwrap(), b"ABCDE~10TXT");
        assert_eq!(&names.make("abcdexyz3.txt").unwrap(), b"ABCDEX~1TXT");
    }

    #[test]
    fn many_similar_names_get_different_short_names_and_take_little_time() {
        let began = Instant::now();
        let mut names = ShortNames::default();
        let mut seen = BTreeSet::new();
        for number in 0..9 {
            seen.insert(names.reserve(&format!("simila~{number}")).unwrap());
        }
        for number in 0..32_000 {
            // Different stems that share their first letters compete for the same short names.
            let name = format!("simil{}r long name {number}", ["a", "e", "i", ""][number % 4]);
            assert!(seen.insert(names.make(&name).unwrap()), "{name}");
        }
        assert_eq!(seen.len(), 32_009);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
