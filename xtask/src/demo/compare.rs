//! Whether two trees hold the same names with the same contents.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Outcome;

/// Most differences that are named.
const NAMED_MAX: usize = 10;
const PIECE_BYTES: usize = 1 << 20;

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Folder,
    File([u8; 32]),
    Other,
}

/// Compares; returns how many files and folders there are beneath each of the two.
pub fn same(left: &Path, right: &Path) -> Outcome<usize> {
    let read = |top: &Path| contents(top).map_err(|error| format!("reading {}: {error}", top.display()));
    let (before, after) = (read(left)?, read(right)?);
    let mut differences = Vec::new();
    for (name, content) in &before {
        match after.get(name) {
            None => differences.push(format!("missing: {}", Path::new(name).display())),
            Some(arrived) if arrived != content => {
                differences.push(format!("different: {}", Path::new(name).display()));
            }
            Some(_) => {}
        }
    }
    let unknown = after.keys().filter(|name| !before.contains_key(*name));
    differences.extend(unknown.map(|name| format!("not from the sender: {}", Path::new(name).display())));
    if differences.is_empty() {
        return Ok(before.len());
    }
    let count = differences.len();
    differences.truncate(NAMED_MAX);
    Err(format!("{count} differences between the trees:\n  {}", differences.join("\n  ")))
}

fn contents(top: &Path) -> io::Result<BTreeMap<OsString, Content>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(top.join(&folder))? {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            let content = if kind.is_dir() {
                folders.push(name.clone());
                Content::Folder
            } else if kind.is_file() {
                Content::File(digest(&entry.path())?)
            } else {
                Content::Other
            };
            found.insert(name.into_os_string(), content);
        }
    }
    Ok(found)
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut digest = Sha256::new();
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest.finalize().into()),
            count => digest.update(piece.get(..count).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_difference_is_one() {
        let scratch = tempfile::tempdir().unwrap();
        let (left, right) = (scratch.path().join("l"), scratch.path().join("r"));
        for top in [&left, &right] {
            fs::create_dir_all(top.join("a/empty")).unwrap();
            fs::write(top.join("a/f"), "1").unwrap();
        }
        assert_eq!(same(&left, &right), Ok(3));
        fs::write(right.join("a/f"), "2").unwrap();
        assert!(same(&left, &right).unwrap_err().contains("different: a/f"));
        fs::remove_file(right.join("a/f")).unwrap();
        assert!(same(&left, &right).unwrap_err().contains("missing: a/f"));
        assert!(same(&right, &left).unwrap_err().contains("not from the sender: a/f"));
        fs::create_dir(right.join("a/f")).unwrap();
        assert!(same(&left, &right).unwrap_err().contains("different: a/f"));
    }
}
