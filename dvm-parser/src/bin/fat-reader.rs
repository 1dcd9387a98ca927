//! fat-reader: reads a file system that another VM wrote, and puts its files into a directory.
//!
//! - *Runs as:* the user whose files they will be, in a VM, in namespaces of its own; started for one file system.
//! - *Holds:* `edge` (to its parent), `device` (read-only), `output` (a new, empty directory).
//! - *May:* read the volume, make files and directories beneath the output directory, tell its parent.
//! - *Must never:* list, read, rename or remove anything; reach any other file, process or network.
//! - *Trusts:* nothing that the volume holds. Its parent only decides whether it goes on.
//! - *Ends when:* the tree is complete, something failed, or its parent is gone.
//!
//! It is no loop over messages, since its parent tells it nothing: one walk over the volume, with messages on the way.
//! States: reading, then ended after one last message (see [`protocol::unpack::UnpackState`]).

use std::io::IoSlice;
use std::os::fd::{BorrowedFd, OwnedFd};

use dvm_parser::extract::{Audience, Device, ExtractError, Extractor, Gone};
use dvm_parser::fat::{FatError, Limit, Tally, WalkError, walk};
use dvm_parser::names::SafeName;
use protocol::channel::Channel;
use protocol::log::LogText;
use protocol::unpack::{
    RENAMED_TOLD_MAX, ShownName, UnpackFailure, UnpackNotice, UnpackOrder, UnpackProgress, UnpackSummary,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use sys::inherit::Inherited;
use sys::sandbox::Sandboxed;

/// The tree is complete.
const EXIT_DONE: u8 = 0;
/// The parent was told why not.
const EXIT_FAILED: u8 = 1;
/// The parent is gone.
const EXIT_ALONE: u8 = 2;

fn main() {
    sys::worker::run(&sandbox_profiles::FAT_READER, Some(report), run)
}

/// Takes the descriptors and does the work.
fn run(mut inherited: Inherited, sandboxed: Sandboxed) -> u8 {
    let taken = ["edge", "device", "output"].map(|name| inherited.take(name));
    let [Ok(edge), Ok(device), Ok(output)] = taken else {
        return EXIT_ALONE;
    };
    let mut parent = Parent { edge: Channel::new(edge), renamed: 0 };
    let last = match read(&sandboxed, device, output, &mut parent) {
        Ok(summary) => UnpackNotice::Done(summary),
        Err(Ended::Failed(failure)) => UnpackNotice::Failed(failure),
        Err(Ended::Alone) => return EXIT_ALONE,
    };
    let code = if matches!(last, UnpackNotice::Done(_)) { EXIT_DONE } else { EXIT_FAILED };
    match parent.tell_last(&last) {
        Ok(()) => code,
        Err(Gone) => EXIT_ALONE,
    }
}

/// Why the tree is not complete.
enum Ended {
    /// The parent should know.
    Failed(UnpackFailure),
    /// There is no parent.
    Alone,
}

/// The walk. It takes the token because everything that it reads was chosen by another VM.
fn read(
    _sandboxed: &Sandboxed,
    device: OwnedFd,
    output: OwnedFd,
    parent: &mut Parent,
) -> Result<UnpackSummary, Ended> {
    let device = Device::new(device).map_err(|_| Ended::Failed(UnpackFailure::DeviceUnreadable))?;
    let Tally { files, directories, bytes, renamed, overlong } =
        walk(&device, &mut Extractor::new(output, parent)).map_err(ended)?;
    Ok(UnpackSummary { files, directories, bytes, renamed, overlong })
}

fn ended(error: WalkError<ExtractError>) -> Ended {
    Ended::Failed(match error {
        WalkError::Sink(ExtractError::Gone) => return Ended::Alone,
        WalkError::Sink(ExtractError::Output(errno)) => match errno {
            Errno::NOSPC | Errno::DQUOT => UnpackFailure::NoSpace,
            Errno::EXIST | Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::NOENT => {
                UnpackFailure::OutputChanged
            }
            other => UnpackFailure::OutputFailed { errno: other.raw_os_error() },
        },
        WalkError::Volume(fault) => match fault {
            FatError::Read => UnpackFailure::DeviceUnreadable,
            FatError::NotFat(_) => UnpackFailure::NotFat,
            FatError::PartitionTable => UnpackFailure::PartitionTable,
            FatError::Damaged(_) => UnpackFailure::Damaged,
            FatError::Limit(limit) => match limit {
                Limit::Entries | Limit::PendingDirectories => UnpackFailure::TooManyEntries,
                Limit::DirectoryBytes => UnpackFailure::DirectoryTooLarge,
                Limit::Depth | Limit::PathBytes => UnpackFailure::TooDeep,
            },
        },
    })
}

/// The edge to the parent.
struct Parent {
    edge: Channel<UnpackNotice, UnpackOrder>,
    /// Changed names that were told.
    renamed: u32,
}

impl Parent {
    /// Sends the last message, waiting until the parent has room for it.
    fn tell_last(&mut self, notice: &UnpackNotice) -> Result<(), Gone> {
        self.edge.send(notice).map_err(|_| Gone)?;
        while self.edge.wants_write() {
            let mut ready = [PollFd::new(&self.edge, PollFlags::OUT)];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Err(Gone),
            }
            self.edge.flush().map_err(|_| Gone)?;
        }
        Ok(())
    }
}

impl Audience for &mut Parent {
    /// A parent that has not read what was told before is not told more: only the latest numbers matter.
    fn progress(&mut self, progress: UnpackProgress) -> Result<(), Gone> {
        self.edge.flush().map_err(|_| Gone)?;
        if self.edge.wants_write() {
            return Ok(());
        }
        self.edge.send(&UnpackNotice::Progress(progress)).map_err(|_| Gone)
    }

    fn renamed(&mut self, name: &SafeName) -> Result<(), Gone> {
        if self.renamed >= RENAMED_TOLD_MAX {
            return Ok(());
        }
        // A safe name is always one that may be shown; were it not, its number would still be in the summary.
        let Some(name) = ShownName::new(name.as_str()) else {
            return Ok(());
        };
        self.renamed += 1;
        self.edge.send(&UnpackNotice::Renamed(name)).map_err(|_| Gone)
    }
}

/// Tells the parent that this process ends by a mistake in it, or cannot enter its sandbox.
fn report(edge: BorrowedFd<'_>, text: &str) {
    let Ok(bytes) = protocol::codec::encode(&UnpackNotice::Stopped(LogText::new(text))) else { return };
    let mut no_descriptors = SendAncillaryBuffer::default();
    // If nobody takes it there is nobody else to tell.
    let _ = sendmsg(edge, &[IoSlice::new(&bytes)], &mut no_descriptors, SendFlags::NOSIGNAL);
}
