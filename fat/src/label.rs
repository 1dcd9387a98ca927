//! The volume's label.

/// Bytes of a label on the volume, filled up with spaces.
pub const LABEL_BYTES: usize = 11;

/// What a volume is called when there is nothing to call it after.
const LABEL_DEFAULT: &str = "PENDRIVE";

/// A label that every system accepts: capital ASCII letters, digits, `-` and `_`, filled up with spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeLabel([u8; LABEL_BYTES]);

impl VolumeLabel {
    /// The label after a VM's name: in capitals, cut after 11 characters, each character that a label cannot
    /// hold (or that some system would not show as it is) replaced by `_`. An empty name gives `PENDRIVE`.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let name = if name.is_empty() { LABEL_DEFAULT } else { name };
        let mut label = [b' '; LABEL_BYTES];
        for (place, letter) in label.iter_mut().zip(name.chars()) {
            let held = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            *place = u8::try_from(letter).ok().filter(held).unwrap_or(b'_').to_ascii_uppercase();
        }
        Self(label)
    }

    /// The label as it lies on the volume.
    #[must_use]
    pub fn bytes(&self) -> [u8; LABEL_BYTES] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l19_labels_are_cut_and_filled_to_eleven_characters() {
        for (name, label) in [
            ("", b"PENDRIVE   "),
            ("a", b"A          "),
            ("work", b"WORK       "),
            ("elevenchars", b"ELEVENCHARS"),
            ("twelve-chars", b"TWELVE-CHAR"),
            ("a.b_c-d", b"A_B_C-D    "),
            ("no name", b"NO_NAME    "),
            ("für\u{1F600}x", b"F_R_X      "),
        ] {
            assert_eq!(&VolumeLabel::from_name(name).bytes(), label, "{name}");
        }
        assert_eq!(&VolumeLabel::from_name(&"z".repeat(63)).bytes(), b"ZZZZZZZZZZZ");
    }
}
