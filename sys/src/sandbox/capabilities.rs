//! Emptying the five capability sets, and locking the bits that could fill them again.

use rustix::io::Errno;
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use super::{SandboxError, call};

/// The kernel keeps capabilities in 64 bits.
const CAPABILITY_BITS: u8 = 64;

const ADVICE: &str = "no reason is known for this to fail";

/// Drops every capability that is not in `kept`, from all sets. What the process does not have, it does not get.
///
/// `in_own_namespace`: the process has all capabilities of a user namespace of its own, so that nothing here may be
/// refused. Otherwise (an ordinary user outside of one) the bounding set and the secure bits cannot be changed; with
/// no_new_privs, which follows, they are without effect.
pub(super) fn drop_all_but(kept: &[u8], in_own_namespace: bool) -> Result<(), SandboxError> {
    let refusal_is_harmless = !in_own_namespace && !may_set_pcap()?;
    let kept_set = kept.iter().fold(CapabilitySet::empty(), |set, number| set | bit(*number));

    tolerate(refusal_is_harmless, rustix::thread::set_capabilities_secure_bits(locked_bits()))
        .map_err(call("locking the secure bits", ADVICE))?;
    rustix::thread::clear_ambient_capability_set()
        .map_err(call("clearing the ambient capabilities", ADVICE))?;
    for number in 0..CAPABILITY_BITS {
        match rustix::thread::capability_is_in_bounding_set(bit(number)) {
            // The kernel knows no more than these.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(call("reading the bounding set", ADVICE)(errno)),
            Ok(true) if !kept_set.contains(bit(number)) => {
                let dropped = rustix::thread::remove_capability_from_bounding_set(bit(number));
                tolerate(refusal_is_harmless, dropped).map_err(call("emptying the bounding set", ADVICE))?;
            }
            Ok(_) => {}
        }
    }
    let had = capabilities()?;
    let left = had.permitted & kept_set;
    let sets = CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(call("dropping the capabilities", ADVICE))?;
    check_left(left)
}

/// Looks again, since everything later relies on it.
fn check_left(expected: CapabilitySet) -> Result<(), SandboxError> {
    let sets = capabilities()?;
    if sets.effective == expected && sets.permitted == expected && sets.inheritable.is_empty() {
        return Ok(());
    }
    Err(SandboxError::NotEmpty("the capability set"))
}

/// Every bit with its lock: no privileges by being uid 0, none kept over a change of ids, none ambient.
fn locked_bits() -> CapabilitiesSecureBits {
    CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED
}

fn may_set_pcap() -> Result<bool, SandboxError> {
    Ok(capabilities()?.effective.contains(CapabilitySet::SETPCAP))
}

fn capabilities() -> Result<CapabilitySets, SandboxError> {
    rustix::thread::capabilities(None).map_err(call("reading the capabilities", ADVICE))
}

fn tolerate(refusal_is_harmless: bool, result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::PERM) if refusal_is_harmless => Ok(()),
        other => other,
    }
}

fn bit(number: u8) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1_u64.checked_shl(u32::from(number)).unwrap_or(0))
}
