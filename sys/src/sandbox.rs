//! The one way into a sandbox.
//!
//! [`enter`] does, in this order: checks (one thread, a filter that is not empty, namespaces that were made for this
//! process alone), an empty read-only root, no capabilities, no new privileges, not dumpable, death with the parent,
//! Landlock, resource limits, and last the system call filter. There is no switch to do without any of it: a step
//! that fails is an error, and the process must end.

mod capabilities;
mod filter;
mod landlocked;
mod limits;
mod namespaces;
mod root;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};

use crate::inherit::Inherited;
use crate::profile::{Profile, Root};

/// Shows that this process is in its sandbox. Only [`enter`] makes one.
///
/// A worker's loop takes it as an argument, so that a loop outside of a sandbox does not compile.
#[derive(Debug)]
pub struct Sandboxed {
    _made_here_only: (),
}

/// Which step into the sandbox failed. The process must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The profile has no filter.
    #[error("the profile of {0} has an empty system call filter: build sandbox-profiles again")]
    EmptyFilter(&'static str),
    /// A filter holds at most 4096 instructions.
    #[error(
        "the system call filter of {process} has {count} instructions, the kernel takes {max}: shorten it"
    )]
    FilterTooLong {
        /// The process.
        process: &'static str,
        /// The number of its instructions.
        count: usize,
        /// The kernel's limit.
        max: u16,
    },
    /// Other threads would stay outside.
    #[error("the process has {0} threads: it must enter its sandbox before it starts a second one")]
    Threads(libc::nlink_t),
    /// The parent has not made the namespaces that the profile asks for.
    #[error("{namespace} namespace: {problem}: start this program through qfilexchgd, not by hand")]
    Namespace {
        /// Which.
        namespace: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A system call failed.
    #[error("{tried} failed: {errno}: {advice}")]
    Call {
        /// What was tried.
        tried: &'static str,
        /// What to do about it.
        advice: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The Landlock rules could not be made or applied. The crate's words come last: they list every right, and a
    /// report is cut off.
    #[error("landlock failed: a kernel with Landlock ABI 2 (Linux 5.19) is needed, with lsm=landlock: {0}")]
    Landlock(String),
    /// A rule of the profile names a descriptor that is not there.
    #[error("the landlock rule for descriptor {0} has no such descriptor: correct the profile")]
    NoSuchDescriptor(&'static str),
    /// Something was left although every step succeeded.
    #[error("{0} is not empty after it was emptied: this kernel is not supported")]
    NotEmpty(&'static str),
}

/// Enters the sandbox that `profile` describes, for good.
///
/// # Errors
/// Any step that fails, with what was tried and what to do. The process is then in an undefined state between inside
/// and outside, and must end.
pub fn enter(profile: &'static Profile, inherited: &Inherited) -> Result<Sandboxed, SandboxError> {
    filter::check(profile)?;
    namespaces::check_single_thread()?;
    namespaces::check_own(profile.namespaces)?;
    filter::reset_fault_handlers()?;
    if profile.root == Root::Empty {
        root::make_empty()?;
    }
    capabilities::drop_all_but(profile.capabilities, profile.namespaces.user)?;
    close_the_doors()?;
    landlocked::restrict(profile.landlock, inherited)?;
    limits::set(profile.rlimits)?;
    filter::install(profile)?;
    Ok(Sandboxed { _made_here_only: () })
}

/// No privileges through exec, no ptrace or core dump by others of the same user, no life without the parent.
fn close_the_doors() -> Result<(), SandboxError> {
    rustix::thread::set_no_new_privs(true).map_err(call("no_new_privs", "Linux 3.5 or newer is needed"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(call("making the process not dumpable", "no reason is known for this to fail"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(call("asking for death with the parent", "no reason is known for this to fail"))
}

/// Makes a [`SandboxError::Call`] of an error number.
fn call(tried: &'static str, advice: &'static str) -> impl FnOnce(Errno) -> SandboxError {
    move |errno| SandboxError::Call { tried, advice, errno }
}
