//! The daemon with a window on a display that comes and goes.
use e2e::{Display, Host};

#[test]
fn questions_are_denied_without_the_display_and_come_back_with_it() {
    if !testkit::require_tools(&["Xvfb", "xdotool", "xenstore-write", "xenstore-read"]) {
        return;
    }
    let display = Display::start(None);
    let name = display.name().to_owned();
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
    let host = Host::up_with_window(&["work", "vault"], display.name());
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    host.write_request("work", "send vault #dies");
    display.attend(&host);
    host.vm("destroy", "work");
    host.wait_for("the window to go", || {
        display.xdotool("search --onlyvisible --class qfilexchgd").is_empty()
    });
}
