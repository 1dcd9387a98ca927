//! The program; what it does is in [`vm_tools::desktop::send`].

use std::process::ExitCode;

use vm_tools::cli;
use vm_tools::desktop::send;

fn main() -> ExitCode {
    cli::run(send::NAME, send::parse, send::work)
}
