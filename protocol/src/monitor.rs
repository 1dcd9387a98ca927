//! The edge between xs-monitor and the broker.
//!
//! xs-monitor reads bytes of VMs, so the broker takes every one of these messages for a claim that any VM
//! may have made. The broker sends nothing on this edge.

use bincode::{Decode, Encode};

use crate::log::LogLine;
use crate::request::Request;
use crate::types::{Domid, ReqId, VmName};

/// What xs-monitor tells the broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum MonitorEvent {
    /// A domain runs under this name. Sent again when the name changes.
    DomainSeen {
        /// Its number.
        domid: Domid,
        /// Its name.
        name: VmName,
    },
    /// A domain runs whose name does not fit the contract: it takes no part.
    NameUnfit {
        /// Its number.
        domid: Domid,
    },
    /// A domain that was seen is gone.
    DomainGone {
        /// Its number.
        domid: Domid,
    },
    /// A domain has no `device/qpen`.
    QpenMissing {
        /// Its number.
        domid: Domid,
    },
    /// A domain's `device/qpen` holds a request.
    RequestSeen {
        /// Who asks.
        domid: Domid,
        /// What for.
        request: Request,
        /// FNV-1a, 64 bits, of the raw value: tells a repeat from another request.
        digest: u64,
    },
    /// A domain's `device/qpen` holds something else.
    RequestUnparsable {
        /// Who asks.
        domid: Domid,
        /// The id, if it could be read.
        reqid: Option<ReqId>,
        /// FNV-1a, 64 bits, of the raw value.
        digest: u64,
    },
    /// Every domain that runs now was told; from here on there are only changes.
    Synced,
    /// A line for the log.
    Log(LogLine),
}

/// Where this edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MonitorState {
    /// The monitor has just started and lists the domains.
    Listing,
    /// The monitor reports changes.
    Following,
}

/// Whether this message may arrive in this state. `Synced` comes once; all others may come at any time.
#[must_use]
pub fn permitted(state: MonitorState, event: &MonitorEvent) -> bool {
    match (state, event) {
        (MonitorState::Listing, MonitorEvent::Synced) => true,
        (MonitorState::Following, MonitorEvent::Synced) => false,
        (
            MonitorState::Listing | MonitorState::Following,
            MonitorEvent::DomainSeen { .. }
            | MonitorEvent::NameUnfit { .. }
            | MonitorEvent::DomainGone { .. }
            | MonitorEvent::QpenMissing { .. }
            | MonitorEvent::RequestSeen { .. }
            | MonitorEvent::RequestUnparsable { .. }
            | MonitorEvent::Log(_),
        ) => true,
    }
}
