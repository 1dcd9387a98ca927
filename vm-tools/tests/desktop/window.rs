//! The real zenity.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::display::{Display, WAIT};
use crate::rig::Rig;

#[test]
fn a_name_is_typed_into_the_real_window_and_the_real_progress_can_be_cancelled() {
    let Some(display) = Display::start(&["zenity"]) else { return };
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
    display.until_window("Send to VM", "send-question");
    assert!(display.xdotool(&["key", "ctrl+a"]) && display.xdotool(&["type", "vault"]));
    assert!(display.xdotool(&["key", "Return"]));
    let deadline = Instant::now() + WAIT;
    while rig.calls("qvm-copy-to-vm").is_empty() {
        assert!(Instant::now() < deadline, "the tool was not started");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(rig.calls("qvm-copy-to-vm"), [["--progress-lines", "--", "vault", "a", "b"]]);
    display.until_window("Send to VM", "send-progress");
    assert!(display.xdotool(&["key", "Escape"]));
    assert_eq!(dialog.wait().unwrap().code(), Some(130));
}
