//! The VMs that were sent to last: one name a line, the newest first.
//!
//! Only a help for typing. Whatever is wrong with the file, there are no recent names.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use protocol::types::{VM_NAME_BYTES_MAX, VmName};

/// Most names that are kept.
pub(super) const NAMES_MAX: usize = 8;
/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = (NAMES_MAX * (VM_NAME_BYTES_MAX + 1)) as u64;
const FILE: &str = "recent-vms";

/// Where the names are kept.
#[derive(Debug)]
pub(super) struct Recent {
    directory: Option<PathBuf>,
}

impl Recent {
    /// In the directory for such things (XDG Base Directory Specification 0.8): `$XDG_STATE_HOME/qfilexchg`, by default
    /// below `~/.local/state`.
    pub(super) fn find(state_home: Option<OsString>, home: Option<OsString>) -> Self {
        let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let state = state_home.and_then(absolute);
        let state = state.or_else(|| home.and_then(absolute).map(|home| home.join(".local/state")));
        Self { directory: state.map(|state| state.join("qfilexchg")) }
    }

    /// The names, those that are names.
    pub(super) fn names(&self) -> Vec<VmName> {
        let Some(directory) = &self.directory else { return Vec::new() };
        let mut bytes = Vec::new();
        let read = File::open(directory.join(FILE))
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        if read.is_err() {
            return Vec::new();
        }
        let mut names: Vec<VmName> = Vec::new();
        for name in bytes.split(|&byte| byte == b'\n').filter_map(|line| VmName::new(line).ok()) {
            if names.len() < NAMES_MAX && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Puts a name in front.
    pub(super) fn note(&self, name: &VmName) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let others = self.names().into_iter().filter(|other| other != name);
        let names = std::iter::once(name.clone()).chain(others).take(NAMES_MAX);
        let text: String = names.map(|name| format!("{name}\n")).collect();
        // Renamed into place, so that nobody reads half of it.
        let fresh = directory.join(format!("{FILE}.{}", std::process::id()));
        fs::write(&fresh, text)?;
        fs::rename(fresh, directory.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(name: &str) -> VmName {
        VmName::new(name.as_bytes()).unwrap()
    }

    #[test]
    fn the_newest_is_first_and_nothing_is_kept_twice() {
        let home = tempfile::tempdir().unwrap();
        let recent = Recent::find(None, Some(home.path().into()));
        assert!(recent.names().is_empty());
        for name in ["a", "b", "a"] {
            recent.note(&vm(name)).unwrap();
        }
        assert_eq!(recent.names(), [vm("a"), vm("b")]);
        assert!(home.path().join(".local/state/qfilexchg/recent-vms").exists());
    }

    #[test]
    fn l19_no_more_than_8_names_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let recent = Recent::find(Some(home.path().into()), None);
        for number in 0..=NAMES_MAX {
            recent.note(&vm(&format!("vm{number}"))).unwrap();
        }
        let names = recent.names();
        assert_eq!((names.len(), names.first()), (NAMES_MAX, Some(&vm("vm8"))));
        assert!(!names.contains(&vm("vm0")));
    }

    #[test]
    fn what_is_no_name_in_the_file_is_passed_over() {
        let home = tempfile::tempdir().unwrap();
        let recent = Recent::find(Some(home.path().into()), None);
        recent.note(&vm("good")).unwrap();
        let path = home.path().join("qfilexchg/recent-vms");
        for bytes in [&b"../x\n--title=a\n<b>\n\xff\n\ngood\ngood\n"[..], b"good", b"good\r\ngood"] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(recent.names(), [vm("good")], "{bytes:?}");
        }
        fs::write(&path, vec![b'a'; 1 << 20]).unwrap();
        assert!(recent.names().is_empty());
    }

    #[test]
    fn a_relative_place_is_none() {
        let recent = Recent::find(Some("state".into()), Some("home".into()));
        assert!(recent.names().is_empty());
        assert!(recent.note(&vm("a")).is_ok());
    }
}
