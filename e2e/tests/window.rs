//! The daemon with a window on a display that comes and goes.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::Host;

struct Display {
    server: Child,
    name: String,
}

impl Display {
    /// Starts one under a free number, or under this one.
    fn start(name: Option<&str>) -> Self {
        let mut command = Command::new(testkit::tool("Xvfb").unwrap());
        command.args(name).args(["-displayfd", "1", "-screen", "0", "1280x900x24"]);
        command.args(["-nolisten", "tcp", "-noreset", "-ac"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { server, name: format!(":{}", line.trim()) }
    }

    fn xdotool(&self, words: &str) -> String {
        let mut command = Command::new(testkit::tool("xdotool").unwrap());
        let output = command.args(words.split(' ')).env("DISPLAY", &self.name).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Waits for a question and gives it the focus until keys work.
    fn attend(&self, host: &Host) {
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

#[test]
fn questions_are_denied_without_the_display_and_come_back_with_it() {
    if !testkit::require_tools(&["Xvfb", "xdotool", "xenstore-write", "xenstore-read"]) {
        return;
    }
    let display = Display::start(None);
    let name = display.name.clone();
    let host = Host::up_with_window(&["work", "vault"], &name);
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    host.write_request("work", "send vault #no");
    display.attend(&host);
    display.xdotool("key Return");
    assert!(host.final_reply("work", "no").starts_with("denied "));
    // A question that is open when the display dies, and one after that.
    host.write_request("work", "send vault #gone");
    display.attend(&host);
    drop(display);
    assert!(host.final_reply("work", "gone").starts_with("denied "));
    host.wait_for("the news", || host.output().contains("questions are denied until there is one"));
    assert!(host.request("work", "send vault #missing").starts_with("denied "));
    assert_eq!(host.devices("work"), ["xvdg"]);

    let display = Display::start(Some(&name));
    host.wait_for("the news", || host.output().contains("questions are asked again"));
    host.write_request("work", "send vault #yes");
    display.attend(&host);
    display.xdotool("key Left Return");
    assert!(host.final_reply("work", "yes").starts_with("ok"));
    assert!(!host.output().contains("SIGSYS"), "{}", host.output());
}

#[test]
fn a_vm_that_dies_takes_its_question_from_the_screen() {
    if !testkit::require_tools(&["Xvfb", "xdotool", "xenstore-write", "xenstore-read"]) {
        return;
    }
    let display = Display::start(None);
    let host = Host::up_with_window(&["work", "vault"], &display.name);
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    host.write_request("work", "send vault #dies");
    display.attend(&host);
    host.vm("destroy", "work");
    host.wait_for("the window to go", || {
        display.xdotool("search --onlyvisible --class qfilexchgd").is_empty()
    });
}
