//! The program; what it does is in [`vm_tools::incoming`].

use std::process::ExitCode;

use vm_tools::{cli, incoming};

fn main() -> ExitCode {
    cli::run(incoming::NAME, incoming::parse, incoming::work)
}
