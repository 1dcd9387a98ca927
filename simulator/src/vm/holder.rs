//! The two processes that are a VM: the holder makes the namespaces, the first process makes the root directory
//! and then waits for orphans.

use std::ffi::OsString;
use std::fs;
use std::io::{Write, stdout};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, WaitOptions, getgid, getuid, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;

use super::OWN_PROGRAM;
use super::mounts::{Layout, make_root};
use crate::error::{SimError, Trying, refused};

/// The internal command that becomes the holder.
pub(crate) const HOLDER: &str = "vm-holder";
/// The internal command that becomes the first process of a VM.
pub(crate) const FIRST: &str = "vm-first";
/// How long an ended orphan may wait to be collected.
const COLLECT_EVERY: Duration = Duration::from_millis(500);

/// Makes the namespaces, starts the first process in them, says its number, and waits for its end.
pub(crate) fn hold(arguments: Vec<OsString>) -> Result<(), SimError> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    make_namespaces()?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(file, text).trying(|| format!("cannot write {file}"))?;
    }
    end_with_parent()?;
    let mut first = Command::new(OWN_PROGRAM)
        .arg0("xen-sim")
        .arg(FIRST)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .trying(|| "cannot start the first process".to_owned())?;
    writeln!(stdout(), "pid {}", first.id()).trying(|| "cannot say the number".to_owned())?;
    // The pipe must end with the first process, so that a failure there is seen.
    let null =
        fs::File::options().write(true).open("/dev/null").trying(|| "cannot open /dev/null".to_owned())?;
    rustix::stdio::dup2_stdout(null).trying(|| "cannot close stdout".to_owned())?;
    first.wait().trying(|| "cannot wait for the first process".to_owned())?;
    Ok(())
}

/// Makes the root directory, says so, and collects orphans until it is killed.
pub(crate) fn be_first(arguments: Vec<OsString>) -> Result<(), SimError> {
    end_with_parent()?;
    let mut words = arguments.into_iter();
    let (Some(name), Some(host), Some(vm), Some(tools)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return refused("the first process is started by xen-sim itself");
    };
    rustix::system::sethostname(name.as_encoded_bytes()).trying(|| "cannot set the host name".to_owned())?;
    make_root(&Layout { host: PathBuf::from(host), vm: PathBuf::from(vm), tools: PathBuf::from(tools) })?;
    writeln!(stdout(), "ready").trying(|| "cannot say that the VM is ready".to_owned())?;
    let null =
        fs::File::options().write(true).open("/dev/null").trying(|| "cannot open /dev/null".to_owned())?;
    rustix::stdio::dup2_stdout(null).trying(|| "cannot close stdout".to_owned())?;
    loop {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        std::thread::sleep(COLLECT_EVERY);
    }
}

fn end_with_parent() -> Result<(), SimError> {
    set_parent_process_death_signal(Some(Signal::KILL)).trying(|| "cannot follow the parent's end".to_owned())
}

#[expect(
    deprecated,
    reason = "unsafe only with UnshareFlags::FILES in a process with threads; here is neither"
)]
fn make_namespaces() -> Result<(), SimError> {
    let all = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    rustix::thread::unshare(all)
        .trying(|| "cannot make namespaces (are user namespaces permitted here?)".to_owned())
}
