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
/// Where systemd says that it runs (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// What has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// This many files, in a directory of their own.
    Files(u32),
    /// A pendrive, which is mounted.
    Pendrive,
}

/// Starts the notice, if the receiving user has a session. The caller has become that user.
pub fn announce(source: &VmName, arrived: Arrived, directory: &Path) {
    let Some(program) = notice_program() else { return };
    let mut words: Vec<OsString> = vec![program.into(), source.as_str().into()];
    words.push(match arrived {
        Arrived::Files(count) => count.to_string().into(),
        Arrived::Pendrive => "pendrive".into(),
    });
    words.push(directory.into());
    let runtime = PathBuf::from(format!("/run/user/{}", geteuid().as_raw()));
    if Path::new(SYSTEMD).exists() && runtime.join("systemd/private").exists() {
        let mut command = Command::new("/usr/bin/systemd-run");
        command.env_clear().env("XDG_RUNTIME_DIR", &runtime);
        command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}/bus", runtime.display()));
        command.args(["--user", "--collect", "--quiet"]);
        // What "open folder" starts must live on; the notice itself must not.
        command
            .args(["--property=KillMode=process", &format!("--property=RuntimeMaxSec={LIFE_SECONDS_MAX}")]);
        command.arg("--").args(words);
        let _ = child::run(&mut command, Duration::from_secs(START_SECONDS_MAX), 0, Signals::Passed);
    } else if std::env::var_os("DISPLAY").is_some() || std::env::var_os("WAYLAND_DISPLAY").is_some() {
        // Run by hand in a session.
        let (program, arguments) = words.split_first().unzip();
        let Some(program) = program else { return };
        let mut command = Command::new(program);
        command.args(arguments.unwrap_or_default()).stdin(Stdio::null()).stdout(Stdio::null());
        // Dropped, not waited for: it ends by itself.
        drop(command.stderr(Stdio::null()).spawn());
    }
}

fn notice_program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(|directory| directory.join(NAME));
    let installed = PathBuf::from(PROGRAMS_DIRECTORY).join(NAME);
    beside.into_iter().chain([installed]).find(|path| path.is_file())
}
