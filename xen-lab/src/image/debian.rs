//! Debian's packages: fetched once, kept as an archive in the user's cache, unpacked into a folder when images are made.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::LabError;

/// The release: its Xen is 4.17, its Linux 6.1.
const SUITE: &str = "bookworm";

/// Packages that are fetched together with what they depend on.
#[derive(Debug)]
pub struct Packages {
    /// Debian's name of the architecture.
    pub architecture: &'static str,
    /// Their names.
    pub names: &'static [&'static str],
}

/// Those of the lab.
pub const LAB: Packages = Packages {
    architecture: "amd64",
    names: &[
        "linux-image-amd64",
        "xen-hypervisor-4.17-amd64",
        "xen-utils-4.17",
        "xenstore-utils",
        "udev",
        "busybox-static",
        "bash",
        "coreutils",
        "dosfstools",
        "kmod",
        "libgcc-s1",
        "mount",
        "strace",
        "systemd-standalone-sysusers",
        "systemd-standalone-tmpfiles",
        "util-linux",
    ],
};
/// What nobody reads in the lab.
const LEFT_OUT: [&str; 3] = ["./usr/share/doc", "./usr/share/man", "./usr/share/locale"];
/// How long fetching may take, in seconds: without a network this must not take long.
const FETCHING_S_MAX: &str = "400";

/// The folder that the project's tests keep large things in.
pub fn cache() -> Result<PathBuf, LabError> {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from);
    let folder = cache.join("qfilexchgd-test").join("xen-lab");
    std::fs::create_dir_all(&folder).map_err(LabError::at(&folder))?;
    Ok(folder)
}

impl Packages {
    /// The name of their archive: another one for another list.
    fn archive(&self) -> String {
        let digest = Sha256::digest(self.names.join(" "));
        let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("{SUITE}-{}-{short}.tar", self.architecture)
    }
}

/// The archive of these packages; made if it is not there yet.
pub fn archive(packages: &Packages) -> Result<PathBuf, LabError> {
    let folder = cache()?;
    let archive = folder.join(packages.archive());
    let lock = std::fs::File::create(folder.join("lock")).map_err(LabError::at(&folder))?;
    lock.lock().map_err(LabError::at(&folder))?;
    if archive.is_file() {
        return Ok(archive);
    }
    println!("fetching Debian's packages for {}", packages.architecture);
    let new = folder.join("new.tar");
    let mut command = Command::new("timeout");
    // Unpacked only: no script of a package is run.
    command.args([FETCHING_S_MAX, "mmdebstrap", "--variant=extract", "--quiet"]);
    command.arg(format!("--architectures={}", packages.architecture));
    command.arg(format!("--include={}", packages.names.join(",")));
    command.args(["--aptopt=Acquire::http::Timeout \"20\"", "--aptopt=Acquire::Retries \"1\"", SUITE]);
    command.arg(&new).stdin(Stdio::null());
    let output = command.output().map_err(|error| LabError::Missing(format!("mmdebstrap: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or_default();
        return Err(LabError::Missing(format!("Debian's packages cannot be fetched here: {last}")));
    }
    std::fs::rename(&new, &archive).map_err(LabError::at(&archive))?;
    Ok(archive)
}

/// Unpacks the archive into an empty folder.
pub fn unpack(archive: &Path, folder: &Path) -> Result<(), LabError> {
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--no-same-owner").arg("--file").arg(archive).arg("-C").arg(folder);
    tar.args(LEFT_OUT.map(|path| format!("--exclude={path}"))).arg("--exclude=./dev/*");
    crate::run(&mut tar, "unpacking Debian's packages").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_list_has_another_archive() {
        let name = |architecture, names| Packages { architecture, names }.archive();
        let first = name("amd64", &["bash", "dash"]);
        assert_eq!(first, name("amd64", &["bash", "dash"]));
        assert!(first.starts_with("bookworm-amd64-") && first.ends_with(".tar"));
        assert_ne!(first, name("arm64", &["bash", "dash"]));
        assert_ne!(first, name("amd64", &["bash"]));
    }
}
