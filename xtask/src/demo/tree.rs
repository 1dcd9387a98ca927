//! A tree of files whose names and contents try what can go wrong, the same each time.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How many files there are.
pub const FILES: u32 = 1000;
/// How deep their folders go.
pub const LEVELS: u32 = 6;
/// Size of the large one in bytes.
const LARGE_BYTES: u64 = 40 << 20;
/// Largest size of the others in bytes.
const SMALL_BYTES_MAX: u64 = 48 << 10;
/// Bytes that are written at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Beginnings of names.
const WORDS: [&str; 12] = [
    "letter to the bank",
    "Übergröße",
    "naïve café",
    "日本語の文書",
    "한국어 파일",
    "файл",
    "😀 holiday 🏖",
    "résumé (final) [2]",
    "a",
    "with.many.dots",
    "-starts-with-a-dash",
    "100% & 'quoted' #1 +x,y;z=~",
];
const ENDINGS: [&str; 5] = [".txt", ".pdf", "", ".tar.gz", ".JPG"];

/// What was made.
#[derive(Debug, Default, Clone, Copy)]
pub struct Made {
    /// Files.
    pub files: u32,
    /// Folders, the topmost included.
    pub folders: u32,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Makes the tree; its topmost folder must not exist.
pub fn make(top: &Path) -> io::Result<Made> {
    let mut random = Random(0x5DEE_CE66_D1CE_4E5B);
    let mut made = Made { files: 0, folders: 1, bytes: 0 };
    fs::create_dir(top)?;
    let mut folders: Vec<(PathBuf, u32)> = vec![(top.to_owned(), 1)];
    // One folder in each level, then more of them at random.
    let mut deepest = top.to_owned();
    for level in 2..=LEVELS {
        deepest = deepest.join(format!("level {level} · Ebene · 层"));
        folders.push((deepest.clone(), level));
    }
    while folders.len() < 60 {
        let (above, level) = pick(&folders, &mut random).clone();
        if level < LEVELS {
            let name = format!("{} {}", pick(&WORDS, &mut random), folders.len());
            folders.push((above.join(name), level + 1));
        }
    }
    for (folder, _) in folders.iter().skip(1) {
        fs::create_dir(folder)?;
        made.folders += 1;
    }
    for number in 0..FILES {
        // The first few reach every level; the others lie anywhere.
        let first = usize::try_from(number).ok().filter(|_| number < LEVELS);
        let fixed = first.and_then(|index| folders.get(index));
        let (folder, _) = match fixed {
            Some(folder) => folder,
            None => pick(&folders, &mut random),
        };
        let name = format!("{} {number}{}", pick(&WORDS, &mut random), pick(&ENDINGS, &mut random));
        let size = match number {
            0 => 0,
            1 => LARGE_BYTES,
            2 => 1,
            _ => random.next() % (SMALL_BYTES_MAX + 1),
        };
        write(&folder.join(name), size, &mut random)?;
        made.files += 1;
        made.bytes += size;
    }
    Ok(made)
}

fn write(path: &Path, size: u64, random: &mut Random) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = size;
    while left > 0 {
        for eight in piece.chunks_exact_mut(8) {
            eight.copy_from_slice(&random.next().to_le_bytes());
        }
        let length = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        file.write_all(piece.get(..length).unwrap_or_default())?;
        left -= u64::try_from(length).unwrap_or(left);
    }
    Ok(())
}

#[expect(
    clippy::indexing_slicing,
    reason = "a remainder is smaller than the count, and no list here is empty"
)]
fn pick<'a, T>(all: &'a [T], random: &mut Random) -> &'a T {
    let count = u64::try_from(all.len()).unwrap_or(1);
    &all[usize::try_from(random.next() % count).unwrap_or(0)]
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_the_same_each_time_and_holds_what_it_should() {
        let scratch = tempfile::tempdir().unwrap();
        let (first, second) = (scratch.path().join("1"), scratch.path().join("2"));
        let made = make(&first).unwrap();
        make(&second).unwrap();
        assert_eq!((made.files, made.folders), (1000, 60));
        assert_eq!(super::super::compare::same(&first, &second), Ok(1059));
        let deepest =
            (2..=LEVELS).fold(first, |path, level| path.join(format!("level {level} · Ebene · 层")));
        assert!(fs::read_dir(deepest).unwrap().count() >= 1);
    }
}
