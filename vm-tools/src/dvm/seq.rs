//! `~/.dvm`: the numbers that this VM has given to its documents in DisposableVMs, and which document each stands for.
//!
//! | file | holds |
//! |---|---|
//! | `seq` | the last number given, 4 bytes, little-endian; it is also the lock on all of this |
//! | `SEQ`, a decimal number | the absolute names of the documents that may be answered, each ended by NUL |
//!
//! An entry goes when its answer has replaced the document, or [`ENTRY_AGE_S_MAX`] after it was made: each number is
//! accepted once. Whoever works on an answer holds a lock on the entry, so that two answers at once cannot both win.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::types::{SEQ_MAX, Seq};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat, fchmod, flock, fstat, mkdirat, openat,
    statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::cli::number;
use crate::failure::Failure;
use crate::inbox::{check_owner, open_beneath, open_directory, open_or_make, remove_children};
use crate::session::random_hex;

/// The directory in the home directory.
pub const DIRECTORY: &str = ".dvm";
/// The file of the last number.
pub const COUNTER: &str = "seq";
/// How old an entry may become, in seconds: 30 days.
pub const ENTRY_AGE_S_MAX: u64 = 30 * 24 * 3600;
/// Most entries at once.
pub const ENTRIES_MAX: usize = 1000;
/// Most documents of one entry.
pub const DOCUMENTS_MAX: usize = 256;
/// Longest path of a document in bytes, as the kernel has it (`PATH_MAX` less its NUL).
pub const PATH_BYTES_MAX: usize = 4095;
/// Longest entry in bytes.
pub const ENTRY_BYTES_MAX: usize = DOCUMENTS_MAX * (PATH_BYTES_MAX + 1);
/// The counter, in bytes.
const COUNTER_BYTES: usize = 4;
/// How long another tool may hold the lock, in seconds: it does so for a few system calls.
const LOCK_S_MAX: u64 = 10;
/// Between two tries, in milliseconds.
const RETRY_MS: u64 = 20;

/// `~/.dvm`, open.
#[derive(Debug)]
pub struct Store {
    directory: OwnedFd,
}

/// An entry that somebody is about to answer; nobody else can while this exists.
#[derive(Debug)]
pub struct Entry<'a> {
    store: &'a Store,
    seq: Seq,
    file: OwnedFd,
    made: (i64, i64),
    /// The documents, by their absolute paths. At least one.
    pub documents: Vec<PathBuf>,
}

/// Why a number is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// There is no entry.
    #[error("this VM waits for no document {0}: it was never given, was answered before, or is too old")]
    Unknown(Seq),
    /// Another answer to it is being worked on.
    #[error("another answer to document {0} is being received")]
    Taken(Seq),
    /// The store cannot be used.
    #[error("{0}")]
    Store(Failure),
}

impl From<Failure> for NotAccepted {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}

impl Store {
    /// Opens `~/.dvm`, making it if it is missing.
    ///
    /// # Errors
    /// It cannot be made, is a link, or is somebody else's.
    pub fn open(home: &Path) -> Result<Self, Failure> {
        let home = open_home(home)?;
        let directory =
            open_or_make(home.as_fd(), DIRECTORY).map_err(|errno| trouble("open ~/.dvm", errno))?;
        Self::checked(directory)
    }

    /// Opens `~/.dvm` if there is one.
    ///
    /// # Errors
    /// It is a link, or somebody else's.
    pub fn existing(home: &Path) -> Result<Option<Self>, Failure> {
        let home = open_home(home)?;
        match open_directory(home.as_fd(), DIRECTORY.as_bytes()) {
            Ok(directory) => Self::checked(directory).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(trouble("open ~/.dvm", errno)),
        }
    }

    fn checked(directory: OwnedFd) -> Result<Self, Failure> {
        check_owner(&directory, "~/.dvm")?;
        // The tools of 2010 left it to the umask.
        fchmod(&directory, Mode::RWXU).map_err(|errno| trouble("make ~/.dvm private", errno))?;
        Ok(Self { directory })
    }

    /// Gives the next number, and keeps an entry for these documents; without any, no answer will be accepted.
    ///
    /// # Errors
    /// The counter is damaged, there are too many entries, or the disk is full.
    pub fn give(&self, documents: &[&Path]) -> Result<Seq, Failure> {
        let counter = self.lock()?;
        if self.expire()? >= ENTRIES_MAX {
            return Err(Failure::failed(&format!("{ENTRIES_MAX} documents are in DisposableVMs already")));
        }
        let mut seq = after(read_counter(&counter)?)?;
        // After a wrap an old number may still be waited for.
        for _ in 0..ENTRIES_MAX {
            if self.stat_of(seq).is_none() {
                break;
            }
            seq = after(seq.get())?;
        }
        // The number first: after a crash it is lost, and never given twice.
        counter
            .write_all_at(&seq.get().to_le_bytes(), 0)
            .map_err(|error| trouble("write ~/.dvm/seq", error))?;
        if !documents.is_empty() {
            self.make_entry(seq, &entry_bytes(documents)?)?;
        }
        Ok(seq)
    }

    /// Forgets a number: no answer to it is accepted. One that is not there is no error.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn withdraw(&self, seq: Seq) -> Result<(), Failure> {
        let _counter = self.lock()?;
        match unlinkat(&self.directory, seq.to_string(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(trouble(&format!("remove ~/.dvm/{seq}"), errno)),
        }
    }

    /// Whether there is an entry of that number, expired or not.
    #[must_use]
    pub fn knows(&self, seq: Seq) -> bool {
        self.stat_of(seq).is_some()
    }

    /// Finds the documents that an answer of that number may replace.
    ///
    /// # Errors
    /// Why the answer is not accepted.
    pub fn accept(&self, seq: Seq) -> Result<Entry<'_>, NotAccepted> {
        let _counter = self.lock()?;
        self.expire()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let failed =
            |error: std::io::Error| NotAccepted::Store(trouble(&format!("read ~/.dvm/{seq}"), error));
        let file =
            match open_beneath(self.directory.as_fd(), seq.to_string().as_bytes(), flags, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::NOENT) => return Err(NotAccepted::Unknown(seq)),
                Err(errno) => return Err(failed(errno.into())),
            };
        check_own_file(&file, &format!("~/.dvm/{seq}"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(NotAccepted::Taken(seq)),
            Err(errno) => return Err(failed(errno.into())),
        }
        let stat = fstat(&file).map_err(|errno| failed(errno.into()))?;
        let made = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0));
        let mut bytes = Vec::new();
        let mut reader = File::from(file.try_clone().map_err(failed)?).take(ENTRY_BYTES_MAX as u64 + 1);
        reader.read_to_end(&mut bytes).map_err(failed)?;
        let documents = parse_entry(&bytes)
            .ok_or_else(|| NotAccepted::Store(Failure::failed(&format!("~/.dvm/{seq} names no document"))))?;
        Ok(Entry { store: self, seq, file, made, documents })
    }

    /// A private directory for what is being received. It goes when it is dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<Scratch<'_>, Failure> {
        let name = format!(".answer-{}", random_hex()?);
        let failed = |errno| trouble("make a directory in ~/.dvm", errno);
        mkdirat(&self.directory, name.as_str(), Mode::RWXU).map_err(failed)?;
        let directory = open_directory(self.directory.as_fd(), name.as_bytes()).map_err(failed)?;
        Ok(Scratch { store: self, name, directory })
    }

    /// The lock, which is the counter: it holds until the file is dropped.
    fn lock(&self) -> Result<File, Failure> {
        let failed = |errno| trouble("open ~/.dvm/seq", errno);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = open_beneath(self.directory.as_fd(), COUNTER.as_bytes(), flags, mode).map_err(failed)?;
        check_own_file(&file, "~/.dvm/seq")?;
        let deadline = Instant::now() + Duration::from_secs(LOCK_S_MAX);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(File::from(file)),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() >= deadline => {
                    return Err(Failure::failed("another program holds ~/.dvm/seq"));
                }
                Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(RETRY_MS)),
                Err(errno) => return Err(trouble("lock ~/.dvm/seq", errno)),
            }
        }
    }

    fn stat_of(&self, seq: Seq) -> Option<Stat> {
        statat(&self.directory, seq.to_string(), AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Removes what is too old; gives the number of the others.
    fn expire(&self) -> Result<usize, Failure> {
        let failed = |errno| trouble("look through ~/.dvm", errno);
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut kept = 0_usize;
        for found in Dir::read_from(&self.directory).map_err(failed)? {
            let found = found.map_err(failed)?;
            let Some(seq) = number(found.file_name().to_bytes()).and_then(|seq| Seq::new(seq).ok()) else {
                continue;
            };
            let Some(stat) = self.stat_of(seq) else { continue };
            if is_expired(stat.st_mtime, now_s) {
                let _ = unlinkat(&self.directory, found.file_name(), AtFlags::empty());
            } else {
                kept = kept.saturating_add(1);
            }
        }
        Ok(kept)
    }

    fn make_entry(&self, seq: Seq, bytes: &[u8]) -> Result<(), Failure> {
        let failed = |error: std::io::Error| trouble(&format!("write ~/.dvm/{seq}"), error);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = seq.to_string();
        let mode = Mode::RUSR | Mode::WUSR;
        let made = open_beneath(self.directory.as_fd(), name.as_bytes(), flags, mode);
        let mut file = File::from(made.map_err(|errno| failed(errno.into()))?);
        file.write_all(bytes).map_err(|error| {
            // Half a name must not stay.
            let _ = unlinkat(&self.directory, name.as_str(), AtFlags::empty());
            failed(error)
        })
    }
}

impl Entry<'_> {
    /// Its number.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// When it was made, in seconds and nanoseconds since 1970: right after the document was read.
    #[must_use]
    pub fn made(&self) -> (i64, i64) {
        self.made
    }

    /// Uses the number up. To be called when the answer is whole, right before it replaces the document, or when it
    /// never will.
    ///
    /// # Errors
    /// The entry has gone meanwhile; nothing may be replaced then.
    pub fn consume(self) -> Result<(), NotAccepted> {
        let _counter = self.store.lock()?;
        let gone = NotAccepted::Unknown(self.seq);
        let same = |own: &Stat, there: &Stat| own.st_ino == there.st_ino && own.st_dev == there.st_dev;
        match (fstat(&self.file), self.store.stat_of(self.seq)) {
            (Ok(own), Some(there)) if same(&own, &there) => {}
            _ => return Err(gone),
        }
        unlinkat(&self.store.directory, self.seq.to_string(), AtFlags::empty()).map_err(|_| gone)
    }
}

/// A directory for what is being received.
#[derive(Debug)]
pub struct Scratch<'a> {
    store: &'a Store,
    name: String,
    directory: OwnedFd,
}

impl Scratch<'_> {
    /// The directory.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        // What cannot be removed is in nobody's way.
        let _ = remove_children(self.directory.as_fd());
        let _ = unlinkat(&self.store.directory, self.name.as_str(), AtFlags::REMOVEDIR);
    }
}

/// The number after this one: 1 after the last one, and after what is none.
fn after(last: u32) -> Result<Seq, Failure> {
    let next = if last >= SEQ_MAX { 1 } else { last.saturating_add(1) };
    Seq::new(next).map_err(|error| Failure::failed(&error.to_string()))
}

/// The last number given; 0 when there is none.
fn read_counter(counter: &File) -> Result<u32, Failure> {
    let mut bytes = Vec::new();
    let limit = COUNTER_BYTES as u64 + 1;
    counter.take(limit).read_to_end(&mut bytes).map_err(|error| trouble("read ~/.dvm/seq", error))?;
    match (bytes.as_slice(), bytes.first_chunk::<COUNTER_BYTES>()) {
        ([], _) => Ok(0),
        (all, Some(number)) if all.len() == COUNTER_BYTES => Ok(u32::from_le_bytes(*number)),
        _ => Err(Failure::failed("~/.dvm/seq is damaged: it must have 4 bytes; remove it")),
    }
}

fn entry_bytes(documents: &[&Path]) -> Result<Vec<u8>, Failure> {
    if documents.len() > DOCUMENTS_MAX {
        return Err(Failure::failed(&format!("more than {DOCUMENTS_MAX} documents at once")));
    }
    let mut bytes = Vec::new();
    for document in documents {
        if !is_path_of_document(document) {
            return Err(Failure::failed("a document's path is too long, or is none"));
        }
        bytes.extend_from_slice(document.as_os_str().as_bytes());
        bytes.push(0);
    }
    Ok(bytes)
}

fn parse_entry(bytes: &[u8]) -> Option<Vec<PathBuf>> {
    let names = bytes.strip_suffix(b"\0")?;
    if bytes.len() > ENTRY_BYTES_MAX {
        return None;
    }
    let documents: Vec<PathBuf> =
        names.split(|&byte| byte == 0).map(|name| PathBuf::from(OsStr::from_bytes(name))).collect();
    (documents.len() <= DOCUMENTS_MAX && documents.iter().all(|path| is_path_of_document(path)))
        .then_some(documents)
}

fn is_path_of_document(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    path.is_absolute() && path.file_name().is_some() && bytes.len() <= PATH_BYTES_MAX && !bytes.contains(&0)
}

fn is_expired(made_s: i64, now_s: u64) -> bool {
    let made_s = u64::try_from(made_s).unwrap_or(0);
    now_s.saturating_sub(made_s) > ENTRY_AGE_S_MAX
}

fn open_home(home: &Path) -> Result<OwnedFd, Failure> {
    // The home directory's own path may lead over links, as where /home is one.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, home, flags, Mode::empty()).map_err(|errno| trouble("open the home directory", errno))
}

fn check_own_file(file: &OwnedFd, shown: &str) -> Result<(), Failure> {
    let stat = fstat(file).map_err(|errno| trouble(&format!("look at {shown}"), errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_uid != geteuid().as_raw() {
        return Err(Failure::failed(&format!("{shown} is no file of this user")));
    }
    Ok(())
}

fn trouble(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::failed(&format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests;
