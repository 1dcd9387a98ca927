//! bincode is no longer maintained. So that it can be replaced in one place, it is called in one place: everything else
//! says only which fields a message has.

use std::collections::BTreeSet;
use std::fs;

use crate::mutants::files;
use crate::workspace;

/// The one place.
const CODEC: &str = "protocol/src/codec.rs";
/// What turns bytes into values or back, or says how.
const CALLS: [&str; 4] =
    ["bincode::config", "bincode::encode_", "bincode::decode_", "bincode::borrow_decode_"];
/// What else may be named: the traits, and what an implementation of them by hand needs.
const PARTS: [&str; 9] = [
    "BorrowDecode",
    "BorrowDecoder",
    "Decode",
    "DecodeError",
    "Decoder",
    "Encode",
    "EncodeError",
    "Encoder",
    "Writer",
];

/// The names that `use bincode::…;` takes from it.
fn imported(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("use bincode::")?.strip_suffix(';'));
    lines
        .flat_map(|path| path.rsplit("::").next().unwrap_or(path).trim_matches(['{', '}']).split(", "))
        .collect()
}

#[test]
fn bincode_reads_and_writes_bytes_in_one_file_alone() {
    let mut users = BTreeSet::new();
    for name in files().unwrap() {
        let path = name.to_str().unwrap();
        // This crate names bincode in texts.
        if !path.ends_with(".rs") || path.starts_with("xtask/") {
            continue;
        }
        let text = fs::read_to_string(workspace::top().join(&name)).unwrap();
        let code: String =
            text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
        if CALLS.iter().any(|call| code.contains(call)) {
            users.insert(path.to_owned());
        }
        if path != CODEC {
            let others: Vec<&str> =
                imported(&code).into_iter().filter(|name| !PARTS.contains(name)).collect();
            assert!(others.is_empty(), "{path} uses {others:?} of bincode");
        }
    }
    assert_eq!(users, BTreeSet::from([CODEC.to_owned()]));
}

/// A type that contains itself would be decoded as deep as the sender likes.
#[test]
fn no_message_holds_another_of_its_kind() {
    let mut count = 0;
    for name in files().unwrap() {
        let path = name.to_str().unwrap();
        if !path.ends_with(".rs") || !(path.starts_with("protocol/src/") || path.starts_with("policy/src/")) {
            continue;
        }
        let text = fs::read_to_string(workspace::top().join(&name)).unwrap();
        count += text.matches("Encode").count();
        // Only behind a pointer can a value hold one of its own type, in a list or in a box.
        for pointer in ["Box<", "Rc<", "Arc<"] {
            assert!(!text.contains(pointer), "{path}: {pointer}");
        }
        for (at, _) in text.match_indices("#[derive(") {
            let rest = text.get(at..).unwrap_or_default();
            let derived = rest.split(']').next().unwrap_or_default();
            let Some((_, body)) = rest.split_once(['{', '(']).filter(|_| derived.contains("Decode")) else {
                continue;
            };
            let name = declared(rest);
            let body = body.split("\n}").next().unwrap_or_default();
            assert!(!body.contains(&format!("Vec<{name}>")), "{path}: {name} holds {name}");
        }
    }
    assert!(count > 30, "{count}");
}

/// The name of the type that is declared first in this text.
fn declared(text: &str) -> &str {
    let after = ["struct ", "enum "].iter().filter_map(|word| text.split_once(word)).map(|parts| parts.1);
    let name = after.min_by_key(|rest| usize::MAX - rest.len()).unwrap_or_default();
    name.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default()
}
