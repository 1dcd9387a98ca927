//! Running a program in a VM.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, Signal, getuid, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, LinkNameSpaceType, move_into_link_name_space};

use super::{HOME, OWN_PROGRAM, SETTINGS, TOOLS, XENSTORED_SOCKET};
use crate::error::{SimError, Trying, refused};

/// The internal command that becomes the program.
pub(crate) const RUN: &str = "vm-run";
/// The internal command that enters a VM of which the number of the first process is known.
pub(crate) const ENTER: &str = "vm-enter";
/// The variable that names the settings of the VM tools.
const SETTINGS_VARIABLE: &str = "QFILEXCHG_VM_SETTINGS";
/// Exit code of a program that is not there, as of a shell.
const EXIT_NOT_FOUND: u8 = 127;
/// Exit code of a program that cannot be run, as of a shell.
const EXIT_NOT_RUN: u8 = 126;
/// What a signal's number is added to, as a shell does.
const EXIT_SIGNAL_BASE: i32 = 128;
/// Where programs are when the caller has no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// Variables of the caller that mean nothing in a VM.
const FORGOTTEN: [&str; 6] =
    ["TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "NOTIFY_SOCKET", "OLDPWD", "XDG_CONFIG_HOME"];

/// Enters the VM of that first process and runs a program there, with this process's stdio. Gives its exit code.
/// The calling process must have no other thread.
pub(crate) fn run_in_vm(first: Pid, program: Vec<OsString>, extra: &[(&str, &str)]) -> Result<u8, SimError> {
    let namespaces = [
        ("user", LinkNameSpaceType::User),
        ("mnt", LinkNameSpaceType::Mount),
        ("pid", LinkNameSpaceType::ProcessID),
        ("ipc", LinkNameSpaceType::InterProcessCommunication),
        ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ];
    let what = || "cannot enter the VM".to_owned();
    let opened: Vec<(File, LinkNameSpaceType)> = namespaces
        .into_iter()
        .map(|(name, kind)| Ok((File::open(format!("/proc/{}/ns/{name}", first.as_raw_pid()))?, kind)))
        .collect::<std::io::Result<_>>()
        .trying(what)?;
    for (namespace, kind) in &opened {
        move_into_link_name_space(namespace.as_fd(), Some(*kind)).trying(what)?;
    }
    drop(opened);
    if !getuid().is_root() {
        // Root outside is nobody in the VM of an ordinary user.
        let (gid, uid) = (rustix::fs::Gid::ROOT, rustix::fs::Uid::ROOT);
        rustix::thread::set_thread_res_gid(gid, gid, gid).trying(what)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).trying(what)?;
    }
    env::set_current_dir(HOME).trying(what)?;
    let path = env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
    let mut command = Command::new(OWN_PROGRAM);
    command.arg0("xen-sim").arg(RUN).args(program);
    for forgotten in FORGOTTEN {
        command.env_remove(forgotten);
    }
    command
        .env("PATH", [OsString::from(TOOLS), OsString::from(":"), path].into_iter().collect::<OsString>())
        .env("HOME", HOME)
        .env("PWD", HOME)
        .env("USER", "user")
        .env("LOGNAME", "user")
        .env("XENSTORED_PATH", XENSTORED_SOCKET)
        .envs(extra.iter().copied());
    if Path::new(SETTINGS).exists() {
        // The tools look into /etc, which is the host's, unless they are told otherwise.
        command.env(SETTINGS_VARIABLE, SETTINGS);
    }
    let status = command.status().trying(|| "cannot start a process in the VM".to_owned())?;
    Ok(exit_code(status))
}

/// Becomes the program. It must not write a read-only device, as root's rights would let it, and ends with
/// the process that stands for it outside.
pub(crate) fn become_program(words: Vec<OsString>) -> Result<u8, SimError> {
    set_parent_process_death_signal(Some(Signal::TERM))
        .trying(|| "cannot follow the parent's end".to_owned())?;
    for right in [CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH] {
        rustix::thread::remove_capability_from_bounding_set(right)
            .trying(|| "cannot give up a capability".to_owned())?;
    }
    exec(words, &[])
}

/// Replaces this process by a program; returns only when that fails.
pub(crate) fn exec(words: Vec<OsString>, environment: &[(&str, OsString)]) -> Result<u8, SimError> {
    let mut words = words.into_iter();
    let Some(program) = words.next() else { return refused("no program was named") };
    let error = Command::new(&program).args(words).envs(environment.iter().cloned()).exec();
    eprintln!("xen-sim: cannot run {}: {error}", program.display());
    // A directory of PATH that may not be looked into says nothing about the program.
    let bare = !program.as_encoded_bytes().contains(&b'/');
    let missing =
        error.kind() == ErrorKind::NotFound || (bare && error.kind() == ErrorKind::PermissionDenied);
    Ok(if missing { EXIT_NOT_FOUND } else { EXIT_NOT_RUN })
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| EXIT_SIGNAL_BASE + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
