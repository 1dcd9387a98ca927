//! The display for the dialog's window. Each start of the dialog gets a new connection; without one it is not started,
//! and that is tried again from time to time.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use protocol::codec;
use protocol::settings::DialogSettings;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::config::{DisplayName, Window};
use crate::memory_file;

/// What the environment says about the display.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `DISPLAY`.
    pub display: Option<String>,
    /// `XAUTHORITY`, or `.Xauthority` in `HOME`.
    pub xauthority: Option<PathBuf>,
}

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn own() -> Self {
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".Xauthority"));
        Self {
            display: std::env::var("DISPLAY").ok().filter(|display| !display.is_empty()),
            xauthority: std::env::var_os("XAUTHORITY").map(PathBuf::from).or_else(home),
        }
    }
}

/// Where the window is shown.
#[derive(Debug)]
pub struct Display {
    socket: PathBuf,
    xauthority: Option<PathBuf>,
    /// As it was when the daemon began: later it may not be readable any more.
    xauthority_then: Option<OwnedFd>,
    /// What the dialog is told.
    pub settings: OwnedFd,
    /// Whether the log says that the display is missing.
    is_missed: bool,
}

/// What a dialog is started with.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub socket: OwnedFd,
    /// The file with the cookie; `/dev/null` where there is none.
    pub xauthority: OwnedFd,
}

impl Display {
    /// Finds out which display it is. It need not be there yet.
    ///
    /// # Errors
    /// A sentence about what is missing.
    pub fn find(window: &Window, environment: Environment) -> Result<Self, String> {
        let name = match (window.display, environment.display) {
            (Some(name), _) => name,
            (None, Some(text)) => DisplayName::parse(&text).map_err(|error| format!("DISPLAY: {error}"))?,
            (None, None) => {
                return Err("which display? Set [dialog] display, or DISPLAY in the environment".to_owned());
            }
        };
        let settings = DialogSettings {
            display: name.number,
            screen: name.screen,
            scale: window.scale,
            theme: window.theme,
            labels: window.labels.clone(),
        };
        let bytes = codec::encode_settings(&settings).map_err(|error| error.to_string())?;
        let settings =
            memory_file::sealed("settings of the dialog", &bytes).map_err(|error| error.to_string())?;
        let xauthority = window.xauthority.clone().or(environment.xauthority);
        Ok(Self {
            socket: PathBuf::from(format!("/tmp/.X11-unix/X{}", name.number)),
            xauthority_then: xauthority.as_deref().and_then(|file| open_regular(file).ok()),
            xauthority,
            settings,
            is_missed: false,
        })
    }

    /// Connects to it. `null` is `/dev/null`.
    ///
    /// # Errors
    /// The kernel's. The display may come later.
    pub fn connect(&self, null: &OwnedFd) -> io::Result<Connected> {
        // A display that does not take connections must not stop the daemon: this fails instead of waiting.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(&self.socket)?)?;
        let now = self.xauthority.as_deref().and_then(|file| open_regular(file).ok());
        let xauthority = match (now, &self.xauthority_then) {
            (Some(now), _) => now,
            (None, Some(then)) => {
                memory_file::rewind(then)?;
                then.try_clone()?
            }
            (None, None) => null.try_clone()?,
        };
        Ok(Connected { socket, xauthority })
    }

    /// What to say in the log about this attempt: something only when the display has gone or come.
    pub fn news(&mut self, attempt: &io::Result<Connected>) -> Option<String> {
        let was_missed = std::mem::replace(&mut self.is_missed, attempt.is_err());
        let socket = self.socket.display();
        match attempt {
            Err(error) if !was_missed => {
                Some(format!("no display at {socket}: {error}; questions are denied until there is one"))
            }
            Ok(_) if was_missed => Some(format!("there is a display at {socket}: questions are asked again")),
            Ok(_) | Err(_) => None,
        }
    }
}

/// Whoever has the display chooses what is at this path: no link is followed, and nothing is waited for.
fn open_regular(file: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Not open(2), which the supervisor's profile does not grant.
    let opened = rustix::fs::openat(CWD, file, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) == FileType::RegularFile {
        Ok(opened)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;
    use crate::config::Config;

    fn window(display: &str) -> Window {
        let text = format!("[dialog]\nkind = \"window\"\ndisplay = \"{display}\"\n");
        Config::parse(Path::new("f"), &text).unwrap().dialog.window
    }

    #[test]
    fn the_configuration_goes_before_the_environment_and_one_of_them_is_needed() {
        let environment = |display: &str| Environment { display: Some(display.to_owned()), xauthority: None };
        let socket =
            |text, environment| Display::find(&window(text), environment).map(|display| display.socket);
        assert_eq!(socket(":7.1", environment(":8")).unwrap(), Path::new("/tmp/.X11-unix/X7"));
        assert_eq!(socket("", environment(":8")).unwrap(), Path::new("/tmp/.X11-unix/X8"));
        assert!(socket("", environment("host:8")).unwrap_err().contains("DISPLAY"));
        assert!(socket("", Environment::default()).unwrap_err().contains("which display?"));
    }

    #[test]
    fn a_display_that_is_missing_is_told_once_and_so_is_its_return() {
        let mut display = Display::find(&window(":99999"), Environment::default()).unwrap();
        let null = OwnedFd::from(File::open("/dev/null").unwrap());
        let missing = display.connect(&null);
        assert!(display.news(&missing).unwrap().contains("questions are denied"));
        assert_eq!(display.news(&missing), None);
        let there = Ok(Connected { socket: null.try_clone().unwrap(), xauthority: null });
        assert!(display.news(&there).unwrap().contains("asked again"));
        assert_eq!(display.news(&there), None);
    }

    #[test]
    fn the_cookie_is_read_anew_and_only_from_a_regular_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cookie");
        std::fs::write(&file, "one").unwrap();
        let mut text = String::new();
        File::from(open_regular(&file).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "one");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for other in [link.as_path(), directory.path(), Path::new("/dev/zero"), Path::new("/nothing")] {
            assert!(open_regular(other).is_err(), "{}", other.display());
        }
    }
}
