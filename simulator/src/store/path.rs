//! Paths of nodes: which are valid, and what a relative one means. Source: Xen's `docs/misc/xenstore.txt`.

use std::fmt;

use super::limits::{ABSOLUTE_PATH_BYTES_MAX, RELATIVE_PATH_BYTES_MAX};
use super::wire::XsError;

/// The number of a domain.
pub type Domid = u32;

/// A valid absolute path: begins with `/`, has no empty component and no slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath(String);

impl NodePath {
    /// The root of the store.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Makes the path that domain `domid` means by `raw`.
    ///
    /// # Errors
    /// [`XsError::Invalid`] for an empty or too long path, an unusual character, or an empty component.
    pub fn parse(domid: Domid, raw: &[u8]) -> Result<Self, XsError> {
        let text = valid_characters(raw).ok_or(XsError::Invalid)?;
        if text.starts_with('@') {
            return Err(XsError::Invalid);
        }
        let absolute =
            if text.starts_with('/') { text.to_owned() } else { format!("{}/{text}", home(domid)) };
        let malformed = absolute.contains("//") || (absolute.len() > 1 && absolute.ends_with('/'));
        let too_long = absolute.len() > ABSOLUTE_PATH_BYTES_MAX
            || below_home(&absolute).is_some_and(|rest| rest.len() > RELATIVE_PATH_BYTES_MAX);
        if malformed || too_long {
            return Err(XsError::Invalid);
        }
        Ok(Self(absolute))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of the node above, `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/') {
            _ if self.0 == "/" => None,
            Some(("", _)) => Some(Self::root()),
            Some((parent, _)) => Some(Self(parent.to_owned())),
            None => None,
        }
    }

    /// The last component, empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// The path of a node directly below this one. `name` is a component of a valid path.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let above = if self.0 == "/" { "" } else { &self.0 };
        Self(format!("{above}/{name}"))
    }

    /// Whether this is `above` or lies below it.
    #[must_use]
    pub fn is_within(&self, above: &str) -> bool {
        above == "/"
            || self.0.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The home directory of a domain.
#[must_use]
pub fn home(domid: Domid) -> String {
    format!("/local/domain/{domid}")
}

/// What a watch is set on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchPath {
    /// A node, and whether the client named it by a relative path.
    Node(NodePath, Named),
    /// `@introduceDomain`, `@releaseDomain`, or another name that nothing fires.
    Special(String),
}

/// How a client named a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// From the root.
    Absolute,
    /// From the client's home directory, and so are its events.
    Relative,
}

impl WatchPath {
    /// Reads the path of a WATCH or UNWATCH request of domain `domid`.
    ///
    /// # Errors
    /// [`XsError::Invalid`], as [`NodePath::parse`].
    pub fn parse(domid: Domid, raw: &[u8]) -> Result<Self, XsError> {
        if raw.starts_with(b"@") {
            let name = valid_characters(raw).filter(|name| name.len() <= RELATIVE_PATH_BYTES_MAX);
            return name.map(|name| Self::Special(name.to_owned())).ok_or(XsError::Invalid);
        }
        let named = if raw.starts_with(b"/") { Named::Absolute } else { Named::Relative };
        Ok(Self::Node(NodePath::parse(domid, raw)?, named))
    }
}

fn valid_characters(raw: &[u8]) -> Option<&str> {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(byte);
    if raw.is_empty() || !raw.iter().all(valid) {
        return None;
    }
    std::str::from_utf8(raw).ok()
}

/// What follows `/local/domain/ID/`.
fn below_home(absolute: &str) -> Option<&str> {
    let (domid, rest) = absolute.strip_prefix("/local/domain/")?.split_once('/')?;
    (!domid.is_empty() && domid.bytes().all(|byte| byte.is_ascii_digit())).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_below_the_home_directory() {
        assert_eq!(NodePath::parse(7, b"device/qpen").unwrap().as_str(), "/local/domain/7/device/qpen");
        assert_eq!(NodePath::parse(7, b"/a").unwrap().as_str(), "/a");
        assert_eq!(NodePath::parse(7, b"/").unwrap(), NodePath::root());
    }

    #[test]
    fn malformed_paths_are_refused() {
        for raw in [&b""[..], b"//", b"/a/", b"/a//b", b"a/", b"/a b", b"/a\n", b"/\xc3\xa4", b"@a", b"/a.b"]
        {
            assert_eq!(NodePath::parse(1, raw), Err(XsError::Invalid), "{raw:?}");
        }
    }

    #[test]
    fn the_length_of_a_path_is_bounded_at_the_byte() {
        let absolute = |bytes: usize| NodePath::parse(0, format!("/{}", "a".repeat(bytes - 1)).as_bytes());
        assert!(absolute(ABSOLUTE_PATH_BYTES_MAX).is_ok());
        assert_eq!(absolute(ABSOLUTE_PATH_BYTES_MAX + 1), Err(XsError::Invalid));
        let relative = |bytes: usize| NodePath::parse(5, "a".repeat(bytes).as_bytes());
        assert!(relative(1).is_ok());
        assert!(relative(RELATIVE_PATH_BYTES_MAX).is_ok());
        assert_eq!(relative(RELATIVE_PATH_BYTES_MAX + 1), Err(XsError::Invalid));
        let full = format!("/local/domain/5/{}", "a".repeat(RELATIVE_PATH_BYTES_MAX + 1));
        assert_eq!(NodePath::parse(0, full.as_bytes()), Err(XsError::Invalid));
    }

    #[test]
    fn parent_name_and_child_fit_together() {
        let path = NodePath::parse(0, b"/a/b").unwrap();
        assert_eq!(path.parent().unwrap().child(path.name()), path);
        assert_eq!(path.parent().unwrap().parent(), Some(NodePath::root()));
        assert_eq!(NodePath::root().parent(), None);
        assert_eq!(NodePath::root().child("a").as_str(), "/a");
    }

    #[test]
    fn within_means_whole_components() {
        let path = NodePath::parse(0, b"/a/bc").unwrap();
        assert!(path.is_within("/") && path.is_within("/a") && path.is_within("/a/bc"));
        assert!(!path.is_within("/a/b") && !path.is_within("/a/bc/d"));
    }
}
