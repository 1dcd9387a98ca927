//! Other people's programs that tests compare with. Tests that miss one say so and are skipped.

use std::path::Path;
use std::process::{Command, Stdio};

/// A program, and Debian's package that has it.
pub type Tool = (&'static str, &'static str);

/// It may be there without what makes environments of its own.
const PYTHON: Tool = ("python3", "python3-venv");

/// What `cargo xtask test` compares with.
pub const OF_ALL_TESTS: [Tool; 29] = [
    ("fsck.vfat", "dosfstools"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("xenstore-read", "xenstore-utils"),
    ("Xvfb", "xvfb"),
    ("xdotool", "xdotool"),
    ("strace", "strace"),
    ("unshare", "util-linux"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("xz", "xz-utils"),
    ("desktop-file-validate", "desktop-file-utils"),
    ("zenity", "zenity"),
    ("pcmanfm", "pcmanfm"),
    ("../lib/x86_64-linux-gnu/libfm/modules/gtk-menu-actions.so", "libfm-modules"),
    ("dbus-run-session", "dbus-daemon"),
    ("dbus-daemon", "dbus-daemon"),
    ("dbus-monitor", "dbus-bin"),
    PYTHON,
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("strip", "binutils"),
    ("lintian", "lintian"),
    ("mandoc", "mandoc"),
    ("mmdebstrap", "mmdebstrap"),
    ("rpmbuild", "rpm"),
    ("systemd-analyze", "systemd"),
    ("systemd-nspawn", "systemd-container"),
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("../share/bash-completion/bash_completion", "bash-completion"),
];
const FOLDERS: [&str; 6] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];
/// How long one mirror may take, in seconds: without a network this must not take long.
const MIRROR_S_MAX: u32 = 20;

/// Installs what is missing of these, where that can be done.
pub fn install(tools: &[Tool]) {
    let mut packages: Vec<&str> =
        tools.iter().filter(|(tool, _)| !is_there(tool)).map(|(_, package)| *package).collect();
    if tools.contains(&PYTHON) && !packages.contains(&PYTHON.1) && !has_venv() {
        packages.push(PYTHON.1);
    }
    packages.dedup();
    if packages.is_empty() {
        println!("all there");
        return;
    }
    let list = packages.join(" ");
    if !rustix::process::geteuid().is_root() || !is_there("apt-get") {
        println!("not installed, so tests that need them are skipped: {list}");
        return;
    }
    println!("installing {list}");
    let timeout = format!("Acquire::http::Timeout={MIRROR_S_MAX}");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-o", "Acquire::Retries=1", "-o", &timeout]).args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let install: Vec<&str> =
        ["install", "-y", "--no-install-recommends"].into_iter().chain(packages).collect();
    let installed = apt(&install) || (apt(&["update"]) && apt(&install));
    if !installed {
        println!("that failed; tests that need them are skipped");
    }
}

fn is_there(tool: &str) -> bool {
    FOLDERS.iter().any(|folder| Path::new(folder).join(tool).exists())
}

fn has_venv() -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", "import venv, ensurepip"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
