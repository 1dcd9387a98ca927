//! An initial file system for a Linux kernel, as it is handed over at boot: the "newc" form of cpio (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst). Everything in it belongs to root.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;

/// One entry.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A folder.
    Folder,
    /// A file with these permission bits.
    File(u32, Vec<u8>),
    /// A symbolic link to this.
    Link(String),
}

/// A file system by its paths, without a slash at the front.
#[derive(Debug, Default)]
pub struct Root(BTreeMap<String, Entry>);

impl Root {
    /// Adds an entry, in place of what is there, and the folders above it.
    pub fn add(&mut self, path: &str, entry: Entry) {
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Entry::Folder);
        }
        self.0.insert(path.to_owned(), entry);
    }

    /// Adds a file of this machine, with its mode.
    pub fn copy(&mut self, path: &str, from: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let mode = from.metadata()?.permissions().mode() & 0o7777;
        self.add(path, Entry::File(mode, std::fs::read(from)?));
        Ok(())
    }

    /// Whether there is something at a path.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path.trim_start_matches('/'))
    }

    /// Writes all of it.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let nothing = Vec::new();
        for (inode, (path, entry)) in (1_u32..).zip(&self.0) {
            match entry {
                Entry::Folder => write_entry(out, inode, TYPE_FOLDER | 0o755, path, &nothing)?,
                Entry::File(mode, bytes) => write_entry(out, inode, TYPE_FILE | mode, path, bytes)?,
                Entry::Link(target) => {
                    write_entry(out, inode, TYPE_LINK | 0o777, path, target.as_bytes())?;
                }
            }
        }
        write_entry(out, 0, 0, "TRAILER!!!", &nothing)
    }
}

fn write_entry(out: &mut impl Write, inode: u32, mode: u32, path: &str, bytes: &[u8]) -> io::Result<()> {
    let (links, nothing) = (1, 0);
    let numbers = [
        inode,
        mode,
        nothing,
        nothing,
        links,
        nothing,
        u32::try_from(bytes.len()).map_err(io::Error::other)?,
        nothing,
        nothing,
        nothing,
        nothing,
        u32::try_from(path.len() + 1).map_err(io::Error::other)?,
        nothing,
    ];
    let mut header = b"070701".to_vec();
    for number in numbers {
        write!(header, "{number:08X}")?;
    }
    header.extend(path.as_bytes());
    header.push(0);
    pad(&mut header);
    out.write_all(&header)?;
    out.write_all(bytes)?;
    out.write_all(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()])
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them_and_all_is_padded_to_four_bytes() {
        let mut root = Root::default();
        root.add("/a/b/file", Entry::File(0o644, b"12345".to_vec()));
        root.add("a/link", Entry::Link("b/file".to_owned()));
        assert!(root.has("/a/b") && root.has("a/link") && !root.has("/b"));
        let mut bytes = Vec::new();
        root.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let places: Vec<usize> = ["a\0", "a/b\0", "a/b/file\0", "a/link\0", "TRAILER!!!\0"]
            .map(|name| text.find(name).unwrap())
            .into();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(text.matches("070701").count(), 5);
    }
}
