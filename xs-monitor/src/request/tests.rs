//! Every line of the contract's grammar, every edge of every bound, and an independent second opinion.

mod opinion;

use super::{Parsed, digest, parse};
use opinion::{second_opinion, words_of};
use proptest::prelude::*;
use protocol::request::{Request, Verb};
use protocol::types::{ReqId, Seq, SizeMib, VmName};

fn reqid(text: &str) -> ReqId {
    ReqId::new(text.as_bytes()).unwrap()
}

fn valid(verb: Verb) -> Parsed {
    Parsed::Request(Request { verb, reqid: None })
}

fn valid_with(verb: Verb, id: &str) -> Parsed {
    Parsed::Request(Request { verb, reqid: Some(reqid(id)) })
}

const INVALID: Parsed = Parsed::Invalid { reqid: None };

fn send(to: &str, seq: Option<u32>) -> Verb {
    Verb::Send { to: VmName::new(to.as_bytes()).unwrap(), seq: seq.map(|seq| Seq::new(seq).unwrap()) }
}

#[test]
fn every_request_of_the_contract_is_read() {
    assert_eq!(parse(b"new"), valid(Verb::New { size: None }));
    assert_eq!(parse(b"new 64"), valid(Verb::New { size: Some(SizeMib::new(64).unwrap()) }));
    assert_eq!(parse(b"send vault"), valid(send("vault", None)));
    assert_eq!(parse(b"send vault 7"), valid(send("vault", Some(7))));
    assert_eq!(parse(b"send disposable 7"), valid(Verb::SendDisposable { seq: Seq::new(7).unwrap() }));
    assert_eq!(parse(b"umount"), valid(Verb::Umount));
    assert_eq!(parse(b"killme"), valid(Verb::Killme));
    assert_eq!(parse(b"new #a"), valid_with(Verb::New { size: None }, "a"));
    assert_eq!(parse(b"send vault 7 #a-B_9"), valid_with(send("vault", Some(7)), "a-B_9"));
    assert_eq!(parse(b"umount #1"), valid_with(Verb::Umount, "1"));
}

#[test]
fn l1_an_empty_value_is_no_request_and_one_of_only_spaces_is_invalid() {
    for untrusted_value in [&b""[..], b"\0", b"\n", b"\n\0"] {
        assert_eq!(parse(untrusted_value), Parsed::Empty);
    }
    for untrusted_value in [&b" "[..], b"\t", b" \t \n", b"  \0", &[b' '; 256], &[b' '; 257], &[b' '; 4096]] {
        assert_eq!(parse(untrusted_value), INVALID);
    }
}

#[test]
fn one_newline_one_nul_or_both_in_this_order_may_end_a_request() {
    for end in ["", "\n", "\0", "\n\0", " ", "\t", "  \n", " \n\0"] {
        assert_eq!(parse(format!("umount{end}").as_bytes()), valid(Verb::Umount));
    }
    for end in ["\n\n", "\0\0", "\0\n", "\r", "\r\n", "\u{b}", "\u{c}", "\u{a0}"] {
        assert_eq!(parse(format!("umount{end}").as_bytes()), INVALID);
    }
}

#[test]
fn spaces_and_tabs_separate_words_in_any_number() {
    assert_eq!(parse(b"  send\tvault \t 7"), valid(send("vault", Some(7))));
    assert_eq!(parse(b"\tumount\t#x\t"), valid_with(Verb::Umount, "x"));
    for untrusted_value in [&b"send\nvault"[..], b"send,vault", b"send\x0bvault", b"sendvault", b"\nnew"] {
        assert_eq!(parse(untrusted_value), INVALID);
    }
}

#[test]
fn l19_a_value_of_256_bytes_is_read_and_one_of_257_is_invalid_with_its_reqid() {
    let padded = |length: usize, end: &str| {
        let text = format!("{}umount #id{end}", " ".repeat(length - "umount #id".len() - end.len()));
        assert_eq!(text.len(), length);
        parse(text.as_bytes())
    };
    for end in ["", "\n", "\0", "\n\0"] {
        assert_eq!(padded(256, end), valid_with(Verb::Umount, "id"));
        assert_eq!(padded(257, end), Parsed::Invalid { reqid: Some(reqid("id")) });
        assert_eq!(padded(4096, end), Parsed::Invalid { reqid: Some(reqid("id")) });
    }
    assert_eq!(parse(&[b'x'; 256]), INVALID);
    assert_eq!(parse(&[b'x'; 257]), INVALID);
    assert_eq!(parse(b"x"), INVALID);
}

#[test]
fn a_nul_inside_and_bytes_that_are_no_text_are_invalid() {
    for untrusted_value in [
        &b"new\x0064"[..],
        b"send va\0ult",
        b"\0new",
        b"send \xff\xfe",
        b"\xc3",
        b"send v\xc3\xa4ult",
        b"\x1b[2J",
    ] {
        assert_eq!(parse(untrusted_value), INVALID);
    }
    assert_eq!(parse(b"send \xff #id"), Parsed::Invalid { reqid: Some(reqid("id")) });
    assert_eq!(parse(b"new\0 #id"), Parsed::Invalid { reqid: Some(reqid("id")) });
    assert_eq!(parse(b"umount #i\0d"), INVALID);
}

#[test]
fn unknown_verbs_and_wrong_numbers_of_words_are_invalid() {
    for text in [
        "NEW",
        "New",
        "news",
        "ne",
        "mount",
        "unmount",
        "send",
        "send disposable",
        "new 1 2",
        "send vault 1 2",
        "send disposable 1 2",
        "umount 1",
        "umount vault",
        "killme now",
        "vault send",
        "7",
        "-",
    ] {
        assert_eq!(parse(text.as_bytes()), INVALID, "{text}");
        let with_id = format!("{text} #id");
        assert_eq!(parse(with_id.as_bytes()), Parsed::Invalid { reqid: Some(reqid("id")) }, "{text}");
    }
    assert_eq!(parse(b"#id"), Parsed::Invalid { reqid: Some(reqid("id")) });
}

#[test]
fn l19_a_seq_is_1_to_2147483647_in_plain_decimal() {
    for seq in [1, 2, 2_147_483_646, 2_147_483_647_u32] {
        assert_eq!(parse(format!("send vault {seq}").as_bytes()), valid(send("vault", Some(seq))));
        let disposable = Verb::SendDisposable { seq: Seq::new(seq).unwrap() };
        assert_eq!(parse(format!("send disposable {seq}").as_bytes()), valid(disposable));
    }
    for untrusted_seq in [
        "0",
        "2147483648",
        "4294967295",
        "4294967296",
        "4294967297",
        "18446744073709551617",
        "01",
        "00",
        "+1",
        "-1",
        "0x1",
        "1.0",
        "1e3",
        "1_000",
        "\u{661}",
        "1,",
        "",
    ] {
        let expected = if untrusted_seq.is_empty() { valid(send("vault", None)) } else { INVALID };
        assert_eq!(parse(format!("send vault {untrusted_seq}").as_bytes()), expected, "{untrusted_seq}");
        assert_eq!(parse(format!("send disposable {untrusted_seq}").as_bytes()), INVALID, "{untrusted_seq}");
    }
}

#[test]
fn l19_a_size_is_1_to_2097151_in_plain_decimal() {
    for mib in [1, 1024, 2_097_151] {
        let size = Some(SizeMib::new(mib).unwrap());
        assert_eq!(parse(format!("new {mib}").as_bytes()), valid(Verb::New { size }));
    }
    for untrusted_size in ["0", "2097152", "4294967297", "007", "-1", "1M", "1 MiB"] {
        assert_eq!(parse(format!("new {untrusted_size}").as_bytes()), INVALID);
    }
}

#[test]
fn l19_a_request_id_is_1_to_32_permitted_characters() {
    let longest = "x".repeat(32);
    assert_eq!(parse(b"umount #x"), valid_with(Verb::Umount, "x"));
    assert_eq!(parse(format!("umount #{longest}").as_bytes()), valid_with(Verb::Umount, &longest));
    for untrusted_id in ["#", "##a", "#a.b", "#a#", "#\u{e4}", "# a", &format!("#{longest}x")] {
        assert_eq!(parse(format!("umount {untrusted_id}").as_bytes()), INVALID, "{untrusted_id}");
    }
}

#[test]
fn two_request_ids_are_invalid_and_the_last_one_is_told() {
    assert_eq!(parse(b"umount #a #b"), Parsed::Invalid { reqid: Some(reqid("b")) });
    assert_eq!(parse(b"#a umount"), INVALID);
    assert_eq!(parse(b"send #a vault #b"), Parsed::Invalid { reqid: Some(reqid("b")) });
}

#[test]
fn l19_a_vm_name_is_1_to_63_permitted_characters_with_a_permitted_first_one() {
    for name in ["a", "0", "_", "A.b-c_9", &"n".repeat(63)] {
        assert_eq!(parse(format!("send {name}").as_bytes()), valid(send(name, None)));
    }
    for untrusted_name in
        [".", "..", "-", "-a", ".a", "a/b", "../a", "a:b", "@dispvm", "*", "a\u{202e}", &"n".repeat(64)]
    {
        assert_eq!(parse(format!("send {untrusted_name}").as_bytes()), INVALID, "{untrusted_name}");
    }
}

#[test]
fn digests_are_those_of_fnv_1a() {
    assert_eq!(digest(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(digest(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(digest(b"foobar"), 0x8594_4171_f739_67e8);
    assert_ne!(digest(b"umount"), digest(b"umount\n"));
}

/// Values that are nearly requests.
fn nearly_a_request() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("new".to_owned()),
        Just("send".to_owned()),
        Just("disposable".to_owned()),
        Just("umount".to_owned()),
        Just("killme".to_owned()),
        "[0-9]{1,11}",
        "#[A-Za-z0-9_.-]{0,34}",
        "[A-Za-z0-9._-]{1,65}",
        "\\PC{0,4}",
    ];
    let gap =
        prop_oneof![5 => Just(" "), 1 => Just("\t"), 1 => Just("   "), 1 => Just("\n"), 1 => Just("\0")];
    let end =
        prop_oneof![4 => Just(""), 1 => Just("\n"), 1 => Just("\0"), 1 => Just("\n\0"), 1 => Just("\0\n")];
    (prop::collection::vec((word, gap), 0..6), end).prop_map(|(words, end)| {
        let text: String = words.iter().map(|(word, gap)| format!("{word}{gap}")).collect();
        format!("{}{end}", text.trim_end_matches(' ')).into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_second_parser_has_the_same_opinion(
        untrusted_value in prop_oneof![nearly_a_request(), prop::collection::vec(any::<u8>(), 0..300)],
    ) {
        match (parse(&untrusted_value), second_opinion(&untrusted_value)) {
            (Parsed::Request(request), Some(opinion)) => prop_assert_eq!(words_of(&request), opinion),
            (Parsed::Empty | Parsed::Invalid { .. }, None) => {}
            (parsed, opinion) => prop_assert!(false, "{parsed:?} against {opinion:?}"),
        }
    }

    #[test]
    fn l1_no_bytes_of_any_length_end_the_parser(untrusted_value in prop::collection::vec(any::<u8>(), 0..4097)) {
        let empty = parse(&untrusted_value) == Parsed::Empty;
        prop_assert_eq!(empty, matches!(untrusted_value.as_slice(), b"" | b"\n" | b"\0" | b"\n\0"));
    }
}
