//! A display for the dialog's window: Xvfb, and xdotool for the person in front of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Host;

/// A running X server. Ended when dropped.
#[derive(Debug)]
pub struct Display {
    server: Child,
    name: String,
}

impl Display {
    /// Starts one under a free number, or under this one.
    #[must_use]
    pub fn start(name: Option<&str>) -> Self {
        let mut command = Command::new(testkit::tool("Xvfb").unwrap());
        command.args(name).args(["-displayfd", "1", "-screen", "0", "1280x900x24"]);
        command.args(["-nolisten", "tcp", "-noreset", "-ac"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { server, name: format!(":{}", line.trim()) }
    }

    /// What its name is: `:NUMBER`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs xdotool(1) with these words, and gives what it says.
    pub fn xdotool(&self, words: &str) -> String {
        let mut command = Command::new(testkit::tool("xdotool").unwrap());
        let output = command.args(words.split(' ')).env("DISPLAY", &self.name).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Waits for a question and gives it the focus until keys work.
    pub fn attend(&self, host: &Host) {
        let mut window = String::new();
        host.wait_for("the window", || {
            window = self.xdotool("search --onlyvisible --class qfilexchgd");
            !window.is_empty()
        });
        self.xdotool(&format!("windowfocus --sync {window}"));
        std::thread::sleep(Duration::from_millis(1500));
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
