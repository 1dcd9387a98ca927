//! Starting dvm-parser, waiting for it, and judging what it has left.
//!
//! It has read what another VM wrote, so nothing of it is believed: its exit code is one of a list, and the record
//! behind the copy is checked again. How far it is can be seen by how long the copy has grown, which is no further than
//! the pendrive is long.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use dvm_parser::document::header::HEADER_BYTES;
use dvm_parser::document::record::{BadRecord, RECORD_BYTES, Record};
use dvm_parser::document::transfer::Trouble;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, SeekFrom, openat, seek};
use rustix::io::Errno;
use sys::spawn::{Child, Ended, Spawn, SpawnError};

use crate::interrupt;
use crate::progress::Progress;
use crate::unpack::{PROGRAMS_DIRECTORY, SILENCE_MS_MAX, open_program};

/// Between two looks at the copy, in milliseconds.
const LOOK_MS: u64 = 200;
/// Less than so many bytes more are no progress, or one that was taken over could keep this tool for ever, byte by byte.
const GROWTH_BYTES_MIN: u64 = 4 << 20;

/// Why there is no whole document.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// dvm-parser says why.
    #[error("{0}")]
    Trouble(Trouble),
    /// dvm-parser is not installed.
    #[error("cannot open dvm-parser, neither beside this program nor in {PROGRAMS_DIRECTORY}: {0}")]
    NotInstalled(Errno),
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] SpawnError),
    /// A system call of this process failed.
    #[error("cannot wait for dvm-parser: {0}")]
    Wait(std::io::Error),
    /// It ended in a way that it does not have.
    #[error("dvm-parser ended by {0}: the document is not whole")]
    Broke(Ended),
    /// It said nonsense.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// It has written more than there can be, and been killed.
    #[error("dvm-parser has written more than the pendrive holds")]
    Larger,
    /// It has been killed after [`SILENCE_MS_MAX`].
    #[error("dvm-parser made no progress for {} s and was ended", SILENCE_MS_MAX / 1000)]
    Silent,
    /// The person has ended this tool; dvm-parser has been killed.
    #[error("interrupted")]
    Interrupted,
}

impl ParseError {
    /// Whether something of this VM is the cause, so that another try may work.
    #[must_use]
    pub fn is_of_this_vm(&self) -> bool {
        match self {
            Self::Trouble(trouble) => match trouble {
                Trouble::NoSpace | Trouble::OutputFailed | Trouble::NoDescriptors => true,
                Trouble::Rejected(_) | Trouble::DeviceUnreadable => false,
            },
            Self::NotInstalled(_) | Self::Start(_) | Self::Wait(_) | Self::Interrupted => true,
            // It could not enter its sandbox here; else the device may have done this, and would do it again.
            Self::Broke(ended) => *ended == Ended::Code(i32::from(sys::worker::EXIT_SANDBOX)),
            Self::Record(_) | Self::Larger | Self::Silent => false,
        }
    }
}

/// Copies the document on `device` into the empty file `output`, by dvm-parser. When this returns, it is gone, and
/// `output` holds the document and nothing else. Nothing has been flushed to the disk.
///
/// # Errors
/// Whatever is not a whole document. What is in `output` then means nothing.
pub fn parse_document(
    device: BorrowedFd<'_>,
    output: &File,
    progress: &mut Progress,
) -> Result<Record, ParseError> {
    let program = open_program(sandbox_profiles::DVM_PARSER.process).map_err(ParseError::NotInstalled)?;
    let silence_max = Duration::from_millis(SILENCE_MS_MAX);
    parse_by(program.as_fd(), device, output, silence_max, progress)
}

fn parse_by(
    program: BorrowedFd<'_>,
    device: BorrowedFd<'_>,
    output: &File,
    silence_max: Duration,
    progress: &mut Progress,
) -> Result<Record, ParseError> {
    let profile = &sandbox_profiles::DVM_PARSER;
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| ParseError::Wait(errno.into()))?;
    let device_bytes = seek(device, SeekFrom::End(0)).map_err(|errno| ParseError::Wait(errno.into()))?;
    let document_bytes_max = device_bytes.saturating_sub(HEADER_BYTES as u64);
    let mut child = Spawn {
        program,
        argv0: profile.process,
        args: &[],
        stdio: [null.as_fd(); 3],
        descriptors: &[device, output.as_fd()],
        account: None,
        namespaces: profile.namespaces,
    }
    .start()?;
    // From here on, every return kills it by dropping `child`, if it has not ended.
    let longest = document_bytes_max.saturating_add(RECORD_BYTES as u64);
    let ended = wait(&mut child, output, longest, silence_max, progress)?;
    progress.finish();
    match ended {
        Ended::Code(0) => judge(output, document_bytes_max),
        Ended::Code(code) => {
            Err(Trouble::from_exit_code(code).map_or(ParseError::Broke(ended), ParseError::Trouble))
        }
        Ended::Signal(_) => Err(ParseError::Broke(ended)),
    }
}

/// Waits for its end, as long as the copy grows, and up to a length. So that comes in the end.
fn wait(
    child: &mut Child,
    output: &File,
    longest: u64,
    silence_max: Duration,
    progress: &mut Progress,
) -> Result<Ended, ParseError> {
    let (mut counted, mut grown) = (0, Instant::now());
    loop {
        if let Some(ended) = child.try_wait().map_err(ParseError::Wait)? {
            return Ok(ended);
        }
        if interrupt::requested() {
            return Err(ParseError::Interrupted);
        }
        let length = output.metadata().map_err(ParseError::Wait)?.len();
        if length > longest {
            return Err(ParseError::Larger);
        }
        if length > 0 {
            progress.count(1, length);
        }
        if length.saturating_sub(counted) >= GROWTH_BYTES_MIN {
            (counted, grown) = (length, Instant::now());
        }
        if grown.elapsed() >= silence_max {
            return Err(ParseError::Silent);
        }
        let slice = Timespec { tv_sec: 0, tv_nsec: i64::try_from(LOOK_MS * 1_000_000).unwrap_or_default() };
        match poll(&mut [PollFd::new(&child.pidfd(), PollFlags::IN)], Some(&slice)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(ParseError::Wait(errno.into())),
        }
    }
}

/// Reads the record, and cuts it off.
fn judge(output: &File, document_bytes_max: u64) -> Result<Record, ParseError> {
    let length = output.metadata().map_err(ParseError::Wait)?.len();
    let at = length.checked_sub(RECORD_BYTES as u64).ok_or(BadRecord)?;
    let mut untrusted_record = [0; RECORD_BYTES];
    output.read_exact_at(&mut untrusted_record, at).map_err(ParseError::Wait)?;
    let record = Record::decode(&untrusted_record, length)?;
    if record.size_bytes > document_bytes_max {
        return Err(ParseError::Larger);
    }
    output.set_len(record.size_bytes).map_err(ParseError::Wait)?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dvm_parser::document::header::{DocumentName, Rejection};
    use std::io::Write;

    const HELLO: &[u8] = include_bytes!("../../../dvm-parser/tests/golden/hello.bin");

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// What another program in its place is taken for.
    fn by(program: &str, left: &[u8], silence: Duration) -> Option<Result<Record, ParseError>> {
        let program = File::open(testkit::tool(program)?).ok()?;
        let output = file(left);
        let device = file(HELLO);
        Some(parse_by(program.as_fd(), device.as_fd(), &output, silence, &mut Progress::new(false)))
    }

    #[test]
    fn what_it_says_is_judged_again() {
        let record = Record { size_bytes: 2, is_view_only: false, name: DocumentName::new(b"n").unwrap() };
        let good = [&b"ab"[..], &record.encode()].concat();
        let output = file(&good);
        assert_eq!(judge(&output, 2).unwrap(), record);
        assert_eq!(output.metadata().unwrap().len(), 2);
        for left in [&[][..], b"ab", &good[1..], &[&b"a"[..], &good].concat(), &[0; 2000]] {
            let judged = judge(&file(left), u64::MAX);
            assert!(matches!(judged, Err(ParseError::Record(BadRecord))), "{} bytes", left.len());
        }
    }

    #[test]
    fn l8_l19_a_document_that_the_pendrive_cannot_hold_is_not_believed() {
        let name = DocumentName::new(b"n").unwrap();
        for size_bytes in [0, 1, 10, 11, 1 << 40] {
            let record = Record { size_bytes, is_view_only: false, name };
            let output = file(b"");
            output.write_all_at(&record.encode(), size_bytes).unwrap();
            let judged = judge(&output, 10);
            if size_bytes <= 10 {
                assert_eq!(judged.unwrap(), record);
            } else {
                assert!(matches!(judged, Err(ParseError::Larger)), "{size_bytes}: {judged:?}");
            }
        }
    }

    /// Waits for a program that does not end while its output becomes longer by so much at a time.
    fn while_growing_by(bytes: u64, longest: u64) -> Option<ParseError> {
        let program = File::open(testkit::tool("yes")?).ok()?;
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let mut child = Spawn {
            program: program.as_fd(),
            argv0: "yes",
            args: &[],
            stdio: [null.as_fd(); 3],
            descriptors: &[],
            account: None,
            namespaces: sandbox_profiles::DVM_PARSER.namespaces,
        }
        .start()
        .unwrap();
        let output = file(b"");
        let grows = output.try_clone().unwrap();
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = std::sync::Arc::clone(&is_over);
        let grower = std::thread::spawn(move || {
            let mut length = 0;
            while !seen.load(std::sync::atomic::Ordering::Relaxed) {
                length += bytes;
                grows.set_len(length).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let silence = Duration::from_millis(500);
        let ended = wait(&mut child, &output, longest, silence, &mut Progress::new(false));
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        grower.join().unwrap();
        Some(ended.unwrap_err())
    }

    #[test]
    fn one_that_goes_on_byte_by_byte_or_beyond_the_pendrive_is_ended() {
        let Some(slow) = while_growing_by(1, u64::MAX) else { return testkit::skip("no yes") };
        assert!(matches!(slow, ParseError::Silent), "{slow}");
        let long = while_growing_by(1 << 30, 1 << 31).unwrap();
        assert!(matches!(long, ParseError::Larger), "{long}");
    }

    #[test]
    fn one_that_ends_well_without_a_record_and_one_that_does_not_end_are_told_apart() {
        let (long, short) = (Duration::from_secs(30), Duration::from_millis(300));
        for (program, silence, said) in
            [("true", long, "no sense"), ("false", long, "started wrongly"), ("yes", short, "no progress")]
        {
            let Some(result) = by(program, b"", silence) else {
                return testkit::skip("no true, false or yes");
            };
            let error = result.unwrap_err();
            assert!(error.to_string().contains(said), "{program}: {error}");
        }
    }

    #[test]
    fn the_real_one_copies_a_document_and_rejects_what_is_none() {
        let own = std::env::current_exe().unwrap();
        let Ok(program) = File::open(own.ancestors().nth(2).unwrap().join("dvm-parser")) else {
            return testkit::skip("dvm-parser is not built: cargo build -p dvm-parser");
        };
        let parse = |device: &[u8], output: &File| {
            let silence = Duration::from_secs(30);
            parse_by(program.as_fd(), file(device).as_fd(), output, silence, &mut Progress::new(false))
        };
        let output = file(b"");
        let record = parse(HELLO, &output).unwrap();
        assert_eq!((record.size_bytes, record.name.as_str()), (6, "hello.txt"));
        let mut copy = [0; 6];
        output.read_exact_at(&mut copy, 0).unwrap();
        assert_eq!((&copy, output.metadata().unwrap().len()), (b"hello\n", 6));
        let error = parse(&HELLO[..1029], &file(b"")).unwrap_err();
        assert!(
            matches!(error, ParseError::Trouble(Trouble::Rejected(Rejection::LargerThanDevice))),
            "{error}"
        );
        assert!(!error.is_of_this_vm());
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        assert!(parse(HELLO, &full).unwrap_err().is_of_this_vm());
    }
}
