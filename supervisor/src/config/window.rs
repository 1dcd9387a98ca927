//! What the dialog's window is told: where it is, how it looks, and which VM has which label.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use protocol::settings::{LABELS_MAX, Label, Scale, Theme};
use protocol::types::VmName;
use toml::Spanned;

use super::check::{at, number, path};
use super::fault::Fault;
use super::raw::{Key, RawDialog};

const SCALE: RangeInclusive<u32> = 1..=2;
/// Most digits of a display's or a screen's number.
const NUMBER_DIGITS_MAX: usize = 5;

/// The window of the dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// On which display; as the environment says when it is not configured.
    pub display: Option<DisplayName>,
    /// The file with that display's cookie; as the environment says when it is not configured.
    pub xauthority: Option<PathBuf>,
    /// How large.
    pub scale: Scale,
    /// How light.
    pub theme: Theme,
    /// The labels of VMs.
    pub labels: Vec<(VmName, Label)>,
}

/// A display of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisplayName {
    /// Its number.
    pub number: u32,
    /// The number of one of its screens.
    pub screen: u32,
}

impl DisplayName {
    /// Reads `:NUMBER` or `:NUMBER.SCREEN`. A display across a network is refused.
    ///
    /// # Errors
    /// A sentence about what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let numbers = text.strip_prefix("unix:").or_else(|| text.strip_prefix(':'));
        let (display, screen) =
            numbers.map_or(("", ""), |numbers| numbers.split_once('.').unwrap_or((numbers, "0")));
        match (digits(display), digits(screen)) {
            (Some(number), Some(screen)) => Ok(Self { number, screen }),
            (None, _) | (_, None) => {
                Err("a display is :NUMBER or :NUMBER.SCREEN, on this machine, as in DISPLAY".to_owned())
            }
        }
    }
}

fn digits(text: &str) -> Option<u32> {
    let are_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if are_digits && text.len() <= NUMBER_DIGITS_MAX { text.parse().ok() } else { None }
}

/// Checks the keys of the window. An empty display or path is none.
pub(super) fn window(raw: &RawDialog, labels: &BTreeMap<String, Spanned<String>>) -> Result<Window, Fault> {
    let display = match given(&raw.display) {
        None => None,
        Some(key) => Some(DisplayName::parse(key.get_ref()).map_err(|text| at(key, &text))?),
    };
    let xauthority = match given(&raw.xauthority) {
        None => None,
        Some(_) => Some(path(&raw.xauthority, "/")?),
    };
    let scale = if number(&raw.scale, 1, &SCALE)? == 2 { Scale::Double } else { Scale::Single };
    let theme = match raw.theme.as_ref().map(|key| (key.get_ref().as_str(), key)) {
        None | Some(("light", _)) => Theme::Light,
        Some(("dark", _)) => Theme::Dark,
        Some((_, key)) => return Err(at(key, "the theme is \"light\" or \"dark\"")),
    };
    Ok(Window { display, xauthority, scale, theme, labels: checked_labels(labels)? })
}

fn given(key: &Key<String>) -> Option<&Spanned<String>> {
    key.as_ref().filter(|key| !key.get_ref().is_empty())
}

fn checked_labels(raw: &BTreeMap<String, Spanned<String>>) -> Result<Vec<(VmName, Label)>, Fault> {
    let mut labels = Vec::new();
    for (name, key) in raw {
        if labels.len() >= LABELS_MAX {
            return Err(at(key, &format!("more than {LABELS_MAX} labels")));
        }
        let vm = VmName::new(name.as_bytes()).map_err(|error| at(key, &error.to_string()))?;
        let label = Label::ALL.into_iter().find(|label| label.name() == key.get_ref());
        let names = || Label::ALL.map(Label::name).join(", ");
        labels.push((vm, label.ok_or_else(|| at(key, &format!("a label is one of {}", names())))?));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn l19_a_display_is_named_by_short_numbers_of_this_machine() {
        let name = |number, screen| Ok(DisplayName { number, screen });
        assert_eq!(DisplayName::parse(":0"), name(0, 0));
        assert_eq!(DisplayName::parse("unix:99999.1"), name(99_999, 1));
        for wrong in ["", ":", "0", "host:0", ":0.", ":.0", ":100000", ":-1", ":+1", ":0.0.0", "/tmp/x:0"] {
            assert!(DisplayName::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_and_looks_are_read_and_everything_else_is_refused() {
        let parse = |text: &str| {
            Config::parse(Path::new("f"), text)
                .map(|config| config.dialog.window)
                .map_err(|error| error.to_string())
        };
        let window = parse(
            "[dialog]\nkind = \"window\"\ndisplay = \":1\"\nscale = 2\ntheme = \"dark\"\n[labels]\nwork = \"blue\"\n",
        )
        .unwrap();
        assert_eq!((window.scale, window.theme), (Scale::Double, Theme::Dark));
        assert_eq!(window.display, Some(DisplayName { number: 1, screen: 0 }));
        assert_eq!(window.labels, [(VmName::new(b"work").unwrap(), Label::Blue)]);
        for (wrong, reason) in [
            ("[labels]\nwork = \"pink\"", "a label is one of red, orange"),
            ("[labels]\n\"a b\" = \"red\"", "f:2:9: "),
            ("[dialog]\nscale = 3", "from 1 to 2"),
            ("[dialog]\nscale = 0", "from 1 to 2"),
            ("[dialog]\ntheme = \"blue\"", "\"light\" or \"dark\""),
            ("[dialog]\ndisplay = \"host:0\"", "on this machine"),
            ("[dialog]\nxauthority = \"here\"", "absolute"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let many = |count: usize| {
            (0..count)
                .fold(String::from("[labels]\n"), |text, number| text + &format!("v{number} = \"red\"\n"))
        };
        assert_eq!(parse(&many(LABELS_MAX)).unwrap().labels.len(), LABELS_MAX);
        assert!(parse(&many(LABELS_MAX + 1)).unwrap_err().contains("more than 1024 labels"));
    }
}
