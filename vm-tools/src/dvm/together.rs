//! Several documents in one DisposableVM: a FAT volume in place of header and document.
//!
//! ```text
//! /1/NAME       the first document: the first one of ~/.dvm/SEQ
//! /2/NAME       the second one, …
//! /view-only    an empty file: the documents are to be looked at only
//! ```
//!
//! The answer is such a volume with those that have changed, under the same numbers; their names mean nothing. A boot
//! sector of FAT is never a valid header, so the receiver can tell the two apart. fat-reader reads the volume.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use fat::{Entry, Kind, Tree, TreeError, VolumeLabel, VolumeSize};
use protocol::unpack::UnpackNotice;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, statat};
use rustix::io::Errno;

use super::document::Document;
use super::seq::DOCUMENTS_MAX;
use crate::device::size_bytes;
use crate::failure::Failure;
use crate::inbox::{open_beneath, open_directory};
use crate::interrupt;
use crate::progress::Progress;
use crate::session::random_hex;
use crate::shown::Line;
use crate::unpack::{UnpackError, unpack};

/// The file that says that the documents are to be looked at only.
pub const VIEW_ONLY: &str = "view-only";

/// Documents with their numbers, which begin at 1.
#[derive(Debug)]
pub struct Bundle<'a> {
    documents: Vec<(u32, &'a Document)>,
    is_view_only: bool,
}

impl<'a> Bundle<'a> {
    /// These documents.
    #[must_use]
    pub fn new(documents: Vec<(u32, &'a Document)>, is_view_only: bool) -> Self {
        Self { documents, is_view_only }
    }

    /// Where the documents are, in the order of their numbers.
    #[must_use]
    pub fn paths(&self) -> Vec<&'a Path> {
        self.documents.iter().map(|(_, document)| document.path.as_path()).collect()
    }

    /// The pendrive that they need, in MiB.
    ///
    /// # Errors
    /// A document that FAT cannot hold, or too much for any pendrive.
    pub fn needed_mib(&self) -> Result<u32, Failure> {
        let refused = |text: &str| Failure::Refused(Line::new(text));
        self.tree()?.size_needed_mib().map_err(|error| refused(&error.to_string()))
    }

    /// Writes the volume; says where it ends. Nothing is flushed.
    ///
    /// # Errors
    /// As [`Document::write_to`].
    pub fn write_to(&self, device: &mut File, progress: &mut Progress) -> Result<u64, Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::failed(&format!("the pendrive cannot be used: {error}"));
        let size = VolumeSize::from_bytes(size_bytes(device)?).map_err(|error| failed(&error))?;
        let volume_id =
            u32::from_str_radix(random_hex()?.get(..8).unwrap_or_default(), 16).unwrap_or_default();
        let plan = self.tree()?.layout(size, VolumeLabel::from_name("documents"), volume_id);
        let plan = plan.map_err(|error| failed(&error))?;
        let total_bytes = plan.bytes_total();
        progress.restart();
        let written =
            fat::write(&plan, device, &mut Sources(self), &mut |done| progress.update(done, total_bytes));
        progress.finish();
        written.map_err(|error| match interrupt::requested() {
            true => Failure::Interrupted(Line::new("interrupted: nothing was sent")),
            false => Failure::failed(&error.to_string()),
        })?;
        self.documents.iter().try_for_each(|(_, document)| document.check_unchanged())?;
        Ok(total_bytes)
    }

    /// A directory for each document, each followed by its document, then the mark.
    fn tree(&self) -> Result<Tree, Failure> {
        let mut entries = Vec::new();
        for (place, (number, document)) in (0_u32..).zip(&self.documents) {
            let modified_s = document.modified_s();
            let name = number.to_string().into_bytes();
            entries.push(Entry { parent: None, name, kind: Kind::Directory, modified_s });
            let (parent, name) = (Some(place.saturating_mul(2)), document.name().as_bytes().to_vec());
            entries.push(Entry {
                parent,
                name,
                kind: Kind::File { size: document.size_bytes() },
                modified_s,
            });
        }
        if self.is_view_only {
            let name = VIEW_ONLY.as_bytes().to_vec();
            entries.push(Entry { parent: None, name, kind: Kind::File { size: 0 }, modified_s: 0 });
        }
        Tree::check(entries).map_err(|error| match &error {
            TreeError::Refused(refusals) => match refusals.listed.first() {
                Some(first) => Failure::Refused(Line::new(&first.to_string())),
                None => Failure::Refused(Line::new(&error.to_string())),
            },
            TreeError::TooManyEntries | TreeError::TooManyDirectories | TreeError::NoSuchParent { .. } => {
                Failure::Refused(Line::new(&error.to_string()))
            }
        })
    }
}

/// The documents by the numbers of their entries.
struct Sources<'a>(&'a Bundle<'a>);

impl<'a> fat::Source for Sources<'a> {
    type Reader = Reader<'a>;

    fn open(&mut self, entry: u32) -> io::Result<Reader<'a>> {
        let document = usize::try_from(entry / 2).ok().and_then(|place| self.0.documents.get(place));
        // The mark, behind all of them, is empty.
        Ok(Reader { document: document.map(|(_, document)| *document), offset: 0 })
    }
}

struct Reader<'a> {
    document: Option<&'a Document>,
    offset: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if interrupt::requested() {
            return Err(io::Error::other("interrupted"));
        }
        let Some(document) = self.document else { return Ok(0) };
        let count = document.read_at(buffer, self.offset).map_err(io::Error::other)?;
        self.offset = self.offset.saturating_add(count as u64);
        Ok(count)
    }
}

/// Documents that were read off a volume.
#[derive(Debug)]
pub struct Extracted {
    /// Their numbers and names, in order. At least one.
    pub documents: Vec<(u32, OsString)>,
    /// They are to be looked at only.
    pub is_view_only: bool,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// fat-reader did not read the volume whole.
    #[error("{0}")]
    Unpack(#[from] UnpackError),
    /// Something of this VM failed.
    #[error("cannot look through the documents: {0}")]
    Own(#[from] Errno),
    /// Another tree than that of documents.
    #[error("the file system on the pendrive holds no documents as this program sends them")]
    NoDocuments,
}

/// Reads the volume into an empty directory, by fat-reader. Other things on it are left where they are, and mean
/// nothing.
///
/// # Errors
/// There are no documents.
pub fn extract(
    device: OwnedFd,
    directory: BorrowedFd<'_>,
    progress: &mut Progress,
) -> Result<Extracted, ExtractError> {
    unpack(device, directory, &mut |notice| {
        if let UnpackNotice::Progress(so_far) = notice {
            progress.count(so_far.files, so_far.bytes);
        }
    })?;
    progress.finish();
    let mut documents = Vec::new();
    for number in 1..=u32::try_from(DOCUMENTS_MAX).unwrap_or(u32::MAX) {
        match open_directory(directory, number.to_string().as_bytes()) {
            Ok(inner) => documents.push((number, only_file(&inner)?)),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => return Err(ExtractError::NoDocuments),
            Err(errno) => return Err(errno.into()),
        }
    }
    if documents.is_empty() {
        return Err(ExtractError::NoDocuments);
    }
    let is_view_only = statat(directory, VIEW_ONLY, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    Ok(Extracted { documents, is_view_only })
}

/// The name of the one file in a directory that holds nothing else.
fn only_file(directory: &OwnedFd) -> Result<OsString, ExtractError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
        if names.len() > 1 {
            return Err(ExtractError::NoDocuments);
        }
    }
    let name = names.pop().ok_or(ExtractError::NoDocuments)?;
    let stat = statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ExtractError::NoDocuments);
    }
    Ok(OsString::from_vec(name))
}

/// Opens a document that [`extract`] has put into that directory.
///
/// # Errors
/// It is not there any more.
pub fn open_extracted(directory: BorrowedFd<'_>, number: u32, name: &OsString) -> Result<File, Errno> {
    let inner = open_directory(directory, number.to_string().as_bytes())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open_beneath(inner.as_fd(), name.as_encoded_bytes(), flags, Mode::empty()).map(File::from)
}
