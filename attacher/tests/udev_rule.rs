//! The rule that keeps dom0's scanners away from images, against the configuration that is shipped with it.

use std::fs;
use std::path::Path;

/// A file of the folder `packaging/`.
fn shipped(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)).ok()
}

#[test]
fn l20_the_rule_covers_every_loop_device_of_the_shipped_configuration() {
    let rule = shipped("udev/59-qfilexchg-dom0.rules").unwrap();
    let configuration = shipped("qfilexchgd.toml").unwrap();
    let number = |key: &str| -> u32 {
        let line = configuration.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
        line.unwrap().trim().parse().unwrap()
    };
    let (first, count) = (number("loop_first"), number("loop_count"));
    let patterns = rule.lines().find_map(|line| line.strip_prefix("KERNEL==\"loop6")).unwrap();
    let patterns = format!("loop6{}", patterns.split('"').next().unwrap());
    for device in 0..first + count + 200 {
        let name = format!("loop{device}");
        let is_matched = patterns.split('|').any(|pattern| matches_glob(pattern, &name));
        assert_eq!(is_matched, (first..first + count).contains(&device), "{name}");
    }
    let directory = configuration.lines().find_map(|line| line.strip_prefix("directory = \"")).unwrap();
    let directory = directory.split('"').next().unwrap();
    assert!(rule.contains(&format!("ATTR{{loop/backing_file}}==\"{directory}/*\"")));
}

#[test]
fn l20_the_rule_comes_before_every_rule_that_scans() {
    let rule = shipped("udev/59-qfilexchg-dom0.rules").unwrap();
    for setting in [
        "OPTIONS:=\"nowatch\"",
        "ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}=\"1\"",
        "ENV{SYSTEMD_READY}=\"0\"",
        "ENV{UDISKS_IGNORE}=\"1\"",
    ] {
        assert!(rule.lines().any(|line| line == setting), "{setting}");
    }
    assert!(shipped("udev/71-qfilexchg-dom0.rules").is_none(), "udev scans at 60");
}

/// Letters and sets `[a-b]` or `[abc]`, which is all that the rule uses.
fn matches_glob(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    loop {
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some('['), Some(letter)) => {
                let set: String = pattern.by_ref().take_while(|end| *end != ']').collect();
                let inside = match set.split_once('-') {
                    Some((from, to)) => {
                        from <= letter.to_string().as_str() && letter.to_string().as_str() <= to
                    }
                    None => set.contains(letter),
                };
                if !inside {
                    return false;
                }
            }
            (Some(wanted), Some(letter)) if wanted == letter => {}
            (Some(_), Some(_) | None) | (None, Some(_)) => return false,
        }
    }
}
