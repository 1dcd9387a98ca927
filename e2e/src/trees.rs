//! Trees of files for transfers, and their fingerprints.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Makes a tree of this many files, with names and sizes of every kind that the contract can carry.
pub fn make_tree(root: &Path, files: usize) {
    let names =
        ["plain", "with space", "Größe", "文件", "émoji 🦀", "UPPER.lower.Ext", "a", "very.long.name"];
    for index in 0..files {
        let mut folder = root.to_path_buf();
        for level in 0..index % 7 {
            folder.push(format!("level {level} {}", names.get(index % 3).copied().unwrap_or_default()));
        }
        std::fs::create_dir_all(&folder).unwrap();
        let name = names.get(index % names.len()).copied().unwrap_or_default();
        let size = [0, 1, 511, 512, 513, 4095, 4096, 4097, 70_000].get(index % 9).copied().unwrap_or(0);
        std::fs::write(folder.join(format!("{name} {index}.bin")), contents(index, size)).unwrap();
    }
    std::fs::create_dir_all(root.join("empty folder")).unwrap();
}

/// Bytes that differ from file to file and hold no long runs.
fn contents(seed: usize, size: usize) -> Vec<u8> {
    let mut state = u64::try_from(seed).unwrap_or_default().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// The SHA-256 of every file beneath a folder, by relative path; folders are in it with an empty digest.
#[must_use]
pub fn digests(root: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let relative = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                all.insert(relative, String::new());
                folders.push(path);
            } else {
                let digest = Sha256::digest(std::fs::read(&path).unwrap());
                all.insert(relative, digest.iter().map(|byte| format!("{byte:02x}")).collect());
            }
        }
    }
    all
}
