//! Tells the user's desktop that something has arrived: starts `arrival-notice` and does not wait for it.
//!
//! Best effort: nothing that goes wrong here is an error of the transfer. The script runs beneath udev and systemd, in a
//! unit whose processes end with it, and without the session's environment. So the user's own service manager, which has
//! that environment, is asked to run the notice.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use protocol::types::VmName;
use rustix::process::geteuid;

use crate::child::{self, Signals};
use crate::unpack::PROGRAMS_DIRECTORY;

use super::notice::{LIFE_SECONDS_MAX, NAME};

/// How long the service manager may take to accept the notice, in seconds.
const START_SECONDS_MAX: u64 = 5;
/// What stands before a count of documents that come back.
pub(super) const BACK: &str = "back=";
/// The word for a pendrive that is mounted.
pub(super) const PENDRIVE: &str = "pendrive";
/// Where systemd says that it runs (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// What has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// This many files, in a directory of their own.
    Files(u32),
    /// This many documents, changed in a DisposableVM.
    Back(u32),
    /// A pendrive, which is mounted.
    Pendrive,
}

/// Starts the notice, if the receiving user has a session. The caller has become that user.
pub fn announce(source: &VmName, arrived: Arrived, directory: &Path) {
    let Some(program) = notice_program() else { return };
    let arguments = arguments(source, arrived, directory);
    let runtime = PathBuf::from(format!("/run/user/{}", geteuid().as_raw()));
    if Path::new(SYSTEMD).exists() && runtime.join("systemd/private").exists() {
        let mut command = Command::new("/usr/bin/systemd-run");
        command.env_clear().env("XDG_RUNTIME_DIR", &runtime);
        command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}/bus", runtime.display()));
        command.args(["--user", "--collect", "--quiet"]);
        // What "open folder" starts must live on; the notice itself must not.
        command
            .args(["--property=KillMode=process", &format!("--property=RuntimeMaxSec={LIFE_SECONDS_MAX}")]);
        command.arg("--").arg(program).args(arguments);
        let _ = child::run(&mut command, Duration::from_secs(START_SECONDS_MAX), 0, Signals::Passed);
    } else if std::env::var_os("DISPLAY").is_some() || std::env::var_os("WAYLAND_DISPLAY").is_some() {
        // Run by hand in a session.
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        // Dropped, not waited for: it ends by itself.
        drop(command.stderr(Stdio::null()).spawn());
    }
}

/// The words of its command line.
pub(super) fn arguments(source: &VmName, arrived: Arrived, directory: &Path) -> [OsString; 3] {
    let arrived = match arrived {
        Arrived::Files(count) => count.to_string(),
        Arrived::Back(count) => format!("{BACK}{count}"),
        Arrived::Pendrive => PENDRIVE.to_owned(),
    };
    [source.as_str().into(), arrived.into(), directory.into()]
}

fn notice_program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(|directory| directory.join(NAME));
    let installed = PathBuf::from(PROGRAMS_DIRECTORY).join(NAME);
    beside.into_iter().chain([installed]).find(|path| path.is_file())
}
