//! The journal after any damage: what is read back is whole records, and a broker that begins with them works.

use broker::journal::{Journal, Past, Record};
use broker::machine::{Action, Event, Machine, Surroundings};
use policy::Policy;
use protocol::supervise::Role;
use protocol::types::ImageId;

use crate::broker::settings;
use crate::bytes::Bytes;
use crate::memory::{memory_file, whole};

const MAGIC: &[u8; 8] = b"qfxjrnl1";
/// The run of the host that [`settings`] names.
const BOOT_ID: [u8; 16] = [7; 16];

/// The first byte says whether the rest is two files as they are, or records whose checksums are right.
pub fn run(untrusted: &[u8]) {
    let mut bytes = Bytes::new(untrusted);
    let contents = if bytes.flag() {
        let first = bytes.piece();
        [first.to_vec(), bytes.rest().to_vec()]
    } else {
        [framed(&mut bytes), Vec::new()]
    };
    let files = contents.each_ref().map(|content| memory_file(content));
    let copies = files.each_ref().map(|file| rustix::io::dup(file).expect("a second descriptor"));
    let (mut journal, records) = Journal::open(files).expect("files in memory can be read");
    assert_eq!(copies.each_ref().map(whole), contents, "reading changes nothing");
    let longest = contents.iter().map(Vec::len).max().unwrap_or_default();
    assert!(records.len() * 8 <= longest, "{} records out of {longest} bytes", records.len());
    // What was read is worth as much as what is written anew.
    journal.checkpoint(&records).expect("memory has room");
    let (_, again) = Journal::open(copies).expect("files in memory can be read");
    assert_eq!(again, records);
    begin_with(&records);
}

fn framed(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend(1_u64.to_le_bytes());
    while !bytes.is_empty() {
        let payload = bytes.piece();
        file.extend(u32::try_from(payload.len()).expect("a short piece").to_le_bytes());
        file.extend(checksum(payload).to_le_bytes());
        file.extend(payload);
    }
    file
}

/// CRC-32 as in ISO 3309, with a bit for each step of the division.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32| (sum >> 1) ^ (0xEDB8_8320 * (sum & 1));
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

/// The broker takes over what the journal says, as if it were so, and asks the attacher what is.
fn begin_with(records: &[Record]) {
    let past = Past::from_records(records, BOOT_ID);
    let mut machine = Machine::new(settings(), Policy::default(), past.clone(), 1);
    let mut fresh_image = || ImageId([0xFF; 16]);
    let mut journal = machine.snapshot();
    assert_eq!(Past::from_records(&journal, BOOT_ID).pendrives, past.pendrives);
    for (now, event) in (1..).zip([Event::Started(Role::Attacher), Event::Tick]) {
        let actions = machine.step(event, &mut Surroundings { now, fresh_image: &mut fresh_image });
        for action in actions {
            if let Action::Record(record) = action {
                journal.push(record);
            }
        }
    }
    let (written, known) =
        (Past::from_records(&journal, BOOT_ID), Past::from_records(&machine.snapshot(), BOOT_ID));
    assert_eq!(written.pendrives, known.pendrives);
    assert_eq!(written.disposables, known.disposables);
}
