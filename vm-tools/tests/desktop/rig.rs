//! A `PATH` of stand-ins, and a home directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    /// With the program under test alone in its directory, so that it finds the stand-ins of the tools.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["bin", "own", "home"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for program in [env!("CARGO_BIN_EXE_qvm-send-dialog"), env!("CARGO_BIN_EXE_arrival-notice")] {
            let target = dir.path().join("own").join(Path::new(program).file_name().unwrap());
            fs::hard_link(program, &target).or_else(|_| fs::copy(program, &target).map(drop)).unwrap();
        }
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A stand-in. It writes its arguments, one a line and a line of `--` behind each call, and then does this.
    pub fn stand_in(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        let calls = self.path(name);
        let record = format!("printf '%s\\n' \"$@\" =end= >> '{}'", calls.display());
        testkit::write_program(&path, &format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{record}\n{text}\n"));
    }

    /// How a stand-in was called, each time.
    pub fn calls(&self, name: &str) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        let calls = text.split("=end=\n").filter(|call| !call.is_empty());
        calls.map(|call| call.lines().map(str::to_owned).collect()).collect()
    }

    pub fn command(&self, program: &str, desktop: &str) -> Command {
        let mut command = Command::new(self.path("own").join(program));
        command
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"))
            .env("DISPLAY", ":nowhere")
            .env("XDG_CURRENT_DESKTOP", desktop)
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, program: &str, desktop: &str, words: &[&str]) -> Output {
        self.command(program, desktop).args(words).output().unwrap()
    }

    pub fn recent(&self) -> String {
        fs::read_to_string(self.path("home/.local/state/qfilexchg/recent-vms")).unwrap_or_default()
    }
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
