//! The bytes behind a device: a private copy of the image while it is attached, copied back when it is closed.
//!
//! A program that keeps the device open after it was detached so holds a file that nobody looks at any more.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};
use std::{io::Read, io::Write, thread};

use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, seek};
use rustix::io::Errno;

use crate::error::{SimError, Trying, refused};

/// Bytes that are copied at once where the kernel does not copy by itself.
const CHUNK_BYTES: usize = 1 << 20;
/// Mode of a device that the guest may only read.
const MODE_READ_ONLY: u32 = 0o444;
/// Mode of a device that the guest may write.
const MODE_WRITABLE: u32 = 0o660;

/// How much the time of a file's last change may lag behind the clock.
const CLOCK_ERROR_MAX: Duration = Duration::from_millis(100);

/// Names a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobId(u64);

/// An image that is open, and the guest's copy of it.
#[derive(Debug)]
pub(super) struct Attached {
    image: File,
    copy: File,
    writable: bool,
    /// When the image was known to hold what the copy holds; `None` before the first time.
    equal_since: Option<SystemTime>,
}

/// What a job came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The image is open and its copy is made.
    Opened(Result<Attached, SimError>),
    /// The copy's bytes are in the image.
    Closed(Result<(), SimError>),
}

/// Copying, done by threads so that everybody else is served meanwhile.
#[derive(Debug)]
pub(super) struct Copies {
    last: u64,
    results: Receiver<(JobId, Outcome)>,
    result_sender: Sender<(JobId, Outcome)>,
    woken: UnixStream,
    waker: UnixStream,
}

impl Copies {
    pub(super) fn new() -> Result<Self, SimError> {
        let what = || "cannot make a pair of sockets".to_owned();
        let (result_sender, results) = channel();
        let (woken, waker) = UnixStream::pair().trying(what)?;
        woken.set_nonblocking(true).trying(what)?;
        Ok(Self { last: 0, results, result_sender, woken, waker })
    }

    /// Readable when a job has ended.
    pub(super) fn woken(&self) -> &UnixStream {
        &self.woken
    }

    /// The next job that has ended.
    pub(super) fn next(&mut self) -> Option<(JobId, Outcome)> {
        // The bytes only wake; each result is in the channel.
        let _ = self.woken.read(&mut [0; 64]);
        self.results.try_recv().ok()
    }

    /// Opens an image and copies it to a new file at `to`.
    pub(super) fn open(&mut self, image: PathBuf, to: PathBuf, writable: bool) -> Result<JobId, SimError> {
        self.run(move || Outcome::Opened(open(&image, &to, writable)))
    }

    /// Copies back what the guest wrote.
    pub(super) fn close(&mut self, mut attached: Attached) -> Result<JobId, SimError> {
        self.run(move || Outcome::Closed(attached.copy_back()))
    }

    fn run(&mut self, job: impl FnOnce() -> Outcome + Send + 'static) -> Result<JobId, SimError> {
        self.last += 1;
        let (id, results) = (JobId(self.last), self.result_sender.clone());
        let mut waker = self.waker.try_clone().trying(|| "cannot start a copy".to_owned())?;
        let body = move || {
            // Both fail only when the host is ending.
            let _ = results.send((id, job()));
            let _ = waker.write(&[1]);
        };
        thread::Builder::new().spawn(body).trying(|| "cannot start a copy".to_owned())?;
        Ok(id)
    }
}

impl Attached {
    /// Size of the image.
    pub(super) fn bytes(&self) -> u64 {
        self.image.metadata().map(|metadata| metadata.len()).unwrap_or(0)
    }

    /// Whether the guest may write it.
    pub(super) fn is_writable(&self) -> bool {
        self.writable
    }

    /// Copies back what the guest wrote, if it may have written since the last time.
    pub(super) fn copy_back(&mut self) -> Result<(), SimError> {
        let what = || "cannot copy a device back into its image".to_owned();
        let now = SystemTime::now();
        let changed = self.copy.metadata().and_then(|metadata| metadata.modified()).trying(what)?;
        // Times of files are coarse: what was written shortly before could have been written after as well.
        let is_equal = self.equal_since.is_some_and(|since| changed + CLOCK_ERROR_MAX < since);
        if self.writable && !is_equal {
            copy_back(&self.copy, &self.image).trying(what)?;
            self.equal_since = Some(now);
        }
        Ok(())
    }
}

fn open(image: &Path, to: &Path, writable: bool) -> Result<Attached, SimError> {
    let what = || format!("cannot open the image {}", image.display());
    let opened = File::options().read(true).write(writable).open(image).trying(what)?;
    if !opened.metadata().trying(what)?.is_file() {
        return refused(format!("{} is no plain file", image.display()));
    }
    let what = || format!("cannot make the copy {}", to.display());
    let copy = File::options().read(true).write(true).create_new(true).open(to).trying(what)?;
    if let Err(error) = copy_sparse(&opened, &copy) {
        // What is left of it would only take space.
        let _ = fs::remove_file(to);
        return Err(error).trying(what);
    }
    let mode = if writable { MODE_WRITABLE } else { MODE_READ_ONLY };
    copy.set_permissions(Permissions::from_mode(mode)).trying(what)?;
    Ok(Attached { image: opened, copy, writable, equal_since: None })
}

/// Copies into an empty file: only where there is data, the same size.
fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
    let size = from.metadata()?.len();
    to.set_len(size)?;
    each_extent(from, size, |start, end| copy_extent(from, to, start, end), |_, _| Ok(()))
}

/// Makes the bytes of `to` those of `from`, and keeps its size whatever became of that of `from`.
fn copy_back(from: &File, to: &File) -> io::Result<()> {
    let size = to.metadata()?.len();
    let shared = size.min(from.metadata()?.len());
    each_extent(
        from,
        shared,
        |start, end| copy_extent(from, to, start, end),
        |start, end| punch(to, start, end),
    )?;
    punch(to, shared, size)
}

/// Calls one of the two for each piece of the file up to `size`: data or hole.
fn each_extent(
    file: &File,
    size: u64,
    mut data: impl FnMut(u64, u64) -> io::Result<()>,
    mut hole: impl FnMut(u64, u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut position = 0;
    while position < size {
        let start = match seek(file, SeekFrom::Data(position)) {
            Ok(start) => start.min(size),
            Err(Errno::NXIO) => size,
            Err(error) => return Err(error.into()),
        };
        hole(position, start)?;
        if start == size {
            return Ok(());
        }
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        data(start, end)?;
        position = end;
    }
    Ok(())
}

fn copy_extent(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let wanted = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), wanted) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_by_hand(from, to, read_at, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut position = start;
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let count = from.read_at(buffer.get_mut(..wanted).unwrap_or_default(), position)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all_at(buffer.get(..count).unwrap_or_default(), position)?;
        position += count as u64;
    }
    Ok(())
}

/// Makes a piece read as zeros and take no space.
fn punch(file: &File, start: u64, end: u64) -> io::Result<()> {
    if start >= end {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, start, end - start) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => zero(file, start, end),
        Err(error) => Err(error.into()),
    }
}

fn zero(file: &File, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; CHUNK_BYTES];
    let mut position = start;
    while position < end {
        let count = usize::try_from(end - position).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        file.write_all_at(zeros.get(..count).unwrap_or_default(), position)?;
        position += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const MIB: u64 = 1 << 20;

    fn file(dir: &Path, name: &str) -> File {
        File::options().read(true).write(true).create(true).truncate(true).open(dir.join(name)).unwrap()
    }

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let dir = tempfile::tempdir().unwrap();
        let image = file(dir.path(), "image");
        image.set_len(64 * MIB).unwrap();
        image.write_all_at(b"begin", 0).unwrap();
        image.write_all_at(b"middle", 32 * MIB + 5).unwrap();
        let attached = open(&dir.path().join("image"), &dir.path().join("copy"), true).unwrap();
        let copied = fs::read(dir.path().join("copy")).unwrap();
        assert_eq!(copied, fs::read(dir.path().join("image")).unwrap());
        assert!(attached.copy.metadata().unwrap().blocks() * 512 < MIB);
        assert!(
            open(&dir.path().join("image"), &dir.path().join("copy"), true).is_err(),
            "never over another"
        );
    }

    #[test]
    fn what_the_guest_wrote_and_what_it_discarded_is_in_the_image_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("image"), vec![b'i'; 8 << 20]).unwrap();
        let mut attached = open(&dir.path().join("image"), &dir.path().join("copy"), true).unwrap();
        attached.copy.write_all_at(b"guest", 3 * MIB).unwrap();
        punch(&attached.copy, 4 * MIB, 6 * MIB).unwrap();
        let expected = fs::read(dir.path().join("copy")).unwrap();
        attached.copy_back().unwrap();
        assert_eq!(fs::read(dir.path().join("image")).unwrap(), expected);
        assert!(attached.image.metadata().unwrap().blocks() * 512 <= 7 * MIB, "the hole is one again");
    }

    #[test]
    fn what_did_not_change_is_not_copied_again_and_what_did_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("image"), b"image").unwrap();
        let mut attached = open(&dir.path().join("image"), &dir.path().join("copy"), true).unwrap();
        let before = SystemTime::now() - Duration::from_secs(10);
        attached.copy.set_modified(before).unwrap();
        attached.copy_back().unwrap();
        fs::write(dir.path().join("image"), b"other").unwrap();
        attached.copy_back().unwrap();
        assert_eq!(fs::read(dir.path().join("image")).unwrap(), b"other", "nothing was copied");
        attached.copy.write_all_at(b"guest", 0).unwrap();
        attached.copy_back().unwrap();
        assert_eq!(fs::read(dir.path().join("image")).unwrap(), b"guest");
        // Written within the error of the clock: never taken for equal.
        attached.copy.write_all_at(b"again", 0).unwrap();
        attached.copy.set_modified(SystemTime::now()).unwrap();
        attached.copy_back().unwrap();
        assert_eq!(fs::read(dir.path().join("image")).unwrap(), b"again");
    }

    #[test]
    fn an_image_keeps_its_size_whatever_the_guest_does_to_its_device() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("shrunk", 0), ("grown", 3 * MIB)] {
            fs::write(dir.path().join(name), vec![b'i'; 2 << 20]).unwrap();
            let copy = dir.path().join(format!("{name}.copy"));
            let mut attached = open(&dir.path().join(name), &copy, true).unwrap();
            attached.copy.set_len(bytes).unwrap();
            attached.copy_back().unwrap();
            let image = fs::read(dir.path().join(name)).unwrap();
            assert_eq!(image.len() as u64, 2 * MIB);
            assert!(image.iter().all(|byte| *byte == if bytes == 0 { 0 } else { b'i' }));
        }
    }

    #[test]
    fn a_read_only_device_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("image"), b"image").unwrap();
        let mut attached = open(&dir.path().join("image"), &dir.path().join("copy"), false).unwrap();
        assert_eq!(attached.copy.metadata().unwrap().mode() & 0o777, MODE_READ_ONLY);
        attached.copy.write_all_at(b"guest", 0).unwrap();
        attached.copy_back().unwrap();
        assert_eq!(fs::read(dir.path().join("image")).unwrap(), b"image");
        assert!(open(dir.path(), &dir.path().join("other"), false).is_err(), "a directory is no image");
    }
}
