//! The program; what it does is in [`vm_tools::dvm::open`].

use std::process::ExitCode;

use vm_tools::cli;
use vm_tools::dvm::open;

fn main() -> ExitCode {
    cli::run(open::NAME, open::parse, open::work)
}
