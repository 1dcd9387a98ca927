//! How the window looks. With `QFILEXCHG_SCREENSHOTS` set to a folder, the pictures are put there: that is how those in
//! docs/screenshots/ are made (`cargo xtask screenshots`).

use std::path::PathBuf;

use protocol::dialog::{DialogCommand, Notice, Question, QuestionKind, Recipient};
use protocol::launch::LaunchFailure;
use protocol::settings::{Scale, Theme};

use crate::dialog::{Dialog, attend, name, question, settings};
use crate::display::{Display, Shot, TOOLS};

const SCREENSHOTS_ENV: &str = "QFILEXCHG_SCREENSHOTS";
const LABEL_BLUE: [u8; 3] = [0x34, 0x65, 0xA4];
const LABEL_BLACK: [u8; 3] = [0, 0, 0];

/// Shows this, waits until the buttons work, and takes the picture.
fn shown(theme: Theme, scale: Scale, commands: Vec<DialogCommand>, key: Option<&str>) -> Shot {
    let display = Display::start();
    let mut dialog = Dialog::start_with(&display, &settings(&display, theme, scale), display.cookie_file());
    for command in commands {
        dialog.edge.send(&command).unwrap();
    }
    let window = attend(&display);
    if let Some(key) = key {
        display.xdotool(&format!("key {key}"));
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    display.shot(window)
}

fn keep(shot: &Shot, file: &str) {
    if let Some(folder) = std::env::var_os(SCREENSHOTS_ENV) {
        shot.write(&PathBuf::from(folder).join(file));
    }
}

#[test]
fn a_question_is_drawn_light_and_dark_once_and_twice_as_large() {
    if !testkit::require_tools(&TOOLS) {
        return;
    }
    for (theme, scale, file, background) in [
        (Theme::Light, Scale::Single, "question-light.png", [0xF4, 0xF4, 0xF2]),
        (Theme::Dark, Scale::Single, "question-dark.png", [0x20, 0x21, 0x24]),
        (Theme::Light, Scale::Double, "question-light-2x.png", [0xF4, 0xF4, 0xF2]),
        (Theme::Dark, Scale::Double, "question-dark-2x.png", [0x20, 0x21, 0x24]),
    ] {
        let commands = vec![DialogCommand::Ask(question(1)), DialogCommand::Ask(question(2))];
        let shot = shown(theme, scale, commands, None);
        let factor = if scale == Scale::Double { 2 } else { 1 };
        assert_eq!((shot.width, shot.height), (600 * factor, 372 * factor));
        assert!(shot.has(background) && shot.has(LABEL_BLUE) && shot.has(LABEL_BLACK), "{file}");
        // Letters have edges of many shades.
        assert!(shot.colors() > 40, "{file}: {} colors", shot.colors());
        keep(&shot, file);
    }
}

#[test]
fn the_longest_name_and_a_disposable_are_drawn() {
    if !testkit::require_tools(&TOOLS) {
        return;
    }
    let longest = Question {
        kind: QuestionKind::WaitForReceiver,
        source: name(&"WORK-long-name-0123456789-".repeat(3)[..63]),
        target: Recipient::Vm(name("untrusted")),
        ..question(1)
    };
    let shot = shown(Theme::Light, Scale::Single, vec![DialogCommand::Ask(longest)], Some("Tab"));
    assert!(!shot.has(LABEL_BLUE) && shot.has([0xCC, 0, 0]));
    keep(&shot, "wait-light.png");
    let disposable =
        Question { target: Recipient::NewDisposable, source: name("personal-mail"), ..question(1) };
    let shot = shown(Theme::Dark, Scale::Single, vec![DialogCommand::Ask(disposable)], None);
    assert!(shot.has([0xED, 0xD4, 0]));
    keep(&shot, "disposable-dark.png");
}

#[test]
fn a_notice_is_drawn_without_the_parts_of_a_question() {
    if !testkit::require_tools(&TOOLS) {
        return;
    }
    let notice = Notice::CreationFailed { source: name("work"), reason: LaunchFailure::NoMemory };
    let shot = shown(Theme::Light, Scale::Single, vec![DialogCommand::Tell(notice)], None);
    assert!(!shot.has(LABEL_BLUE) && shot.colors() > 20);
    keep(&shot, "notice-light.png");
}
