//! The files that are written and read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Outcome;

const PIECE_BYTES: usize = 1 << 20;

/// One kind of files.
#[derive(Debug)]
pub struct Material {
    /// In words.
    pub what: &'static str,
    /// The folder's name.
    pub name: &'static str,
    /// Folders beneath it; none: the files lie in it.
    folders: u32,
    /// Files in each folder.
    files: u32,
    /// Bytes of each file.
    bytes: usize,
    /// Largest ratio to dd that is aimed at when it is written.
    pub dd_aim: Option<f64>,
    /// Largest ratio to mcopy that is aimed at when it is written.
    pub mcopy_aim: Option<f64>,
}

impl Material {
    /// One file of 600 MiB.
    pub const LARGE: Self = Self {
        what: "one file of 600 MiB",
        name: "large",
        folders: 0,
        files: 1,
        bytes: 600 << 20,
        dd_aim: Some(1.3),
        mcopy_aim: None,
    };
    /// 10 000 files of together 87 MB.
    pub const SMALL: Self = Self {
        what: "10 000 files in 100 folders, 87 MB",
        name: "small",
        folders: 100,
        files: 100,
        bytes: 8_700,
        dd_aim: None,
        mcopy_aim: Some(0.2),
    };

    /// Makes them and says where.
    pub fn make(&self, scratch: &Path) -> Outcome<PathBuf> {
        let top = scratch.join(self.name);
        self.fill(&top).map_err(|error| format!("making {}: {error}", self.what))?;
        Ok(top)
    }

    /// Removes everything that was made with them.
    pub fn remove(&self, scratch: &Path) -> Outcome<()> {
        for entry in fs::read_dir(scratch).map_err(|error| error.to_string())?.flatten() {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| format!("removing {}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn fill(&self, top: &Path) -> io::Result<()> {
        fs::create_dir(top)?;
        let mut folders = vec![top.to_owned()];
        if self.folders > 0 {
            folders = (0..self.folders).map(|number| top.join(format!("folder number {number}"))).collect();
        }
        // Not compressible by a file system that tries.
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut piece = vec![0; PIECE_BYTES];
        for byte in &mut piece {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[3];
        }
        for folder in folders {
            if folder != top {
                fs::create_dir(&folder)?;
            }
            for number in 0..self.files {
                let mut file = File::create_new(folder.join(format!("File number {number}.data")))?;
                let mut left = self.bytes;
                while left > 0 {
                    let length = left.min(PIECE_BYTES);
                    file.write_all(piece.get(..length).unwrap_or_default())?;
                    left -= length;
                }
            }
        }
        Ok(())
    }
}
