//! Where the workspace is, and its programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::run;

/// Every program of the product, and those that the developer's commands need.
pub const PROGRAMS: [&str; 20] = [
    "qfilexchgd",
    "broker",
    "xs-monitor",
    "xs-gate",
    "attacher",
    "dialog",
    "control",
    "notifier",
    "dialog-window",
    "dvm-launcher",
    "dvm-runner",
    "qfilexchgctl",
    "fat-reader",
    "dvm-parser",
    "qvm-copy-to-vm",
    "qvm-open-in-dvm",
    "qubes_penctl",
    "qubes_add_pendrive_script",
    "qvm-send-dialog",
    "arrival-notice",
];
/// The program that plays the host.
pub const SIMULATOR: &str = "xen-sim";

/// The top folder of the workspace.
pub fn top() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo, as it runs this program.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(top());
    command
}

/// Builds every program and says in which folder they are.
pub fn build(release: bool) -> Outcome<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--workspace", "--bins"]);
    if release {
        command.arg("--release");
    }
    run::succeed(&mut command, "building the programs")?;
    programs_folder(release)
}

/// The folder that holds the programs of a profile: beside this program, which cargo has built as well.
fn programs_folder(release: bool) -> Outcome<PathBuf> {
    Ok(target_folder()?.join(if release { "release" } else { "debug" }))
}

/// The folder of everything that is built.
pub fn target_folder() -> Outcome<PathBuf> {
    let own = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let folder = own.parent().and_then(Path::parent).ok_or("where is the target folder?")?;
    Ok(folder.to_owned())
}
