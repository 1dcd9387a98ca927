//! Volumes for the reader, and a parent that starts it and listens.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fat::{Entry, Kind, Tree, VolumeLabel, VolumeSize};
use protocol::channel::{self, Channel, ChannelError};
use protocol::unpack::{UnpackNotice, UnpackOrder, UnpackState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sys::spawn::{Child, Ended, Spawn};
use tempfile::TempDir;

/// 2024-02-29, a moment that FAT can hold.
const MODIFIED_S: i64 = 1_709_164_800;
/// Longest silence of a reader, in seconds.
const SILENCE_S_MAX: i64 = 30;

/// A device with a volume, and an empty directory.
pub struct Reader {
    scratch: TempDir,
}

/// A reader that runs.
pub struct Started {
    scratch: TempDir,
    child: Child,
    edge: Channel<UnpackOrder, UnpackNotice>,
}

/// A reader that has ended.
pub struct Run {
    scratch: TempDir,
    pub notices: Vec<UnpackNotice>,
    pub ended: Ended,
}

impl Reader {
    pub fn new(volume: &[u8]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("device"), volume).unwrap();
        fs::create_dir(scratch.path().join("output")).unwrap();
        Self { scratch }
    }

    /// A device of that size with these bytes at these offsets, and nothing elsewhere.
    pub fn sparse(bytes: u64, pieces: &[(u64, &[u8])]) -> Self {
        let reader = Self::new(&[]);
        let device = File::options().write(true).open(reader.scratch.path().join("device")).unwrap();
        device.set_len(bytes).unwrap();
        for (offset, piece) in pieces {
            device.write_all_at(piece, *offset).unwrap();
        }
        reader
    }

    pub fn output(&self) -> PathBuf {
        self.scratch.path().join("output")
    }

    pub fn start(self) -> Started {
        let (own, theirs) = channel::pair().unwrap();
        let child = self.spawn(&theirs);
        Started { scratch: self.scratch, child, edge: Channel::new(own) }
    }

    /// Starts a reader whose edge has room for a few messages only.
    pub fn start_with_little_room(self) -> Started {
        let (own, theirs) = channel::pair().unwrap();
        // The kernel makes its least of it.
        rustix::net::sockopt::set_socket_send_buffer_size(&theirs, 1).unwrap();
        let child = self.spawn(&theirs);
        Started { scratch: self.scratch, child, edge: Channel::new(own) }
    }

    /// Starts a reader whose parent is gone before the first message; says how it ends, and keeps what it wrote.
    pub fn run_alone(self) -> (Ended, TempDir) {
        let (own, theirs) = channel::pair().unwrap();
        drop(own);
        let ended = self.spawn(&theirs).wait().unwrap();
        (ended, self.scratch)
    }

    fn spawn(&self, edge: &OwnedFd) -> Child {
        let profile = &sandbox_profiles::FAT_READER;
        let program = File::open(env!("CARGO_BIN_EXE_fat-reader")).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let device = File::open(self.scratch.path().join("device")).unwrap();
        let output = File::open(self.output()).unwrap();
        Spawn {
            program: program.as_fd(),
            argv0: profile.process,
            args: &[] as &[&OsStr],
            stdio: [null.as_fd(), null.as_fd(), null.as_fd()],
            descriptors: &[edge.as_fd(), device.as_fd(), output.as_fd()],
            account: None,
            namespaces: profile.namespaces,
        }
        .start()
        .expect("fat-reader starts")
    }

    pub fn run(self) -> Run {
        self.start().finish()
    }
}

impl Started {
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join("output").join(name)
    }

    /// Listens to the end, judging every message by the edge's table.
    pub fn finish(mut self) -> Run {
        let mut notices = Vec::new();
        let mut state = UnpackState::default();
        loop {
            let limit = Timespec { tv_sec: SILENCE_S_MAX, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(&self.edge, PollFlags::IN)], Some(&limit)).unwrap();
            assert_ne!(ready, 0, "the reader is silent");
            match self.edge.receive() {
                Ok(Some(notice)) => {
                    state = state.after(&notice).unwrap_or_else(|| panic!("{notice:?} may not come now"));
                    notices.push(notice);
                }
                Ok(None) => {}
                Err(ChannelError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let ended = self.child.wait().unwrap();
        Run { scratch: self.scratch, notices, ended }
    }

    /// Until it waits for something in its sandbox, or has ended.
    pub fn wait_until_asleep(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.pid())).unwrap();
            let is_asleep = status.contains("Seccomp:\t2") && status.contains("State:\tS");
            if is_asleep || status.contains("State:\tZ") {
                return;
            }
            assert!(Instant::now() < until, "{status}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What /proc says of it once its filter is in place.
    pub fn confined_status(&self) -> String {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.pid())).unwrap();
            if status.contains("Seccomp:\t2") || Instant::now() > until {
                return status;
            }
        }
    }
}

impl Run {
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join("output").join(name)
    }

    pub fn last(&self) -> &UnpackNotice {
        self.notices.last().unwrap_or_else(|| panic!("the reader has said nothing: {}", self.ended))
    }
}

/// A file of a tree: its path and its contents; directories are made as needed.
type Files = Vec<(String, Vec<u8>)>;

struct Contents(Vec<Vec<u8>>);

impl fat::Source for Contents {
    type Reader = std::io::Cursor<Vec<u8>>;

    fn open(&mut self, entry: u32) -> std::io::Result<Self::Reader> {
        Ok(std::io::Cursor::new(self.0[entry as usize].clone()))
    }
}

/// A volume with these files, as `qvm-copy-to-vm` writes it.
pub fn volume(files: Files) -> Vec<u8> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut contents = Vec::new();
    let mut directories = std::collections::BTreeMap::new();
    for (path, bytes) in files {
        let mut parent = None;
        let path = Path::new(&path);
        for directory in path.parent().unwrap().ancestors().collect::<Vec<_>>().into_iter().rev() {
            let Some(name) = directory.file_name() else { continue };
            parent = Some(*directories.entry(directory.to_owned()).or_insert_with(|| {
                let name = name.to_str().unwrap().as_bytes().to_vec();
                entries.push(Entry { parent, name, kind: Kind::Directory, modified_s: MODIFIED_S });
                contents.push(Vec::new());
                u32::try_from(entries.len() - 1).unwrap()
            }));
        }
        let name = path.file_name().unwrap().to_str().unwrap().as_bytes().to_vec();
        let kind = Kind::File { size: bytes.len() as u64 };
        entries.push(Entry { parent, name, kind, modified_s: MODIFIED_S });
        contents.push(bytes);
    }
    let tree = Tree::check(entries).unwrap();
    let size = VolumeSize::from_mib(tree.size_needed_mib().unwrap()).unwrap();
    let plan = tree.layout(size, VolumeLabel::from_name("work"), 1).unwrap();
    let mut volume = Vec::new();
    fat::write(&plan, &mut volume, &mut Contents(contents), &mut |_| {}).unwrap();
    volume.resize(usize::try_from(size.bytes()).unwrap(), 0);
    volume
}

/// Three files in three directories.
pub fn small_tree() -> Vec<u8> {
    volume(vec![
        ("a.txt".into(), b"first\n".to_vec()),
        ("dir/empty".into(), Vec::new()),
        ("dir/with space/ünïcödé 日本.bin".into(), vec![0x5A; 1_500_000]),
    ])
}

/// One file.
pub fn big_file(bytes: usize) -> Vec<u8> {
    volume(vec![("big".into(), vec![7; bytes])])
}

/// 1 000 files beneath a directory `d`, and 98 directories one within the other.
pub fn vast_tree() -> Vec<u8> {
    let mut files: Files = (0..999).map(|number| (format!("d/{number}"), vec![1; 10])).collect();
    files.push((format!("{}end", "d/".repeat(99)), Vec::new()));
    volume(files)
}

/// Files whose names are changed on arrival.
pub fn broken_names(count: usize) -> Vec<u8> {
    volume((0..count).map(|number| (format!("{number}\u{202E}gpj.exe"), Vec::new())).collect())
}
