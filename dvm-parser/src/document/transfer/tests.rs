//! The copy, between files.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;

use super::super::header::DocumentName;
use super::super::record::RECORD_BYTES;
use super::*;

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// What is copied from a device with these bytes: the document and its record.
fn copied(device: &File) -> Result<(Vec<u8>, Record), Trouble> {
    let mut output = tempfile::tempfile().unwrap();
    transfer(device.as_fd(), output.as_fd())?;
    let mut bytes = Vec::new();
    output.rewind().unwrap();
    output.read_to_end(&mut bytes).unwrap();
    let record = Record::decode(bytes.last_chunk::<RECORD_BYTES>().unwrap(), bytes.len() as u64).unwrap();
    bytes.truncate(bytes.len() - RECORD_BYTES);
    Ok((bytes, record))
}

fn device(size_bytes: u64, document: &[u8], behind: &[u8]) -> File {
    let header = Header { size_bytes, name: DocumentName::new(b"name").unwrap() };
    file(&[&header.encode()[..], document, behind].concat())
}

#[test]
fn the_golden_devices_are_copied() {
    for (bytes, document, is_view_only) in [
        (&include_bytes!("../../../tests/golden/hello.bin")[..], &b"hello\n"[..], false),
        (include_bytes!("../../../tests/golden/empty.bin"), b"", false),
        (include_bytes!("../../../tests/golden/umlaut.bin"), b"\0\xff\n", false),
        (include_bytes!("../../../tests/golden/longest-name.bin"), b"x", false),
        (include_bytes!("../../../tests/golden/view-only.bin"), b"hello\n", true),
    ] {
        let (copy, record) = copied(&file(bytes)).unwrap();
        assert_eq!(copy, document);
        assert_eq!((record.size_bytes, record.is_view_only), (document.len() as u64, is_view_only));
        assert_eq!(record.name.field()[..], bytes[8..1024]);
    }
}

#[test]
fn what_is_behind_the_document_does_not_get_into_the_copy() {
    let (copy, record) = copied(&device(5, b"12345", b"secret of another transfer")).unwrap();
    assert_eq!((&copy[..], record.is_view_only), (&b"12345"[..], false));
}

#[test]
fn the_mark_counts_only_whole_and_directly_behind_the_document() {
    let mark = VIEW_ONLY_MARK;
    let is_view_only = |behind: &[u8]| copied(&device(1, b"x", behind)).unwrap().1.is_view_only;
    assert!(is_view_only(&mark));
    assert!(is_view_only(&[&mark[..], b"more"].concat()));
    assert!(!is_view_only(&mark[..15]));
    assert!(!is_view_only(&[&b"\0"[..], &mark].concat()));
    assert!(!is_view_only(&[0; 16]));
    assert!(!is_view_only(&[]));
    // A document that ends with the mark is a document.
    assert!(!copied(&device(16, &mark, &[])).unwrap().1.is_view_only);
}

#[test]
fn l8_sizes_beyond_the_device_are_refused_before_anything_is_copied() {
    for size in [6, 7, 1 << 40, 1 << 63, u64::MAX] {
        let output = tempfile::tempfile().unwrap();
        let result = transfer(device(size, b"12345", b"").as_fd(), output.as_fd());
        assert_eq!(result, Err(Trouble::Rejected(Rejection::LargerThanDevice)));
        assert_eq!(output.metadata().unwrap().len(), 0);
    }
    for length in [0, 1, 1023] {
        assert_eq!(copied(&file(&vec![b'a'; length])).unwrap_err(), Trouble::Rejected(Rejection::TooShort));
    }
}

#[test]
fn a_large_document_is_copied_in_steps() {
    let document: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (copy, _) = copied(&device(12_000_000, &document, &[0; 16])).unwrap();
    assert!(copy == document);
}

#[test]
fn an_output_that_cannot_be_written_is_told() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(transfer(device(0, b"", b"").as_fd(), full.as_fd()), Err(Trouble::NoSpace));
    let read_only = File::open("/dev/null").unwrap();
    assert_eq!(transfer(device(1, b"x", b"").as_fd(), read_only.as_fd()), Err(Trouble::OutputFailed));
}

#[test]
fn each_trouble_has_its_own_exit_code() {
    let all = CODES.map(|(_, trouble)| trouble).into_iter().chain(Rejection::ALL.map(Trouble::Rejected));
    let mut codes = std::collections::BTreeSet::new();
    for trouble in all {
        let code = trouble.exit_code();
        assert!(code != 0 && code != sys::worker::EXIT_SANDBOX && codes.insert(code), "{trouble:?}");
        assert_eq!(Trouble::from_exit_code(i32::from(code)), Some(trouble));
    }
    for code in [-1, 0, 5, 9, 20, 77, 255, 256 + 10] {
        assert_eq!(Trouble::from_exit_code(code), None);
    }
}

#[test]
fn l15_a_header_that_is_changed_meanwhile_is_one_of_the_two() {
    let device = device(3, b"one", &[b'x'; 100]);
    let of =
        |size_bytes: u64, name: &[u8]| Header { size_bytes, name: DocumentName::new(name).unwrap() }.encode();
    let (small, large) = (of(3, b"small"), of(90, b"large"));
    let writer = device.try_clone().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for header in [small, large] {
                    std::os::unix::fs::FileExt::write_all_at(&writer, &header, 0).unwrap();
                }
            }
        });
        for _ in 0..2000 {
            // The size that was judged is the size that is copied, and the size that is told.
            if let Ok((copy, record)) = copied(&device) {
                assert_eq!(copy.len() as u64, record.size_bytes);
                assert!(matches!(record.size_bytes, 3 | 90), "{record:?}");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_device_that_becomes_shorter_is_not_believed() {
    let device = device(50 << 20, &vec![1; 50 << 20], b"");
    let shrinking = device.try_clone().unwrap();
    let result = std::thread::scope(|scope| {
        let reading = scope.spawn(|| copied(&device));
        shrinking.set_len(2000).unwrap();
        reading.join().unwrap()
    });
    match result {
        // It was faster.
        Ok((copy, record)) => assert_eq!(copy.len() as u64, record.size_bytes),
        Err(trouble) => assert!(
            matches!(trouble, Trouble::DeviceUnreadable | Trouble::Rejected(Rejection::LargerThanDevice)),
            "{trouble:?}"
        ),
    }
}
