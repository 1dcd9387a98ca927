//! Paths that cannot be wrong: each is made of typed parts only, so no byte that a guest chose is ever in one.

use crate::error::Error;
use crate::wire::PATH_BYTES_MAX;
use protocol::types::{Device, Domid};
use std::fmt;

mod sealed {
    pub trait Sealed {}
}

/// A path that can be written, removed, given permissions, and watched. Made in this file only.
pub trait XsPath: sealed::Sealed {
    /// The path as text, without NUL.
    fn text(&self) -> &str;
}

/// A path that can also be read and listed.
///
/// The front end of a device is none: the guest owns it, and no number or path is ever taken from there (L16).
pub trait Readable: XsPath {}

/// Something that a watch can be set on.
pub trait Watchable: sealed::Sealed {
    /// The watched path as text, without NUL.
    fn watched(&self) -> &str;
}

impl<P: XsPath> Watchable for P {
    fn watched(&self) -> &str {
        self.text()
    }
}

macro_rules! path_type {
    ($(#[$doc:meta])* $name:ident $(: $readable:ident)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(String);

        impl sealed::Sealed for $name {}

        impl XsPath for $name {
            fn text(&self) -> &str {
                &self.0
            }
        }

        $(impl $readable for $name {})?

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

path_type! {
    /// A node of a domain that this project uses, seen from domain 0.
    DomainPath: Readable
}

impl DomainPath {
    fn of(domid: Domid, node: &str) -> Self {
        Self(format!("/local/domain/{domid}{node}"))
    }

    /// The domain's directory.
    #[must_use]
    pub fn home(domid: Domid) -> Self {
        Self::of(domid, "")
    }

    /// Its name; the toolstack writes it.
    #[must_use]
    pub fn name(domid: Domid) -> Self {
        Self::of(domid, "/name")
    }

    /// Its requests; the guest writes it.
    #[must_use]
    pub fn qpen(domid: Domid) -> Self {
        Self::of(domid, "/device/qpen")
    }

    /// The directory of the replies.
    #[must_use]
    pub fn replies(domid: Domid) -> Self {
        Self::of(domid, "/qpen")
    }

    /// The reply to its newest request; domain 0 writes it.
    #[must_use]
    pub fn reply(domid: Domid) -> Self {
        Self::of(domid, "/qpen/reply")
    }

    /// Name of the VM that its incoming device came from; domain 0 writes it.
    #[must_use]
    pub fn source(domid: Domid) -> Self {
        Self::of(domid, "/qubes_blocksrc")
    }

    /// Number of the transaction that its incoming device belongs to; domain 0 writes it.
    #[must_use]
    pub fn transaction_seq(domid: Domid) -> Self {
        Self::of(domid, "/qubes_transaction_seq")
    }
}

path_type! {
    /// The list of all domains, `/local/domain`.
    DomainListPath: Readable
}

impl DomainListPath {
    /// The only such path.
    #[must_use]
    pub fn new() -> Self {
        Self("/local/domain".to_owned())
    }
}

impl Default for DomainListPath {
    fn default() -> Self {
        Self::new()
    }
}

path_type! {
    /// A list of block back ends in domain 0: of all domains, or of the devices of one.
    BackendListPath: Readable
}

impl BackendListPath {
    /// Lists the numbers of the domains that have, or had, a block device from domain 0.
    #[must_use]
    pub fn all() -> Self {
        Self("/local/domain/0/backend/vbd".to_owned())
    }

    /// Lists the device numbers of one domain.
    #[must_use]
    pub fn of(domid: Domid) -> Self {
        Self(format!("/local/domain/0/backend/vbd/{domid}"))
    }
}

/// A node inside the front end directory of a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the xenstore node of the same name, see `io/blkif.h` of Xen")]
pub enum FrontNode {
    Backend,
    BackendId,
    DeviceType,
    State,
    Trusted,
    VirtualDevice,
}

impl FrontNode {
    const fn name(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::BackendId => "backend-id",
            Self::DeviceType => "device-type",
            Self::State => "state",
            Self::Trusted => "trusted",
            Self::VirtualDevice => "virtual-device",
        }
    }
}

/// A node inside the back end directory of a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the xenstore node of the same name, see `io/blkif.h` of Xen")]
pub enum BackNode {
    Dev,
    DiscardEnable,
    Frontend,
    FrontendId,
    Mode,
    Online,
    Params,
    PhysicalDevice,
    State,
    Type,
}

impl BackNode {
    const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::DiscardEnable => "discard-enable",
            Self::Frontend => "frontend",
            Self::FrontendId => "frontend-id",
            Self::Mode => "mode",
            Self::Online => "online",
            Self::Params => "params",
            Self::PhysicalDevice => "physical-device",
            Self::State => "state",
            Self::Type => "type",
        }
    }
}

path_type! {
    /// The front end of a device or a node in it. The guest owns these: they are written and removed, never read.
    FrontPath
}

path_type! {
    /// The back end of a device or a node in it. The guest can read these, and write none.
    BackPath: Readable
}

/// One block device of one domain: makes the paths of its two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VbdPath {
    domid: Domid,
    device: Device,
}

impl VbdPath {
    /// The device of that domain.
    #[must_use]
    pub const fn new(domid: Domid, device: Device) -> Self {
        Self { domid, device }
    }

    /// The directory of the front end, in the guest's part of xenstore.
    #[must_use]
    pub fn front(self) -> FrontPath {
        FrontPath(format!("/local/domain/{}/device/vbd/{}", self.domid, self.device.number()))
    }

    /// A node of the front end.
    #[must_use]
    pub fn front_node(self, node: FrontNode) -> FrontPath {
        FrontPath(format!("{}/{}", self.front(), node.name()))
    }

    /// The directory of the back end, in domain 0's part of xenstore.
    #[must_use]
    pub fn back(self) -> BackPath {
        BackPath(format!("/local/domain/0/backend/vbd/{}/{}", self.domid, self.device.number()))
    }

    /// A node of the back end.
    #[must_use]
    pub fn back_node(self, node: BackNode) -> BackPath {
        BackPath(format!("{}/{}", self.back(), node.name()))
    }
}

path_type! {
    /// A path relative to the caller's own domain, for programs inside a VM. Never begins with `/`.
    OwnPath: Readable
}

impl OwnPath {
    /// The VM's requests.
    #[must_use]
    pub fn qpen() -> Self {
        Self("device/qpen".to_owned())
    }

    /// The reply to its newest request.
    #[must_use]
    pub fn reply() -> Self {
        Self("qpen/reply".to_owned())
    }

    /// Name of the VM that the incoming device came from.
    #[must_use]
    pub fn source() -> Self {
        Self("qubes_blocksrc".to_owned())
    }

    /// Number of the transaction that the incoming device belongs to.
    #[must_use]
    pub fn transaction_seq() -> Self {
        Self("qubes_transaction_seq".to_owned())
    }

    /// The VM's own name.
    #[must_use]
    pub fn name() -> Self {
        Self("name".to_owned())
    }

    /// Another path below the VM's own directory.
    ///
    /// # Errors
    /// [`Error::BadPath`] when it is absolute, or not a path at all.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.starts_with('/') {
            return Err(Error::BadPath);
        }
        AnyPath::parse(text).map(|path| Self(path.0))
    }
}

path_type! {
    /// Any well-formed path, for the plain traits of [`crate::plain`] only.
    AnyPath: Readable
}

impl AnyPath {
    /// Checks a path: 1 to [`PATH_BYTES_MAX`] bytes of the characters that xenstored permits, no empty part
    /// (except before the first `/`), no `/` at the end except in `/` itself.
    ///
    /// # Errors
    /// [`Error::BadPath`].
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@.:".contains(&byte);
        let well_formed = !text.is_empty()
            && text.len() <= PATH_BYTES_MAX
            && text.bytes().all(fits)
            && !text.contains("//")
            && (text == "/" || !text.ends_with('/'));
        if well_formed { Ok(Self(text.to_owned())) } else { Err(Error::BadPath) }
    }
}

/// A watch that is on no node: it fires for a change of the set of domains, and does not say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpecialWatch {
    /// A domain has become usable.
    IntroduceDomain,
    /// A domain has ended; may fire twice for one.
    ReleaseDomain,
}

impl sealed::Sealed for SpecialWatch {}

impl Watchable for SpecialWatch {
    fn watched(&self) -> &str {
        match self {
            Self::IntroduceDomain => "@introduceDomain",
            Self::ReleaseDomain => "@releaseDomain",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_contract() {
        let domid = Domid::new(5).unwrap();
        assert_eq!(DomainPath::qpen(domid).text(), "/local/domain/5/device/qpen");
        assert_eq!(DomainPath::reply(domid).text(), "/local/domain/5/qpen/reply");
        assert_eq!(DomainPath::source(domid).text(), "/local/domain/5/qubes_blocksrc");
        assert_eq!(DomainPath::transaction_seq(domid).text(), "/local/domain/5/qubes_transaction_seq");
        assert_eq!(DomainPath::name(domid).text(), "/local/domain/5/name");
    }

    #[test]
    fn the_two_ends_of_a_device_are_where_the_kernels_look() {
        let vbd = VbdPath::new(Domid::new(7).unwrap(), Device::Outgoing);
        assert_eq!(vbd.front_node(FrontNode::State).text(), "/local/domain/7/device/vbd/51808/state");
        let vbd = VbdPath::new(Domid::new(7).unwrap(), Device::Incoming);
        assert_eq!(
            vbd.back_node(BackNode::PhysicalDevice).text(),
            "/local/domain/0/backend/vbd/7/51824/physical-device"
        );
        assert_eq!(BackendListPath::of(Domid::new(7).unwrap()).text(), "/local/domain/0/backend/vbd/7");
    }

    #[test]
    fn an_own_path_is_relative_and_well_formed() {
        assert!(OwnPath::parse("device/qpen").is_ok());
        for text in ["", "/", "/local/domain/0/name", "a//b", "a/", "a\0b", "a b", "\u{e4}"] {
            assert_eq!(OwnPath::parse(text), Err(Error::BadPath));
        }
    }

    #[test]
    fn l19_paths_of_0_1_3072_and_3073_bytes_are_bounded() {
        assert!(AnyPath::parse("").is_err());
        assert!(AnyPath::parse("/").is_ok());
        assert!(AnyPath::parse(&"a".repeat(PATH_BYTES_MAX)).is_ok());
        assert!(AnyPath::parse(&"a".repeat(PATH_BYTES_MAX + 1)).is_err());
    }
}
