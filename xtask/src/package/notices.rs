//! Whose code the programs contain, and under which licences: for the copyright file and for NOTICES.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::metadata::Crate;
use crate::Outcome;

/// How the names of licence files begin, in capitals.
const LICENCE_FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// One line for each crate, for the head of a copyright file.
pub fn lines(crates: &[&Crate]) -> Outcome<String> {
    let mut text = String::new();
    for one in crates {
        let licence = one.license.as_deref().ok_or_else(|| format!("{} names no licence", one.name))?;
        // Cargo's old form of OR.
        let licence = licence.replace(" / ", " OR ").replace('/', " OR ");
        let _ = writeln!(text, "  {} {}: {licence}", one.name, one.version);
    }
    Ok(text.trim_end().to_owned())
}

/// The texts themselves, each once, with the crates that have it.
pub fn texts(crates: &[&Crate]) -> Outcome<String> {
    let mut by_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for one in crates {
        let found = licence_files(one)?;
        if found.is_empty() {
            without.push(format!("{} {}", one.name, one.version));
        }
        for text in found {
            let users = by_text.entry(text).or_default();
            users.push(format!("{} {}", one.name, one.version));
        }
    }
    let mut by_users: Vec<(Vec<String>, String)> =
        by_text.into_iter().map(|(text, users)| (users, text)).collect();
    by_users.sort();
    let mut all = String::from("Notices and licences of the code that these programs contain.\n");
    if !without.is_empty() {
        let _ = writeln!(
            all,
            "\nWithout a text of their own, so under the licence that the copyright file names:"
        );
        let _ = writeln!(all, "{}", without.join(", "));
    }
    for (users, text) in by_users {
        let _ = writeln!(all, "\n{}\n{}:\n\n{}", "=".repeat(78), users.join(", "), text.trim_end());
    }
    Ok(all)
}

/// The text of one more file, in the same form.
pub fn of_file(of: &str, path: &Path) -> Outcome<String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!("\n{}\n{of}:\n\n{}\n", "=".repeat(78), text.trim_end()))
}

fn licence_files(one: &Crate) -> Outcome<Vec<String>> {
    let folder = one.folder();
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if entry.path().is_file() && LICENCE_FILES.iter().any(|begin| name.starts_with(begin)) {
            names.push(entry.path());
        }
    }
    names.sort();
    names
        .iter()
        .map(|path| Ok(String::from_utf8_lossy(&fs::read(path).map_err(failed)?).into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::package::metadata::Metadata;

    #[test]
    fn every_crate_is_named_with_its_licence_and_its_text_is_there_once() {
        let metadata = Metadata::known();
        let crates = metadata.contained_in(&BTreeSet::from(["fat-reader"]));
        let lines = lines(&crates).unwrap();
        assert_eq!(lines.lines().count(), crates.len());
        assert!(lines.lines().any(|line| line.starts_with("  bincode 2.0.1: MIT")), "{lines}");
        let texts = texts(&crates).unwrap();
        assert_eq!(texts, super::texts(&crates).unwrap());
        assert!(
            texts.contains("Permission is hereby granted, free of charge"),
            "the licence of most of them"
        );
        for one in crates {
            assert!(texts.contains(&format!("{} {}", one.name, one.version)), "{}", one.name);
        }
    }
}
