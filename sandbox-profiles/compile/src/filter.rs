//! From permitted calls to the kernel's filter.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule};

use super::format::Grant;
use super::names::Arch;

/// Compiles an allow-list whose default action kills the process.
///
/// # Errors
/// The compiler's.
pub fn program(grants: &[Grant], arch: Arch) -> Result<BpfProgram, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for grant in grants {
        let ways = rules.entry(grant.number).or_default();
        if !grant.conditions.is_empty() {
            let conditions = grant.conditions.iter().map(|condition| condition.compiled());
            let conditions = conditions.collect::<Result<_, _>>()?;
            ways.push(SeccompRule::new(conditions).map_err(|error| format!("{}: {error}", grant.name))?);
        }
    }
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch.of_filter())
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}
