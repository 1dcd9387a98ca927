//! A real file manager with our entries in its menu.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::display::{Display, WAIT};
use crate::rig::Rig;

/// What PCManFM reads actions with. Debian's package recommends it only.
const ACTIONS_MODULE: &str = "../lib/x86_64-linux-gnu/libfm/modules/gtk-menu-actions.so";

#[test]
fn pcmanfm_starts_with_our_actions_and_hands_names_over_as_they_are() {
    let Some(display) = Display::start(&["pcmanfm", "dbus-run-session"]) else { return };
    if !Path::new("/usr/bin").join(ACTIONS_MODULE).exists() {
        return testkit::skip("not installed: libfm-modules");
    }
    let rig = Rig::new();
    rig.stand_in("qvm-send-dialog", "");
    let actions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/desktop/file-manager-actions");
    std::fs::create_dir_all(rig.path("data/file-manager")).unwrap();
    std::os::unix::fs::symlink(actions, rig.path("data/file-manager/actions")).unwrap();
    let folder = rig.path("home/papers");
    std::fs::create_dir(&folder).unwrap();
    for name in ["a b'$(x);.txt", "b.txt"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let mut command = Command::new("dbus-run-session");
    command.args(["--", "pcmanfm"]).arg(&folder).env_clear().env("DISPLAY", &display.name);
    command.env("PATH", format!("{}:/usr/bin:/bin", rig.path("bin").display())).env("HOME", rig.path("home"));
    command.env("XDG_DATA_DIRS", format!("{}:/usr/share", rig.path("data").display()));
    command.env("XDG_RUNTIME_DIR", rig.path("home")).env("NO_AT_BRIDGE", "1").env("LC_ALL", "C.UTF-8");
    let mut manager = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    display.until_window("papers", "pcmanfm");
    let found = ["search", "--onlyvisible", "--name", "papers"];
    let window = [&found[..], &["windowmove", "0", "0", "windowsize", "780", "480"]].concat();
    assert!(display.xdotool(&window));
    let deadline = Instant::now() + WAIT;
    while rig.calls("qvm-send-dialog").is_empty() {
        assert!(Instant::now() < deadline, "nothing was started");
        assert_eq!(manager.try_wait().unwrap(), None, "PCManFM has ended");
        // Both files; their menu; from its end upwards, past "Properties", to the last of ours.
        assert!(display.xdotool(&["mousemove", "600", "400", "key", "Escape", "key", "ctrl+a"]));
        assert!(display.xdotool(&[
            "key",
            "shift+F10",
            "sleep",
            "1",
            "key",
            "Up",
            "Up",
            "Return",
            "sleep",
            "1"
        ]));
    }
    let names = ["a b'$(x);.txt", "b.txt"].map(|name| folder.join(name).display().to_string());
    let [first, second] = &names;
    assert_eq!(rig.calls("qvm-send-dialog").first().unwrap(), &["view", "--", first, second]);
    // Without its display it ends.
    drop(display);
    let _ = manager.wait();
}
