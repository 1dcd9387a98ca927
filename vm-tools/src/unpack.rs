//! Starting fat-reader, listening to it, and making sure that it is gone afterwards.
//!
//! What fat-reader says is judged message by message ([`UnpackState`]), since it has read what another VM wrote. Only
//! an orderly end, a last message and the exit code that belongs to it, counts as one; then the tree is counted again
//! ([`unpacked`]).

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::channel::{self, Channel, ChannelError};
use protocol::log::LogText;
use protocol::unpack::{
    UnpackFailure, UnpackNotice, UnpackOrder, UnpackProgress, UnpackState, UnpackSummary,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, SeekFrom, openat, seek};
use rustix::io::Errno;
use sys::spawn::{Child, Ended, Spawn, SpawnError};

use crate::interrupt;
use crate::unpacked::{self, BadTree};

/// Where packages put fat-reader; a file beside the running program comes first.
pub const PROGRAMS_DIRECTORY: &str = "/usr/lib/qfilexchgd";
/// Longest time without a message from fat-reader, in milliseconds. It says something after each 4 MiB, so even a
/// very slow disk is faster.
pub const SILENCE_MS_MAX: u64 = 120_000;
/// How long fat-reader may take to end after its last message, in milliseconds.
pub const END_MS_MAX: u64 = 5_000;
/// How often a signal to this tool is looked for, in milliseconds.
const SLICE_MS: u64 = 500;

/// Why there is no whole tree.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// fat-reader says why.
    #[error("{0}")]
    Failed(UnpackFailure),
    /// fat-reader is not installed.
    #[error("cannot open fat-reader, neither beside this program nor in {PROGRAMS_DIRECTORY}: {0}")]
    NotInstalled(Errno),
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] SpawnError),
    /// A system call of this process failed.
    #[error("cannot listen to fat-reader: {0}")]
    Listen(Errno),
    /// It could not enter its sandbox, or has a mistake that the volume has found.
    #[error("fat-reader stopped: {}", .0.as_str())]
    Stopped(LogText),
    /// It ended without a last message, or otherwise than that said.
    #[error("fat-reader ended by {0}: the files are not whole")]
    Broke(Ended),
    /// It has sent what may not be sent, or not then. It has been killed.
    #[error("fat-reader broke its rules and was ended")]
    Rules,
    /// It says that it has written a tree, and that is not there.
    #[error(transparent)]
    Tree(#[from] BadTree),
    /// It has been killed after [`SILENCE_MS_MAX`].
    #[error("fat-reader made no progress for {} s and was ended", SILENCE_MS_MAX / 1000)]
    Silent,
    /// The person has ended this tool; fat-reader has been killed.
    #[error("interrupted")]
    Interrupted,
}

/// Reads the file system on `device` into the empty directory `output`, with the rights of this process's user.
///
/// `told` gets every progress and every changed name; the end is the result. When this returns, fat-reader is gone
/// and the device is closed. Nothing has been flushed to the disk.
///
/// # Errors
/// Whatever is not a whole tree. What lies in `output` then is to be removed.
pub fn unpack(
    device: OwnedFd,
    output: BorrowedFd<'_>,
    told: &mut dyn FnMut(&UnpackNotice),
) -> Result<UnpackSummary, UnpackError> {
    let program = open_program(sandbox_profiles::FAT_READER.process).map_err(UnpackError::NotInstalled)?;
    unpack_by(program.as_fd(), device, output, Duration::from_millis(SILENCE_MS_MAX), told)
}

/// Opens a confined program, beside this one or in [`PROGRAMS_DIRECTORY`].
pub(crate) fn open_program(name: &str) -> Result<OwnedFd, Errno> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(|directory| directory.join(name));
    let installed = PathBuf::from(PROGRAMS_DIRECTORY).join(name);
    let open = |path: &Path| openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    beside.and_then(|path| open(&path).ok()).map_or_else(|| open(&installed), Ok)
}

fn unpack_by(
    program: BorrowedFd<'_>,
    device: OwnedFd,
    output: BorrowedFd<'_>,
    silence_max: Duration,
    told: &mut dyn FnMut(&UnpackNotice),
) -> Result<UnpackSummary, UnpackError> {
    let device_bytes = seek(&device, SeekFrom::End(0)).map_err(UnpackError::Listen)?;
    let (mut child, edge) = start(program, device, output)?;
    // From here on, every return kills fat-reader by dropping `child`, if it has not ended.
    let last = listen(edge, device_bytes, silence_max, told)?;
    let ended = wait_briefly(&mut child)?;
    match last {
        Some(Last::Done(summary)) if ended == Ended::Code(0) => {
            unpacked::check(output, &summary)?;
            Ok(summary)
        }
        Some(Last::Failed(failure)) => Err(UnpackError::Failed(failure)),
        Some(Last::Stopped(text)) => Err(UnpackError::Stopped(text)),
        Some(Last::Done(_)) | None => Err(UnpackError::Broke(ended)),
    }
}

fn start(
    program: BorrowedFd<'_>,
    device: OwnedFd,
    output: BorrowedFd<'_>,
) -> Result<(Child, Channel<UnpackOrder, UnpackNotice>), UnpackError> {
    let profile = &sandbox_profiles::FAT_READER;
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(UnpackError::Listen)?;
    let (own, theirs) = channel::pair().map_err(UnpackError::Listen)?;
    let child = Spawn {
        program,
        argv0: profile.process,
        args: &[] as &[&OsStr],
        stdio: [null.as_fd(), null.as_fd(), null.as_fd()],
        descriptors: &[theirs.as_fd(), device.as_fd(), output],
        account: None,
        namespaces: profile.namespaces,
    }
    .start()?;
    Ok((child, Channel::new(own)))
}

/// A last message.
enum Last {
    Done(UnpackSummary),
    Failed(UnpackFailure),
    Stopped(LogText),
}

/// Listens until fat-reader closes its end. Since each step has a least size and all of them together are no larger than
/// the device, that comes in the end.
fn listen(
    mut edge: Channel<UnpackOrder, UnpackNotice>,
    device_bytes: u64,
    silence_max: Duration,
    told: &mut dyn FnMut(&UnpackNotice),
) -> Result<Option<Last>, UnpackError> {
    let mut state = UnpackState::default();
    let mut last = None;
    let mut heard = Instant::now();
    loop {
        if interrupt::requested() {
            return Err(UnpackError::Interrupted);
        }
        if heard.elapsed() >= silence_max {
            return Err(UnpackError::Silent);
        }
        match edge.receive() {
            Ok(Some(notice)) => {
                state = state.after(&notice).ok_or(UnpackError::Rules)?;
                heard = Instant::now();
                match notice {
                    UnpackNotice::Progress(UnpackProgress { bytes, .. })
                    | UnpackNotice::Done(UnpackSummary { bytes, .. })
                        if bytes > device_bytes =>
                    {
                        return Err(UnpackError::Rules);
                    }
                    UnpackNotice::Progress(_) | UnpackNotice::Renamed(_) => told(&notice),
                    UnpackNotice::Done(summary) => last = Some(Last::Done(summary)),
                    UnpackNotice::Failed(failure) => last = Some(Last::Failed(failure)),
                    UnpackNotice::Stopped(text) => last = Some(Last::Stopped(text)),
                }
            }
            Ok(None) => wait_for(edge.as_fd(), Duration::from_millis(SLICE_MS))?,
            Err(ChannelError::Closed) => return Ok(last),
            Err(ChannelError::Os(errno)) => return Err(UnpackError::Listen(errno)),
            Err(
                ChannelError::Codec(_)
                | ChannelError::Truncated
                | ChannelError::Descriptors
                | ChannelError::Overflow,
            ) => return Err(UnpackError::Rules),
        }
    }
}

/// How fat-reader ended. One that lingers is killed.
fn wait_briefly(child: &mut Child) -> Result<Ended, UnpackError> {
    let until = Instant::now() + Duration::from_millis(END_MS_MAX);
    loop {
        let listen =
            |error: std::io::Error| UnpackError::Listen(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        if let Some(ended) = child.try_wait().map_err(listen)? {
            return Ok(ended);
        }
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(UnpackError::Silent);
        }
        wait_for(child.pidfd(), rest)?;
    }
}

/// Waits until the descriptor is readable, or so long, or for a signal.
fn wait_for(descriptor: BorrowedFd<'_>, time: Duration) -> Result<(), UnpackError> {
    let time = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(UnpackError::Listen(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::unpack::{PROGRESS_BYTES, ShownName};
    use std::fs::{self, File};

    const SHORT: Duration = Duration::from_millis(300);
    const DEVICE_BYTES: u64 = 10 * PROGRESS_BYTES;

    /// Listens to what was said before, by a peer that then goes away.
    fn hear(said: &[UnpackNotice]) -> (Result<Option<Last>, UnpackError>, usize) {
        let (own, theirs) = channel::pair().unwrap();
        let mut peer: Channel<UnpackNotice, UnpackOrder> = Channel::new(theirs);
        for notice in said {
            peer.send(notice).unwrap();
        }
        drop(peer);
        let mut told = 0;
        let last = listen(Channel::new(own), DEVICE_BYTES, SHORT, &mut |_| told += 1);
        (last, told)
    }

    fn progress(steps: u64) -> UnpackNotice {
        UnpackNotice::Progress(UnpackProgress { files: 1, directories: 0, bytes: steps * PROGRESS_BYTES })
    }

    #[test]
    fn progress_and_names_are_passed_on_and_the_last_message_is_the_result() {
        let name = UnpackNotice::Renamed(ShownName::new("a").unwrap());
        let summary = UnpackSummary { files: 1, bytes: DEVICE_BYTES, renamed: 1, ..Default::default() };
        let (last, told) = hear(&[progress(1), name, progress(9), UnpackNotice::Done(summary)]);
        assert!(matches!(last, Ok(Some(Last::Done(heard))) if heard == summary));
        assert_eq!(told, 3);
        let (last, _) = hear(&[progress(1), UnpackNotice::Failed(UnpackFailure::Damaged)]);
        assert!(matches!(last, Ok(Some(Last::Failed(UnpackFailure::Damaged)))));
        assert!(matches!(hear(&[progress(1)]), (Ok(None), 1)));
        assert!(matches!(hear(&[]), (Ok(None), 0)));
    }

    #[test]
    fn l8_l19_more_than_the_device_holds_is_not_believed() {
        let done = |bytes| UnpackNotice::Done(UnpackSummary { files: 1, bytes, ..Default::default() });
        assert!(hear(&[progress(10), done(DEVICE_BYTES)]).0.is_ok());
        for said in [progress(11), done(DEVICE_BYTES + 1), done(u64::MAX)] {
            assert!(matches!(hear(std::slice::from_ref(&said)).0, Err(UnpackError::Rules)), "{said:?}");
        }
    }

    #[test]
    fn messages_that_may_not_come_are_the_end() {
        let done = UnpackNotice::Done(UnpackSummary::default());
        for said in
            [vec![done.clone(), done.clone()], vec![done, progress(1)], vec![progress(2), progress(1)]]
        {
            assert!(matches!(hear(&said).0, Err(UnpackError::Rules)), "{said:?}");
        }
        for datagram in [&[0xFF; 40][..], &[0; 1], &[0; 20_000]] {
            let (own, theirs) = channel::pair().unwrap();
            rustix::io::write(&theirs, datagram).unwrap();
            let last = listen(Channel::new(own), DEVICE_BYTES, SHORT, &mut |_| {});
            assert!(matches!(last, Err(UnpackError::Rules)), "{} bytes", datagram.len());
        }
    }

    /// Runs another program in place of fat-reader, in the same namespaces.
    fn by(program: &Path, silence_max: Duration) -> Option<Result<UnpackSummary, UnpackError>> {
        let scratch = tempfile::tempdir().unwrap();
        let device = File::open("/dev/null").unwrap();
        let output = File::open(scratch.path()).unwrap();
        let program = File::open(program).ok()?;
        Some(unpack_by(program.as_fd(), device.into(), output.as_fd(), silence_max, &mut |_| {}))
    }

    #[test]
    fn a_reader_that_ends_without_a_word_has_broken() {
        for name in ["true", "false"] {
            // Silence is not what ends them, however slow the machine is.
            let Some(result) = testkit::tool(name).and_then(|program| by(&program, SHORT * 100)) else {
                return testkit::skip("no true or false");
            };
            assert!(matches!(result, Err(UnpackError::Broke(Ended::Code(0 | 1)))), "{name}: {result:?}");
        }
    }

    #[test]
    fn a_silent_reader_is_ended() {
        let Some(result) = testkit::tool("yes").and_then(|program| by(&program, SHORT)) else {
            return testkit::skip("no yes");
        };
        assert!(matches!(result, Err(UnpackError::Silent)), "{result:?}");
    }

    #[test]
    fn the_real_reader_fails_for_garbage_with_its_reason_and_reads_an_empty_volume() {
        let own = std::env::current_exe().unwrap();
        let reader = own.ancestors().nth(2).unwrap().join("fat-reader");
        let Ok(program) = File::open(&reader) else {
            return testkit::skip("fat-reader is not built: cargo build -p dvm-parser");
        };
        let scratch = tempfile::tempdir().unwrap();
        let output = scratch.path().join("output");
        fs::create_dir(&output).unwrap();
        let read = |volume: &[u8]| {
            let path = scratch.path().join("device");
            fs::write(&path, volume).unwrap();
            let device = File::open(&path).unwrap();
            let output = File::open(&output).unwrap();
            unpack_by(program.as_fd(), device.into(), output.as_fd(), SHORT * 100, &mut |_| {})
        };
        let garbage = read(&[7; 8_192]);
        assert!(matches!(garbage, Err(UnpackError::Failed(UnpackFailure::NotFat))), "{garbage:?}");
        let size = fat::VolumeSize::from_mib(fat::VOLUME_MIB_MIN).unwrap();
        let mut volume = vec![0; usize::try_from(size.bytes()).unwrap()];
        for (offset, bytes) in fat::format(size, fat::VolumeLabel::from_name("work"), 1) {
            let offset = usize::try_from(offset).unwrap();
            volume[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        assert_eq!(read(&volume).unwrap(), UnpackSummary::default());
    }
}
