//! Installing the system call filter that was compiled with the program.

use std::ptr;

use super::{SandboxError, call};
use crate::inherit::last_errno;
use crate::profile::{Profile, SockFilter};

/// `BPF_MAXINSNS` of `linux/bpf_common.h`.
const FILTER_INSTRUCTIONS_MAX: u16 = 4096;

/// `struct sock_fprog` of `linux/filter.h`.
#[repr(C)]
struct SockFprog {
    len: libc::c_ushort,
    filter: *const SockFilter,
}

/// Refuses a profile without a filter, long before it is installed.
pub(super) fn check(profile: &Profile) -> Result<(), SandboxError> {
    length(profile).map(|_| ())
}

/// Installs the filter for the only thread of this process. Nothing removes it.
pub(super) fn install(profile: &'static Profile) -> Result<(), SandboxError> {
    let program = SockFprog { len: length(profile)?, filter: profile.filter.as_ptr() };
    // SAFETY: `program` and the constant that it points to are valid for `len` instructions, and the kernel only
    // reads them, during the call.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, ptr::from_ref(&program))
    };
    if result == 0 {
        return Ok(());
    }
    Err(call("installing the system call filter", "a kernel with CONFIG_SECCOMP_FILTER is needed")(
        last_errno(),
    ))
}

fn length(profile: &Profile) -> Result<libc::c_ushort, SandboxError> {
    let count = profile.filter.len();
    let too_long =
        || SandboxError::FilterTooLong { process: profile.process, count, max: FILTER_INSTRUCTIONS_MAX };
    match u16::try_from(count) {
        Ok(0) => Err(SandboxError::EmptyFilter(profile.process)),
        Ok(length) if length <= FILTER_INSTRUCTIONS_MAX => Ok(length),
        Ok(_) | Err(_) => Err(too_long()),
    }
}

/// Takes away the handlers with which the Rust runtime explains a stack overflow.
///
/// They make system calls that a profile does not grant, so that a fault would look like a violation. Without them
/// a fault ends the process at once, with its own signal.
pub(super) fn reset_fault_handlers() -> Result<(), SandboxError> {
    for number in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: setting the default action installs no code, and no other thread exists that could rely on a
        // handler.
        let previous = unsafe { libc::signal(number, libc::SIG_DFL) };
        if previous == libc::SIG_ERR {
            return Err(call("resetting the fault handlers", "no reason is known for this to fail")(
                last_errno(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Landlock, Namespaces, Root, Stdio};

    fn profile_with(filter: &'static [SockFilter]) -> Profile {
        Profile {
            process: "test",
            user: "nobody",
            stdio: Stdio::Null,
            descriptors: &[],
            rest: None,
            later: &[],
            namespaces: Namespaces::ALL,
            root: Root::Empty,
            capabilities: &[],
            rlimits: &[],
            landlock: Landlock::Rules(&[]),
            filter,
            syscalls: &[],
        }
    }

    static FILTER: [SockFilter; 4097] = [SockFilter { code: 6, jt: 0, jf: 0, k: 0 }; 4097];

    #[test]
    fn an_empty_filter_is_an_error() {
        assert!(matches!(check(&profile_with(&[])), Err(SandboxError::EmptyFilter("test"))));
    }

    #[test]
    fn a_filter_of_one_or_4096_instructions_is_taken_and_one_more_is_not() {
        assert!(check(&profile_with(&FILTER[..1])).is_ok());
        assert!(check(&profile_with(&FILTER[..4096])).is_ok());
        let refused = check(&profile_with(&FILTER));
        assert!(matches!(refused, Err(SandboxError::FilterTooLong { count: 4097, .. })));
    }
}
