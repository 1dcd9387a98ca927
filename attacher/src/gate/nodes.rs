//! The nodes that xs-monitor needs: the list of domains, and of each domain its name and its request.

use protocol::types::Domid;
use xenstore::path::{DomainListPath, DomainPath, SpecialWatch, Watchable, XsPath};
use xenstore::wire::Kind;

/// Longest offset of a request for a part of a directory, in digits: an unsigned 32-bit number.
const OFFSET_DIGITS_MAX: usize = 10;

/// Whether a request of this type and payload is about nothing else.
#[must_use]
pub fn permits(kind: Kind, untrusted_payload: &[u8]) -> bool {
    let Some(untrusted_payload) = untrusted_payload.strip_suffix(b"\0") else { return false };
    let mut words = untrusted_payload.split(|byte| *byte == 0);
    let (first, second, third) = (words.next().unwrap_or_default(), words.next(), words.next());
    if third.is_some() {
        return false;
    }
    if kind == Kind::Read {
        second.is_none() && is_of_a_domain(first)
    } else if kind == Kind::Directory {
        second.is_none() && is_the_list(first)
    } else if kind == Kind::DirectoryPart {
        second.is_some_and(is_offset) && is_the_list(first)
    } else if kind == Kind::Watch || kind == Kind::Unwatch {
        second.is_some() && (is_of_a_domain(first) || is_special(first))
    } else {
        kind == Kind::ResetWatches && second.is_none() && first.is_empty()
    }
}

fn is_the_list(path: &[u8]) -> bool {
    path == DomainListPath::new().text().as_bytes()
}

fn is_special(path: &[u8]) -> bool {
    let both = [SpecialWatch::IntroduceDomain, SpecialWatch::ReleaseDomain];
    both.iter().any(|special| path == special.watched().as_bytes())
}

/// A path is permitted if it is exactly the one that is made for its number.
fn is_of_a_domain(path: &[u8]) -> bool {
    let list = DomainListPath::new();
    let below = path.strip_prefix(list.text().as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
    let number = below.and_then(|rest| rest.split(|byte| *byte == b'/').next());
    let number = number.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    let Some(Ok(domid)) = number.map(Domid::new) else { return false };
    [DomainPath::name(domid), DomainPath::qpen(domid)].iter().any(|node| path == node.text().as_bytes())
}

fn is_offset(word: &[u8]) -> bool {
    !word.is_empty() && word.len() <= OFFSET_DIGITS_MAX && word.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_nodes_that_the_monitor_needs_are_permitted() {
        for number in ["1", "7", "32751"] {
            for node in ["name", "device/qpen"] {
                let path = format!("/local/domain/{number}/{node}");
                assert!(permits(Kind::Read, format!("{path}\0").as_bytes()), "{path}");
                assert!(permits(Kind::Watch, format!("{path}\0token\0").as_bytes()), "{path}");
                assert!(permits(Kind::Unwatch, format!("{path}\0token\0").as_bytes()), "{path}");
                assert!(!permits(Kind::Directory, format!("{path}\0").as_bytes()), "{path}");
                assert!(!permits(Kind::Write, format!("{path}\0").as_bytes()), "{path}");
            }
        }
        assert!(permits(Kind::Directory, b"/local/domain\0"));
        assert!(permits(Kind::DirectoryPart, b"/local/domain\x004096\0"));
        assert!(
            permits(Kind::Watch, b"@introduceDomain\0t\0") && permits(Kind::Watch, b"@releaseDomain\0t\0")
        );
        assert!(permits(Kind::ResetWatches, b"\0"));
    }

    #[test]
    fn every_other_node_is_refused() {
        let others = [
            "",
            "/",
            "/local",
            "/local/domain",
            "/local/domain/",
            "/local/domain/0/name",
            "/local/domain/32752/name",
            "/local/domain/65537/name",
            "/local/domain/07/name",
            "/local/domain/+7/name",
            "/local/domain/-7/name",
            "/local/domain/7",
            "/local/domain/7/name/",
            "/local/domain/7/name/x",
            "/local/domain//7/name",
            "/local/domain/7//name",
            "/local/domain/7/device",
            "/local/domain/7/device/qpen/x",
            "/local/domain/7/data",
            "/local/domain/7/../0/name",
            "/local/domainx/7/name",
            "local/domain/7/name",
            "name",
            "/vm",
            "/tool/xenstored",
            "@introduceDomain",
        ];
        for path in others {
            assert!(!permits(Kind::Read, format!("{path}\0").as_bytes()), "{path}");
        }
        for path in others.iter().filter(|path| !path.starts_with('@')) {
            assert!(!permits(Kind::Watch, format!("{path}\0token\0").as_bytes()), "{path}");
        }
        for path in ["/", "/local", "/local/domain/", "/local/domain/7", "@introduceDomain"] {
            assert!(!permits(Kind::Directory, format!("{path}\0").as_bytes()), "{path}");
        }
    }

    #[test]
    fn l19_the_number_of_words_is_that_of_the_request() {
        let name = "/local/domain/7/name";
        for (kind, payload) in [
            (Kind::Read, String::new()),
            (Kind::Read, name.to_owned()),
            (Kind::Read, format!("{name}\0\0")),
            (Kind::Read, format!("{name}\0x\0")),
            (Kind::Watch, format!("{name}\0")),
            (Kind::Watch, format!("{name}\0token")),
            (Kind::Watch, format!("{name}\0token\01\0")),
            (Kind::Directory, String::from("/local/domain\x000\0")),
            (Kind::DirectoryPart, String::from("/local/domain\0")),
            (Kind::DirectoryPart, String::from("/local/domain\0\0")),
            (Kind::DirectoryPart, String::from("/local/domain\x0012345678901\0")),
            (Kind::DirectoryPart, String::from("/local/domain\0-1\0")),
            (Kind::ResetWatches, String::new()),
            (Kind::ResetWatches, String::from("\0\0")),
        ] {
            assert!(!permits(kind, payload.as_bytes()), "{payload:?}");
        }
        assert!(permits(Kind::DirectoryPart, b"/local/domain\x001234567890\0"));
    }
}
