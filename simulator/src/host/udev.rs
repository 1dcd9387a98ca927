//! The rule of a VM's udev for incoming pendrives: `KERNEL=="xvdh", ACTION=="add"` runs a program.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

use crate::error::{SimError, Trying};
use crate::vm::enter::ENTER;
use crate::vm::{HOME, OWN_PROGRAM, TOOLS, XENSTORED_SOCKET};

/// The device that the rule is for.
const INCOMING_DEVICE: &str = "xvdh";
/// The program that the rule runs, if it is there.
const PROGRAM: &str = "qubes_add_pendrive_script";

/// Plays the rule for a device that has just appeared. What the program says goes to `udev.log` in the VM's
/// directory.
pub(super) fn play(device: &str, first: Pid, vm: &Path, tools: &Path) -> Option<Child> {
    if device != INCOMING_DEVICE || !tools.join(PROGRAM).exists() {
        return None;
    }
    match start(device, first, vm) {
        Ok(child) => Some(child),
        Err(error) => {
            eprintln!("xen-sim: {error}");
            None
        }
    }
}

fn start(device: &str, first: Pid, vm: &Path) -> Result<Child, SimError> {
    let path = vm.join("udev.log");
    let what = || format!("cannot write {}", path.display());
    let log = File::options().create(true).append(true).open(&path).trying(what)?;
    let errors = log.try_clone().trying(what)?;
    Command::new(OWN_PROGRAM)
        .arg0("xen-sim")
        .arg(ENTER)
        .arg(first.as_raw_pid().to_string())
        .args(["ACTION=add", "SUBSYSTEM=block", "USER=user"])
        .args([format!("DEVNAME=/dev/{device}"), format!("KERNEL={device}"), format!("HOME={HOME}")])
        .arg(format!("XENSTORED_PATH={XENSTORED_SOCKET}"))
        .arg("--")
        .arg(format!("{TOOLS}/{PROGRAM}"))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .trying(|| "cannot run the udev rule".to_owned())
}
