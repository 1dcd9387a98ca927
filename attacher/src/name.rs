//! Names of files in the image directory: what else lies there is not ours and stays untouched.

use protocol::types::ImageId;

const SUFFIX: &str = ".img";
const SPARE_PREFIX: &str = "spare-";

/// A file of ours in the image directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// A pendrive, complete.
    Image(ImageId),
    /// A pendrive that nobody has asked for yet, or that is still being made.
    Spare(u128),
}

impl FileName {
    /// Reads the name of a directory entry; only exactly what [`FileName::text`] writes is one.
    #[must_use]
    pub fn parse(entry: &[u8]) -> Option<Self> {
        let stem = str::from_utf8(entry).ok()?.strip_suffix(SUFFIX)?;
        match stem.strip_prefix(SPARE_PREFIX) {
            Some(hex) => ImageId::from_hex(hex).map(|id| Self::Spare(u128::from_be_bytes(id.0))),
            None => ImageId::from_hex(stem).map(Self::Image),
        }
    }

    /// The name itself: `<32 hex>.img` or `spare-<32 hex>.img`.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Image(image) => format!("{image}{SUFFIX}"),
            Self::Spare(number) => format!("{SPARE_PREFIX}{number:032x}{SUFFIX}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_only_as_they_were_written() {
        for name in [FileName::Image(ImageId([0xA5; 16])), FileName::Spare(7)] {
            assert_eq!(FileName::parse(name.text().as_bytes()), Some(name));
        }
        let hex = "a5".repeat(16);
        for entry in [
            String::new(),
            ".img".to_owned(),
            hex.clone(),
            format!("{hex}.IMG"),
            format!("{}.img", hex.to_uppercase()),
            format!(".{hex}.img"),
            format!("spare{hex}.img"),
            format!("spare-spare-{hex}.img"),
            format!("{hex}.img "),
            format!("{hex}0.img"),
            format!("../{hex}.img"),
        ] {
            assert_eq!(FileName::parse(entry.as_bytes()), None, "{entry}");
        }
        assert_eq!(FileName::parse(b"\xff.img"), None);
    }
}
