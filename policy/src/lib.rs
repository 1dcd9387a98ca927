//! Who may send to whom: rules that the owner of dom0 wrote, and the one that decides.
//!
//! A policy is the rules of all files `*.policy` of one directory, file after file in the order of their
//! names, line after line. The first rule that matches decides; when none does, the person is asked. Text
//! that is not a rule is an error with file, line and column, and an error means that there is no policy at
//! all, so that it can never mean *allow*.

mod parse;
mod rule;
mod tags;

pub use parse::{
    DIRECTORY_FILES_MAX, FILE_BYTES_MAX, LINE_BYTES_MAX, POLICY_FILE_SUFFIX, PolicyError, RULES_MAX, load,
};
pub use rule::{Action, Decision, Operation, OperationMatch, Origin, Party, Rule, VmMatch};
pub use tags::{TAGS_MAX, Tags};

use bincode::{Decode, Encode};

/// All rules, and the tags that they speak of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Policy {
    rules: Vec<Rule>,
    tags: Tags,
}

impl Policy {
    /// Puts together rules and tags.
    #[must_use]
    pub fn new(rules: Vec<Rule>, tags: Tags) -> Self {
        Self { rules, tags }
    }

    /// The rules in the order in which they are tried.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What holds for this operation between these two: the first matching rule, or *ask*.
    #[must_use]
    pub fn decide(&self, operation: Operation, source: &Party<'_>, target: &Party<'_>) -> Decision {
        let matching = self.rules.iter().find(|rule| {
            rule.operation.matches(operation)
                && rule.source.matches(source, &self.tags)
                && rule.target.matches(target, &self.tags)
        });
        match matching {
            Some(rule) => {
                Decision { action: rule.action, notify: rule.notify, origin: Some(rule.origin.clone()) }
            }
            None => Decision { action: Action::Ask, notify: false, origin: None },
        }
    }
}
