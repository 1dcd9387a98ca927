//! One directory record of 32 bytes.

use super::longname::{Collector, LongName};
use super::{RECORD_BYTES, le};

const ATTRIBUTE_VOLUME_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
/// Read-only, hidden, system and label together mark a part of a long name.
const ATTRIBUTES_LONG_NAME: u8 = 0x0F;
const ATTRIBUTES_MASK: u8 = 0x3F;

/// First byte of a short name: no record from here to the directory's end.
const NAME_END: u8 = 0x00;
/// First byte of a short name: the record is free.
const NAME_DELETED: u8 = 0xE5;
/// First byte of a short name that stands for 0xE5.
const NAME_E5: u8 = 0x05;

/// Written by Windows NT and its successors: the name or its extension is in lower case.
const CASE_NAME_LOWER: u8 = 0x08;
const CASE_EXTENSION_LOWER: u8 = 0x10;

/// When a file was last changed, in seconds since 1970. The format stores local time without saying where;
/// it is taken as UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Modified {
    /// 1980-01-01 to 2107-12-31, even.
    pub unix_s: i64,
}

/// A file or directory as the volume describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name as decoded, not sanitised.
    pub(super) untrusted_name: String,
    /// The long name was broken and this is the short one.
    pub(super) name_broken: bool,
    pub(super) directory: bool,
    pub(super) untrusted_start: u32,
    pub(super) untrusted_bytes: u32,
    pub(super) modified: Option<Modified>,
}

/// What a record is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The directory's end.
    End,
    /// Nothing of interest: free, a label, part of a long name, the directory itself, its parent.
    Skip,
    /// A file or directory.
    Entry(Entry),
}

/// Judges the next record, a copy. `wide` says that the start has 32 bits (FAT32).
pub(super) fn parse(record: &[u8; RECORD_BYTES as usize], long: &mut Collector, wide: bool) -> Record {
    let first = le::byte::<0, 32>(record);
    let attributes = le::byte::<11, 32>(record) & ATTRIBUTES_MASK;
    if first == NAME_END {
        return Record::End;
    }
    if first == NAME_DELETED {
        long.forget();
        return Record::Skip;
    }
    if attributes == ATTRIBUTES_LONG_NAME {
        long.part(record);
        return Record::Skip;
    }
    let short: &[u8; 11] = record.first_chunk().unwrap_or(&[b' '; 11]);
    if attributes & ATTRIBUTE_VOLUME_LABEL != 0 || short == b".          " || short == b"..         " {
        long.forget();
        return Record::Skip;
    }
    let (untrusted_name, name_broken) = match long.finish(short) {
        LongName::Name(name) => (name, false),
        LongName::None => (short_name(short, le::byte::<12, 32>(record)), false),
        LongName::Broken => (short_name(short, le::byte::<12, 32>(record)), true),
    };
    let low = u32::from(le::half::<26, 32>(record));
    let high = if wide { u32::from(le::half::<20, 32>(record)) } else { 0 };
    Record::Entry(Entry {
        untrusted_name,
        name_broken,
        directory: attributes & ATTRIBUTE_DIRECTORY != 0,
        untrusted_start: high << 16 | low,
        untrusted_bytes: le::word::<28, 32>(record),
        modified: modified(le::half::<24, 32>(record), le::half::<22, 32>(record)),
    })
}

/// `NAME.EXT` from its eleven bytes, which are padded with spaces.
fn short_name(short: &[u8; 11], case: u8) -> String {
    let (base, extension) = short.split_at(8);
    let mut base = base.to_vec();
    if let Some(first) = base.first_mut().filter(|first| **first == NAME_E5) {
        *first = NAME_DELETED;
    }
    let mut name = decode(&base, case & CASE_NAME_LOWER != 0);
    let extension = decode(extension, case & CASE_EXTENSION_LOWER != 0);
    if !extension.is_empty() {
        name.push('.');
        name.push_str(&extension);
    }
    name
}

fn decode(bytes: &[u8], lower: bool) -> String {
    let end = bytes.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
    let text = bytes.iter().take(end).map(|&byte| code_page_437(byte));
    if lower { text.flat_map(char::to_lowercase).collect() } else { text.collect() }
}

/// The code page of the original PC, which `mkfs.vfat` and Linux assume too when nothing else is said.
fn code_page_437(byte: u8) -> char {
    const UPPER: [char; 128] = [
        'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', //
        'É', 'æ', 'Æ', 'ô', 'ö', 'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', //
        'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐', '¬', '½', '¼', '¡', '«', '»', //
        '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛', '┐', //
        '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧', //
        '╨', '╤', '╥', '╙', '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀', //
        'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ', 'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩', //
        '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²', '■', '\u{A0}',
    ];
    match byte.checked_sub(0x80) {
        None => char::from(byte),
        Some(upper) => UPPER.get(usize::from(upper)).copied().unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

/// A date and a time of day, or `None` if there is no such moment.
fn modified(date: u16, time: u16) -> Option<Modified> {
    let (year, month, day) =
        (1980 + i64::from(date >> 9), i64::from(date >> 5 & 0x0F), i64::from(date & 0x1F));
    let (hour, minute, second) =
        (i64::from(time >> 11), i64::from(time >> 5 & 0x3F), i64::from(time & 0x1F) * 2);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day < 1 || day > month_days || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970 with years that begin in March, so that the leap day is a year's last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = shifted_year * 365 + leap_days + (shifted_month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(Modified { unix_s: ((days * 24 + hour) * 60 + minute) * 60 + second })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        let dos = |y: u16, m: u16, d: u16| (y - 1980) << 9 | m << 5 | d;
        assert_eq!(modified(dos(1980, 1, 1), 0), Some(Modified { unix_s: 315_532_800 }));
        assert_eq!(
            modified(dos(2024, 2, 29), 12 << 11 | 34 << 5 | 28),
            Some(Modified { unix_s: 1_709_210_096 })
        );
        assert_eq!(modified(dos(2000, 3, 1), 0), Some(Modified { unix_s: 951_868_800 }));
        assert_eq!(
            modified(dos(2107, 12, 31), 23 << 11 | 59 << 5 | 29),
            Some(Modified { unix_s: 4_354_819_198 })
        );
    }

    #[test]
    fn moments_that_do_not_exist_are_none() {
        let dos = |y: u16, m: u16, d: u16| (y - 1980) << 9 | m << 5 | d;
        for date in
            [0, dos(2023, 2, 29), dos(2100, 2, 29), dos(2020, 13, 1), dos(2020, 4, 31), dos(2020, 1, 0)]
        {
            assert_eq!(modified(date, 0), None, "{date:#x}");
        }
        for time in [24 << 11, 60 << 5, 30] {
            assert_eq!(modified(dos(2020, 1, 1), time), None, "{time:#x}");
        }
    }

    #[test]
    fn short_names_lose_their_padding_and_nothing_else() {
        assert_eq!(short_name(b"README  TXT", 0), "README.TXT");
        assert_eq!(short_name(b"README  TXT", CASE_NAME_LOWER), "readme.TXT");
        assert_eq!(short_name(b"README  TXT", CASE_EXTENSION_LOWER), "README.txt");
        assert_eq!(short_name(b"A B     C  ", 0), "A B.C");
        assert_eq!(short_name(b"12345678   ", 0), "12345678");
        assert_eq!(short_name(b"           ", 0), "");
        assert_eq!(short_name(b"\x05\x8e      \xe1  ", 0), "σÄ.ß");
    }
}
