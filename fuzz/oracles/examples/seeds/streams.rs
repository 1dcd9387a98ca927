//! Bytes of streams and files: xenstore's wire, and the journal.

use broker::journal::{Journal, Record};
use broker::machine::{Pendrive, Place, RequestKey};
use protocol::reply::{Code, Detail, Reply};
use protocol::types::{ReqId, SizeMib};
use rustix::fs::{MemfdFlags, memfd_create};
use xenstore::wire::{Frame, Kind};

use crate::messages::{domid, image, name};
use crate::{Seeds, seed};

/// How the stream is cut, and the stream.
pub fn gate() -> Seeds {
    let with = |cut: u16, stream: Vec<u8>| [cut.to_le_bytes().to_vec(), stream].concat();
    let permitted = frames(&[
        (Kind::Directory, 0, b"/local/domain\0"),
        (Kind::DirectoryPart, 0, b"/local/domain\x000\0"),
        (Kind::Watch, 0, b"/local/domain/1/device/qpen\x001:1:0\0"),
        (Kind::Watch, 0, b"@releaseDomain\x002:0:0\0"),
        (Kind::Read, 0, b"/local/domain/1/name\0"),
        (Kind::Read, 0, b"/local/domain/1/device/qpen\0"),
        (Kind::Unwatch, 0, b"/local/domain/1/device/qpen\x001:1:0\0"),
        (Kind::ResetWatches, 0, b"\0"),
    ]);
    let forbidden = frames(&[
        (Kind::Write, 0, b"/local/domain/1/device/qpen\0umount"),
        (Kind::Read, 1, b"/local/domain/1/name\0"),
        (Kind::Read, 0, b"/local/domain/0/secret\0"),
        (Kind::Read, 0, b"/local/domain/1/name"),
        (Kind::Directory, 0, b"/\0"),
        (Kind::Watch, 0, b"/local/domain/1\0token\0"),
        (Kind::TransactionStart, 0, b"\0"),
        (Kind::SetPerms, 0, b"/local/domain/1/name\0n1\0"),
        (Kind::Rm, 0, b"/local/domain/1/name\0"),
    ]);
    let mut broken = permitted.clone();
    broken.extend([2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 16, 0, 0]);
    vec![
        seed("permitted", with(4999, permitted.clone())),
        seed("permitted-in-pieces", with(6, permitted)),
        seed("forbidden", with(4999, forbidden)),
        seed("broken", with(4999, broken)),
    ]
}

fn frames(requests: &[(Kind, u32, &[u8])]) -> Vec<u8> {
    let frames = (1..).zip(requests).map(|(number, (kind, transaction, payload))| {
        Frame::new(kind.number(), number, *transaction, payload.to_vec()).expect("a short request").encode()
    });
    frames.flatten().collect()
}

/// The client's calls and a server's answers, or a guest's requests.
pub fn xenstore() -> Seeds {
    let client = |calls: &[u8], said: &[(Kind, &[u8])]| {
        let mut bytes = vec![1, u8::try_from(calls.len()).expect("few calls")];
        bytes.extend(calls);
        bytes.push(0);
        for (kind, payload) in said {
            let number = Kind::ALL.iter().position(|known| known == kind).expect("a kind");
            bytes.extend([u8::try_from(number).expect("few kinds"), 0]);
            bytes.extend(u16::try_from(payload.len()).expect("a short answer").to_le_bytes());
            bytes.extend(*payload);
        }
        bytes
    };
    let guest = |requests: &[(u8, u8, &[u8])]| {
        let mut bytes = vec![0, 0];
        for (kind, transaction, payload) in requests {
            bytes.extend([*kind, *transaction]);
            bytes.extend(u16::try_from(payload.len()).expect("a short request").to_le_bytes());
            bytes.extend(*payload);
        }
        bytes
    };
    let stream = frames(&[
        (Kind::Write, 0, b"data/x\0value"),
        (Kind::Watch, 0, b"data\0token\0"),
        (Kind::Read, 0, b"name\0"),
        (Kind::Read, 0, b"/local/domain/2/data\0"),
    ]);
    let ok = &b"OK\0"[..];
    vec![
        seed(
            "client-reads",
            client(&[0, 0, 3], &[(Kind::Read, b"value"), (Kind::Error, b"ENOENT\0"), (Kind::Rm, ok)]),
        ),
        seed(
            "client-lists",
            client(
                &[6],
                &[
                    (Kind::Error, b"E2BIG\0"),
                    (Kind::DirectoryPart, b"7\x00one\0"),
                    (Kind::DirectoryPart, b"7\0two\0\0"),
                ],
            ),
        ),
        seed(
            "client-watches",
            client(
                &[8, 14, 10],
                &[(Kind::Watch, ok), (Kind::WatchEvent, b"/x\x000:5:0\0"), (Kind::Unwatch, ok)],
            ),
        ),
        seed(
            "client-transacts",
            client(
                &[12, 4],
                &[
                    (Kind::TransactionStart, b"1\0"),
                    (Kind::Write, ok),
                    (Kind::Read, b"5"),
                    (Kind::TransactionEnd, ok),
                    (Kind::GetPerms, b"n0\0b5\0"),
                ],
            ),
        ),
        seed(
            "guest-writes",
            guest(&[
                (11, 0, b"data/x\0value"),
                (2, 0, b"data/x\0"),
                (1, 0, b"data\0"),
                (14, 0, b"data/x\0n1\0r2\0"),
                (3, 0, b"data/x\0"),
                (13, 0, b"data/x\0"),
            ]),
        ),
        seed(
            "guest-watches",
            guest(&[(4, 0, b"data\0t\0"), (12, 0, b"data/y\0"), (5, 0, b"data\0t\0"), (21, 0, b"\0")]),
        ),
        seed(
            "guest-transacts",
            guest(&[
                (6, 0, b"\0"),
                (11, 1, b"device/qpen\0umount"),
                (7, 1, b"T\0"),
                (6, 0, b"\0"),
                (7, 2, b"F\0"),
            ]),
        ),
        seed(
            "guest-forbidden",
            guest(&[
                (2, 0, b"/tool\0"),
                (11, 0, b"/local/domain/2/data\0x"),
                (14, 0, b"device/qpen\0n1\0"),
                (22, 0, b"/local/domain\x000\0"),
                (4, 0, b"@releaseDomain\0t\0"),
            ]),
        ),
        seed("guest-stream", [&[0, 1][..], &stream].concat()),
    ]
}

pub fn journals() -> Seeds {
    let reply = Reply { reqid: ReqId::new(b"r1").ok(), code: Code::Ok, detail: Detail::Done };
    let key = RequestKey { reqid: reply.reqid.clone(), digest: 1 };
    let size = SizeMib::new(64).expect("a size");
    let records = [
        Record::Host { boot_id: [7; 16] },
        Record::Vm { domid: domid(), name: name() },
        Record::Pendrive(Pendrive {
            image: image(),
            size,
            maker: name(),
            place: Place::Clean { at: domid() },
        }),
        Record::Decided { domid: domid(), key: key.clone(), reply },
        Record::Answered { domid: domid(), key },
        Record::VmGone { domid: domid() },
    ];
    let file = || memfd_create("seed", MemfdFlags::CLOEXEC).expect("a file in memory");
    let files = [file(), file()];
    let copy = rustix::io::dup(&files[1]).expect("a second descriptor");
    let (mut journal, _) = Journal::open(files).expect("files in memory");
    // The first checkpoint goes into the second file.
    journal.checkpoint(&records).expect("room");
    let mut whole = vec![0; 4096];
    let length = rustix::io::pread(copy, &mut whole, 0).expect("a file in memory");
    whole.truncate(length);
    let mut framed = vec![0];
    for record in records {
        let bytes = protocol::codec::encode(&record).expect("a short record");
        framed.extend(u16::try_from(bytes.len()).expect("a short record").to_le_bytes());
        framed.extend(bytes);
    }
    vec![
        seed("second-file", [&[1, 0, 0][..], &whole].concat()),
        seed("cut-off", [&[1, 0, 0][..], &whole[..whole.len() - 3]].concat()),
        seed("records", framed),
    ]
}
