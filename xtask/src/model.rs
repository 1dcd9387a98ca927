//! `cargo xtask model`: the model checker, in its large configurations.

use std::ffi::OsString;

use lexopt::{Arg, Parser};

use crate::workspace::cargo;
use crate::{Outcome, next, run};

/// Builds the checker with optimisation, and lets it explore.
pub fn main(arguments: &mut Parser) -> Outcome<()> {
    let mut names: Vec<OsString> = Vec::new();
    while let Some(argument) = next(arguments)? {
        match argument {
            Arg::Value(name) => names.push(name),
            other @ (Arg::Short(_) | Arg::Long(_)) => return Err(other.unexpected().to_string()),
        }
    }
    let mut checker = cargo();
    checker.args(["run", "--release", "--package", "broker-model", "--"]).args(names);
    run::succeed(&mut checker, "the model checker")
}
