//! Making volumes, and having other programs look at them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use fat::{Entry, Kind, Piece, Plan, Source, Tree, VolumeLabel, VolumeSize};

/// What lies at each path: `None` for a directory, a file's bytes otherwise.
pub type Content = BTreeMap<String, Option<Vec<u8>>>;

pub const MODIFIED_S: i64 = 1_234_567_890;

pub fn directory(parent: Option<u32>, name: &str) -> Entry {
    Entry { parent, name: name.as_bytes().to_vec(), kind: Kind::Directory, modified_s: MODIFIED_S }
}

pub fn file(parent: Option<u32>, name: &str, size: u64) -> Entry {
    Entry { parent, name: name.as_bytes().to_vec(), kind: Kind::File { size }, modified_s: MODIFIED_S }
}

/// The bytes of a file of the tests: none of them zero, and different for each file.
pub fn bytes_of(entry: u32, size: u64) -> Vec<u8> {
    let mut state = u64::from(entry).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8 | 1
    };
    (0..size).map(step).collect()
}

/// Gives each file the bytes of [`bytes_of`].
pub struct Bytes(pub Vec<Entry>);

impl Source for Bytes {
    type Reader = Cursor<Vec<u8>>;

    fn open(&mut self, entry: u32) -> std::io::Result<Self::Reader> {
        let Kind::File { size } = self.0[entry as usize].kind else { panic!("{entry} is a directory") };
        Ok(Cursor::new(bytes_of(entry, size)))
    }
}

/// What the entries say that a volume holds.
pub fn content(entries: &[Entry]) -> Content {
    let mut paths: Vec<String> = Vec::new();
    let mut content = Content::new();
    for (number, entry) in (0..).zip(entries) {
        let name = str::from_utf8(&entry.name).unwrap();
        let path =
            entry.parent.map_or(name.to_owned(), |parent| format!("{}/{name}", paths[parent as usize]));
        paths.push(path.clone());
        content.insert(
            path,
            match entry.kind {
                Kind::Directory => None,
                Kind::File { size } => Some(bytes_of(number, size)),
            },
        );
    }
    content
}

pub fn plan(entries: &[Entry], mib: u32) -> Plan {
    let tree = Tree::check(entries.to_vec()).unwrap();
    tree.layout(VolumeSize::from_mib(mib).unwrap(), VolumeLabel::from_name("work"), 0x1234_ABCD).unwrap()
}

/// The written part of a volume.
pub fn written(entries: &[Entry], mib: u32) -> Vec<u8> {
    let plan = plan(entries, mib);
    let mut volume = Vec::new();
    let mut seen = 0;
    fat::write(&plan, &mut volume, &mut Bytes(entries.to_vec()), &mut |bytes| seen = bytes).unwrap();
    assert_eq!(volume.len() as u64, plan.bytes_total());
    assert_eq!(seen, plan.bytes_total(), "the last progress is the end");
    volume
}

/// A sparse file of that size that begins so.
pub fn image(path: &Path, bytes: u64, pieces: &[Piece]) {
    let file = File::create(path).unwrap();
    file.set_len(bytes).unwrap();
    for (offset, piece) in pieces {
        file.write_all_at(piece, *offset).unwrap();
    }
}

pub fn run(tool: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(testkit::tool(tool).unwrap());
    // Without a locale of UTF-8 mtools shows other names.
    command.args(arguments).env("LC_ALL", "C.UTF-8").env("MTOOLSRC", "/dev/null").env("TZ", "UTC");
    command.output().unwrap()
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Fails unless fsck.vfat finds nothing at all to say but its summary.
pub fn fsck(image: &Path) {
    let output = run("fsck.vfat", &["-n", image.to_str().unwrap()]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

/// What mtools copies out of the volume.
pub fn mcopy(image: &Path) -> Content {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().to_str().unwrap();
    let output = run("mcopy", &["-s", "-n", "-m", "-i", image.to_str().unwrap(), "::*", target]);
    assert!(output.status.success(), "{}", text(&output));
    let mut content = Content::new();
    collect(directory.path(), "", &mut content);
    content
}

fn collect(directory: &Path, prefix: &str, content: &mut Content) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), content);
            content.insert(path, None);
        } else {
            content.insert(path, Some(fs::read(entry.path()).unwrap()));
        }
    }
}

/// What the fatfs crate reads.
pub fn fatfs(image: &Path) -> Content {
    let volume =
        fatfs::FileSystem::new(File::open(image).map(ReadOnly).unwrap(), fatfs::FsOptions::new()).unwrap();
    let mut content = Content::new();
    collect_fatfs(&volume.root_dir(), "", &mut content);
    content
}

fn collect_fatfs<T: fatfs::ReadWriteSeek>(
    directory: &fatfs::Dir<'_, T>,
    prefix: &str,
    content: &mut Content,
) {
    for entry in directory.iter() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.is_dir() {
            collect_fatfs(&entry.to_dir(), &format!("{path}/"), content);
            content.insert(path, None);
        } else {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry.to_file(), &mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, entry.len());
            content.insert(path, Some(bytes));
        }
    }
}

/// The fatfs crate marks the volume as in use when it opens it; this keeps the image as it is.
pub struct ReadOnly(pub File);

impl std::io::Read for ReadOnly {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Write for ReadOnly {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Seek for ReadOnly {
    fn seek(&mut self, position: std::io::SeekFrom) -> std::io::Result<u64> {
        self.0.seek(position)
    }
}
