use super::*;
use crate::geometry::VolumeSize;
use crate::label::VolumeLabel;
use crate::tree::{Entry, Kind, Tree};

/// Entries 1 and 2, in the directory that is entry 0, and what the source gives for each of them.
const PLANNED: u64 = 1_500_000;

fn plan() -> Plan {
    let entry =
        |parent, name: &str, kind| Entry { parent, name: name.as_bytes().to_vec(), kind, modified_s: 0 };
    let tree = Tree::check(vec![
        entry(None, "dir", Kind::Directory),
        entry(Some(0), "one", Kind::File { size: PLANNED }),
        entry(Some(0), "two", Kind::File { size: 10 }),
        entry(Some(0), "empty", Kind::File { size: 0 }),
    ]);
    tree.unwrap().layout(VolumeSize::from_mib(33).unwrap(), VolumeLabel::from_name("work"), 1).unwrap()
}

/// Gives this many bytes for the first file and for the empty one, in pieces of at most so many, with an
/// interruption before each.
struct Pieces {
    first: u64,
    empty: u64,
    piece: usize,
    fails_at: u64,
    opened: Vec<u32>,
}

struct Piece {
    left: u64,
    piece: usize,
    fails_at: u64,
    interrupted: bool,
}

impl Pieces {
    fn of(first: u64) -> Self {
        Self { first, empty: 0, piece: usize::MAX, fails_at: u64::MAX, opened: Vec::new() }
    }
}

impl Source for Pieces {
    type Reader = Piece;

    fn open(&mut self, entry: u32) -> io::Result<Piece> {
        self.opened.push(entry);
        let left = [0, self.first, 10, self.empty][entry as usize];
        Ok(Piece { left, piece: self.piece, fails_at: self.fails_at, interrupted: false })
    }
}

impl Read for Piece {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.left <= self.fails_at && self.fails_at != u64::MAX {
            return Err(io::Error::other("bad sector"));
        }
        let count = buffer.len().min(self.piece).min(usize::try_from(self.left).unwrap());
        buffer[..count].fill(0x5A);
        self.left -= count as u64;
        Ok(count)
    }
}

fn written(source: &mut Pieces) -> Result<Vec<u8>, WriteError> {
    let mut volume = Vec::new();
    write(&plan(), &mut volume, source, &mut |_| {}).map(|()| volume)
}

#[test]
fn every_file_is_opened_once_in_its_order() {
    let mut source = Pieces::of(PLANNED);
    written(&mut source).unwrap();
    assert_eq!(source.opened, [1, 2, 3]);
}

#[test]
fn short_reads_and_interruptions_change_nothing() {
    let whole = written(&mut Pieces::of(PLANNED)).unwrap();
    assert!(whole == written(&mut Pieces { piece: 4093, ..Pieces::of(PLANNED) }).unwrap());
    assert!(whole == written(&mut Pieces { piece: 1, ..Pieces::of(PLANNED) }).unwrap());
}

#[test]
fn l19_a_file_that_is_not_as_long_as_planned_is_named_and_never_filled_up() {
    for found in [0, 1, PLANNED - 1] {
        let error = written(&mut Pieces::of(found)).unwrap_err();
        let text =
            format!("dir/one: the file became shorter while it was copied: {found} bytes of {PLANNED}");
        assert_eq!(error.to_string(), text);
        assert!(matches!(error, WriteError::Shorter { .. }));
    }
    for found in [PLANNED + 1, 2 * PLANNED] {
        let error = written(&mut Pieces::of(found)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("dir/one: the file became longer than {PLANNED} bytes while it was copied")
        );
        assert!(matches!(error, WriteError::Longer { .. }));
    }
    let error = written(&mut Pieces { empty: 1, ..Pieces::of(PLANNED) }).unwrap_err();
    assert_eq!(error.to_string(), "dir/empty: the file became longer than 0 bytes while it was copied");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    for fails_at in [PLANNED, 5, 0] {
        let error = written(&mut Pieces { fails_at, ..Pieces::of(PLANNED) }).unwrap_err();
        assert_eq!(error.to_string(), "dir/one: cannot be read: bad sector", "{fails_at}");
    }
    struct Nothing;
    impl Source for Nothing {
        type Reader = io::Empty;
        fn open(&mut self, _entry: u32) -> io::Result<io::Empty> {
            Err(ErrorKind::PermissionDenied.into())
        }
    }
    let error = write(&plan(), io::sink(), &mut Nothing, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "dir/one: cannot be opened: permission denied");
}

#[test]
fn blocks_are_whole_and_the_progress_is_that_of_the_device() {
    struct Blocks(Vec<usize>);
    impl Write for Blocks {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let plan = plan();
    let mut blocks = Blocks(Vec::new());
    let mut seen = Vec::new();
    write(&plan, &mut blocks, &mut Pieces::of(PLANNED), &mut |bytes| seen.push(bytes)).unwrap();
    let (last, whole) = blocks.0.split_last().unwrap();
    assert!(whole.iter().all(|block| *block == BLOCK_BYTES) && *last <= BLOCK_BYTES && last % 512 == 0);
    let mut sum = 0;
    let sums: Vec<u64> = blocks.0.iter().map(|block| (sum += *block as u64, sum).1).collect();
    assert_eq!(seen, sums);
    assert_eq!(sum, plan.bytes_total());
}

#[test]
fn a_device_that_fails_ends_the_pass() {
    struct Full(u64);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len() as u64).ok_or(ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::Error::other("not flushed"))
        }
    }
    let outcome = |room| write(&plan(), Full(room), &mut Pieces::of(PLANNED), &mut |_| {}).unwrap_err();
    assert!(matches!(outcome(0), WriteError::Device { offset: 0, .. }));
    assert!(matches!(outcome(1 << 20), WriteError::Device { offset: 0x0010_0000, .. }));
    assert!(outcome(u64::MAX).to_string().ends_with("not flushed"));
}

#[test]
fn l11_whatever_belongs_to_no_file_is_zero() {
    // Every byte of the files is 0x5A; so the volume's slack would show what the block held before.
    let volume = written(&mut Pieces::of(PLANNED)).unwrap();
    let data = usize::try_from(plan().geometry().data_offset()).unwrap();
    let count = volume[data + 2 * 512..].iter().filter(|byte| **byte == 0x5A).count();
    let others = volume[data + 2 * 512..].iter().filter(|byte| !matches!(**byte, 0 | 0x5A)).count();
    assert_eq!((count as u64, others), (PLANNED + 10, 0));
}
