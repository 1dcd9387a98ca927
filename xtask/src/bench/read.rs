//! Reading a tree from a pendrive, with fat-reader in its sandbox, against cp.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use super::material::Material;
use super::measure::{Times, print};
use super::write::{quietly, text};
use crate::Outcome;

const RUNS: u32 = 5;
/// Largest ratio to cp that is aimed at.
const AIM: f64 = 1.5;

/// Measures; `volume` holds what is in `source`.
pub fn measure(material: &Material, source: &Path, volume: &Path, scratch: &Path) -> Outcome<()> {
    let mut ours = Times::new("fat-reader, its start included (ours)");
    let mut cp = Times::new("cp -r");
    let output = scratch.join("output");
    for run in 0..RUNS {
        fs::create_dir(&output).map_err(text)?;
        ours.take(|| {
            let device = File::open(volume).map_err(text)?;
            let directory = File::open(&output).map_err(text)?;
            vm_tools::unpack::unpack(device.into(), directory.as_fd(), &mut |_| {}).map_err(text)?;
            Ok(())
        })?;
        if run == 0 {
            crate::demo::same(source, &output.join(material.name))?;
        }
        fs::remove_dir_all(&output).map_err(text)?;
        cp.take(|| quietly(Command::new("cp").arg("-r").arg(source).arg(&output), "cp"))?;
        fs::remove_dir_all(&output).map_err(text)?;
    }
    print(&ours, &[(&cp, Some(AIM))]);
    Ok(())
}
