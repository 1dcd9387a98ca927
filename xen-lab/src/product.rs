//! What is tested: the files of our two packages.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::LabError;

/// The built product.
#[derive(Debug, Clone)]
pub struct Product {
    /// The program `lab-agent`.
    pub agent: PathBuf,
    /// What the package for dom0 installs, below a folder.
    pub dom0: PathBuf,
    /// What the package for VMs installs, below a folder.
    pub vm: PathBuf,
}

/// What is run in dom0 and in a guest after the files are there.
const INSTALLED_DOM0: &str = include_str!("../dom0/installed");
const INSTALLED_GUEST: &str = include_str!("../guest/installed");

impl Product {
    /// The files for dom0, and `lab/installed`, as a compressed tar archive.
    pub(crate) fn dom0_archive(&self) -> Result<Vec<u8>, LabError> {
        archive(&self.dom0, INSTALLED_DOM0)
    }

    /// The files for guests, and `lab/installed`, as a compressed tar archive.
    pub(crate) fn vm_archive(&self) -> Result<Vec<u8>, LabError> {
        archive(&self.vm, INSTALLED_GUEST)
    }
}

/// Everything in it is root's.
fn archive(folder: &Path, installed: &str) -> Result<Vec<u8>, LabError> {
    let script = folder.join("lab/installed");
    std::fs::create_dir_all(folder.join("lab")).map_err(LabError::at(folder))?;
    std::fs::write(&script, installed).map_err(LabError::at(&script))?;
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).map_err(LabError::at(&script))?;
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--format=ustar", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.args(["--exclude=./usr/share/man", "--exclude=./usr/share/bash-completion", "-C"])
        .arg(folder)
        .arg(".");
    crate::run(&mut tar, "tar")
}
