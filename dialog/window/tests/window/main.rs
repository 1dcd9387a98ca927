//! The real program in its real profile on a display of its own: Xvfb, with xdotool in the person's place.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod dialog;
mod display;
mod looks;

use std::time::Duration;

use protocol::dialog::{DialogCommand, DialogEvent, EXIT_NO_DISPLAY, Notice, Question};
use sys::spawn::Ended;

use dialog::{Dialog, answer, attend, question};
use display::{Display, TOOLS};

const WAIT: Duration = Duration::from_secs(20);
/// Where the buttons are, from the window's top left.
const YES: &str = "415 328";
const NO: &str = "525 328";

/// A display and a dialog on it, where the tools are installed.
fn started() -> Option<(Display, Dialog)> {
    if !testkit::require_tools(&TOOLS) {
        return None;
    }
    let display = Display::start();
    let dialog = Dialog::start(&display);
    Some((display, dialog))
}

fn click(display: &Display, window: u32, place: &str) {
    display.xdotool(&format!("mousemove --window {window} {place} click 1"));
}

#[test]
fn enter_and_escape_mean_no_and_yes_takes_a_key_more() {
    let Some((display, mut dialog)) = started() else { return };
    for (id, keys, yes) in
        [(1, "Return", false), (2, "Escape", false), (3, "Tab space", true), (4, "Left Return", true)]
    {
        dialog.ask(question(id));
        attend(&display);
        display.xdotool(&format!("key {keys}"));
        assert_eq!(dialog.event().unwrap(), answer(id, yes), "{keys}");
        display.wait_for_window(false);
    }
    // The broker goes away.
    drop(dialog.edge);
    assert_eq!(dialog.child.wait().unwrap(), Ended::Code(0));
}

#[test]
fn the_mouse_answers_and_a_click_beside_the_buttons_does_not() {
    let Some((display, mut dialog)) = started() else { return };
    for (id, place, yes) in [(1, YES, true), (2, NO, false)] {
        dialog.ask(question(id));
        let window = attend(&display);
        click(&display, window, "300 40");
        assert!(!dialog.has_said_something());
        click(&display, window, place);
        assert_eq!(dialog.event().unwrap(), answer(id, yes));
    }
}

#[test]
fn closing_the_window_means_no() {
    let Some((display, mut dialog)) = started() else { return };
    dialog.ask(question(1));
    let window = attend(&display);
    display.ask_to_close(window);
    assert_eq!(dialog.event().unwrap(), answer(1, false));
    display.wait_for_window(false);
}

#[test]
fn l14_a_click_or_a_key_within_the_first_second_answers_nothing() {
    let Some((display, mut dialog)) = started() else { return };
    dialog.ask(question(1));
    let window = display.wait_for_window(true);
    display.xdotool(&format!("windowfocus --sync {window}"));
    click(&display, window, YES);
    display.xdotool("key Escape");
    assert!(!dialog.has_said_something());
    // Nor does a click into a window without the focus, however long it has been there.
    display.xdotool("windowfocus 1");
    let (_, _) = display.try_xdotool("key Escape");
    std::thread::sleep(Duration::from_millis(1500));
    click(&display, window, YES);
    assert!(!dialog.has_said_something());
    attend(&display);
    display.xdotool("key Escape");
    assert_eq!(dialog.event().unwrap(), answer(1, false));
}

#[test]
fn l14_an_enter_key_held_from_before_answers_nothing() {
    let Some((display, mut dialog)) = started() else { return };
    display.xdotool("keydown Return");
    dialog.ask(question(1));
    attend(&display);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!dialog.has_said_something());
    display.xdotool("keyup Return");
    attend(&display);
    display.xdotool("key Return");
    assert_eq!(dialog.event().unwrap(), answer(1, false));
}

#[test]
fn l13_the_second_question_waits_and_gets_no_answer_of_the_first() {
    let Some((display, mut dialog)) = started() else { return };
    dialog.ask(question(1));
    dialog.ask(question(2));
    let window = attend(&display);
    click(&display, window, YES);
    click(&display, window, YES);
    display.xdotool("key Return");
    assert_eq!(dialog.event().unwrap(), answer(1, true));
    assert!(!dialog.has_said_something());
    attend(&display);
    display.xdotool("key Return");
    assert_eq!(dialog.event().unwrap(), answer(2, false));
}

#[test]
fn a_question_that_is_withdrawn_leaves_the_screen_and_the_next_one_appears() {
    let Some((display, mut dialog)) = started() else { return };
    dialog.ask(question(1));
    dialog.ask(question(2));
    attend(&display);
    dialog.withdraw(1);
    attend(&display);
    display.xdotool("key Escape");
    assert_eq!(dialog.event().unwrap(), answer(2, false));
    dialog.ask(question(3));
    display.wait_for_window(true);
    dialog.withdraw(3);
    display.wait_for_window(false);
    assert!(!dialog.has_said_something());
}

#[test]
fn time_that_is_over_takes_the_question_away_and_sends_nothing() {
    let Some((display, mut dialog)) = started() else { return };
    dialog.ask(Question { expires_ms: 1500, ..question(1) });
    display.wait_for_window(true);
    display.wait_for_window(false);
    assert!(!dialog.has_said_something());
}

#[test]
fn a_notice_is_shown_without_an_answer() {
    let Some((display, mut dialog)) = started() else { return };
    dialog.edge.send(&DialogCommand::Tell(Notice::TemplateBeingRebuilt)).unwrap();
    attend(&display);
    display.xdotool("key Escape");
    display.wait_for_window(false);
    assert!(!dialog.has_said_something());
}

#[test]
fn a_display_that_is_killed_ends_the_dialog_with_a_code_of_its_own() {
    let Some((mut display, mut dialog)) = started() else { return };
    dialog.ask(question(1));
    display.wait_for_window(true);
    display.kill();
    let event = dialog.event().unwrap();
    assert!(matches!(&event, DialogEvent::Log(line) if line.text.as_str().contains("display")), "{event:?}");
    assert_eq!(dialog.child.wait().unwrap(), Ended::Code(i32::from(EXIT_NO_DISPLAY)));
}

#[test]
fn a_display_that_wants_another_cookie_is_told_in_the_log() {
    let Some((display, _)) = started() else { return };
    let settings = dialog::settings(&display, Default::default(), Default::default());
    let mut dialog = Dialog::start_with(&display, &settings, std::fs::File::open("/dev/null").unwrap());
    let event = dialog.event().unwrap();
    assert!(
        matches!(&event, DialogEvent::Log(line) if line.text.as_str().contains("XAUTHORITY")),
        "{event:?}"
    );
    assert_eq!(dialog.child.wait().unwrap(), Ended::Code(i32::from(EXIT_NO_DISPLAY)));
}

#[test]
fn the_window_asks_to_be_above_and_not_to_get_the_focus() {
    let Some((display, mut dialog)) = started() else { return };
    dialog.ask(question(1));
    let window = display.wait_for_window(true);
    assert!(display.property(window, "_NET_WM_STATE").contains(&display.atom("_NET_WM_STATE_ABOVE")));
    assert_eq!(display.property(window, "_NET_WM_USER_TIME"), [0]);
    assert_ne!(display.try_xdotool("getwindowfocus").0, window.to_string());
}

#[test]
fn the_program_is_confined_and_has_one_thread() {
    let Some((display, mut dialog)) = started() else { return };
    dialog.ask(question(1));
    display.wait_for_window(true);
    let status = std::fs::read_to_string(format!("/proc/{}/status", dialog.child.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().to_owned()
    };
    assert_eq!(
        (field("Seccomp:"), field("NoNewPrivs:"), field("Threads:")),
        ("2".into(), "1".into(), "1".into())
    );
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", dialog.child.pid())).unwrap();
    for library in ["libX11", "libxcb", "libfontconfig", ".ttf"] {
        assert!(!maps.contains(library), "{library}");
    }
}
