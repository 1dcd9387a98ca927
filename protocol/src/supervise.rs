//! The edge between the supervisor and the broker.

use std::fmt;

use bincode::{Decode, Encode};

/// A process that the supervisor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Role {
    /// Decides.
    Broker,
    /// Reads requests of VMs.
    Monitor,
    /// Stands between the monitor and xenstored.
    Gate,
    /// Makes, attaches and removes pendrives.
    Attacher,
    /// Asks the person.
    Dialog,
    /// Has DisposableVMs made and destroyed.
    Launcher,
    /// Hears `qfilexchgctl`.
    Control,
    /// Shows notices on the desktop.
    Notifier,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [
        Self::Broker,
        Self::Monitor,
        Self::Gate,
        Self::Attacher,
        Self::Dialog,
        Self::Launcher,
        Self::Control,
        Self::Notifier,
    ];

    /// The name of its process: its folder, its profile, its argv\[0\].
    #[must_use]
    pub fn process(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Monitor => "xs-monitor",
            Self::Gate => "xs-gate",
            Self::Attacher => "attacher",
            Self::Dialog => "dialog",
            Self::Launcher => "dvm-launcher",
            Self::Control => "control",
            Self::Notifier => "notifier",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.process())
    }
}

/// What the supervisor tells the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum SupervisorNotice {
    /// A worker runs; the datagram carries the broker's end of its edge.
    Started {
        /// Which worker. Never the broker itself.
        role: Role,
    },
    /// A worker ended. If it is to run again, `Started` follows.
    Ended {
        /// Which worker.
        role: Role,
        /// How.
        how: Ending,
    },
    /// Are you at work? [`SupervisorOrder::Alive`] with the same number answers.
    AreYouAlive {
        /// Which of these questions this is.
        number: u32,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Ending {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl fmt::Display for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit code {code}"),
            Self::Signal(signal) => write!(out, "signal {signal}"),
        }
    }
}

/// What the broker tells the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum SupervisorOrder {
    /// End this worker, because it broke its protocol, and start it anew.
    Restart {
        /// Which worker. Never the broker itself.
        role: Role,
    },
    /// Requests are served from now on.
    Ready,
    /// The answer to [`SupervisorNotice::AreYouAlive`]; anything else that says this breaks the protocol.
    Alive {
        /// The number of the question.
        number: u32,
    },
}

/// Whether a worker of this role has an edge to the broker that `Started` must carry.
#[must_use]
pub fn has_edge(role: Role) -> bool {
    match role {
        Role::Monitor
        | Role::Gate
        | Role::Attacher
        | Role::Dialog
        | Role::Launcher
        | Role::Control
        | Role::Notifier => true,
        Role::Broker => false,
    }
}
