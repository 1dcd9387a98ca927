//! The program; what it does is in [`vm_tools::desktop::notice`].

use std::process::ExitCode;

use vm_tools::cli;
use vm_tools::desktop::notice;

fn main() -> ExitCode {
    cli::run(notice::NAME, notice::parse, notice::work)
}
