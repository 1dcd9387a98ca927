//! `qfilexchgctl` against the whole daemon.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::Command;

use e2e::{Host, Ran, programs};

/// Runs `qfilexchgctl` as whoever runs this test.
fn ctl(host: &Host, words: &[&str]) -> Ran {
    let mut command = Command::new(programs().join("qfilexchgctl"));
    command.args(words).arg("--socket").arg(host.path().join("qfilexchgd.control"));
    Ran::from(&command.output().unwrap())
}

fn said(host: &Host, words: &[&str]) -> String {
    let ran = ctl(host, words);
    assert_eq!(ran.code, 0, "{words:?}: {}", ran.stderr);
    ran.stdout
}

/// The values of one key in a JSON answer, as text.
fn values(document: &str, key: &str) -> Vec<String> {
    let wanted = format!("\"{key}\": ");
    let lines = document.lines().filter_map(|line| line.trim().strip_prefix(&wanted));
    lines.map(|value| value.trim_end_matches(',').trim_matches('"').to_owned()).collect()
}

fn is_json(text: &str) -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", "import json, sys; json.loads(sys.argv[1])"]).arg(text);
    command.status().unwrap().success()
}

#[test]
fn a_question_is_answered_by_qfilexchgctl_and_only_once() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read"]) {
        return;
    }
    let host = Host::up(&["work", "vault"]);
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    let seen = host.output().len();
    host.write_request("work", "send vault #s");
    let number = host.question_after(seen).to_string();
    assert!(said(&host, &["status"]).contains("questions:    1 open"));
    let questions = said(&host, &["questions", "--json"]);
    assert_eq!(values(&questions, "id"), [number.as_str()]);
    assert_eq!(
        (values(&questions, "source"), values(&questions, "target")),
        (vec!["work".into()], vec!["vault".into()])
    );
    assert_eq!(ctl(&host, &["answer", "0", "yes"]).code, 1, "no such question");
    let _ = said(&host, &["answer", &number, "yes"]);
    assert_eq!(host.final_reply("work", "s"), "ok done");
    let stale = ctl(&host, &["answer", &number, "yes"]);
    assert_eq!(stale.code, 1);
    assert!(stale.stderr.contains("is not open"), "{}", stale.stderr);
    let log = said(&host, &["log"]);
    let uid = rustix::process::geteuid().as_raw();
    assert!(log.contains(&format!("uid {uid} answers question {number} by qfilexchgctl: yes")), "{log}");
}

#[test]
fn without_a_dialog_a_question_waits_for_qfilexchgctl_if_that_is_configured() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read"]) {
        return;
    }
    let host = Host::up_with_control(&["work", "vault"]);
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    host.write_request("work", "send vault #s");
    let mut id = String::new();
    host.wait_for("the question", || {
        id = values(&said(&host, &["questions", "--json"]), "id").pop().unwrap_or_default();
        !id.is_empty()
    });
    assert!(host.reply("work").starts_with("s pending"));
    let _ = said(&host, &["answer", &id, "no"]);
    assert!(host.final_reply("work", "s").starts_with("denied"));
}

#[test]
fn a_pendrive_is_killed_wherever_it_is() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read"]) {
        return;
    }
    let host = Host::up_with_control(&["work", "vault"]);
    let id = || values(&said(&host, &["pendrives", "--json"]), "id").pop();
    // Clean.
    assert_eq!(host.request("work", "new #n1"), "ok xvdg");
    let first = id().unwrap();
    let _ = said(&host, &["kill", &first]);
    assert_eq!((id(), host.images().len(), host.devices("work").len()), (None, 0, 0));
    let again = ctl(&host, &["kill", &first]);
    assert_eq!(again.code, 1, "{}", again.stdout);
    // While a question about it is open, and by the beginning of its identity.
    assert_eq!(host.request("work", "new #n2"), "ok xvdg");
    host.write_request("work", "send vault #s2");
    host.wait_for("the question", || !values(&said(&host, &["questions", "--json"]), "id").is_empty());
    let _ = said(&host, &["kill", id().unwrap().get(..8).unwrap()]);
    assert_eq!(host.final_reply("work", "s2"), "failed the person in dom0 took the pendrive away");
    assert!(values(&said(&host, &["questions", "--json"]), "id").is_empty());
    // At its receiver, which does nothing with it.
    assert_eq!(host.request("work", "new #n3"), "ok xvdg");
    host.write_request("work", "send vault #s3");
    host.wait_for("the question", || !values(&said(&host, &["questions", "--json"]), "id").is_empty());
    let question = values(&said(&host, &["questions", "--json"]), "id").remove(0);
    let _ = said(&host, &["answer", &question, "yes"]);
    assert_eq!(host.final_reply("work", "s3"), "ok done");
    assert_eq!(values(&said(&host, &["pendrives", "--json"]), "state"), ["loaded"]);
    let _ = said(&host, &["kill", &id().unwrap()]);
    assert_eq!(id(), None);
    host.wait_until_clean(&["work", "vault"]);
}

#[test]
fn every_answer_is_json_when_that_is_asked_for() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read", "python3"]) {
        return;
    }
    let host = Host::up_with_control(&["work"]);
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    for words in [
        &["status", "--json"][..],
        &["log", "--json"],
        &["log", "--json", "-n", "1"],
        &["pendrives", "--json"],
        &["disposables", "--json"],
        &["questions", "--json"],
    ] {
        let answer = said(&host, words);
        assert!(is_json(&answer), "{words:?}: {answer}");
    }
}

#[test]
fn a_killed_control_is_started_anew_and_hears_at_the_same_socket() {
    let host = Host::up_with_control(&["work"]);
    let pid =
        || e2e::processes(host.pid()).into_iter().find(|process| process.name == "control").map(|it| it.pid);
    let before = pid().unwrap();
    let victim = rustix::process::Pid::from_raw(i32::try_from(before).unwrap()).unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    host.wait_for("another control", || pid().is_some_and(|pid| pid != before));
    host.wait_for("an answer", || ctl(&host, &["status"]).code == 0);
}
