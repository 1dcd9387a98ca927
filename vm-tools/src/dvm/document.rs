//! A document on its way out: found, and written onto a pendrive with its header in front of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use dvm_parser::document::header::{DocumentName, HEADER_BYTES, Header};
use dvm_parser::document::{MARK_BYTES, VIEW_ONLY_MARK};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use crate::device::size_bytes;
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;
use crate::shown::Line;

/// Read and written at once, in bytes.
const BLOCK_BYTES: usize = 256 * 1024;
/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// A document that can be sent.
#[derive(Debug)]
pub struct Document {
    /// Where it is, without a link on the way.
    pub path: PathBuf,
    file: File,
    header: Header,
    modified: (i64, i64),
}

impl Document {
    /// Finds the document of an argument. A link is followed to the real file.
    ///
    /// # Errors
    /// [`Failure::Refused`]: it is not there, no regular file, cannot be read, or has a name that no header can hold.
    pub fn find(argument: &Path) -> Result<Self, Failure> {
        let refused = |reason: &str| refused(argument, reason);
        let path = std::fs::canonicalize(argument).map_err(|error| refused(&error.to_string()))?;
        Self::open(path, &refused)
    }

    /// Opens the document at a path without links.
    ///
    /// # Errors
    /// As [`Document::find`], with the given words.
    pub fn open(path: PathBuf, refused: &dyn Fn(&str) -> Failure) -> Result<Self, Failure> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(CWD, &path, flags, Mode::empty(), resolve);
        let file = File::from(opened.map_err(|errno| refused(&errno.to_string()))?);
        let metadata = file.metadata().map_err(|error| refused(&error.to_string()))?;
        if metadata.is_dir() {
            return Err(refused("a directory; only files can be opened in a DisposableVM"));
        }
        if !metadata.is_file() {
            return Err(refused("no regular file"));
        }
        let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let name = DocumentName::new(name).map_err(|rejection| refused(&rejection.to_string()))?;
        let header = Header { size_bytes: metadata.len(), name };
        Ok(Self { path, file, header, modified: (metadata.mtime(), metadata.mtime_nsec()) })
    }

    /// The same document under the name that it had before it came here.
    #[must_use]
    pub fn named(mut self, name: DocumentName) -> Self {
        self.header.name = name;
        self
    }

    /// The pendrive that it needs, in MiB.
    #[must_use]
    pub fn needed_mib(&self) -> u32 {
        u32::try_from(self.total_bytes().div_ceil(MIB)).unwrap_or(u32::MAX)
    }

    fn total_bytes(&self) -> u64 {
        self.header.size_bytes.saturating_add(HEADER_BYTES as u64 + MARK_BYTES as u64)
    }

    /// Writes header, document, and what follows it; says where it ends. Nothing is flushed.
    ///
    /// # Errors
    /// The device is too small or failed, the document was changed meanwhile, or the person interrupted.
    pub fn write_to(
        &self,
        device: &mut File,
        is_view_only: bool,
        progress: &mut Progress,
    ) -> Result<u64, Failure> {
        let total_bytes = self.total_bytes();
        if size_bytes(device)? < total_bytes {
            return Err(Failure::failed("the pendrive is too small"));
        }
        let written = |error: io::Error| Failure::failed(&format!("cannot write to the pendrive: {error}"));
        progress.restart();
        device.write_all(&self.header.encode()).map_err(written)?;
        let mut block = vec![0; BLOCK_BYTES];
        let mut offset = 0;
        while offset < self.header.size_bytes {
            interrupt::check("nothing was sent")?;
            let rest = usize::try_from(self.header.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
            let part = block.get_mut(..rest.min(BLOCK_BYTES)).unwrap_or_default();
            let count = self.read_at(part, offset)?;
            if count == 0 {
                return Err(self.changed());
            }
            device.write_all(part.get(..count).unwrap_or_default()).map_err(written)?;
            offset = offset.saturating_add(count as u64);
            progress.update(offset, self.header.size_bytes);
        }
        progress.finish();
        // Zeros, so that nothing of an earlier pendrive can be taken for the mark.
        let mark = if is_view_only { VIEW_ONLY_MARK } else { [0; MARK_BYTES] };
        device.write_all(&mark).map_err(written)?;
        self.check_unchanged()?;
        Ok(total_bytes)
    }

    /// To be called when all of it has been read: what was read is one state of the document.
    ///
    /// # Errors
    /// It was changed meanwhile.
    pub fn check_unchanged(&self) -> Result<(), Failure> {
        let metadata = self.file.metadata().map_err(|error| refused(&self.path, &error.to_string()))?;
        let is_same = metadata.len() == self.header.size_bytes
            && (metadata.mtime(), metadata.mtime_nsec()) == self.modified;
        if is_same { Ok(()) } else { Err(self.changed()) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.header.name.as_str()
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.header.size_bytes
    }

    /// When it was last changed, in seconds since 1970.
    #[must_use]
    pub fn modified_s(&self) -> i64 {
        self.modified.0
    }

    /// Whether these are the bytes of `other` from that offset on, as many as this document has.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn is_equal(&self, other: &File, mut other_offset: u64, other_bytes: u64) -> Result<bool, Failure> {
        if self.header.size_bytes != other_bytes {
            return Ok(false);
        }
        let failed = |error: io::Error| Failure::failed(&format!("cannot read the pendrive again: {error}"));
        let (mut own, mut others) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
        let mut offset = 0;
        while offset < self.header.size_bytes {
            let rest = usize::try_from(self.header.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
            let count = self.read_at(own.get_mut(..rest.min(BLOCK_BYTES)).unwrap_or_default(), offset)?;
            let (own, others) =
                (own.get(..count).unwrap_or_default(), others.get_mut(..count).unwrap_or_default());
            other.read_exact_at(others, other_offset).map_err(failed)?;
            if count == 0 || own != others {
                return Ok(false);
            }
            offset = offset.saturating_add(count as u64);
            other_offset = other_offset.saturating_add(count as u64);
        }
        Ok(true)
    }

    /// Reads from that offset on.
    ///
    /// # Errors
    /// The disk failed.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Failure> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    return result.map_err(|error| {
                        Failure::failed(&format!("cannot read {}: {error}", self.header.name.as_str()))
                    });
                }
            }
        }
    }

    fn changed(&self) -> Failure {
        Failure::failed(&format!("{} was changed while it was read", self.header.name.as_str()))
    }
}

/// Nothing was asked of dom0 because of this file.
fn refused(path: &Path, reason: &str) -> Failure {
    Failure::Refused(Line::new(&format!("{}: {reason}", fat::Shown(path.as_os_str().as_bytes()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn device(bytes: u64) -> File {
        let device = tempfile::tempfile().unwrap();
        device.set_len(bytes).unwrap();
        device
    }

    fn written(document: &Document, is_view_only: bool) -> Vec<u8> {
        let mut device = device(0);
        // What an earlier use of the pendrive has left there.
        device.write_all(&[0xEE; 4096]).unwrap();
        let end = document.write_to(&mut device, is_view_only, &mut Progress::new(false)).unwrap();
        let mut bytes = vec![0; usize::try_from(end).unwrap()];
        device.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn l11_what_is_written_is_the_golden_device_and_no_byte_is_left_from_before() {
        let directory = tempfile::tempdir().unwrap();
        for (golden, name, content) in [
            (&include_bytes!("../../../dvm-parser/tests/golden/hello.bin")[..], "hello.txt", &b"hello\n"[..]),
            (include_bytes!("../../../dvm-parser/tests/golden/empty.bin"), "empty", b""),
            (include_bytes!("../../../dvm-parser/tests/golden/umlaut.bin"), "Grüße 日本.odt", b"\0\xff\n"),
        ] {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            let document = Document::find(&path).unwrap();
            assert_eq!(written(&document, false), [golden, &[0; 16]].concat());
            assert_eq!(written(&document, true), [golden, &VIEW_ONLY_MARK].concat());
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("bad\nname"), b"x").unwrap();
        rustix::fs::mknodat(CWD, path("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        symlink(path("nowhere"), path("broken")).unwrap();
        fs::write(path("file"), b"x").unwrap();
        let latin = directory.path().join(OsStr::from_bytes(b"gr\xfc\xdfe"));
        fs::write(&latin, b"x").unwrap();
        for (path, said) in [
            (path("missing"), "No such file"),
            (path("broken"), "No such file"),
            (directory.path().to_owned(), "a directory"),
            (PathBuf::from("/"), "a directory"),
            (PathBuf::new(), "No such file"),
            (path("pipe"), "no regular file"),
            (path("bad\nname"), "control character"),
            (path("file/x"), "Not a directory"),
            (PathBuf::from("/dev/null"), "no regular file"),
            (latin, "not UTF-8"),
        ] {
            let failure = Document::find(&path).unwrap_err();
            assert_eq!(failure.exit_code(), exit::REFUSED);
            let line = failure.to_string();
            assert!(line.contains(said) && !line.contains('\n'), "{path:?}: {line}");
        }
    }

    #[test]
    fn a_link_is_followed_to_the_real_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("real")).unwrap();
        fs::write(directory.path().join("real/file"), b"x").unwrap();
        symlink("real/file", directory.path().join("link")).unwrap();
        let document = Document::find(&directory.path().join("link")).unwrap();
        assert_eq!(document.path, fs::canonicalize(directory.path()).unwrap().join("real/file"));
        assert_eq!(document.header.name.as_str(), "file");
    }

    #[test]
    fn a_document_that_changes_meanwhile_is_not_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for change in [&b"longer than before"[..], b"", b"other"] {
            fs::write(&path, b"first").unwrap();
            let document = Document::find(&path).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::write(&path, change).unwrap();
            let result = document.write_to(&mut device(1 << 20), false, &mut Progress::new(false));
            assert!(result.unwrap_err().to_string().contains("was changed while"), "{change:?}");
        }
    }

    #[test]
    fn l19_the_pendrive_is_as_large_as_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let fitting = MIB - HEADER_BYTES as u64 - MARK_BYTES as u64;
        for (bytes, mib) in [(0, 1), (1, 1), (fitting, 1), (fitting + 1, 2), (5 << 30, 5121)] {
            File::create(&path).unwrap().set_len(bytes).unwrap();
            assert_eq!(Document::find(&path).unwrap().needed_mib(), mib, "{bytes}");
        }
        File::create(&path).unwrap().set_len(fitting).unwrap();
        let document = Document::find(&path).unwrap();
        for (device_bytes, fits) in [(0, false), (MIB - 1, false), (MIB, true)] {
            let result = document.write_to(&mut device(device_bytes), false, &mut Progress::new(false));
            assert_eq!(result.is_ok(), fits, "{device_bytes}");
        }
    }

    #[test]
    fn documents_are_equal_by_content_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let content = vec![7; BLOCK_BYTES + 10];
        fs::write(&path, &content).unwrap();
        let document = Document::find(&path).unwrap();
        let other = device(0);
        other.write_all_at(&content, 1024).unwrap();
        let length = content.len() as u64;
        assert_eq!(document.is_equal(&other, 1024, length), Ok(true));
        assert_eq!(document.is_equal(&other, 1024, length - 1), Ok(false));
        assert_eq!(document.is_equal(&other, 1023, length), Ok(false));
        other.write_all_at(b"x", 1024 + length - 1).unwrap();
        assert_eq!(document.is_equal(&other, 1024, length), Ok(false));
    }
}
