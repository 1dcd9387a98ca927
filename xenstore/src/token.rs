//! Tokens of watches: what a watch means to the program that set it.

use crate::path::Watchable;
use std::fmt;

/// Marks a watch, and comes back with each of its events.
///
/// The three numbers mean what the program likes, for example which of its watches (`kind`), of which domain
/// (`domid`), and which of its devices (`number`). On the wire: the three in decimal with `:` between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    /// Which kind of watch.
    pub kind: u8,
    /// Domain that the watch is about, or zero.
    pub domid: u16,
    /// A further number, or zero.
    pub number: u32,
}

/// Longest text of a token: `255:65535:4294967295`.
pub(crate) const TOKEN_BYTES_MAX: usize = 20;

impl Token {
    /// A token that is about no domain in particular.
    #[must_use]
    pub const fn plain(kind: u8) -> Self {
        Self { kind, domid: 0, number: 0 }
    }

    /// A token of one domain.
    #[must_use]
    pub const fn of_domain(kind: u8, domid: u16) -> Self {
        Self { kind, domid, number: 0 }
    }

    /// Reads the text of a token; only exactly what [`fmt::Display`] writes is one.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let text = str::from_utf8(text).ok()?;
        let mut parts = text.splitn(3, ':');
        let kind = parts.next()?.parse().ok()?;
        let domid = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let token = Self { kind, domid, number };
        (token.to_string() == text).then_some(token)
    }
}

/// What asks for a watch, and what ends it: `PATH NUL TOKEN NUL` (xen/io/xs_wire.h, `XS_WATCH`).
pub(crate) fn watch_payload(path: &impl Watchable, token: Token) -> String {
    format!("{}\0{token}\0", path.watched())
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.domid, self.number)
    }
}

/// A watch has fired, once or more often since it was last taken from the client.
///
/// It says nothing else on purpose: the path of an event may lie below the watched node, where a guest chooses the
/// names, so the client checks its form and forgets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchEvent {
    /// What [`crate::Client::watch`] was given.
    pub token: Token,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_exact_text_of_a_token_is_read() {
        let token = Token { kind: 1, domid: 5, number: 51808 };
        assert_eq!(Token::parse(b"1:5:51808"), Some(token));
        for text in [
            &b""[..],
            b"1:5",
            b"1:5:51808:",
            b"+1:5:51808",
            b"01:5:51808",
            b"1:5:51808 ",
            b"256:5:1",
            b"1:65536:1",
            b"1:5:4294967296",
            b"1:5:\xff",
            b"1:5:000000000000000000000000000001",
        ] {
            assert_eq!(Token::parse(text), None);
        }
    }

    #[test]
    fn l19_the_longest_token_is_20_bytes() {
        let token = Token { kind: u8::MAX, domid: u16::MAX, number: u32::MAX };
        assert_eq!(token.to_string().len(), TOKEN_BYTES_MAX);
        assert_eq!(Token::parse(token.to_string().as_bytes()), Some(token));
        assert_eq!(Token::parse(b"255:65535:42949672950"), None);
    }

    proptest! {
        #[test]
        fn tokens_survive_the_wire(kind: u8, domid: u16, number: u32) {
            let token = Token { kind, domid, number };
            prop_assert_eq!(Token::parse(token.to_string().as_bytes()), Some(token));
        }
    }
}
