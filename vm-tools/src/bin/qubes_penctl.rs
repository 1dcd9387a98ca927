//! The program; what it does is in [`vm_tools::penctl`].

use std::process::ExitCode;

use vm_tools::{cli, penctl};

fn main() -> ExitCode {
    cli::run(penctl::NAME, penctl::parse, penctl::work)
}
