//! The machine's file system: Debian's programs for aarch64, ours, and the files that tests read. Programs and files
//! have the paths that they have here, for these are in the test programs.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use xen_lab::image::cpio::{Entry, Root};
use xen_lab::image::debian::{self, Packages};

use super::programs::{Built, Test};
use crate::{Outcome, workspace};

/// The name of the file.
pub const NAME: &str = "root.cpio";

/// The kernel, and what tests start.
const PACKAGES: Packages = Packages {
    architecture: "arm64",
    names: &[
        "linux-image-arm64",
        "bash",
        "busybox-static",
        "coreutils",
        "dash",
        "dosfstools",
        "mount",
        "mtools",
        "python3",
        "util-linux",
        "xenstore-utils",
    ],
};
/// Folders of Debian's packages that go into it.
const FOLDERS: [&str; 7] = ["bin", "sbin", "lib", "etc", "usr/bin", "usr/sbin", "usr/lib"];
/// The kernel's modules: hundreds of megabytes, of which one is needed.
const LEFT_OUT: [&str; 2] = ["lib/modules", "usr/lib/modules"];
/// The module, for tests with loop devices.
const MODULE: &str = "kernel/drivers/block/loop.ko";
/// Folders of ours that tests read.
const READ_BY_TESTS: [&str; 3] = ["sandbox-profiles", "dvm-parser/tests/golden", "packaging"];
const INIT: &str = include_str!("init");
/// Mount points, and what programs write to.
const EMPTY: [&str; 7] = ["dev", "proc", "sys", "run", "tmp", "mnt", "root"];

/// Writes it into this folder, and gives the path of the kernel.
pub fn make(built: &Built, tests: &[&Test], folder: &Path) -> Outcome<PathBuf> {
    let debian = folder.join("debian");
    fs::create_dir(&debian).map_err(|error| format!("{}: {error}", debian.display()))?;
    let archive = debian::archive(&PACKAGES).map_err(|error| error.to_string())?;
    debian::unpack(&archive, &debian).map_err(|error| error.to_string())?;
    let kernel = only(&debian.join("boot"), "vmlinuz-")?;
    let root =
        contents(&debian, built, tests).map_err(|error| format!("the machine's file system: {error}"))?;
    let path = folder.join(NAME);
    let written = fs::File::create(&path).and_then(|file| {
        let mut out = BufWriter::new(file);
        root.write(&mut out).and_then(|()| std::io::Write::flush(&mut out))
    });
    written.map(|()| kernel).map_err(|error| format!("{}: {error}", path.display()))
}

fn contents(debian: &Path, built: &Built, tests: &[&Test]) -> std::io::Result<Root> {
    let mut root = Root::default();
    for folder in FOLDERS {
        add(&mut root, folder, &debian.join(folder))?;
    }
    EMPTY.iter().for_each(|folder| root.add(folder, Entry::Folder));
    // No script of a package has run that would have made it.
    root.add("bin/sh", Entry::Link("dash".to_owned()));
    root.add("init", Entry::File(0o755, INIT.as_bytes().to_vec()));
    let modules = only(&debian.join("lib/modules"), "").map_err(std::io::Error::other)?;
    root.copy("loop.ko", &modules.join(MODULE))?;
    for folder in READ_BY_TESTS {
        let path = workspace::top().join(folder);
        add(&mut root, &path.to_string_lossy(), &path)?;
    }
    for entry in fs::read_dir(&built.programs)?.flatten() {
        // A program has no dot in its name.
        if entry.path().is_file() && entry.path().extension().is_none() {
            root.copy(&entry.path().to_string_lossy(), &entry.path())?;
        }
    }
    let mut list = String::new();
    for test in tests {
        root.copy(&test.program.to_string_lossy(), &test.program)?;
        root.add(&test.folder.to_string_lossy(), Entry::Folder);
        list += &format!("{} {} {}\n", test.name(), test.folder.display(), test.program.display());
    }
    root.add("tests", Entry::File(0o644, list.into_bytes()));
    Ok(root)
}

/// Adds a folder with what is in it.
fn add(root: &mut Root, to: &str, from: &Path) -> std::io::Result<()> {
    if LEFT_OUT.contains(&to) || !from.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let (path, to) = (entry?.path(), to.to_owned());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let to = format!("{to}/{name}");
        if path.is_symlink() {
            root.add(&to, Entry::Link(fs::read_link(&path)?.to_string_lossy().into_owned()));
        } else if path.is_dir() {
            root.add(&to, Entry::Folder);
            add(root, &to, &path)?;
        } else if path.is_file() {
            root.copy(&to, &path)?;
        }
    }
    Ok(())
}

/// The one thing in a folder whose name begins like this.
fn only(folder: &Path, begin: &str) -> Outcome<PathBuf> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut found = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(begin));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.path()),
        _ => Err(format!("{}: one {begin}* was expected", folder.display())),
    }
}
