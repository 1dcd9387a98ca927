//! Files that the owner of a machine writes, and the display's file of cookies: refused with a line of text, or read as
//! they are meant.

use std::path::Path;

use supervisor::config::Config;
use vm_tools::settings::{COMMAND_WORDS_MAX, HAND_OVER_S_MAX, Settings};

#[path = "../../../dialog/window/src/cookie.rs"]
#[expect(dead_code, reason = "the limit is for whoever reads the file")]
mod cookie;

/// The first byte says which file.
pub fn run(untrusted: &[u8]) {
    let Some((which, content)) = untrusted.split_first() else { return };
    match which % 3 {
        0 => daemon(content),
        1 => vm(content),
        _ => cookies(content),
    }
}

/// `qfilexchgd.toml`.
fn daemon(content: &[u8]) {
    let Ok(text) = std::str::from_utf8(content) else { return };
    let file = Path::new("qfilexchgd.toml");
    match Config::parse(file, text) {
        Ok(config) => {
            let images = &config.images;
            assert!(images.size_default <= images.size_max);
            assert!(u64::from(images.size_max.mib()) <= u64::from(images.total_mib_max));
            assert!(images.directory.is_absolute() && config.journal_directory.is_absolute());
            assert_eq!(Config::parse(file, &commented(text)), Ok(config));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// `vm.toml`.
fn vm(content: &[u8]) {
    let Ok(text) = std::str::from_utf8(content) else { return };
    let Ok(settings) = Settings::parse(text) else { return };
    assert!(settings.hand_over_s <= HAND_OVER_S_MAX && !settings.openers.is_empty());
    for opener in &settings.openers {
        assert!((1..=COMMAND_WORDS_MAX).contains(&opener.len()) && !opener[0].is_empty());
        assert!(opener.iter().all(|word| !word.contains('\0')));
    }
    assert_eq!(Settings::parse(&commented(text)), Ok(settings));
}

/// The same file with a comment at its end. At its beginning there may be a byte order mark.
fn commented(text: &str) -> String {
    format!("{text}\n# A comment.\n")
}

/// `.Xauthority`.
fn cookies(content: &[u8]) {
    for display in [0, 7, 77, u32::MAX] {
        let cookie::Cookie { name, data } = cookie::find(content, display);
        if name.is_empty() {
            assert!(data.is_empty());
            continue;
        }
        assert_eq!(name, b"MIT-MAGIC-COOKIE-1");
        // A whole cookie: its length stands before it.
        let length = u16::try_from(data.len()).expect("a length of two bytes").to_be_bytes();
        let entry = [&name[..], &length, &data].concat();
        assert!(content.windows(entry.len()).any(|part| part == entry), "the cookie is not in the file");
    }
}
