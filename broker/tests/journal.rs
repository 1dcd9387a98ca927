//! The journal's two files: what was written comes back, what was cut off or damaged does not.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use broker::journal::{JOURNAL_BYTES_MAX, Journal, Past, Record};
use broker::machine::{Asker, Pendrive, Place, RequestKey};
use protocol::reply::{Code, Detail, Reply};
use protocol::types::{Domid, ImageId, ReqId, SizeMib, VmName};

fn files(directory: &Path) -> [OwnedFd; 2] {
    ["journal.a", "journal.b"].map(|name| {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options.open(directory.join(name)).unwrap().into()
    })
}

fn domid(number: u16) -> Domid {
    Domid::new(number).unwrap()
}

fn vm(number: u16) -> Record {
    Record::Vm { domid: domid(number), name: VmName::new(b"work").unwrap() }
}

fn key(number: u64) -> RequestKey {
    RequestKey { reqid: ReqId::new(format!("r{number}").as_bytes()).ok(), digest: number }
}

fn reopen(directory: &Path) -> (Journal, Vec<Record>) {
    Journal::open(files(directory)).unwrap()
}

const HOST: Record = Record::Host { boot_id: [7; 16] };

#[test]
fn what_was_appended_comes_back_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, records) = reopen(directory.path());
    assert!(records.is_empty());
    journal.checkpoint(&[HOST]).unwrap();
    for number in 1..100 {
        journal.append(&vm(number)).unwrap();
    }
    journal.sync().unwrap();
    let (_, records) = reopen(directory.path());
    assert_eq!(records.len(), 100);
    assert_eq!((&records[0], &records[99]), (&HOST, &vm(99)));
}

#[test]
fn a_record_cut_off_at_any_byte_ends_the_journal_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = reopen(directory.path());
    journal.checkpoint(&[HOST]).unwrap();
    journal.append(&vm(1)).unwrap();
    let path = directory.path().join("journal.b");
    let whole = std::fs::read(&path).unwrap();
    journal.append(&vm(2)).unwrap();
    let longer = std::fs::read(&path).unwrap();
    for length in whole.len()..longer.len() {
        std::fs::write(&path, &longer[..length]).unwrap();
        assert_eq!(reopen(directory.path()).1, [HOST, vm(1)], "{length} bytes");
    }
    for index in whole.len()..longer.len() {
        let mut damaged = longer.clone();
        damaged[index] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(reopen(directory.path()).1, [HOST, vm(1)], "byte {index}");
    }
}

#[test]
fn a_crash_at_any_point_of_a_checkpoint_leaves_a_whole_journal() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = reopen(directory.path());
    journal.checkpoint(&[HOST, vm(1)]).unwrap();
    let old = std::fs::read(directory.path().join("journal.b")).unwrap();
    journal.checkpoint(&[HOST, vm(2)]).unwrap();
    let new = std::fs::read(directory.path().join("journal.a")).unwrap();
    // The body is written before the header, and the old file is emptied last.
    for length in 16..=new.len() {
        std::fs::write(directory.path().join("journal.b"), &old).unwrap();
        let mut headless = new[..length].to_vec();
        headless[..16].fill(0);
        std::fs::write(directory.path().join("journal.a"), &headless).unwrap();
        assert_eq!(reopen(directory.path()).1, [HOST, vm(1)]);
    }
    std::fs::write(directory.path().join("journal.a"), &new).unwrap();
    assert_eq!(reopen(directory.path()).1, [HOST, vm(2)]);
}

#[test]
fn files_that_are_no_journal_are_an_empty_one() {
    for content in [&b""[..], b"x", b"qfxjrnl1", b"qfxjrnl0\x01\0\0\0\0\0\0\0", &[0xFF; 4096]] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("journal.a"), content).unwrap();
        std::fs::write(directory.path().join("journal.b"), content).unwrap();
        let (mut journal, records) = reopen(directory.path());
        assert!(records.is_empty());
        journal.checkpoint(&[HOST]).unwrap();
        assert_eq!(reopen(directory.path()).1, [HOST]);
    }
}

#[test]
fn a_long_journal_asks_for_a_checkpoint_and_is_short_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = reopen(directory.path());
    journal.checkpoint(&[HOST]).unwrap();
    let mut appended = 0_u64;
    while !journal.is_long() {
        journal.append(&vm(1)).unwrap();
        appended += 1;
        assert!(appended < JOURNAL_BYTES_MAX);
    }
    journal.checkpoint(&[HOST, vm(1)]).unwrap();
    assert!(!journal.is_long());
    assert_eq!(reopen(directory.path()).1, [HOST, vm(1)]);
}

#[test]
fn the_past_of_another_run_of_the_host_is_forgotten() {
    let image = ImageId([1; 16]);
    let place = Place::Clean { at: domid(1) };
    let maker = VmName::new(b"work").unwrap();
    let pendrive = Pendrive { image, size: SizeMib::new(64).unwrap(), maker, place };
    let records = [HOST, vm(1), Record::Pendrive(pendrive.clone())];
    let past = Past::from_records(&records, [7; 16]);
    assert_eq!(past.pendrives.get(&image), Some(&pendrive));
    assert_eq!(Past::from_records(&records, [8; 16]), Past::default());
}

#[test]
fn a_reply_is_owed_until_it_was_given() {
    let reply = Reply { reqid: key(1).reqid, code: Code::Ok, detail: Detail::Done };
    let decided = Record::Decided { domid: domid(1), key: key(1), reply: reply.clone() };
    let answered = Record::Answered { domid: domid(1), key: key(1) };
    let past = Past::from_records(&[HOST, vm(1), decided.clone()], [7; 16]);
    assert_eq!(past.decided, [(Asker { domid: domid(1), key: key(1) }, reply)]);
    let past = Past::from_records(&[HOST, vm(1), decided, answered], [7; 16]);
    assert!(past.decided.is_empty());
    assert_eq!(past.vms[&domid(1)].1, [key(1)]);
}
