//! Writing a tree onto a pendrive, as qvm-copy-to-vm does it, against dd, mcopy and cp.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fat::{Tree, VolumeLabel, VolumeSize};
use vm_tools::tree::collect;

use super::material::Material;
use super::measure::{Times, print};
use crate::Outcome;
use crate::run::succeed;

const RUNS: u32 = 5;
/// mtools ask a question about a disk that is not a multiple of a track, unless told not to.
const MTOOLS_ENV: (&str, &str) = ("MTOOLS_SKIP_CHECK", "1");

/// Measures, and leaves the volume for reading.
pub fn measure(material: &Material, source: &Path, scratch: &Path) -> Outcome<PathBuf> {
    let volume = scratch.join(format!("{}.volume", material.name));
    let mut ours = Times::new("one pass onto FAT32 (ours)");
    let mut dd = Times::new("dd bs=1M of the same bytes");
    let mut mcopy = Times::new("mcopy -s");
    let mut cp = Times::new("cp -r");
    for _ in 0..RUNS {
        remove(&volume)?;
        let mut used = 0;
        ours.take(|| {
            used = one_pass(source, &volume)?;
            Ok(())
        })?;
        // What dd copies is what has just been written, no byte more.
        let (same, target) = (scratch.join("same-bytes"), scratch.join("dd"));
        remove(&target)?;
        fs::copy(&volume, &same)
            .and_then(|_| File::options().write(true).open(&same)?.set_len(used))
            .map_err(text)?;
        dd.take(|| {
            quietly(Command::new("dd").arg(arg("if=", &same)).arg(arg("of=", &target)).arg("bs=1M"), "dd")
        })?;
        remove(&target)?;
        remove(&same)?;
        mcopy_once(material, source, scratch, used, &mut mcopy)?;
        let copy = scratch.join("copy");
        cp.take(|| quietly(Command::new("cp").arg("-r").arg(source).arg(&copy), "cp"))?;
        fs::remove_dir_all(&copy).map_err(text)?;
    }
    print(&ours, &[(&dd, material.dd_aim), (&mcopy, material.mcopy_aim), (&cp, None)]);
    Ok(volume)
}

/// What `qvm-copy-to-vm` does between `new` and `send`; says how many bytes it wrote.
fn one_pass(source: &Path, volume: &Path) -> Outcome<u64> {
    let mut found = collect(&[OsString::from(source)]).map_err(text)?;
    let tree = Tree::check(found.entries).map_err(text)?;
    let mib = tree.size_needed_mib().map_err(text)?;
    let size = VolumeSize::from_mib(mib.max(vm_tools::copy::PENDRIVE_MIB_MIN)).map_err(text)?;
    let plan = tree.layout(size, VolumeLabel::from_name("work"), 1).map_err(text)?;
    let mut device = File::create_new(volume).map_err(text)?;
    device.set_len(size.bytes()).map_err(text)?;
    fat::write(&plan, &mut device, &mut found.files, &mut |_| {}).map_err(text)?;
    Ok(plan.bytes_total())
}

fn mcopy_once(
    material: &Material,
    source: &Path,
    scratch: &Path,
    used: u64,
    times: &mut Times,
) -> Outcome<()> {
    let image = scratch.join(format!("{}.mcopy", material.name));
    let made = File::create_new(&image).map_err(text)?;
    // mcopy spreads more than one pass does.
    made.set_len(used.saturating_add(used / 4).max(64 << 20).next_multiple_of(1 << 20)).map_err(text)?;
    drop(made);
    quietly(Command::new("mkfs.vfat").args(["-F", "32"]).arg(&image), "mkfs.vfat")?;
    times.take(|| {
        let mut command = Command::new("mcopy");
        command.env(MTOOLS_ENV.0, MTOOLS_ENV.1).args(["-s", "-i"]).arg(&image).arg(source).arg("::");
        quietly(&mut command, "mcopy")
    })?;
    remove(&image)
}

/// Runs a program without its chatter.
pub fn quietly(command: &mut Command, what: &str) -> Outcome<()> {
    command.env("PATH", path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    succeed(command, what)
}

/// An ordinary user's path lacks mkfs.vfat.
fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

fn arg(option: &str, path: &Path) -> OsString {
    let mut word = OsString::from(option);
    word.push(path);
    word
}

fn remove(path: &Path) -> Outcome<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(text(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The text of any error.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
