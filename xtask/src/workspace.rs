//! Where the workspace is, and its programs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::run;

/// Every program of the product, and those that the developer's commands need.
pub const PROGRAMS: [&str; 21] = [
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
    "restore-disposable",
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

/// What cargo wants between two flags.
const FLAG_END: &str = "\u{1f}";

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
    let folder = programs_folder(release)?;
    if release {
        command.arg("--release");
        release_flags(&mut command, top(), folder.parent().unwrap_or(&folder))?;
    }
    run::succeed(&mut command, "building the programs")?;
    Ok(folder)
}

/// Has the compiler replace the names of this machine's folders, which would otherwise be in the programs: so the same
/// sources give the same programs wherever they are built. `top` is where the sources are, `target` where the built things
/// go.
pub fn release_flags(command: &mut Command, top: &Path, target: &Path) -> Outcome<()> {
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => {
            let home = std::env::var_os("HOME").ok_or("neither CARGO_HOME nor HOME is set")?;
            Path::new(&home).join(".cargo")
        }
    };
    // Of two that fit, the compiler takes the one that comes later.
    let mut flags = OsString::new();
    for (folder, name) in [(&*cargo_home, "/cargo"), (top, "/qfilexchg"), (target, "/built")] {
        if !flags.is_empty() {
            flags.push(FLAG_END);
        }
        flags.push("--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags);
    Ok(())
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
