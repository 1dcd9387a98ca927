//! Whose code is in the programs: `cargo xtask docs`, `sbom` and `reproducible`, and what must hold for it.

#[cfg(test)]
mod codec;
mod reproducible;
mod rules;
pub mod sbom;
mod spdx;
mod tree;
#[cfg(test)]
mod unsafe_code;

use std::path::PathBuf;

use lexopt::{Arg, Parser};

use crate::package::metadata::Metadata;
use crate::{Outcome, next, no_more, workspace};

/// The document that is made from what cargo says.
const DOCUMENT: &str = "docs/dependencies.md";

/// Writes the documents that are made from the sources.
pub fn docs(arguments: &mut Parser) -> Outcome<()> {
    no_more(arguments)?;
    let path = workspace::top().join(DOCUMENT);
    std::fs::write(&path, tree::document(&Metadata::read()?)?)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// Writes the lists of what is in each package.
pub fn sbom(arguments: &mut Parser) -> Outcome<()> {
    let mut out = PathBuf::from("target/sbom");
    while let Some(argument) = next(arguments)? {
        match argument {
            Arg::Long("out") => out = arguments.value().map_err(|error| error.to_string())?.into(),
            other @ (Arg::Long(_) | Arg::Short(_) | Arg::Value(_)) => {
                return Err(other.unexpected().to_string());
            }
        }
    }
    for path in sbom::write_all(&out)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// Builds the programs twice, in different folders, and compares them.
pub fn reproducible(arguments: &mut Parser) -> Outcome<()> {
    no_more(arguments)?;
    reproducible::all()
}

/// Whether every crate has a licence that is permitted, comes from where it may, and is not banned.
pub fn check() -> Outcome<()> {
    rules::check()
}
