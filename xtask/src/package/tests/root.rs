//! A small Debian in a folder, made once and kept as a tar archive in the user's cache.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::files_below;

/// The release that the packages are tried on.
const SUITE: &str = "bookworm";
/// What is in it besides the essential packages: what the two packages need, and what reads manuals.
const INCLUDED: &str = "man-db,systemd,udev,init-system-helpers,libgcc-s1";
/// How long all of its making may take, in seconds: without a network this must not take long.
const MAKING_S_MAX: &str = "400";

/// Makes the folder the root of a process and of its children. (A chroot is not enough: in one, the kernel makes no
/// user namespaces, in which the workers live.)
const ENTER: &str = r#"
set -e
mount --bind "$1" "$1"
cd "$1"
mkdir -p .outside
pivot_root . .outside
cd /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
umount -l /.outside
rmdir /.outside
shift
exec "$@"
"#;

/// A root of its own for one test.
pub struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    /// Unpacks a fresh one. `None` when that cannot be done here; the test has been skipped then.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            testkit::skip("installing packages needs root");
            return None;
        }
        if !testkit::require_tools(&[
            "mmdebstrap",
            "tar",
            "unshare",
            "pivot_root",
            "dpkg-deb",
            "dpkg-shlibdeps",
        ]) {
            return None;
        }
        let archive = archive()?;
        let folder = tempfile::Builder::new().prefix("qfilexchg-root-").tempdir().unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--numeric-owner", "--file"]).arg(archive).arg("-C").arg(folder.path());
        assert!(tar.status().unwrap().success());
        Some(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command that runs inside.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "enter"]);
        command.arg(self.path()).args(words).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs something inside.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs something inside that must succeed, and gives what it said.
    pub fn succeed(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = text(&output);
        assert!(output.status.success(), "{words:?}: {}: {said}", output.status);
        said
    }

    /// Every file in it, but for what any package manager and manual reader leaves behind.
    pub fn files(&self) -> BTreeSet<String> {
        let passing = ["var/lib/dpkg/", "var/cache/", "var/log/", "tmp/", "packages/"];
        let mut files = files_below(self.path());
        files.retain(|file| !passing.iter().any(|folder| file.starts_with(folder)));
        files
    }

    /// Puts a file in it.
    pub fn put(&self, from: &Path, to: &str) {
        let to = self.path().join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

/// Both outputs of a command.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The archive, made if it is not there yet.
fn archive() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from);
    let folder = cache.join("qfilexchgd-test");
    std::fs::create_dir_all(&folder).unwrap();
    let archive = folder.join(format!("{SUITE}-{}.tar", INCLUDED.replace(',', "-")));
    // Two tests may be here at once.
    let lock = std::fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    if archive.is_file() {
        return Some(archive);
    }
    let new = folder.join("new.tar");
    let mut command = Command::new("timeout");
    command.args([MAKING_S_MAX, "mmdebstrap", "--variant=essential", "--mode=root", "--quiet"]);
    command.arg(format!("--include={INCLUDED}"));
    command
        .args(["--aptopt=Acquire::http::Timeout \"20\"", "--aptopt=Acquire::Retries \"1\"", SUITE])
        .arg(&new);
    let output = command.stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        let said = text(&output);
        testkit::skip(&format!(
            "no small Debian can be made here: {}",
            said.lines().last().unwrap_or_default()
        ));
        return None;
    }
    std::fs::rename(&new, &archive).unwrap();
    Some(archive)
}
