//! Compiles every profile of this folder for the target's architecture into constants.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "compile/mod.rs"]
mod compile;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let folder = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let output = PathBuf::from(variable("OUT_DIR")?);
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut profiles = Vec::new();
    for path in profile_paths(&folder, &arch)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        let stem = name.split('.').next().unwrap_or_default();
        profiles.push(
            compile::compile(stem, &text).map_err(|error| format!("sandbox-profiles/{name}: {error}"))?,
        );
    }
    let text = compile::generate::all(&profiles)?;
    std::fs::write(output.join("profiles.rs"), text).map_err(|error| error.to_string())
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}

/// The files named `PROCESS.ARCH.toml`, in the order of their names.
fn profile_paths(folder: &Path, arch: &str) -> Result<Vec<PathBuf>, String> {
    let ending = format!(".{arch}.toml");
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&ending)) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() { Err(format!("no profile for the architecture {arch}")) } else { Ok(paths) }
}
