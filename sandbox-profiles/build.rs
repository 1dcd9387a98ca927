//! Compiles every profile of this folder, and makes constants of those for the target's architecture.

use std::path::PathBuf;
use std::process::ExitCode;

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
    let target = variable("CARGO_CFG_TARGET_ARCH")?;
    println!("cargo::rerun-if-changed={}", folder.display());
    // Those of the others are compiled too, so that no profile is wrong unseen.
    let all = profile_compiler::all(&folder)?;
    let of_target = all.iter().find(|(arch, _)| arch.name() == target);
    let (_, profiles) = of_target.ok_or_else(|| format!("no profile for the architecture {target}"))?;
    let text = profile_compiler::generate::all(profiles)?;
    std::fs::write(output.join("profiles.rs"), text).map_err(|error| error.to_string())
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}
