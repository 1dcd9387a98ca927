//! QEMU as a machine with aarch64 and Debian's kernel.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::test::totals::Totals;

const MEMORY_MIB: &str = "3072";
const PROCESSORS: &str = "2";
/// What it may take, in seconds.
const RUN_S_MAX: &str = "5400";
/// Landlock alone: what another security module refuses is no evidence.
const KERNEL_ARGUMENTS: &str = "console=ttyAMA0 quiet panic=-1 lsm=landlock";
/// What stands before the lines of `init`.
const MARK: &str = "arm: ";

/// Boots, passes on what the tests say, and gives the names of those that ended well.
pub fn run(kernel: &Path, root: &Path, totals: &mut Totals) -> Outcome<Vec<String>> {
    // It must not outlive this program, however that ends.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "timeout", RUN_S_MAX, "qemu-system-aarch64"]);
    command.args(["-machine", "virt", "-cpu", "max", "-smp", PROCESSORS, "-m", MEMORY_MIB]);
    command.args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-serial", "stdio"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(root).args(["-append", KERNEL_ARGUMENTS]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut machine = command.spawn().map_err(|error| format!("qemu-system-aarch64: {error}"))?;
    let mut ended = Vec::new();
    for line in BufReader::new(machine.stdout.take().ok_or("QEMU has no output")?).split(b'\n') {
        let line = line.map_err(|error| format!("what the machine says: {error}"))?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        println!("{line}");
        totals.note_line(line);
        let Some(said) = line.strip_prefix(MARK) else { continue };
        if let Some(note) = said.strip_prefix("skipped ") {
            totals.note_skipped(note);
        } else if let Some(name) = said.strip_suffix(" ends with 0") {
            ended.push(name.to_owned());
        }
    }
    machine.wait().map_err(|error| format!("QEMU: {error}"))?;
    Ok(ended)
}
