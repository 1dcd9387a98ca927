//! A daemon one of whose workers lies.

use std::fmt::Write;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{Host, programs};

/// What stands before the script at the end of a lying program: a folder, then a word for each life.
pub const SCRIPT_MARK: &[u8] = b"\nscript of a hostile worker\n";

/// What stands before the name of the real program of a worker that VMs' tools start.
pub const REAL_PREFIX: &str = "real-";

/// Lies that every worker can tell, and what the broker says to them.
pub const LIES_OF_ALL: [(&str, &str); 10] = [
    ("garbage", "the datagram does not decode"),
    ("foreign", "the datagram does not decode"),
    ("truncated", "the datagram does not decode"),
    ("trailing", "the datagram has bytes after its message"),
    ("oversized", "the datagram was cut off"),
    ("huge", "the datagram was cut off"),
    ("one-descriptor", "the datagram carried unexpected descriptors"),
    ("two-descriptors", "the datagram carried unexpected descriptors"),
    ("empty", "it closed its edge and goes on"),
    ("flood", "the datagram does not decode"),
];

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
        let liars = Self::without(worker);
        let mut script = format!("{}", liars.lives.path().display());
        words.iter().for_each(|word| write!(script, "\n{word}").unwrap());
        let bytes = [&hostile_worker()[..], SCRIPT_MARK, script.as_bytes()];
        liars.install(worker, &bytes.concat());
        liars
    }

    /// The same for a worker that VMs' tools start. It is itself until [`Liars::says`] tells it otherwise.
    #[must_use]
    pub fn in_vms(worker: &str) -> Self {
        let liars = Self::without(worker);
        let real = liars.program(&format!("{REAL_PREFIX}{worker}"));
        std::fs::hard_link(programs().join(worker), real).unwrap();
        liars.install(worker, &hostile_worker());
        liars
    }

    /// What the worker does from now on in this VM.
    pub fn says(&self, worker: &str, vm: &str, word: &str) {
        std::fs::write(self.program(&format!("{worker}.{vm}")), word).unwrap();
    }

    fn without(worker: &str) -> Self {
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
        Self { programs: folder, lives }
    }

    fn install(&self, worker: &str, bytes: &[u8]) {
        let path = self.program(worker);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
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

impl Host {
    /// Why a worker was restarted by the broker, in the order in which the log says it.
    #[must_use]
    pub fn restarts(&self, worker: &str) -> Vec<String> {
        let mark = format!(": {worker} is restarted: ");
        self.output().lines().filter_map(|line| Some(line.split_once(&mark)?.1.to_owned())).collect()
    }
}

fn hostile_worker() -> Vec<u8> {
    std::fs::read(programs().join("hostile-worker")).unwrap()
}
