//! A simulated VM: a process that holds a set of namespaces with a root directory of its own.

pub(crate) mod enter;
pub(crate) mod holder;
mod mounts;
pub(crate) mod processes;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{SimError, Trying, refused};
use crate::files::make_empty;

/// The program that is running, also after the root directory has changed.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";
/// Where a VM finds xenstored.
pub(crate) const XENSTORED_SOCKET: &str = "/run/xenstored/socket";
/// Where a VM finds the VM tools.
pub(crate) const TOOLS: &str = "/run/qfilexchg/bin";
/// Where a VM finds the settings of its tools, if it was given any.
pub(crate) const SETTINGS: &str = "/run/qfilexchg/vm.toml";
/// The home directory in a VM.
pub(crate) const HOME: &str = "/home/user";

/// The namespaces of a running VM.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Outside the namespaces; ends after everything in them.
    holder: Child,
    holder_pidfd: OwnedFd,
    /// The first process inside, by its number outside.
    first: Pid,
    first_pidfd: OwnedFd,
}

impl Machine {
    /// Makes the VM's directories and namespaces. `/home/user` and `/mnt` are as the last VM of that name left
    /// them, everything else is fresh.
    pub(crate) fn start(name: &str, host: &Path, vm: &Path, tools: &Path) -> Result<Self, SimError> {
        let what = || format!("cannot start the VM {name}");
        let mut holder = Command::new(OWN_PROGRAM)
            .arg0("xen-sim")
            .arg(holder::HOLDER)
            .args([Path::new(name), host, vm, tools])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .trying(what)?;
        match wait_until_ready(&mut holder) {
            Some(first) => {
                let holder_pidfd = pidfd_open(Pid::from_child(&holder), PidfdFlags::empty()).trying(what)?;
                let first_pidfd = pidfd_open(first, PidfdFlags::empty()).trying(what)?;
                Ok(Self { holder, holder_pidfd, first, first_pidfd })
            }
            None => {
                // It has said why on stderr.
                let _ = holder.kill();
                let _ = holder.wait();
                refused(what())
            }
        }
    }

    /// The first process of the VM, by its number outside.
    pub(crate) fn first(&self) -> Pid {
        self.first
    }

    /// Readable once everything in the VM has ended.
    pub(crate) fn ended(&self) -> &OwnedFd {
        &self.holder_pidfd
    }

    /// Ends everything in the VM, and returns when it has ended.
    pub(crate) fn end(mut self) {
        // Both fail only when it has ended already.
        let _ = pidfd_send_signal(&self.first_pidfd, Signal::KILL);
        let _ = self.holder.wait();
    }

    /// Stops every process of the VM.
    pub(crate) fn stop(&self) -> Result<(), SimError> {
        processes::stop_all(self.first)
    }

    /// Lets every process of the VM go on.
    pub(crate) fn resume(&self) -> Result<(), SimError> {
        processes::resume_all(self.first)
    }
}

/// Makes the directories of a VM.
pub(crate) fn make_directories(vm: &Path) -> Result<(), SimError> {
    for kept in ["home", "mnt/incoming", "mnt/outgoing"] {
        let path = vm.join(kept);
        fs::create_dir_all(&path).trying(|| format!("cannot make {}", path.display()))?;
    }
    for fresh in ["tmp", "run", "dev", "blk"] {
        make_empty(&vm.join(fresh))?;
    }
    for below in ["run/xenstored", "run/qfilexchg/bin", "dev/pts", "dev/shm"] {
        let path = vm.join(below);
        fs::create_dir_all(&path).trying(|| format!("cannot make {}", path.display()))?;
    }
    Ok(())
}

/// Where the file lies that a VM has at [`SETTINGS`].
pub(crate) fn settings_outside(vm: &Path) -> PathBuf {
    vm.join("run/qfilexchg/vm.toml")
}

/// Where the socket lies that a VM has at [`XENSTORED_SOCKET`].
pub(crate) fn socket_outside(vm: &Path) -> PathBuf {
    vm.join("run/xenstored/socket")
}

/// Reads the lines `pid N` and `ready` of the holder and the first process.
fn wait_until_ready(holder: &mut Child) -> Option<Pid> {
    let lines = BufReader::new(holder.stdout.take()?).lines();
    let (mut first, mut ready) = (None, false);
    for line in lines {
        let line = line.ok()?;
        match line.strip_prefix("pid ") {
            Some(number) => first = Pid::from_raw(number.parse().ok()?),
            None => ready |= line == "ready",
        }
        if let (Some(first), true) = (first, ready) {
            return Some(first);
        }
    }
    None
}

use std::os::unix::process::CommandExt;
