//! `cargo xtask package`: the `.deb` packages for dom0 and for the VMs, or the tree that an RPM is built from.

mod collect;
mod deb;
pub mod edges;
mod filter;
pub mod list;
mod manual;
pub mod metadata;
mod notices;
pub mod release;
mod rpm;
mod tree;

use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser};

use crate::run::step;
use crate::{Outcome, next, scratch_folder, workspace};
use list::{List, Package};
use metadata::Metadata;
use release::Release;

/// Where packages go when nothing is said: below the folder of built things.
const OUT_DEFAULT: &str = "packages";

/// What the command line asks for.
struct Options {
    release: bool,
    programs: Option<PathBuf>,
    out: Option<PathBuf>,
    rpm_root: Option<PathBuf>,
}

/// Builds the programs, then the packages.
pub fn main(arguments: &mut Parser) -> Outcome<()> {
    let options = options(arguments)?;
    let programs = match options.programs {
        Some(programs) => programs,
        None => {
            step("building the programs");
            workspace::build(options.release)?
        }
    };
    let out = match options.out {
        Some(out) => out,
        None => programs.parent().unwrap_or(&programs).join(OUT_DEFAULT),
    };
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    step("packages");
    let made = match options.rpm_root {
        Some(root) => rpm_trees(&programs, &root, &out)?,
        None => debs(&programs, &out)?,
    };
    for path in made {
        println!("{}", path.display());
    }
    Ok(())
}

fn options(arguments: &mut Parser) -> Outcome<Options> {
    let mut options = Options { release: true, programs: None, out: None, rpm_root: None };
    while let Some(argument) = next(arguments)? {
        let name = match argument {
            Arg::Long(name) => name.to_owned(),
            other @ (Arg::Short(_) | Arg::Value(_)) => return Err(other.unexpected().to_string()),
        };
        let value = arguments.value().map_err(|error| error.to_string())?;
        match name.as_str() {
            "profile" if value == "release" => options.release = true,
            "profile" if value == "dev" => options.release = false,
            "profile" => return Err("--profile is dev or release".to_owned()),
            "programs" => options.programs = Some(value.into()),
            "out" => options.out = Some(value.into()),
            "rpm-root" => options.rpm_root = Some(value.into()),
            _ => return Err(format!("no option --{name}")),
        }
    }
    Ok(options)
}

/// The list, if it is complete, and what cargo says.
fn read() -> Outcome<(List, Metadata, Release)> {
    let (list, metadata, release) = (List::read()?, Metadata::read()?, Release::read()?);
    let forgotten = list.forgotten(metadata.programs());
    if forgotten.is_empty() {
        return Ok((list, metadata, release));
    }
    Err(format!("add to packaging/contents, or say there why not: {}", forgotten.join(", ")))
}

/// Both `.deb` packages, in `out`.
fn debs(programs: &Path, out: &Path) -> Outcome<Vec<PathBuf>> {
    let (list, metadata, release) = read()?;
    let scratch = scratch_folder("qfilexchg-package-")?;
    let mut made = Vec::new();
    for package in Package::ALL {
        let mut tree = collect::collect(&list, package, programs, scratch.path())?;
        deb::add_documents(&mut tree, &list, package, &metadata, &release)?;
        made.push(deb::make(&tree, package, &release, scratch.path(), out)?);
    }
    Ok(made)
}

/// The files of both packages below `root`, and their lists in `out`.
fn rpm_trees(programs: &Path, root: &Path, out: &Path) -> Outcome<Vec<PathBuf>> {
    let (list, metadata, release) = read()?;
    let scratch = scratch_folder("qfilexchg-package-")?;
    for package in Package::ALL {
        let mut tree = collect::collect(&list, package, programs, scratch.path())?;
        deb::add_documents(&mut tree, &list, package, &metadata, &release)?;
        rpm::write(&rpm::moved(&tree)?, package, release.epoch_s, root, out)?;
    }
    Ok(Package::ALL.map(|package| out.join(format!("{}.files", package.name()))).into())
}

/// What the two packages install, each below a folder of its own in `root`: that for dom0, and that for VMs.
pub fn trees(programs: &Path, root: &Path) -> Outcome<(PathBuf, PathBuf)> {
    let (list, _, release) = read()?;
    let scratch = scratch()?;
    let write = |package: Package| {
        let folder = root.join(package.name());
        collect::collect(&list, package, programs, scratch.path())?.write(&folder, release.epoch_s)?;
        Ok::<_, String>(folder)
    };
    let [dom0, vm] = Package::ALL.map(write);
    Ok((dom0?, vm?))
}

fn scratch() -> Outcome<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("qfilexchg-package-").tempdir();
    made.map_err(|error| format!("a temporary folder: {error}"))
}

#[cfg(test)]
mod tests;
