//! dvm-parser and fat-reader as a VM's tools may meet them after they were taken over, in their real profiles.
//!
//! What one does says a file beside the program, `PROGRAM.VM`; without it, the real program takes its place. Everything is
//! prepared before the profile is entered, since dvm-parser has no call for memory.

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use dvm_parser::document::header::DocumentName;
use dvm_parser::document::record::{RECORD_BYTES, Record};
use e2e::liars::REAL_PREFIX;
use protocol::codec::{self, MESSAGE_BYTES_MAX};
use protocol::supervise::SupervisorOrder;
use protocol::unpack::{
    PROGRESS_BYTES, RENAMED_TOLD_MAX, ShownName, UnpackFailure, UnpackNotice, UnpackProgress, UnpackSummary,
};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2, sendfile};
use rustix::io::pwrite;
use sys::inherit::Inherited;
use sys::worker;

use crate::lies::say;

/// Far behind the end of every pendrive of the tests, in bytes.
const FAR: u64 = 8 << 30;

/// The word for this VM, if this program is one that works in VMs.
pub fn word(name: &str) -> Option<String> {
    if ![sandbox_profiles::DVM_PARSER.process, sandbox_profiles::FAT_READER.process].contains(&name) {
        return None;
    }
    let own = std::env::current_exe().unwrap();
    let vm = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    match std::fs::read_to_string(own.with_file_name(format!("{name}.{vm}"))) {
        Ok(word) => Some(word),
        Err(_) => {
            let real = own.with_file_name(format!("{REAL_PREFIX}{name}"));
            panic!("{}", Command::new(real).arg0(name).exec())
        }
    }
}

/// Plays the one or the other.
pub fn play(name: &str, word: &str) -> ! {
    if name == sandbox_profiles::DVM_PARSER.process {
        let lie = document_lie(word);
        worker::run(&sandbox_profiles::DVM_PARSER, None, move |inherited, _| lie.tell(inherited))
    }
    let lie = tree_lie(word);
    worker::run(&sandbox_profiles::FAT_READER, None, move |inherited, _| lie.tell(inherited))
}

/// How it ends.
#[derive(Clone, Copy)]
enum End {
    Code(u8),
    Panic,
    /// By a call outside of the profile.
    Forbidden,
    /// Only when somebody ends it.
    Never,
}

impl End {
    fn come(self) -> u8 {
        match self {
            Self::Code(code) => worker::exit(code),
            Self::Panic => panic!("the test wants it"),
            Self::Forbidden => {
                let _ = rustix::process::getppid();
                worker::exit(0)
            }
            Self::Never => loop {
                std::hint::spin_loop();
            },
        }
    }
}

/// What dvm-parser writes, and how it ends: more it cannot say.
struct DocumentLie {
    content: &'static [u8],
    record: Option<(u64, [u8; RECORD_BYTES])>,
    end: End,
}

impl DocumentLie {
    fn tell(&self, mut inherited: Inherited) -> u8 {
        let output = inherited.take("output").unwrap();
        assert_eq!(pwrite(&output, self.content, 0), Ok(self.content.len()));
        if let Some((offset, record)) = &self.record {
            assert_eq!(pwrite(&output, record, *offset), Ok(RECORD_BYTES));
        }
        // Neither is closed: that would be one more call.
        std::mem::forget((output, inherited));
        self.end.come()
    }
}

const CONTENT: &[u8] = b"what nobody sent";

fn document_lie(word: &str) -> DocumentLie {
    let name = DocumentName::new(b"letter.txt").unwrap();
    let length = CONTENT.len() as u64;
    let true_record = Record { size_bytes: length, is_view_only: false, name }.encode();
    let said = |size_bytes| Record { size_bytes, is_view_only: false, name }.encode();
    let changed = |at: usize, bytes: &[u8]| {
        let mut record = true_record;
        record[at..at + bytes.len()].copy_from_slice(bytes);
        record
    };
    let named = |bytes: &[u8]| changed(NAME_AT, bytes);
    let (record, end) = match word {
        "nothing" => return DocumentLie { content: b"", record: None, end: End::Code(0) },
        "no-record" => (None, End::Code(0)),
        "smaller" => (Some((length, said(length - 1))), End::Code(0)),
        "larger" => (Some((length, said(length + 1))), End::Code(0)),
        "largest" => (Some((length, said(u64::MAX))), End::Code(0)),
        "beyond" => (Some((FAR, said(FAR))), End::Code(0)),
        "path" => (Some((length, named(b"../owned\0"))), End::Code(0)),
        "directory" => (Some((length, named(b"..\0\0\0\0\0\0\0\0"))), End::Code(0)),
        "control" => (Some((length, named(b"\x1b[2J\n\0\0\0\0\0"))), End::Code(0)),
        "nameless" => (Some((length, named(&[0; 10]))), End::Code(0)),
        "flags" => (Some((length, changed(FLAGS_AT, &[0xFF; 8]))), End::Code(0)),
        "version" => (Some((length, changed(VERSION_AT, &[2]))), End::Code(0)),
        "code-9" => (Some((length, true_record)), End::Code(9)),
        "code-255" => (Some((length, true_record)), End::Code(255)),
        "refuses" => (Some((length, true_record)), End::Code(10)),
        "panic" => (Some((length, true_record)), End::Panic),
        "forbidden" => (Some((length, true_record)), End::Forbidden),
        "stretches" => (Some((FAR, said(FAR))), End::Never),
        "no-space" => (Some((length, true_record)), End::Code(3)),
        other => panic!("dvm-parser knows no lie {other}"),
    };
    DocumentLie { content: CONTENT, record, end }
}

/// Where the record has its version, its flags and its name.
const VERSION_AT: usize = 7;
const FLAGS_AT: usize = 16;
const NAME_AT: usize = 24;

/// One thing that fat-reader does.
enum Act {
    Say(Vec<u8>),
    /// A datagram with so many descriptors.
    Descriptors(usize),
    /// A file of this name and mode with so many of the pendrive's bytes, which are all that it can write. Only Landlock
    /// keeps the name inside.
    File(&'static [u8], u32, usize),
    Directory(&'static [u8]),
}

struct TreeLie {
    acts: Vec<Act>,
    end: End,
}

impl TreeLie {
    fn tell(&self, mut inherited: Inherited) -> u8 {
        let [edge, device, output] = ["edge", "device", "output"].map(|name| inherited.take(name).unwrap());
        for act in &self.acts {
            match act {
                Act::Say(bytes) => say(&edge, bytes, &[]),
                Act::Descriptors(count) => {
                    let both = [edge.as_fd(), device.as_fd()];
                    say(&edge, &said(&progress(1)), &both[..*count]);
                }
                // What it may not make is not made, and it says all the same that it was.
                Act::File(name, mode, bytes) => {
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                    let mode = Mode::from_raw_mode(*mode);
                    if let Ok(file) = openat2(&output, *name, flags, mode, ResolveFlags::empty()) {
                        // The first byte would take special rights away.
                        if *bytes > 0 {
                            assert_eq!(sendfile(&file, &device, Some(&mut 0), *bytes), Ok(*bytes));
                        }
                    }
                }
                Act::Directory(name) => drop(mkdirat(&output, *name, Mode::RWXU)),
            }
        }
        std::mem::forget((edge, device, output, inherited));
        self.end.come()
    }
}

fn tree_lie(word: &str) -> TreeLie {
    let say = |notices: &[UnpackNotice]| notices.iter().map(|notice| Act::Say(said(notice))).collect();
    let raw = |bytes: &[u8]| vec![Act::Say(bytes.to_vec())];
    let first = said(&progress(1));
    let (acts, end): (Vec<Act>, End) = match word {
        "garbage" => (raw(&[0xFF; 32]), End::Never),
        "truncated" => (raw(&first[..first.len() - 1]), End::Never),
        "trailing" => (raw(&[&first[..], &[0]].concat()), End::Never),
        "oversized" => (raw(&[0; MESSAGE_BYTES_MAX + 1]), End::Never),
        "huge" => (raw(&[0; 60_000]), End::Never),
        "foreign" => (raw(&codec::encode(&SupervisorOrder::Ready).unwrap()), End::Never),
        "one-descriptor" => (vec![Act::Descriptors(1)], End::Never),
        "two-descriptors" => (vec![Act::Descriptors(2)], End::Never),
        // Variant and text, as they are encoded.
        "raw-name" => (raw(&codec::encode(&(1_u32, "\u{1b}[2J".to_owned())).unwrap()), End::Never),
        "flood" => ((0..FLOOD).map(|_| Act::Say(first.clone())).collect(), End::Never),
        "shrinks" => (say(&[progress(2), progress(1)]), End::Never),
        "crawls" => (say(&[UnpackNotice::Progress(so_far(1))]), End::Never),
        "beyond" => (say(&[UnpackNotice::Progress(so_far(FAR))]), End::Never),
        "names" => {
            let name = UnpackNotice::Renamed(ShownName::new("a").unwrap());
            ((0..=RENAMED_TOLD_MAX).map(|_| Act::Say(said(&name))).collect(), End::Never)
        }
        "after-the-end" => (say(&[done(0, 0, 0), progress(1)]), End::Never),
        "done-twice" => (say(&[done(0, 0, 0), done(0, 0, 0)]), End::Code(0)),
        "done-for-nothing" => (say(&[done(3, 1, 99)]), End::Code(0)),
        "done-beyond" => (say(&[done(1, 0, FAR)]), End::Code(0)),
        "fewer-bytes" => (with(vec![Act::File(b"a", PLAIN, 10)], &done(1, 0, 11)), End::Code(0)),
        "more-files" => {
            let files = vec![Act::File(b"a", PLAIN, 5), Act::File(b"b", PLAIN, 5)];
            (with(files, &done(1, 0, 10)), End::Code(0))
        }
        "terminal-name" => (with(vec![Act::File(b"\x1b[2Ja", PLAIN, 1)], &done(1, 0, 1)), End::Code(0)),
        "lines-name" => {
            let acts = vec![Act::Directory(b"b"), Act::Directory(b"b/c\nd")];
            (with(acts, &done(0, 2, 0)), End::Code(0))
        }
        "set-user-id" => (with(vec![Act::File(b"a", 0o4755, 0)], &done(1, 0, 0)), End::Code(0)),
        "outside" => {
            let acts = vec![
                Act::File(b"../owned", PLAIN, 1),
                Act::File(b"/home/user/owned", PLAIN, 1),
                Act::Directory(b"../owned"),
            ];
            (with(acts, &done(2, 1, 2)), End::Code(0))
        }
        "done-but-fails" => (say(&[done(0, 0, 0)]), End::Code(1)),
        "code-200" => (Vec::new(), End::Code(200)),
        "speechless" => (Vec::new(), End::Code(0)),
        "panic" => (say(&[progress(1)]), End::Panic),
        "forbidden" => (say(&[done(0, 0, 0)]), End::Forbidden),
        "fails-but-fine" => (say(&[UnpackNotice::Failed(UnpackFailure::Damaged)]), End::Code(0)),
        "no-space" => {
            let acts = vec![Act::File(b"a", PLAIN, 1)];
            (with(acts, &UnpackNotice::Failed(UnpackFailure::NoSpace)), End::Code(1))
        }
        "raw-reason" => (raw(&codec::encode(&(4_u32, "\u{1b}[2J\n".to_owned())).unwrap()), End::Code(77)),
        other => panic!("fat-reader knows no lie {other}"),
    };
    TreeLie { acts, end }
}

/// Messages of one flood.
const FLOOD: usize = 5_000;
/// Mode of an honest file.
const PLAIN: u32 = 0o600;

fn with(mut acts: Vec<Act>, last: &UnpackNotice) -> Vec<Act> {
    acts.push(Act::Say(said(last)));
    acts
}

fn said(notice: &UnpackNotice) -> Vec<u8> {
    codec::encode(notice).unwrap()
}

fn so_far(bytes: u64) -> UnpackProgress {
    UnpackProgress { files: 0, directories: 0, bytes }
}

fn progress(steps: u64) -> UnpackNotice {
    UnpackNotice::Progress(so_far(steps * PROGRESS_BYTES))
}

fn done(files: u32, directories: u32, bytes: u64) -> UnpackNotice {
    UnpackNotice::Done(UnpackSummary { files, directories, bytes, ..UnpackSummary::default() })
}
