//! `cargo xtask xen-test` and `cargo xtask xen-shell`: a real Xen host under QEMU (folder xen-lab/).

use std::path::Path;

use lexopt::{Arg, Parser};
use xen_lab::{Options, Product, Summary};

use crate::run::step;
use crate::test::tools;
use crate::{Outcome, next, no_more, package, workspace};

/// The program that acts for the tests inside of the lab.
const AGENT: &str = "lab-agent";

/// Runs scenarios.
pub fn test(arguments: &mut Parser) -> Outcome<()> {
    let (mut filter, mut options) = (String::new(), Options { save: true, ..Options::default() });
    while let Some(argument) = next(arguments)? {
        match argument {
            Arg::Long("fresh") => options.resume = false,
            Arg::Value(name) => filter = name.to_string_lossy().into_owned(),
            other @ (Arg::Short(_) | Arg::Long(_)) => return Err(other.unexpected().to_string()),
        }
    }
    let programs = prepare()?;
    let summary = scenarios(&programs, &options, &filter)?;
    let Summary { passed, failed, skipped } = &summary;
    println!("\n{passed} passed, {} failed, {} skipped", failed.len(), skipped.len());
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// Measures, with programs that were built with optimisation.
pub fn bench(arguments: &mut Parser) -> Outcome<()> {
    let filter = match next(arguments)? {
        None => String::new(),
        Some(Arg::Value(parts)) => parts.to_string_lossy().into_owned(),
        Some(other) => return Err(other.unexpected().to_string()),
    };
    no_more(arguments)?;
    step("tools that the lab needs");
    tools::install(&tools::OF_ALL_TESTS);
    step("building with optimisation");
    let programs = workspace::build(true)?;
    let scratch = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let product = product(&programs, scratch.path())?;
    xen_lab::bench::run(&product, &Options::default(), &filter).map_err(|error| error.to_string())
}

/// Gives a shell in dom0.
pub fn shell() -> Outcome<()> {
    let programs = prepare()?;
    let scratch = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let product = product(&programs, scratch.path())?;
    let options = Options { save: true, ..Options::default() };
    xen_lab::shell(&product, &options).map_err(|error| error.to_string())
}

fn prepare() -> Outcome<std::path::PathBuf> {
    step("tools that the lab needs");
    tools::install(&tools::OF_ALL_TESTS);
    step("programs");
    workspace::build(false)
}

/// Runs those scenarios whose names contain `filter` with the built programs.
pub fn scenarios(programs: &Path, options: &Options, filter: &str) -> Outcome<Summary> {
    let scratch = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    Ok(xen_lab::run_all(&product(programs, scratch.path())?, options, filter))
}

fn product(programs: &Path, folder: &Path) -> Outcome<Product> {
    let (dom0, vm) = package::trees(programs, folder)?;
    Ok(Product { agent: programs.join(AGENT), dom0, vm })
}
