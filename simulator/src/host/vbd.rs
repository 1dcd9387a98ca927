//! Names and states of virtual block devices, as Xen's drivers use them. Source: Xen's public header `io/xenbus.h`
//! and `docs/misc/vbd-interface.txt`.

use crate::store::path::{Domid, NodePath};
use crate::store::wire::XsError;

/// Major number of `xvd` devices; a device's number is `MAJOR << 8 | index << 4`.
const MAJOR: u32 = 202;
/// How many of them have a number of that form.
const DEVICES_MAX: u8 = 16;

/// A device of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VbdId {
    pub(super) domid: Domid,
    pub(super) device: u32,
}

/// The state of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XenbusState {
    /// 1: the toolstack has made the nodes.
    Initialising,
    /// 2: the back end waits for the front end.
    InitWait,
    /// 3: the front end has set up its side.
    Initialised,
    /// 4: in use.
    Connected,
    /// 5: to be closed.
    Closing,
    /// 6: not in use any more.
    Closed,
}

impl XenbusState {
    /// Reads the value of a `state` node; anything unusual means that the end is not there.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        Some(match value {
            b"1" => Self::Initialising,
            b"2" => Self::InitWait,
            b"3" => Self::Initialised,
            b"4" => Self::Connected,
            b"5" => Self::Closing,
            b"6" => Self::Closed,
            _ => return None,
        })
    }

    pub(super) fn value(self) -> &'static [u8] {
        match self {
            Self::Initialising => b"1",
            Self::InitWait => b"2",
            Self::Initialised => b"3",
            Self::Connected => b"4",
            Self::Closing => b"5",
            Self::Closed => b"6",
        }
    }
}

impl VbdId {
    /// The device that a path below the directory of all back ends belongs to.
    pub(super) fn from_back(path: &str) -> Option<Self> {
        let mut words = path.strip_prefix("/local/domain/0/backend/vbd/")?.split('/');
        Some(Self { domid: words.next()?.parse().ok()?, device: words.next()?.parse().ok()? })
    }

    /// The device that a path belongs to which a guest's watch on `device/vbd` gave.
    pub(super) fn from_front(domid: Domid, path: &str) -> Option<Self> {
        let device = path.strip_prefix("device/vbd/")?.split('/').next()?;
        Some(Self { domid, device: device.parse().ok()? })
    }

    /// The directory of the back end.
    pub(super) fn back_directory(self) -> Result<NodePath, XsError> {
        let path = format!("/local/domain/0/backend/vbd/{}/{}", self.domid, self.device);
        NodePath::parse(0, path.as_bytes())
    }

    /// A node of the back end.
    pub(super) fn back(self, node: &str) -> Result<NodePath, XsError> {
        let path = format!("{}/{node}", self.back_directory()?.as_str());
        NodePath::parse(0, path.as_bytes())
    }

    /// A node of the front end.
    pub(super) fn front(self, node: &str) -> Result<NodePath, XsError> {
        NodePath::parse(self.domid, format!("device/vbd/{}/{node}", self.device).as_bytes())
    }

    /// Where a driver reports what went wrong with the back end.
    pub(super) fn back_error(self) -> Result<NodePath, XsError> {
        let path = format!("/local/domain/0/error/backend/vbd/{}/{}/error", self.domid, self.device);
        NodePath::parse(0, path.as_bytes())
    }

    /// The device's name in the guest.
    pub(super) fn name(self) -> Option<String> {
        let index = u8::try_from(self.device.checked_sub(MAJOR << 8)? >> 4).ok()?;
        let whole = self.device & 0xf == 0 && index < DEVICES_MAX;
        whole.then(|| format!("xvd{}", char::from(b'a' + index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_the_names_that_xen_gives_them() {
        let name = |device| VbdId { domid: 1, device }.name();
        assert_eq!(name(51808).as_deref(), Some("xvdg"));
        assert_eq!(name(51824).as_deref(), Some("xvdh"));
        assert_eq!(name(51712).as_deref(), Some("xvda"));
        assert_eq!(name(51952).as_deref(), Some("xvdp"));
        for other in [0, 51711, 51713, 51968, u32::MAX] {
            assert_eq!(name(other), None, "{other}");
        }
    }

    #[test]
    fn paths_lead_to_their_device() {
        let id = VbdId { domid: 7, device: 51808 };
        assert_eq!(VbdId::from_back(id.back("state").unwrap().as_str()), Some(id));
        assert_eq!(VbdId::from_back("/local/domain/0/backend/vbd/7"), None);
        assert_eq!(VbdId::from_front(7, "device/vbd/51808/state"), Some(id));
        assert_eq!(VbdId::from_front(7, "device/vbd"), None);
        assert_eq!(id.front("state").unwrap().as_str(), "/local/domain/7/device/vbd/51808/state");
    }

    #[test]
    fn states_survive_the_store() {
        for number in 0..=9 {
            let value = number.to_string().into_bytes();
            if let Some(state) = XenbusState::parse(&value) {
                assert_eq!(state.value(), value);
            } else {
                assert!(!(1..=6).contains(&number));
            }
        }
    }
}
