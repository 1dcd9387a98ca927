//! A display for programs with windows. `QFILEXCHG_SCREENSHOTS` names a directory for pictures of it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to show a window.
pub const WAIT: Duration = Duration::from_secs(60);

/// A display of its own, until it is dropped.
pub struct Display {
    server: Child,
    /// As in `DISPLAY`.
    pub name: String,
}

impl Display {
    /// Starts it, unless this machine lacks what is needed, or one of the programs that the test is about.
    pub fn start(programs: &[&str]) -> Option<Self> {
        if !testkit::require_tools(&[&["Xvfb", "xdotool"], programs].concat()) {
            return None;
        }
        let number = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "800x500x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut server = number.unwrap();
        let mut line = String::new();
        let stdout = server.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        let display = Self { server, name: format!(":{}", line.trim()) };
        if display.name == ":" {
            testkit::skip("Xvfb does not start");
            return None;
        }
        Some(display)
    }

    /// Runs xdotool. Whether it succeeded.
    pub fn xdotool(&self, words: &[&str]) -> bool {
        let mut command = Command::new("xdotool");
        command.env("DISPLAY", &self.name).args(words).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    }

    /// Waits until there is a window of this title, and takes a picture.
    pub fn until_window(&self, title: &str, picture: &str) {
        let deadline = Instant::now() + WAIT;
        while !self.xdotool(&["search", "--onlyvisible", "--name", title]) {
            assert!(Instant::now() < deadline, "no window for {picture}");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(1500));
        if let Some(directory) = std::env::var_os("QFILEXCHG_SCREENSHOTS") {
            let path = PathBuf::from(directory).join(format!("{picture}.png"));
            let mut command = Command::new("import");
            command.env("DISPLAY", &self.name).args(["-window", "root"]).arg(path);
            assert!(command.status().unwrap().success());
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
