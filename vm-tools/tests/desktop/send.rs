//! `qvm-send-dialog` and `arrival-notice`, with every answer of a person.

use crate::rig::{Rig, text};

const DIALOG: &str = "qvm-send-dialog";
const COPY: &str = "qvm-copy-to-vm";
/// A zenity that names a VM, and shows a progress window until it is ended.
const ZENITY: &str = "case \"$1\" in --entry) echo vault;; --progress) cat >> \"$0.progress\";; esac";

#[test]
fn a_copy_runs_with_the_chosen_name_and_its_success_is_told_and_remembered() {
    let rig = Rig::new();
    rig.stand_in("zenity", ZENITY);
    rig.stand_in("notify-send", "");
    rig.stand_in(COPY, "echo progress 50 200; echo note waiting for the person in dom0; sleep 1");
    let ended = rig.run(DIALOG, "GNOME", &["send", "--", "a file", "--help", "$(reboot)"]);
    assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(0), ""));
    assert_eq!(rig.calls(COPY), [["--progress-lines", "--", "vault", "a file", "--help", "$(reboot)"]]);
    let zenity = rig.calls("zenity");
    assert!(zenity[0].contains(&"--entry".to_owned()) && zenity[1].contains(&"--progress".to_owned()));
    assert!(zenity[1].contains(&"--text=Sending 3 items to vault".to_owned()), "{zenity:?}");
    let shown = std::fs::read_to_string(rig.path("bin/zenity.progress")).unwrap();
    assert_eq!(shown, "25\n# waiting for the person in dom0\n");
    assert_eq!(rig.calls("notify-send")[0][2..], ["Sending 3 items to vault", "Done."]);
    assert_eq!(rig.recent(), "vault\n");
    // The next time it is offered.
    rig.run(DIALOG, "GNOME", &["send", "file"]);
    assert_eq!(rig.calls("zenity")[2].last().unwrap(), "vault");
}

#[test]
fn l22_cancelling_the_progress_window_stops_the_tool() {
    let rig = Rig::new();
    rig.stand_in("zenity", "case \"$1\" in --entry) echo vault;; --progress) sleep 0.5; exit 1;; esac");
    let tool = "trap 'echo \"qvm-copy-to-vm: interrupted: nothing was sent\" >&2; exit 130' TERM\n\
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1; done; echo done > \"$0.sent\"";
    rig.stand_in(COPY, tool);
    let ended = rig.run(DIALOG, "GNOME", &["send", "file"]);
    assert_eq!(ended.status.code(), Some(130));
    assert_eq!(text(&ended.stderr), "qvm-send-dialog: interrupted: nothing was sent\n");
    assert!(!rig.path("bin/qvm-copy-to-vm.sent").exists());
    assert_eq!(rig.recent(), "");
    // No window about what the person has done.
    assert_eq!(rig.calls("zenity").len(), 2);
}

#[test]
fn cancelling_the_question_starts_nothing() {
    for (desktop, program) in [("GNOME", "zenity"), ("KDE", "kdialog")] {
        let rig = Rig::new();
        rig.stand_in(program, "exit 1");
        rig.stand_in(COPY, "");
        let ended = rig.run(DIALOG, desktop, &["send", "file"]);
        assert_eq!(ended.status.code(), Some(130));
        assert_eq!(text(&ended.stderr), "qvm-send-dialog: cancelled: nothing was sent\n");
        assert!(rig.calls(COPY).is_empty());
    }
}

#[test]
fn l23_the_tools_one_line_is_shown_without_markup_and_its_exit_code_kept() {
    let rig = Rig::new();
    rig.stand_in("zenity", ZENITY);
    rig.stand_in(COPY, "echo 'qvm-copy-to-vm: send: denied: <b>no</b> & \\\\n' >&2; exit 4");
    let ended = rig.run(DIALOG, "GNOME", &["send", "file"]);
    assert_eq!(ended.status.code(), Some(4));
    let error = rig.calls("zenity").pop().unwrap();
    assert_eq!(error[0], "--error");
    let shown = error.last().unwrap();
    assert!(
        shown.starts_with("--text=Sending 1 item to vault failed: send: denied: ‹b›no‹/b› ＆"),
        "{shown}"
    );
    assert!(!shown.contains(['<', '&', '\\']), "{shown}");
    assert_eq!(rig.recent(), "");
}

#[test]
fn a_wrong_name_is_asked_for_again_but_not_for_ever() {
    let rig = Rig::new();
    rig.stand_in("zenity", "case \"$1\" in --entry) echo 'a b';; esac");
    rig.stand_in(COPY, "");
    let ended = rig.run(DIALOG, "GNOME", &["send", "file"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(rig.calls(COPY).is_empty());
    let kinds: Vec<String> = rig.calls("zenity").into_iter().map(|call| call[0].clone()).collect();
    assert_eq!(kinds, ["--entry", "--error"].repeat(5));
}

#[test]
fn kdialog_offers_the_recent_names_and_another_one() {
    let rig = Rig::new();
    let first = "case \"$3$5\" in --inputbox*) echo mail;; --warning*|*Hide) sleep 60;; esac";
    rig.stand_in("kdialog", first);
    rig.stand_in(COPY, "sleep 1");
    assert_eq!(rig.run(DIALOG, "KDE", &["send", "file"]).status.code(), Some(0));
    assert_eq!(rig.recent(), "mail\n");
    let second = "case \"$3\" in --menu) echo /other;; --inputbox) echo vault;; esac";
    rig.stand_in("kdialog", second);
    assert_eq!(rig.run(DIALOG, "KDE", &["send", "file"]).status.code(), Some(0));
    let menu = rig.calls("kdialog").into_iter().find(|call| call.contains(&"--menu".to_owned())).unwrap();
    assert!(menu.join(" ").contains("mail mail /other Another VM"), "{menu:?}");
    assert_eq!(rig.calls(COPY)[1][2], "vault");
    assert_eq!(rig.recent(), "vault\nmail\n");
}

#[test]
fn documents_are_opened_and_viewed_without_a_question() {
    let rig = Rig::new();
    rig.stand_in("zenity", ZENITY);
    rig.stand_in("qvm-open-in-dvm", "");
    assert_eq!(rig.run(DIALOG, "GNOME", &["open", "a", "b"]).status.code(), Some(0));
    assert_eq!(rig.run(DIALOG, "GNOME", &["view", "a"]).status.code(), Some(0));
    let expected = [vec!["--", "a", "b"], vec!["--view-only", "--", "a"]];
    assert_eq!(rig.calls("qvm-open-in-dvm"), expected);
    assert!(rig.calls("zenity").iter().all(|call| call[0] != "--entry"));
}

#[test]
fn a_tool_that_is_not_installed_is_told_in_a_window() {
    let rig = Rig::new();
    rig.stand_in("zenity", ZENITY);
    let ended = rig.run(DIALOG, "GNOME", &["view", "a"]);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(rig.calls("zenity")[0].last().unwrap(), "--text=qvm-open-in-dvm is not installed");
}

#[test]
fn without_any_way_to_ask_it_fails_with_one_line() {
    let rig = Rig::new();
    rig.stand_in(COPY, "");
    let ended = rig.run(DIALOG, "GNOME", &["send", "a"]);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(text(&ended.stderr).lines().count(), 1);
    assert!(text(&ended.stderr).contains("install zenity or kdialog"));
    assert!(rig.calls(COPY).is_empty());
}

#[test]
fn an_arrival_is_told_and_its_folder_opened_when_the_person_wants_it() {
    let rig = Rig::new();
    rig.stand_in("notify-send", "echo open");
    rig.stand_in("xdg-open", "");
    let directory = "/home/user/<b>&/QubesIncoming/work/2026-01-01_00-00-00";
    assert!(rig.run("arrival-notice", "GNOME", &["work", "12", directory]).status.success());
    let call = &rig.calls("notify-send")[0];
    assert!(call.contains(&"--action=open=Open folder".to_owned()), "{call:?}");
    assert_eq!(call[3], "12 files from work");
    assert!(!call[4].contains(['<', '&']), "{call:?}");
    // xdg-open is not waited for.
    while rig.calls("xdg-open").is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(rig.calls("xdg-open"), [[directory]]);
}

#[test]
fn an_arrival_that_nobody_answers_opens_nothing_and_older_programs_serve_as_well() {
    let rig = Rig::new();
    rig.stand_in("notify-send", "[ \"$#\" = 4 ] || exit 1");
    rig.stand_in("xdg-open", "");
    assert!(rig.run("arrival-notice", "GNOME", &["work", "pendrive", "/mnt/incoming"]).status.success());
    let calls = rig.calls("notify-send");
    assert_eq!((calls.len(), calls[1].len()), (2, 4), "{calls:?}");
    let rig = Rig::new();
    rig.stand_in("kdialog", "");
    assert!(rig.run("arrival-notice", "KDE", &["work", "1", "/home/user"]).status.success());
    assert_eq!(rig.calls("kdialog")[0], ["--passivepopup", "A file from work. It is in /home/user", "10"]);
    assert!(rig.calls("xdg-open").is_empty());
}
