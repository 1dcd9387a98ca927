//! What dom0 answers a VM: `REQID CODE DETAIL`.

use std::fmt;

use bincode::{Decode, Encode};

use crate::types::ReqId;

/// What a reply's CODE can be (docs/contract.md, "Replies").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Code {
    /// Done.
    Ok,
    /// Accepted; a final reply follows.
    Pending,
    /// Policy or the person said no, or did not answer in time.
    Denied,
    /// The state does not allow it now.
    Busy,
    /// No running VM of that name.
    Unknown,
    /// The request does not parse.
    Invalid,
    /// dom0 tried and could not.
    Failed,
}

impl Code {
    /// Every code, for tests and documentation.
    pub const ALL: [Self; 7] =
        [Self::Ok, Self::Pending, Self::Denied, Self::Busy, Self::Unknown, Self::Invalid, Self::Failed];

    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Pending => "pending",
            Self::Denied => "denied",
            Self::Busy => "busy",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }

    /// Whether no further reply to the same request follows.
    #[must_use]
    pub fn is_final(self) -> bool {
        self != Self::Pending
    }
}

/// The DETAIL of a reply: one of these sentences, so that no path, number or byte of another VM can be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Detail {
    /// Nothing to add.
    Done,
    /// The outgoing device, for `new`.
    DeviceXvdg,
    /// A person is being asked.
    AskingPerson,
    /// The receiver still holds a pendrive.
    WaitingForReceiver,
    /// The policy says no.
    ByPolicy,
    /// The person said no, or nobody could be asked.
    ByPerson,
    /// The person did not answer in time.
    TimedOut,
    /// A pendrive cannot go to the VM that it comes from.
    SameVm,
    /// Only a DisposableVM of this daemon may do this.
    NotDisposable,
    /// `new`, but there is one at `xvdg`.
    HasPendrive,
    /// `send`, but there is no clean pendrive.
    NoPendrive,
    /// `umount`, but there is nothing at `xvdh`.
    NothingReceived,
    /// The device is being made, moved or removed, or an earlier request is not answered yet.
    InProgress,
    /// The receiver holds a pendrive, and nobody wants to wait.
    ReceiverBusy,
    /// A limit of this VM or of all VMs.
    LimitReached,
    /// More than the configured largest pendrive, or less than a file system needs.
    SizeNotPermitted,
    /// No running VM has that name.
    NoSuchVm,
    /// Several running VMs have that name.
    NameNotUnique,
    /// The request does not parse.
    NotUnderstood,
    /// The VM at the other end went away.
    OtherVmGone,
    /// dom0 has no room.
    NoSpace,
    /// The guest did not connect the device in time.
    GuestSilent,
    /// dom0 could not make or move the device.
    DeviceTrouble,
    /// The daemon was restarted while it worked on this.
    Interrupted,
    /// This host cannot make DisposableVMs.
    NoDisposables,
    /// A DisposableVM is being made.
    StartingDisposable,
    /// A DisposableVM was permitted, and could not be made.
    DisposableFailed,
    /// A DisposableVM wants something else than to send back what it was given.
    OnlyTheAnswer,
    /// Somebody in dom0 took the pendrive away and destroyed it.
    TakenAway,
    /// There is no dialog, or it has ended.
    NobodyToAsk,
}

impl Detail {
    /// Every detail, for tests and documentation.
    pub const ALL: [Self; 30] = [
        Self::Done,
        Self::DeviceXvdg,
        Self::AskingPerson,
        Self::WaitingForReceiver,
        Self::ByPolicy,
        Self::ByPerson,
        Self::TimedOut,
        Self::SameVm,
        Self::NotDisposable,
        Self::HasPendrive,
        Self::NoPendrive,
        Self::NothingReceived,
        Self::InProgress,
        Self::ReceiverBusy,
        Self::LimitReached,
        Self::SizeNotPermitted,
        Self::NoSuchVm,
        Self::NameNotUnique,
        Self::NotUnderstood,
        Self::OtherVmGone,
        Self::NoSpace,
        Self::GuestSilent,
        Self::DeviceTrouble,
        Self::Interrupted,
        Self::NoDisposables,
        Self::StartingDisposable,
        Self::DisposableFailed,
        Self::OnlyTheAnswer,
        Self::TakenAway,
        Self::NobodyToAsk,
    ];

    /// The text on the wire.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::DeviceXvdg => "xvdg",
            Self::AskingPerson => "waiting for the person in dom0",
            Self::WaitingForReceiver => "waiting for the receiver to unmount its pendrive",
            Self::ByPolicy => "the policy does not permit it",
            Self::ByPerson => "the person in dom0 said no",
            Self::TimedOut => "nobody answered in time",
            Self::SameVm => "a VM cannot send to itself",
            Self::NotDisposable => "only a DisposableVM may do this",
            Self::HasPendrive => "there is a pendrive at xvdg already",
            Self::NoPendrive => "there is no pendrive at xvdg",
            Self::NothingReceived => "there is no pendrive at xvdh",
            Self::InProgress => "an earlier request is still being worked on",
            Self::ReceiverBusy => "the receiver holds another pendrive",
            Self::LimitReached => "a limit on pendrives is reached",
            Self::SizeNotPermitted => "a pendrive of that size is not permitted",
            Self::NoSuchVm => "no running VM of that name",
            Self::NameNotUnique => "several running VMs have that name",
            Self::NotUnderstood => "the request was not understood",
            Self::OtherVmGone => "the other VM went away",
            Self::NoSpace => "dom0 has no space left",
            Self::GuestSilent => "the VM did not connect the device in time",
            Self::DeviceTrouble => "dom0 could not make or move the device",
            Self::Interrupted => "the daemon was restarted, try again",
            Self::NoDisposables => "this host makes no DisposableVMs",
            Self::StartingDisposable => "a DisposableVM is being started",
            Self::DisposableFailed => "no DisposableVM could be started",
            Self::OnlyTheAnswer => "a DisposableVM may only send back what it was given",
            Self::TakenAway => "the person in dom0 took the pendrive away",
            Self::NobodyToAsk => "nobody in dom0 can be asked",
        }
    }
}

/// One reply, as it is written to `qpen/reply`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Reply {
    /// The id of the request, if it had one.
    pub reqid: Option<ReqId>,
    /// The outcome.
    pub code: Code,
    /// The reason.
    pub detail: Detail,
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reqid = self.reqid.as_ref().map_or("-", ReqId::as_str);
        write!(out, "{reqid} {} {}", self.code.word(), self.detail.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_three_fields_on_one_line() {
        let reqid = ReqId::new(b"r1").ok();
        let reply = Reply { reqid, code: Code::Ok, detail: Detail::DeviceXvdg };
        assert_eq!(reply.to_string(), "r1 ok xvdg");
        let reply = Reply { reqid: None, code: Code::Invalid, detail: Detail::NotUnderstood };
        assert_eq!(reply.to_string(), "- invalid the request was not understood");
    }

    #[test]
    fn no_detail_holds_a_path_or_a_line_break() {
        for detail in Detail::ALL {
            assert!(
                detail.text().bytes().all(|byte| matches!(byte, b' ' | b',') || byte.is_ascii_alphanumeric())
            );
        }
    }
}
