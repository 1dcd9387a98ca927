//! The notifier's conversation with a session bus that says anything: bounded, the same however the bytes are cut, and
//! what it sends are messages that say what was meant.

use notifier::bus::{Bus, BusError, News, WAITING_NOTICES_MAX};
use notifier::wire::{self, HEADER_BYTES};
use notifier::{text, wire::incoming};
use protocol::dialog::Recipient;
use protocol::log::LogText;
use protocol::notify::Notice;
use protocol::types::VmName;

use crate::bytes::Bytes;

/// Longest thing that waits to be sent, in bytes: one notice, with every character of its text escaped.
const OUTGOING_BYTES_MAX: usize = 8 * 1024;

/// A notice, and what the bus says.
pub(crate) fn run(mut bytes: Bytes<'_>) {
    let notice = notice(&mut bytes);
    the_message_says_it(&notice);
    let untrusted_said = bytes.rest();
    // After the bus has let this client in, as well as before.
    for greeting in [&b""[..], b"DATA\r\nOK 1234\r\n"] {
        let whole = hear(&notice, greeting, untrusted_said, usize::MAX);
        for cut in [1, 15] {
            let (cut_up, expected) = (hear(&notice, greeting, untrusted_said, cut), whole.clone());
            // Whether an answer comes in one piece decides only whether more than OK was said at once.
            if !greeting.is_empty() {
                assert_eq!(cut_up, expected);
            }
        }
    }
    if let Some(header) = untrusted_said.first_chunk::<HEADER_BYTES>()
        && let Some(message) = incoming(*header)
    {
        assert!(u64::from(message.rest_bytes) + HEADER_BYTES as u64 <= u64::from(wire::INCOMING_BYTES_MAX));
    }
}

fn notice(bytes: &mut Bytes<'_>) -> Notice {
    let length = bytes.byte();
    let rule = LogText::new(&String::from_utf8_lossy(bytes.take(length.into())));
    let source = VmName::new(b"work").expect("a name");
    Notice::Decided { allowed: bytes.flag(), source, target: Recipient::NewDisposable, rule }
}

/// How it ends, and what was sent.
type Heard = (Result<usize, BusError>, Vec<u8>);

fn hear(notice: &Notice, greeting: &[u8], untrusted_said: &[u8], cut: usize) -> Heard {
    let mut bus = Bus::default();
    let mut sent = Vec::new();
    let mut failures = 0;
    assert!(bus.show(notice.clone()));
    send(&mut bus, &mut sent);
    if !greeting.is_empty() {
        assert_eq!(bus.hear(greeting), Ok(None));
        send(&mut bus, &mut sent);
        assert!(sent.ends_with(&wire::notify(2, text::summary(notice), &text::body(notice))));
    }
    for piece in untrusted_said.chunks(cut.min(untrusted_said.len()).max(1)) {
        match bus.hear(piece) {
            Ok(news) => failures += usize::from(news == Some(News::CallFailed)),
            Err(error) => return (Err(error), sent),
        }
        send(&mut bus, &mut sent);
    }
    assert!(failures <= 1, "a failure is told once");
    let waiting = (0..).take_while(|_| bus.show(notice.clone())).count();
    assert!(waiting <= WAITING_NOTICES_MAX + 1);
    (Ok(failures), sent)
}

fn send(bus: &mut Bus, sent: &mut Vec<u8>) {
    while !bus.outgoing().is_empty() {
        assert!(bus.outgoing().len() <= OUTGOING_BYTES_MAX);
        sent.extend(bus.outgoing());
        bus.sent(bus.outgoing().len());
    }
}

/// Takes the message apart as the D-Bus specification says (0.43, "Marshaling").
fn the_message_says_it(notice: &Notice) {
    let (summary, body) = (text::summary(notice), text::body(notice));
    let message = wire::notify(7, summary, &body);
    let word = |at: usize| {
        let bytes = message[at..at + 4].try_into().expect("four bytes");
        usize::try_from(u32::from_le_bytes(bytes)).expect("a length")
    };
    assert_eq!((&message[..4], word(8)), (&b"l\x01\0\x01"[..], 7));
    let begin = (16 + word(12)).next_multiple_of(8);
    assert_eq!(message.len(), begin + word(4));
    let mut at = begin;
    let mut string = || {
        at = at.next_multiple_of(4);
        let text = &message[at + 4..at + 4 + word(at)];
        at += 4 + text.len();
        assert_eq!(message[at], 0, "a string ends in NUL");
        at += 1;
        String::from_utf8(text.to_vec()).expect("a string is UTF-8")
    };
    assert_eq!(string(), "qfilexchgd");
    // It replaces no other: 0, four bytes after alignment.
    let mut string = {
        at = at.next_multiple_of(4) + 4;
        let message = &message;
        move || {
            let start = at.next_multiple_of(4);
            let length = u32::from_le_bytes(message[start..start + 4].try_into().expect("four bytes"));
            let text = &message[start + 4..start + 4 + usize::try_from(length).expect("a length")];
            at = start + 4 + text.len() + 1;
            String::from_utf8(text.to_vec()).expect("a string is UTF-8")
        }
    };
    assert_eq!((string().as_str(), string().as_str(), string()), ("", summary, body.clone()));
    // Markup: nothing but the three characters that were replaced stands for something.
    assert!(!body.contains(['<', '>']));
    let plain = body.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "");
    assert!(!plain.contains('&'));
}
