//! Documents on raw devices.

use dvm_parser::document::VIEW_ONLY_MARK;
use dvm_parser::document::header::{DocumentName, Header};
use dvm_parser::document::record::Record;

use crate::{Seeds, seed};

pub fn documents() -> Seeds {
    let header = |size_bytes: u64, name: &str| {
        let name = DocumentName::new(name.as_bytes()).expect("a document's name");
        Header { size_bytes, name }.encode().to_vec()
    };
    let with = |header: Vec<u8>, behind: &[u8]| [header, behind.to_vec()].concat();
    let mut no_end = header(0, "a");
    no_end[8..].fill(b'a');
    let mut behind_name = header(0, "a");
    behind_name[100] = 1;
    let mut boot_sector = header(0, "a");
    boot_sector[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
    boot_sector[510..512].copy_from_slice(&[0x55, 0xAA]);
    let name = DocumentName::new(b"a.txt").expect("a document's name");
    let record = Record { size_bytes: 5, is_view_only: true, name }.encode();
    vec![
        seed("plain", with(header(5, "a.txt"), b"hello, and what is behind it")),
        seed("empty", header(0, "empty")),
        seed("view-only", with(with(header(2, "\u{e4}.pdf"), b"hi"), &VIEW_ONLY_MARK)),
        seed("larger-than-the-device", with(header(6, "a.txt"), b"hello")),
        seed("longest-name", header(0, &"n".repeat(1015))),
        seed("name-without-end", no_end),
        seed("behind-the-name", behind_name),
        seed("file-system", boot_sector),
        seed("record", with(b"hello".to_vec(), &record)),
    ]
}
