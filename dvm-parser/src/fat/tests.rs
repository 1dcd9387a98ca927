//! Volumes in memory, and what the tests look at.

mod builder;
mod corruption;
mod malformed;
mod malformed_boot;
mod malformed_names;
mod others;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;

use super::{FatError, Modified, Sink, Tally, Volume, WalkError, walk};
use crate::names::SafeName;

/// A volume that lies in memory and counts what is read of it.
pub(super) struct Memory {
    pub(super) bytes: Vec<u8>,
    pub(super) read: std::cell::Cell<u64>,
}

impl Memory {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, read: std::cell::Cell::new(0) }
    }
}

impl Volume for Memory {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("an offset within memory");
        let end = start.checked_add(buffer.len()).expect("an end within memory");
        let source = self.bytes.get(start..end).expect("no read goes beyond the volume");
        buffer.copy_from_slice(source);
        self.read.set(self.read.get() + buffer.len() as u64);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A file or directory that came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Directory(Option<Modified>),
    File(Vec<u8>, Option<Modified>),
}

/// Keeps the whole tree, by path.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) renamed: Vec<String>,
    path: Vec<String>,
    open: Option<(String, u32, Vec<u8>)>,
}

impl Tree {
    fn path_to(&self, name: &str) -> String {
        self.path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/")
    }

    /// Paths with contents; a directory has none and ends in `/`.
    pub(super) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.nodes
            .iter()
            .map(|(path, node)| match node {
                Node::Directory(_) => (format!("{path}/"), Vec::new()),
                Node::File(bytes, _) => (path.clone(), bytes.clone()),
            })
            .collect()
    }
}

impl Sink<Memory> for Tree {
    type Error = Infallible;

    fn enter_directory(&mut self, name: &SafeName) -> Result<(), Infallible> {
        assert!(self.open.is_none());
        let previous = self.nodes.insert(self.path_to(name.as_str()), Node::Directory(None));
        assert!(previous.is_none(), "no name comes twice");
        self.path.push(name.as_str().to_owned());
        Ok(())
    }

    fn leave_directory(&mut self, modified: Option<Modified>) -> Result<(), Infallible> {
        let name = self.path.pop().expect("a directory was entered");
        let path = self.path_to(&name);
        self.nodes.insert(path, Node::Directory(modified));
        Ok(())
    }

    fn begin_file(&mut self, name: &SafeName, bytes: u32) -> Result<(), Infallible> {
        assert!(self.open.is_none());
        self.open = Some((self.path_to(name.as_str()), bytes, Vec::new()));
        Ok(())
    }

    fn contents(&mut self, volume: &Memory, offset: u64, bytes: u64) -> Result<(), WalkError<Infallible>> {
        assert_ne!(bytes, 0);
        let contents = &mut self.open.as_mut().expect("a file was begun").2;
        let old = contents.len();
        contents.resize(old + usize::try_from(bytes).unwrap(), 0);
        volume.read_at(offset, &mut contents[old..]).map_err(|_| FatError::Read)?;
        Ok(())
    }

    fn end_file(&mut self, modified: Option<Modified>) -> Result<(), Infallible> {
        let (path, bytes, contents) = self.open.take().expect("a file was begun");
        assert_eq!(contents.len(), bytes as usize, "a file is as long as was announced");
        let previous = self.nodes.insert(path, Node::File(contents, modified));
        assert!(previous.is_none(), "no name comes twice");
        Ok(())
    }

    fn renamed(&mut self, name: &SafeName) -> Result<(), Infallible> {
        self.renamed.push(name.as_str().to_owned());
        Ok(())
    }
}

/// Reads a whole volume.
pub(super) fn read(bytes: &[u8]) -> Result<(Tree, Tally), FatError> {
    let mut tree = Tree::default();
    match walk(&Memory::new(bytes.to_vec()), &mut tree) {
        Ok(tally) => Ok((tree, tally)),
        Err(WalkError::Volume(error)) => Err(error),
        Err(WalkError::Sink(never)) => match never {},
    }
}

/// Why a volume is not read.
pub(super) fn error(bytes: &[u8]) -> FatError {
    match read(bytes) {
        Err(error) => error,
        Ok((_, tally)) => panic!("a malformed volume was read: {tally:?}"),
    }
}

/// The paths on a volume.
pub(super) fn names(image: &builder::Image) -> Vec<String> {
    read(&image.bytes).expect("the volume is readable").0.nodes.into_keys().collect()
}
