//! `cargo xtask bench`: how fast the product is, as a ratio to what one would use otherwise, in one run.
//!
//! Everything compared is run in turn, several times, on the same file system; the ratio is that of the medians.
//! Absolute numbers depend on the machine and on what else it does; the ratios are what is aimed at.

mod create;
mod documents;
mod material;
mod measure;
mod read;
mod round_trip;
mod write;

use std::path::{Path, PathBuf};
use std::process::Command;

use lexopt::{Arg, Parser};

use crate::run::{self, step};
use crate::{Outcome, next, workspace};
use material::Material;

/// The option that means: this program and its companions are built with optimisation already.
const BUILT_OPTION: &str = "built";
/// Space that the files need, in bytes.
const SPACE_BYTES: u64 = 5 << 30;
/// In memory, where the mood of a disk does not count.
const MEMORY_FOLDER: &str = "/dev/shm";

/// What the command line asks for.
#[derive(Default)]
struct Options {
    built: bool,
    folder: Option<PathBuf>,
    echo: Option<String>,
}

/// Builds with optimisation, then measures with the program that was built so.
pub fn main(arguments: &mut Parser) -> Outcome<()> {
    let options = options(arguments)?;
    if let Some(what) = options.echo {
        return round_trip::echo(&what);
    }
    let folder = options.folder.unwrap_or_else(roomy_folder);
    if options.built {
        return measure_all(&folder);
    }
    step("building with optimisation");
    let programs = workspace::build(true)?;
    let mut command = Command::new(programs.join("xtask"));
    command.args(["bench", "--built", "--dir"]).arg(folder);
    run::succeed(&mut command, "the measurements")
}

fn options(arguments: &mut Parser) -> Outcome<Options> {
    let mut options = Options::default();
    while let Some(argument) = next(arguments)? {
        let name = match argument {
            Arg::Long(name) => name.to_owned(),
            other @ (Arg::Short(_) | Arg::Value(_)) => return Err(other.unexpected().to_string()),
        };
        let mut value = || arguments.value().map_err(|error| error.to_string());
        match name.as_str() {
            BUILT_OPTION => options.built = true,
            "dir" => options.folder = Some(value()?.into()),
            "echo" => options.echo = Some(value()?.to_string_lossy().into_owned()),
            _ => return Err(format!("no option --{name}")),
        }
    }
    Ok(options)
}

/// Memory if there is enough of it, else the folder for temporary files.
fn roomy_folder() -> PathBuf {
    let memory = Path::new(MEMORY_FOLDER);
    let has_room = rustix::fs::statvfs(memory).is_ok_and(|state| {
        state.f_bavail.saturating_mul(state.f_frsize) > SPACE_BYTES && available_memory() > SPACE_BYTES
    });
    if has_room { memory.to_owned() } else { std::env::temp_dir() }
}

fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

fn measure_all(folder: &Path) -> Outcome<()> {
    let scratch = tempfile::Builder::new()
        .prefix("qfilexchg-bench-")
        .tempdir_in(folder)
        .map_err(|error| format!("a temporary folder in {}: {error}", folder.display()))?;
    println!("files in {}; the ratio is that of the medians", folder.display());
    let mut failures = Vec::new();
    let mut note = |outcome: Outcome<()>| {
        if let Err(error) = outcome {
            println!("FAILED: {error}");
            failures.push(error);
        }
    };
    step("one message from process to process and back, both on one processor");
    note(round_trip::measure());
    step("an empty pendrive of 1 GiB, from the request to the reply");
    note(create::measure(scratch.path()));
    step("a document of 1 MiB into a DisposableVM, until the program that opens it is started");
    note(documents::measure(scratch.path()));
    for material in [Material::LARGE, Material::SMALL] {
        note(material.make(scratch.path()).and_then(|source| {
            step(&format!("writing {}", material.what));
            let volume = write::measure(&material, &source, scratch.path())?;
            step(&format!("reading {}", material.what));
            read::measure(&material, &source, &volume, scratch.path())
        }));
        note(material.remove(scratch.path()));
    }
    match failures.len() {
        0 => Ok(()),
        count => Err(format!("{count} measurements failed")),
    }
}
