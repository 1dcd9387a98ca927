//! The program; what it does is in [`vm_tools::copy`].

use std::process::ExitCode;

use vm_tools::{cli, copy};

fn main() -> ExitCode {
    cli::run(copy::NAME, copy::parse, copy::work)
}
