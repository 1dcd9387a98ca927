//! The reader that the receiving VM uses.

use std::convert::Infallible;

use dvm_parser::fat::{Modified, Sink, Volume, WalkError, walk};
use dvm_parser::names::SafeName;

use crate::support::{Content, MODIFIED_S};

/// A volume of which only the beginning is written.
struct Image<'a> {
    written: &'a [u8],
    size: u64,
}

impl Volume for Image<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let written = self.written.get(offset..).unwrap_or_default();
        let count = written.len().min(buffer.len());
        buffer[..count].copy_from_slice(&written[..count]);
        buffer[count..].fill(0);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.size
    }
}

#[derive(Default)]
struct Collected {
    content: Content,
    /// The directories on the way to the current one.
    path: Vec<String>,
    file: (String, Vec<u8>),
}

impl Collected {
    fn path_of(&self, name: &SafeName) -> String {
        self.path.iter().map(|directory| format!("{directory}/")).collect::<String>() + name.as_str()
    }
}

impl Sink<Image<'_>> for Collected {
    type Error = Infallible;

    fn enter_directory(&mut self, name: &SafeName) -> Result<(), Infallible> {
        self.content.insert(self.path_of(name), None);
        self.path.push(name.as_str().to_owned());
        Ok(())
    }

    fn leave_directory(&mut self, modified: Option<Modified>) -> Result<(), Infallible> {
        assert_eq!(modified.map(|modified| modified.unix_s), Some(MODIFIED_S));
        self.path.pop();
        Ok(())
    }

    fn begin_file(&mut self, name: &SafeName, _bytes: u32) -> Result<(), Infallible> {
        self.file = (self.path_of(name), Vec::new());
        Ok(())
    }

    fn contents(&mut self, volume: &Image<'_>, offset: u64, bytes: u64) -> Result<(), WalkError<Infallible>> {
        let mut piece = vec![0; usize::try_from(bytes).unwrap()];
        volume.read_at(offset, &mut piece).unwrap();
        self.file.1.extend(piece);
        Ok(())
    }

    fn end_file(&mut self, modified: Option<Modified>) -> Result<(), Infallible> {
        assert_eq!(modified.map(|modified| modified.unix_s), Some(MODIFIED_S));
        let (path, bytes) = std::mem::take(&mut self.file);
        self.content.insert(path, Some(bytes));
        Ok(())
    }

    fn renamed(&mut self, _name: &SafeName) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Whether the receiver finds this content, or, where it changed names, as many files and directories of the
/// same bytes.
pub fn finds(written: &[u8], size: u64, expected: &Content) -> bool {
    let mut collected = Collected::default();
    let tally = walk(&Image { written, size }, &mut collected).unwrap();
    assert_eq!(tally.overlong, 0);
    if tally.renamed == 0 {
        return collected.content == *expected;
    }
    let sorted = |content: &Content| {
        let mut files: Vec<Option<Vec<u8>>> = content.values().cloned().collect();
        files.sort();
        files
    };
    sorted(&collected.content) == sorted(expected)
}
