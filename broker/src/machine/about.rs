//! Whose doing a line of the log is.

use std::fmt;

use protocol::attach::Order;
use protocol::journald::{Event as Happened, Note};
use protocol::supervise::Role;
use protocol::types::Domid;

use super::Machine;

/// Whose doing a line of the log is. Each has a share of the log for himself (L18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The daemon's own, or that of the person. What the broker says of a worker is not for that worker to crowd out.
    Daemon,
    /// A worker says it.
    Worker(Role),
    /// This VM asked for something.
    Vm(Domid),
}

impl About {
    /// Whose doing this line is.
    #[must_use]
    pub fn of(note: &Note) -> Self {
        match (note.domid, note.process, note.event) {
            (Some(domid), _, _) => Self::Vm(domid),
            // That it was ended must not be left out because of what it said before.
            (None, Some(_), Happened::ProcessEnded) => Self::Daemon,
            (None, Some(role), _) => Self::Worker(role),
            (None, None, Happened::Disposable) => Self::Worker(Role::Launcher),
            (None, None, Happened::PendriveLost) => Self::Worker(Role::Attacher),
            (None, None, _) => Self::Daemon,
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon => out.write_str("the daemon"),
            Self::Worker(role) => role.fmt(out),
            Self::Vm(domid) => write!(out, "domain {domid}"),
        }
    }
}

impl Machine {
    /// Because of which VM the attacher has this order.
    pub(super) fn asker_of(&self, order: &Order) -> Option<Domid> {
        match order {
            Order::Answer { domid, .. } | Order::Attach { domid, .. } | Order::Detach { domid, .. } => {
                Some(*domid)
            }
            Order::Create { image, .. } | Order::Measure { image } | Order::Destroy { image } => {
                let place = self.pendrives.get(image).map(|pendrive| &pendrive.place);
                place.and_then(|place| place.asker().map(|asker| asker.domid))
            }
            Order::Inventory | Order::MakeQpen { .. } | Order::ForgetDomain { .. } => None,
        }
    }
}
