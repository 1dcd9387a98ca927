//! Golden bytes, every rule of the contract, and random headers.

use proptest::prelude::*;

use super::*;

const HELLO: &[u8] = include_bytes!("../../../tests/golden/hello.bin");
const EMPTY: &[u8] = include_bytes!("../../../tests/golden/empty.bin");
const UMLAUT: &[u8] = include_bytes!("../../../tests/golden/umlaut.bin");
const LONGEST: &[u8] = include_bytes!("../../../tests/golden/longest-name.bin");
const VIEW_ONLY: &[u8] = include_bytes!("../../../tests/golden/view-only.bin");

fn header_of(device: &[u8]) -> [u8; HEADER_BYTES] {
    *device.first_chunk().unwrap()
}

/// A device that begins so, with 100 bytes behind the header.
fn rejection(change: impl FnOnce(&mut [u8; HEADER_BYTES])) -> Result<Header, Rejection> {
    let mut bytes = header_of(HELLO);
    change(&mut bytes);
    Header::decode(&bytes, HEADER_BYTES as u64 + 100)
}

fn put_name(bytes: &mut [u8; HEADER_BYTES], name: &[u8]) {
    bytes[8..].fill(0);
    bytes[8..8 + name.len()].copy_from_slice(name);
}

#[test]
fn the_golden_headers_are_read_and_written_byte_for_byte() {
    for (device, size_bytes, name) in [
        (HELLO, 6, "hello.txt"),
        (EMPTY, 0, "empty"),
        (UMLAUT, 3, "Grüße 日本.odt"),
        (LONGEST, 1, &*"n".repeat(NAME_BYTES_MAX)),
        (VIEW_ONLY, 6, "hello.txt"),
    ] {
        let header = Header { size_bytes, name: DocumentName::new(name.as_bytes()).unwrap() };
        assert_eq!(Header::decode(&header_of(device), device.len() as u64), Ok(header), "{name}");
        assert_eq!(header.encode()[..], device[..HEADER_BYTES], "{name}");
        assert_eq!(header.name.as_str(), name);
    }
    assert_eq!(VIEW_ONLY[HEADER_BYTES + 6..], crate::document::VIEW_ONLY_MARK);
}

#[test]
fn l8_a_size_beyond_the_device_is_rejected() {
    let sized = |size: u64| rejection(|bytes| bytes[..8].copy_from_slice(&size.to_le_bytes()));
    for size in [0, 1, 99, 100] {
        assert_eq!(sized(size).unwrap().size_bytes, size);
    }
    for size in [101, 1 << 32, 1 << 63, (1 << 63) + 1, u64::MAX - 1023, u64::MAX] {
        assert_eq!(sized(size), Err(Rejection::LargerThanDevice), "{size}");
    }
    for device_bytes in [0, 1, 1023] {
        assert_eq!(Header::decode(&header_of(EMPTY), device_bytes), Err(Rejection::TooShort));
    }
    assert!(Header::decode(&header_of(EMPTY), 1024).is_ok());
    assert_eq!(Header::decode(&header_of(HELLO), 1024 + 5), Err(Rejection::LargerThanDevice));
}

#[test]
fn every_name_that_the_contract_rejects_is_rejected() {
    for (name, expected) in [
        (&b""[..], Rejection::NameEmpty),
        (b".", Rejection::NameOfDirectory),
        (b"..", Rejection::NameOfDirectory),
        (b"/", Rejection::NameWithSlash),
        (b"../x", Rejection::NameWithSlash),
        (b"/etc/passwd", Rejection::NameWithSlash),
        (b"a/b", Rejection::NameWithSlash),
        (b"a\nb", Rejection::NameWithControl),
        (b"\x1b[2J", Rejection::NameWithControl),
        (b"\x7f", Rejection::NameWithControl),
        ("\u{85}".as_bytes(), Rejection::NameWithControl),
        (b"\xff", Rejection::NameNotUtf8),
        (b"\xc0\x80", Rejection::NameNotUtf8),
        (b"\xed\xa0\x80", Rejection::NameNotUtf8),
    ] {
        assert_eq!(rejection(|bytes| put_name(bytes, name)), Err(expected), "{name:?}");
    }
    for name in ["...", ".x", "-rf", "a b", "'\"`$(reboot);&|", "%s%n", "a\\b", "\u{202e}gpj.exe"] {
        assert_eq!(rejection(|bytes| put_name(bytes, name.as_bytes())).unwrap().name.as_str(), name);
    }
}

#[test]
fn l19_names_of_0_1_1015_and_1016_bytes() {
    for (length, fits) in [(0, false), (1, true), (NAME_BYTES_MAX, true), (NAME_FIELD_BYTES, false)] {
        let name = vec![b'n'; length];
        assert_eq!(DocumentName::new(&name).is_ok(), fits, "{length}");
        assert_eq!(rejection(|bytes| put_name(bytes, &name)).is_ok(), fits, "{length}");
    }
    assert_eq!(rejection(|bytes| bytes[8..].fill(b'n')), Err(Rejection::NameUnterminated));
}

#[test]
fn l11_no_byte_may_stand_behind_the_name_and_none_does() {
    for at in [18, 19, 500, 1023] {
        assert_eq!(rejection(|bytes| bytes[at] = 1), Err(Rejection::NotZeroFilled), "{at}");
    }
    let header = Header { size_bytes: u64::MAX, name: DocumentName::new(b"n").unwrap() };
    assert_eq!(header.encode()[8..12], *b"n\0\0\0");
    assert!(header.encode()[12..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_fat_boot_sector_is_never_a_header() {
    let size = fat::VolumeSize::from_mib(fat::VOLUME_MIB_MIN).unwrap();
    let mut device = vec![0; usize::try_from(size.bytes()).unwrap()];
    for (offset, bytes) in fat::format(size, fat::VolumeLabel::from_name("work"), 1) {
        let offset = usize::try_from(offset).unwrap();
        device[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }
    assert_eq!(Header::decode(&header_of(&device), size.bytes()), Err(Rejection::FileSystem));
    // Whatever its size and OEM name say: bytes 11 and 12 are 512, 1024, 2048 or 4096 in little-endian, so a NUL ends
    // the name, and something stands behind it.
    for sector_bytes in [512_u16, 1024, 2048, 4096] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = 0xEB;
        bytes[7..11].copy_from_slice(b"\0abc");
        bytes[11..13].copy_from_slice(&sector_bytes.to_le_bytes());
        bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(Header::decode(&bytes, u64::MAX), Err(Rejection::FileSystem));
    }
}

#[test]
fn every_rejection_has_a_sentence_of_its_own() {
    let texts: std::collections::BTreeSet<String> = Rejection::ALL.map(|it| it.to_string()).into();
    assert_eq!(texts.len(), Rejection::ALL.len());
}

proptest! {
    #[test]
    fn what_is_decoded_encodes_to_the_same_bytes(
        size in prop_oneof![0..300_u64, any::<u64>()],
        name in prop_oneof!["[ -~]{0,20}", "\\PC{0,300}", ".{0,20}"],
        noise in proptest::collection::vec((8..HEADER_BYTES, any::<u8>()), 0..3),
        device_bytes in prop_oneof![0..2000_u64, any::<u64>()],
    ) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&size.to_le_bytes());
        for (to, from) in bytes[8..].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        for (at, byte) in noise {
            bytes[at] = byte;
        }
        if let Ok(header) = Header::decode(&bytes, device_bytes) {
            prop_assert_eq!(header.encode(), bytes);
            prop_assert!(header.size_bytes <= device_bytes - HEADER_BYTES as u64);
            let name = header.name.as_str();
            prop_assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX && name != "." && name != "..");
            prop_assert!(!name.contains('/') && !name.chars().any(char::is_control));
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_header(size_bytes in any::<u64>(), name in "[^/\\p{Cc}]{1,200}") {
        prop_assume!(name != "." && name != "..");
        let header = Header { size_bytes, name: DocumentName::new(name.as_bytes()).unwrap() };
        let decoded = Header::decode(&header.encode(), u64::MAX);
        if size_bytes > u64::MAX - HEADER_BYTES as u64 {
            prop_assert_eq!(decoded, Err(Rejection::LargerThanDevice));
        } else {
            prop_assert_eq!(decoded, Ok(header));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), HEADER_BYTES),
        device in any::<u64>(),
    ) {
        let bytes: [u8; HEADER_BYTES] = bytes.try_into().unwrap();
        let _ = Header::decode(&bytes, device);
    }
}
