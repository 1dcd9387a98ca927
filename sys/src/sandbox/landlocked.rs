//! The Landlock rules: every right that the kernel knows is refused, but for what the profile grants by descriptor.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::SandboxError;
use crate::inherit::Inherited;
use crate::profile::{FsAccess, Landlock, LandlockRule};

/// What must be there: Linux 5.19, and so the 6.1 of Debian 12.
const ABI_REQUIRED: ABI = ABI::V2;

/// What is used where the kernel has it: truncation, ports, device ioctls, signals, abstract sockets and named ones.
const ABI_USED: ABI = ABI::V9;

/// Applies the rules to this process, for good.
pub(super) fn restrict(landlock: Landlock, inherited: &Inherited) -> Result<(), SandboxError> {
    let rules = match landlock {
        Landlock::NotForStarters => return Ok(()),
        Landlock::Rules(rules) => rules,
    };
    let mut ruleset = create().map_err(|error| failed(&error))?;
    for rule in rules {
        let descriptors =
            inherited.lend(rule.descriptor).ok_or(SandboxError::NoSuchDescriptor(rule.descriptor))?;
        for descriptor in descriptors {
            let beneath = PathBeneath::new(descriptor, access(rule));
            ruleset = ruleset.add_rule(beneath).map_err(|error| failed(&error))?;
        }
    }
    let status = ruleset.restrict_self().map_err(|error| failed(&error))?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(SandboxError::Landlock("the kernel does not enforce it".to_owned()));
    }
    Ok(())
}

fn create() -> Result<landlock::RulesetCreated, RulesetError> {
    let required = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI_REQUIRED))?;
    required
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI_USED))?
        .handle_access(AccessNet::from_all(ABI_USED))?
        .scope(Scope::from_all(ABI_USED))?
        .create()
}

fn access(rule: &LandlockRule) -> BitFlags<AccessFs> {
    rule.access.iter().fold(BitFlags::empty(), |set, right| set | flag(*right))
}

fn flag(right: FsAccess) -> AccessFs {
    match right {
        FsAccess::ReadFile => AccessFs::ReadFile,
        FsAccess::ReadDir => AccessFs::ReadDir,
        FsAccess::WriteFile => AccessFs::WriteFile,
        FsAccess::Truncate => AccessFs::Truncate,
        FsAccess::MakeReg => AccessFs::MakeReg,
        FsAccess::MakeDir => AccessFs::MakeDir,
        FsAccess::RemoveFile => AccessFs::RemoveFile,
        FsAccess::RemoveDir => AccessFs::RemoveDir,
        FsAccess::Refer => AccessFs::Refer,
        FsAccess::IoctlDev => AccessFs::IoctlDev,
    }
}

fn failed(error: &RulesetError) -> SandboxError {
    SandboxError::Landlock(error.to_string())
}
