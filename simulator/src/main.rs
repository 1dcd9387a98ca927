//! `xen-sim`, the simulated Xen host.

use std::process::ExitCode;

fn main() -> ExitCode {
    simulator::cli::main()
}
