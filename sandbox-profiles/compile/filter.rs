//! From permitted calls to the kernel's filter.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

use super::format::Grant;

/// Compiles an allow-list whose default action kills the process.
pub fn program(grants: &[Grant]) -> Result<BpfProgram, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for grant in grants {
        let ways = rules.entry(grant.number).or_default();
        if !grant.conditions.is_empty() {
            let conditions = grant.conditions.iter().map(|condition| condition.compiled());
            let conditions = conditions.collect::<Result<_, _>>()?;
            ways.push(SeccompRule::new(conditions).map_err(|error| format!("{}: {error}", grant.name))?);
        }
    }
    // The profiles name an architecture, and their numbers are those of the machine that builds.
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}
