//! A session bus for a test, by Debian's dbus-daemon.

use std::io;
use std::path::Path;
use std::process::{Child, Command};

/// As Debian's session.conf, but nothing is ever started by this bus, and a monitor sees everything. `@` is its socket.
const CONFIG: &str = "<busconfig><type>session</type><listen>unix:path=@</listen><auth>EXTERNAL</auth>\
    <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/>\
    <allow own=\"*\"/></policy></busconfig>";

/// Writes what the bus is configured by: it will listen on this socket.
///
/// # Errors
/// Those of the file.
pub fn write_config(config: &Path, socket: &Path) -> io::Result<()> {
    std::fs::write(config, CONFIG.replace('@', &socket.to_string_lossy()))
}

/// Makes a command that starts dbus-daemon the one that runs the bus, until it is ended.
pub fn configured_by<'c>(command: &'c mut Command, config: &Path) -> &'c mut Command {
    command.arg("--config-file").arg(config).args(["--nofork", "--nosyslog"])
}

/// Ends a program when dropped.
#[derive(Debug)]
pub struct Ending(pub Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
