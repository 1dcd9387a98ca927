//! Decimal numbers as xenstore's programs write them: digits only, no sign, no leading zero.

/// A canonical decimal number up to 65535.
#[must_use]
pub fn decimal_u16(untrusted_digits: &[u8]) -> Option<u16> {
    decimal_u32(untrusted_digits).and_then(|number| u16::try_from(number).ok())
}

/// A canonical decimal number up to 4294967295.
#[must_use]
pub fn decimal_u32(untrusted_digits: &[u8]) -> Option<u32> {
    let canonical = match untrusted_digits {
        [] => false,
        [b'0', rest @ ..] => rest.is_empty(),
        digits => digits.iter().all(u8::is_ascii_digit),
    };
    if !canonical {
        return None;
    }
    str::from_utf8(untrusted_digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_numbers_are_numbers() {
        assert_eq!(decimal_u16(b"0"), Some(0));
        assert_eq!(decimal_u16(b"65535"), Some(65535));
        assert_eq!(decimal_u16(b"65536"), None);
        assert_eq!(decimal_u32(b"4294967295"), Some(u32::MAX));
        assert_eq!(decimal_u32(b"4294967296"), None);
        for untrusted_digits in [&b""[..], b"00", b"01", b"+1", b"-1", b" 1", b"1 ", b"1\0", b"0x1", b"\xff"]
        {
            assert_eq!(decimal_u32(untrusted_digits), None);
        }
    }
}
