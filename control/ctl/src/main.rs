//! `qfilexchgctl`: what a person in dom0 asks the daemon, or its files, on a command line.
//!
//! *Runs as* whoever calls it. *Holds* a connection to control, for verbs that ask the daemon. *May* read the
//! configuration and the policy, and ask what this account may ask. *Must never* show anything raw, or answer a
//! question that nobody named. *Trusts* the files that the administrator wrote. *Ends when* it has answered.

use std::process::ExitCode;

fn main() -> ExitCode {
    qfilexchgctl::run(lexopt::Parser::from_env())
}
