//! A daemon one of whose workers lies.

use std::fmt::Write;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::programs;

/// What stands before the script at the end of a lying program: a folder, then a word for each life.
pub const SCRIPT_MARK: &[u8] = b"\nscript of a hostile worker\n";

/// A folder of programs in which one worker is played by `hostile-worker`.
#[derive(Debug)]
pub struct Liars {
    programs: tempfile::TempDir,
    lives: tempfile::TempDir,
}

impl Liars {
    /// Lays out the programs. In its first life the worker does what the first word says, and so on; the last word is
    /// for all that follow. Without a word every worker is itself.
    #[must_use]
    pub fn new(worker: &str, words: &[&str]) -> Self {
        let built = programs();
        // Beside them, so that a second name of the same file is enough.
        let folder = tempfile::Builder::new().prefix("liars").tempdir_in(&built).unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        // Every worker has an account of its own where root runs the tests.
        let lives = tempfile::Builder::new().prefix("lives").tempdir().unwrap();
        std::fs::set_permissions(lives.path(), Permissions::from_mode(0o777)).unwrap();
        for entry in std::fs::read_dir(&built).unwrap().flatten() {
            let is_program =
                entry.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o100 != 0);
            if is_program && entry.file_name() != worker {
                std::fs::hard_link(entry.path(), folder.path().join(entry.file_name())).unwrap();
            }
        }
        let mut script = format!("{}", lives.path().display());
        words.iter().for_each(|word| write!(script, "\n{word}").unwrap());
        let bytes =
            [&std::fs::read(built.join("hostile-worker")).unwrap()[..], SCRIPT_MARK, script.as_bytes()];
        let path = folder.path().join(worker);
        std::fs::write(&path, bytes.concat()).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self { programs: folder, lives }
    }

    /// Where the programs are.
    #[must_use]
    pub fn programs(&self) -> &Path {
        self.programs.path()
    }

    /// How many lives have begun.
    #[must_use]
    pub fn lives(&self) -> usize {
        std::fs::read_dir(self.lives.path()).unwrap().count()
    }

    /// The program that lies.
    #[must_use]
    pub fn program(&self, worker: &str) -> PathBuf {
        self.programs.path().join(worker)
    }
}
