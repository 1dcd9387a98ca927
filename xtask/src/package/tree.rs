//! The files of a package, first as a table, then in a folder.
//!
//! The same commit gives the same bytes: names are sorted, times are those of the commit, nothing depends on who
//! builds where.

use std::collections::BTreeMap;
use std::fs::{self, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::Outcome;

/// A program.
pub const MODE_PROGRAM: u32 = 0o755;
/// Any other file.
pub const MODE_FILE: u32 = 0o644;
/// A folder.
pub const MODE_FOLDER: u32 = 0o755;

/// Where an item's bytes come from.
#[derive(Debug, Clone)]
pub enum Content {
    /// From there.
    File(PathBuf),
    /// These.
    Bytes(Vec<u8>),
    /// It is a symbolic link to this.
    Link(String),
}

/// One file of a package.
#[derive(Debug, Clone)]
pub struct Item {
    /// What is in it.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// An administrator's changes to it are kept.
    pub is_config: bool,
}

impl Item {
    /// An ordinary file with these bytes.
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self { content: Content::Bytes(bytes), mode: MODE_FILE, is_config: false }
    }
}

/// All files of a package, by their absolute paths.
#[derive(Debug, Default)]
pub struct Tree {
    /// The files.
    pub items: BTreeMap<String, Item>,
}

impl Tree {
    /// Adds a file; two of one path are a mistake in the list.
    pub fn add(&mut self, path: &str, item: Item) -> Outcome<()> {
        if !path.starts_with('/') || path.ends_with('/') || path.contains("//") || path.contains("/../") {
            return Err(format!("{path} is no absolute path of a file"));
        }
        match self.items.insert(path.to_owned(), item) {
            None => Ok(()),
            Some(_) => Err(format!("{path} is in the package twice")),
        }
    }

    /// Writes all of it below a folder, with all times set to `epoch_s`, in seconds since 1970.
    pub fn write(&self, root: &Path, epoch_s: u64) -> Outcome<()> {
        for (path, item) in &self.items {
            let to = root.join(path.trim_start_matches('/'));
            write_item(&to, item, epoch_s).map_err(|error| format!("{}: {error}", to.display()))?;
        }
        settle_folders(root, epoch_s).map_err(|error| format!("{}: {error}", root.display()))
    }
}

fn write_item(to: &Path, item: &Item, epoch_s: u64) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    match &item.content {
        Content::File(from) => {
            // Not fs::copy, which would take over the mode, and with it what is not ours to have.
            fs::write(to, fs::read(from)?)?;
        }
        Content::Bytes(bytes) => fs::write(to, bytes)?,
        Content::Link(target) => {
            symlink(target, to)?;
            let time = Timespec { tv_sec: i64::try_from(epoch_s).unwrap_or_default(), tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            return Ok(rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?);
        }
    }
    fs::set_permissions(to, Permissions::from_mode(item.mode))?;
    set_time(to, epoch_s)
}

/// Folders last, from the inside out: writing into one changes its time.
fn settle_folders(folder: &Path, epoch_s: u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            settle_folders(&entry.path(), epoch_s)?;
        }
    }
    fs::set_permissions(folder, Permissions::from_mode(MODE_FOLDER))?;
    set_time(folder, epoch_s)
}

/// Sets a file's or folder's times.
pub fn set_time(path: &Path, epoch_s: u64) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch_s);
    fs::File::open(path)?.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_written_depends_on_nothing_but_the_table() {
        let mut tree = Tree::default();
        let program = Item { content: Content::Bytes(b"x".to_vec()), mode: MODE_PROGRAM, is_config: false };
        tree.add("/usr/bin/a", program).unwrap();
        let link = Item { content: Content::Link("a".to_owned()), mode: MODE_FILE, is_config: false };
        tree.add("/usr/bin/b", link).unwrap();
        tree.add("/etc/c", Item::bytes(Vec::new())).unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o700)).unwrap();
        tree.write(root.path(), 1_000_000_000).unwrap();
        for (path, mode) in
            [("usr", 0o755), ("usr/bin", 0o755), ("usr/bin/a", 0o755), ("etc/c", 0o644), ("", 0o755)]
        {
            let meta = fs::symlink_metadata(root.path().join(path)).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.mtime()), (mode, 1_000_000_000), "{path:?}");
        }
        let link = fs::symlink_metadata(root.path().join("usr/bin/b")).unwrap();
        assert_eq!((link.is_symlink(), link.mtime()), (true, 1_000_000_000));
    }

    #[test]
    fn a_path_that_is_taken_or_leads_astray_is_refused() {
        let mut tree = Tree::default();
        tree.add("/etc/c", Item::bytes(Vec::new())).unwrap();
        for path in ["/etc/c", "etc/d", "/etc/", "/etc//d", "/etc/../d", ""] {
            assert!(tree.add(path, Item::bytes(Vec::new())).is_err(), "{path}");
        }
    }
}
