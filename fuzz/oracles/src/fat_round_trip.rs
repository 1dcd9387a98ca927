//! A tree that the writer takes is found again, whole, by the reader.

use std::cell::Cell;
use std::convert::Infallible;

use dvm_parser::fat::{Modified, Sink, Volume, WalkError, walk};
use dvm_parser::names::SafeName;
use fat::{Entry, Kind, Plan, Source, Tree, VolumeLabel, VolumeSize};

use crate::bytes::Bytes;
use crate::fat_volume::Beginning;

/// Files and directories of one tree.
const ENTRIES_MAX: usize = 64;
/// First second that a FAT volume can name: 1 January 1980.
const FIRST_S: i64 = 315_532_800;
/// Last second that a FAT volume can name: 31 December 2107, 23:59:58.
const LAST_S: i64 = 4_354_819_198;

/// The input describes a tree.
pub fn run(untrusted: &[u8]) {
    let mut bytes = Bytes::new(untrusted);
    let more_mib = [0, 0, 1, 227][bytes.below(4)];
    let volume_id = bytes.word();
    let label = VolumeLabel::from_name(&String::from_utf8_lossy(bytes.take(4)));
    let entries = entries(&mut bytes);
    // What the writer refuses is for its own tests; here is what it takes.
    let Ok(tree) = Tree::check(entries.clone()) else { return };
    let needed_mib = tree.size_needed_mib().expect("a small tree fits a volume");
    let size = VolumeSize::from_mib(needed_mib + more_mib).expect("the size that is needed is one");
    let plan = tree.layout(size, label, volume_id).expect("a tree fits the size that it needs");
    let written = write(&plan, &entries);
    let volume = Beginning { written: &written, bytes: size.bytes(), read: Cell::new(0) };
    let mut found = Found::default();
    let tally = walk(&volume, &mut found).expect("what was written can be read");
    assert_eq!(tally.overlong, 0);
    let mut expected = expected(&entries);
    if tally.renamed > 0 {
        // Names that may not be shown got others; everything else is the same.
        found.nodes.iter_mut().chain(&mut expected).for_each(|node| node.path = Vec::new());
    }
    found.nodes.sort();
    expected.sort();
    assert_eq!(found.nodes, expected);
}

/// A list of entries. One whose name no volume can hold is left out.
fn entries(bytes: &mut Bytes<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut directories = vec![None];
    while !bytes.is_empty() && entries.len() < ENTRIES_MAX {
        let (is_directory, deep) = (bytes.flag(), bytes.flag());
        // Often the newest directory, so that trees become deep.
        let parent = if deep { directories.len() - 1 } else { bytes.below(directories.len()) };
        let kind = if is_directory { Kind::Directory } else { Kind::File { size: bytes.half().into() } };
        let modified_s = i64::from(bytes.word()) * 2 - (1 << 31);
        let length = bytes.byte();
        let name = bytes.take(length.into()).to_vec();
        let entry = Entry { parent: directories[parent], name, kind, modified_s };
        if Tree::check(vec![Entry { parent: None, ..entry.clone() }]).is_ok() {
            if is_directory {
                directories.push(u32::try_from(entries.len()).ok());
            }
            entries.push(entry);
        }
    }
    entries
}

/// A file's byte.
fn content(entry: usize, at: usize) -> u8 {
    (entry * 31 + at).to_le_bytes()[0] | 1
}

struct Contents<'a>(&'a [Entry]);

impl Source for Contents<'_> {
    type Reader = std::io::Cursor<Vec<u8>>;

    fn open(&mut self, entry: u32) -> std::io::Result<Self::Reader> {
        let number = usize::try_from(entry).expect("a number of an entry");
        Ok(std::io::Cursor::new(bytes_of(number, &self.0[number])))
    }
}

fn bytes_of(number: usize, entry: &Entry) -> Vec<u8> {
    let Kind::File { size } = entry.kind else { panic!("a directory is opened") };
    (0..usize::try_from(size).expect("a small size")).map(|at| content(number, at)).collect()
}

fn write(plan: &Plan, entries: &[Entry]) -> Vec<u8> {
    let mut written = Vec::new();
    fat::write(plan, &mut written, &mut Contents(entries), &mut |_| {}).expect("memory takes everything");
    assert!(written.len() as u64 <= u64::from(plan.geometry().sectors) * u64::from(fat::SECTOR_BYTES));
    written
}

/// A file or directory.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    path: Vec<String>,
    /// `None` for a directory.
    bytes: Option<Vec<u8>>,
    modified_s: i64,
}

fn expected(entries: &[Entry]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let above = entry.parent.map(|parent| &nodes[usize::try_from(parent).expect("an entry")].path);
        let mut path = above.cloned().unwrap_or_default();
        path.push(String::from_utf8(entry.name.clone()).expect("the writer takes text alone"));
        let bytes = (entry.kind != Kind::Directory).then(|| bytes_of(number, entry));
        // FAT knows even seconds only.
        let modified_s = entry.modified_s.clamp(FIRST_S, LAST_S) & !1;
        nodes.push(Node { path, bytes, modified_s });
    }
    nodes
}

#[derive(Default)]
struct Found {
    nodes: Vec<Node>,
    /// The directories on the way, by their places in `nodes`.
    open: Vec<usize>,
}

impl Found {
    fn add(&mut self, name: &SafeName, bytes: Option<Vec<u8>>) {
        let above = self.open.last().map(|place| self.nodes[*place].path.clone());
        let mut path = above.unwrap_or_default();
        path.push(name.as_str().to_owned());
        self.nodes.push(Node { path, bytes, modified_s: 0 });
    }
}

impl Sink<Beginning<'_>> for Found {
    type Error = Infallible;

    fn enter_directory(&mut self, name: &SafeName) -> Result<(), Infallible> {
        self.add(name, None);
        self.open.push(self.nodes.len() - 1);
        Ok(())
    }

    fn leave_directory(&mut self, modified: Option<Modified>) -> Result<(), Infallible> {
        let place = self.open.pop().expect("a directory that was entered");
        self.nodes[place].modified_s = modified.expect("the writer gives every directory a time").unix_s;
        Ok(())
    }

    fn begin_file(&mut self, name: &SafeName, bytes: u32) -> Result<(), Infallible> {
        self.add(name, Some(Vec::with_capacity(bytes as usize)));
        Ok(())
    }

    fn contents(
        &mut self,
        volume: &Beginning<'_>,
        offset: u64,
        bytes: u64,
    ) -> Result<(), WalkError<Infallible>> {
        let mut piece = vec![0; usize::try_from(bytes).expect("a small file")];
        volume.read_at(offset, &mut piece).expect("the beginning of a volume can be read");
        let node = self.nodes.last_mut().expect("a file that has begun");
        node.bytes.as_mut().expect("it is a file").extend(piece);
        Ok(())
    }

    fn end_file(&mut self, modified: Option<Modified>) -> Result<(), Infallible> {
        let node = self.nodes.last_mut().expect("a file that has begun");
        node.modified_s = modified.expect("the writer gives every file a time").unix_s;
        Ok(())
    }

    fn renamed(&mut self, _: &SafeName) -> Result<(), Infallible> {
        Ok(())
    }
}
