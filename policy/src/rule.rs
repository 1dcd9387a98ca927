//! One rule, and what it matches.

use std::fmt;

use bincode::{Decode, Encode};
use protocol::log::LogText;
use protocol::types::VmName;

use crate::tags::Tags;

/// What a VM wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Operation {
    /// Give a pendrive to a running VM.
    Copy,
    /// Open a file in a new DisposableVM.
    Dvm,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 2] = [Self::Copy, Self::Dvm];

    /// The word in a policy file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Dvm => "dvm",
        }
    }

    /// Reads the word of a policy file or a command line.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.word() == word)
    }
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Action {
    /// A person decides.
    Ask,
    /// Without a question.
    Allow,
    /// Never.
    Deny,
}

impl Action {
    /// The word in a policy file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    /// Reads the word of a policy file.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ask, Self::Allow, Self::Deny].into_iter().find(|action| action.word() == word)
    }
}

/// The line that a rule stands on, as `file:line`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Origin(pub LogText);

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.as_str())
    }
}

/// One end of an operation, as dom0 knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party<'a> {
    /// A running VM.
    Vm {
        /// Its name.
        name: &'a VmName,
        /// Whether this daemon made it as a DisposableVM.
        disposable: bool,
    },
    /// A DisposableVM that is yet to be made.
    NewDisposable,
}

/// The operations that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum OperationMatch {
    /// `*`
    Any,
    /// One word.
    Only(Operation),
}

impl OperationMatch {
    /// Whether the operation is meant.
    #[must_use]
    pub fn matches(self, operation: Operation) -> bool {
        match self {
            Self::Any => true,
            Self::Only(only) => only == operation,
        }
    }
}

/// The VMs that a field of a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum VmMatch {
    /// `*` and `@anyvm`: every VM, running or yet to be made.
    Any,
    /// `@dispvm`: DisposableVMs.
    Disposable,
    /// `@tag:NAME`: running VMs that have this tag.
    Tagged(VmName),
    /// The running VM of this name.
    Named(VmName),
}

impl VmMatch {
    /// Whether the party is meant.
    #[must_use]
    pub fn matches(&self, party: &Party<'_>, tags: &Tags) -> bool {
        match (self, party) {
            (Self::Any, Party::Vm { .. } | Party::NewDisposable)
            | (Self::Disposable, Party::NewDisposable) => true,
            (Self::Disposable, Party::Vm { disposable, .. }) => *disposable,
            (Self::Tagged(tag), Party::Vm { name, .. }) => tags.has(name, tag),
            (Self::Named(wanted), Party::Vm { name, .. }) => wanted == *name,
            (Self::Tagged(_) | Self::Named(_), Party::NewDisposable) => false,
        }
    }
}

/// One line of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Rule {
    /// What is done.
    pub operation: OperationMatch,
    /// From where.
    pub source: VmMatch,
    /// Where to.
    pub target: VmMatch,
    /// What then.
    pub action: Action,
    /// Whether the person is told of a decision that was made without a question.
    pub notify: bool,
    /// Where this rule stands.
    pub origin: Origin,
}

/// What a policy says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to be done.
    pub action: Action,
    /// Whether the person is told.
    pub notify: bool,
    /// The deciding line; `None` when no rule matched and the default *ask* holds.
    pub origin: Option<Origin>,
}
