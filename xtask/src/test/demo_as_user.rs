//! The demo must work for an ordinary user. When root runs the tests, it runs under a number that is nobody's,
//! with copies of the programs that this number can read.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::DEMO_OPTIONS;
use crate::workspace::{PROGRAMS, SIMULATOR};
use crate::{Outcome, run};

/// User and group of that run.
const USER: u32 = 64_399;
/// Read and execute for everybody.
const MODE_PROGRAM: u32 = 0o755;

/// Runs it; `programs` is the folder of the built programs, `scratch` an empty one that is removed later.
pub fn run(programs: &Path, scratch: &Path) -> Outcome<()> {
    if !rustix::process::geteuid().is_root() {
        let own = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
        let mut command = Command::new(own);
        command.arg("demo").args(DEMO_OPTIONS).arg(programs);
        return run::succeed(&mut command, "the demo");
    }
    let place = scratch.join("demo");
    copy_programs(programs, &place).map_err(|error| format!("copying the programs: {error}"))?;
    let mut command = Command::new(place.join("bin/xtask"));
    command.arg("demo").args(DEMO_OPTIONS).arg(place.join("bin"));
    command.env("HOME", place.join("home")).env("TMPDIR", place.join("home"));
    command.current_dir(place.join("home")).uid(USER).gid(USER);
    run::succeed(&mut command, "the demo as an ordinary user")
}

fn copy_programs(programs: &Path, place: &Path) -> std::io::Result<()> {
    fs::create_dir_all(place.join("bin"))?;
    fs::create_dir_all(place.join("home"))?;
    chown(place.join("home"), Some(USER), Some(USER))?;
    for name in PROGRAMS.into_iter().chain([SIMULATOR, "xtask"]) {
        let copy = place.join("bin").join(name);
        fs::copy(programs.join(name), &copy)?;
        fs::set_permissions(&copy, Permissions::from_mode(MODE_PROGRAM))?;
    }
    for folder in [place, &place.join("bin")] {
        fs::set_permissions(folder, Permissions::from_mode(MODE_PROGRAM))?;
    }
    // The folder above is for its owner only.
    match place.parent() {
        Some(above) => fs::set_permissions(above, Permissions::from_mode(MODE_PROGRAM)),
        None => Ok(()),
    }
}
