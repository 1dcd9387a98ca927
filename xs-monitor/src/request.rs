//! The grammar of requests (docs/contract.md, "Requests"): bytes of a VM in, one small value out.

use protocol::request::{REQUEST_BYTES_MAX, Request, Verb};
use protocol::types::{ReqId, Seq, SizeMib, VmName};
use xenstore::number::decimal_u32;

/// What a value of `device/qpen` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Nothing; domain 0 writes this when it makes the key.
    Empty,
    /// A request.
    Request(Request),
    /// Anything else.
    Invalid {
        /// The last word, if that is a valid request id.
        reqid: Option<ReqId>,
    },
}

/// Reads a value of at most [`REQUEST_BYTES_MAX`] bytes, a newline, a NUL or both in this order at its end included.
///
/// A longer one is invalid; its last word is still looked at, since whoever wrote it waits for an answer.
#[must_use]
pub fn parse(untrusted_value: &[u8]) -> Parsed {
    let untrusted_text = without_terminator(untrusted_value);
    if untrusted_text.is_empty() {
        return Parsed::Empty;
    }
    let untrusted_last = untrusted_text.rsplit(is_separator).find(|word| !word.is_empty());
    let reqid = untrusted_last.and_then(parse_reqid);
    if untrusted_value.len() > REQUEST_BYTES_MAX {
        return Parsed::Invalid { reqid };
    }
    let untrusted_words: Vec<&[u8]> =
        untrusted_text.split(is_separator).filter(|word| !word.is_empty()).collect();
    let untrusted_verb = match (untrusted_words.split_last(), &reqid) {
        (Some((_reqid, before)), Some(_)) => before,
        (_, _) => &untrusted_words,
    };
    match parse_verb(untrusted_verb) {
        Some(verb) => Parsed::Request(Request { verb, reqid }),
        None => Parsed::Invalid { reqid },
    }
}

fn without_terminator(untrusted_value: &[u8]) -> &[u8] {
    let text = untrusted_value.strip_suffix(b"\0").unwrap_or(untrusted_value);
    text.strip_suffix(b"\n").unwrap_or(text)
}

fn is_separator(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn parse_reqid(untrusted_word: &[u8]) -> Option<ReqId> {
    untrusted_word.strip_prefix(b"#").and_then(|id| ReqId::new(id).ok())
}

fn parse_verb(untrusted_words: &[&[u8]]) -> Option<Verb> {
    match *untrusted_words {
        [b"new"] => Some(Verb::New { size: None }),
        [b"new", size] => Some(Verb::New { size: Some(parse_size(size)?) }),
        // Not the name of a VM, even without its SEQ.
        [b"send", b"disposable"] => None,
        [b"send", b"disposable", seq] => Some(Verb::SendDisposable { seq: parse_seq(seq)? }),
        [b"send", to] => Some(Verb::Send { to: VmName::new(to).ok()?, seq: None }),
        [b"send", to, seq] => Some(Verb::Send { to: VmName::new(to).ok()?, seq: Some(parse_seq(seq)?) }),
        [b"umount"] => Some(Verb::Umount),
        [b"killme"] => Some(Verb::Killme),
        _ => None,
    }
}

fn parse_size(untrusted_word: &[u8]) -> Option<SizeMib> {
    decimal_u32(untrusted_word).and_then(|mib| SizeMib::new(mib).ok())
}

fn parse_seq(untrusted_word: &[u8]) -> Option<Seq> {
    decimal_u32(untrusted_word).and_then(|number| Seq::new(number).ok())
}

/// FNV-1a with 64 bits: tells a repeated value from another one. Not meant to withstand somebody who looks for two
/// values with one digest: that VM would only harm itself.
#[must_use]
pub fn digest(untrusted_value: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    untrusted_value.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests;
