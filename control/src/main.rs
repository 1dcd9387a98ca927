//! `qfilexchgctl`: what a person in dom0 asks the daemon, or its files, on a command line.
//!
//! *Runs as* whoever calls it. *Holds* nothing. *May* read the configuration and the policy. *Must never* change
//! anything, or talk to a VM. *Trusts* the files that the administrator wrote. *Ends when* it has answered.

use std::process::ExitCode;

fn main() -> ExitCode {
    control::run(lexopt::Parser::from_env())
}
