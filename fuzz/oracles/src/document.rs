//! The whole work of dvm-parser on a device of any bytes, against the contract's rules written down once more.

use dvm_parser::document::header::{HEADER_BYTES, Header, NAME_BYTES_MAX};
use dvm_parser::document::record::{RECORD_BYTES, Record};
use dvm_parser::document::transfer::{Trouble, transfer};
use dvm_parser::document::{MARK_BYTES, VIEW_ONLY_MARK};
use rustix::fd::{AsFd, OwnedFd};

use crate::memory::{memory_file, whole};

/// The device holds the input.
pub fn run(untrusted_device: &[u8]) {
    let (device, output) = (memory_file(untrusted_device), memory_file(b""));
    match (transfer(device.as_fd(), output.as_fd()), expected(untrusted_device)) {
        (Ok(()), Some(expected)) => holds(&output, &expected),
        (Err(trouble), None) => {
            assert_eq!(Trouble::from_exit_code(trouble.exit_code().into()), Some(trouble))
        }
        (outcome, expected) => panic!("{outcome:?}, but {expected:?} was expected"),
    }
    if let Some(header) = untrusted_device.first_chunk::<HEADER_BYTES>()
        && let Ok(decoded) = Header::decode(header, untrusted_device.len() as u64)
    {
        assert_eq!(decoded.encode(), *header, "a header has one form");
    }
    // What whoever started dvm-parser finds in a file that it may have written.
    if let Some(record) = untrusted_device.last_chunk::<RECORD_BYTES>()
        && let Ok(decoded) = Record::decode(record, untrusted_device.len() as u64)
    {
        assert_eq!(decoded.encode(), *record, "a record has one form");
    }
}

/// A document that must be copied.
#[derive(Debug)]
struct Document<'a> {
    name: &'a str,
    body: &'a [u8],
    is_view_only: bool,
}

/// docs/contract.md, "What is on a pendrive": `None` is to be rejected.
fn expected(device: &[u8]) -> Option<Document<'_>> {
    let (header, rest) = device.split_at_checked(HEADER_BYTES)?;
    let (size, name) = header.split_at(8);
    let size = usize::try_from(u64::from_le_bytes(size.try_into().unwrap())).ok()?;
    let (body, behind) = rest.split_at_checked(size)?;
    let name = std::str::from_utf8(name).ok()?.trim_end_matches('\0');
    let is_name = !matches!(name, "" | "." | "..")
        && !name.contains(|character: char| character == '/' || character.is_control())
        && name.len() <= NAME_BYTES_MAX;
    let is_view_only = behind.get(..MARK_BYTES) == Some(&VIEW_ONLY_MARK);
    is_name.then_some(Document { name, body, is_view_only })
}

fn holds(output: &OwnedFd, expected: &Document<'_>) {
    let written = whole(output);
    let (body, record) = written.split_last_chunk::<RECORD_BYTES>().expect("a record is behind the copy");
    let record = Record::decode(record, written.len() as u64).expect("the record is a good one");
    assert_eq!(body, expected.body);
    assert_eq!((record.name.as_str(), record.is_view_only), (expected.name, expected.is_view_only));
}
