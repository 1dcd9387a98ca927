//! `cargo xtask screenshots`: makes the pictures in docs/screenshots/ anew, on a display of its own.

use crate::Outcome;
use crate::run;
use crate::workspace::{self, cargo};

/// Names the folder in which the window's tests put what they have drawn.
const SCREENSHOTS_ENV: &str = "QFILEXCHG_SCREENSHOTS";

/// Runs the tests that draw. They say so if Xvfb or xdotool is missing.
pub fn main() -> Outcome<()> {
    let folder = workspace::top().join("docs/screenshots");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut command = cargo();
    command.args(["test", "--package", "dialog-window", "--test", "window", "drawn"]);
    run::succeed(command.env(SCREENSHOTS_ENV, &folder), "drawing")
}
