//! The real zenity, on a display of its own. `QFILEXCHG_SCREENSHOTS` names a directory for pictures of its windows.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::rig::Rig;

const WAIT: Duration = Duration::from_secs(60);

struct Display {
    server: Child,
    name: String,
}

impl Display {
    fn start() -> Option<Self> {
        if !testkit::require_tools(&["Xvfb", "zenity", "xdotool"]) {
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

    fn xdotool(&self, words: &[&str]) -> bool {
        let mut command = Command::new("xdotool");
        command.env("DISPLAY", &self.name).args(words).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    }

    /// Waits until there are so many windows, and takes a picture.
    fn until_window(&self, picture: &str) {
        let deadline = Instant::now() + WAIT;
        while !self.xdotool(&["search", "--onlyvisible", "--name", "Send to VM"]) {
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

#[test]
fn a_name_is_typed_into_the_real_window_and_the_real_progress_can_be_cancelled() {
    let Some(display) = Display::start() else { return };
    let rig = Rig::new();
    let zenity = testkit::tool("zenity").unwrap();
    std::os::unix::fs::symlink(zenity, rig.path("bin/zenity")).unwrap();
    let tool = "trap 'exit 130' TERM\necho progress 30 100\necho note waiting for the person in dom0\n\
        while :; do sleep 0.2; done";
    rig.stand_in("qvm-copy-to-vm", tool);
    std::fs::create_dir_all(rig.path("home/.local/state/qfilexchg")).unwrap();
    std::fs::write(rig.path("home/.local/state/qfilexchg/recent-vms"), "mail\nwork\n").unwrap();
    let mut command = rig.command("qvm-send-dialog", "GNOME");
    command.env("DISPLAY", &display.name).env("LC_ALL", "C.UTF-8").args(["send", "a", "b"]);
    command.env("GTK_A11Y", "none").env("NO_AT_BRIDGE", "1");
    let mut dialog = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    display.until_window("send-question");
    assert!(display.xdotool(&["key", "ctrl+a"]) && display.xdotool(&["type", "vault"]));
    assert!(display.xdotool(&["key", "Return"]));
    let deadline = Instant::now() + WAIT;
    while rig.calls("qvm-copy-to-vm").is_empty() {
        assert!(Instant::now() < deadline, "the tool was not started");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(rig.calls("qvm-copy-to-vm"), [["--progress-lines", "--", "vault", "a", "b"]]);
    display.until_window("send-progress");
    assert!(display.xdotool(&["key", "Escape"]));
    assert_eq!(dialog.wait().unwrap().code(), Some(130));
}
