//! Every answer of dom0, no answer, and a daemon that never answers.

use std::time::{Duration, Instant};

use protocol::reply::{Code, Detail};
use protocol::types::Device;

use crate::host::{Host, finish};

#[test]
fn l23_every_answer_has_its_exit_code_and_its_line() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    let answers = [
        (Code::Ok, Detail::Done, 0),
        (Code::Denied, Detail::ByPerson, 4),
        (Code::Busy, Detail::InProgress, 5),
        (Code::Unknown, Detail::NoSuchVm, 6),
        (Code::Invalid, Detail::NotUnderstood, 1),
        (Code::Failed, Detail::DeviceTrouble, 1),
    ];
    for words in
        [&["qubes_penctl", "new", "64"][..], &["qubes_penctl", "send", "vault"], &["qubes_penctl", "umount"]]
    {
        for (code, detail, exit) in answers {
            let tool = host.spawn("work", words);
            let (asked, reqid) = host.request(1);
            assert_eq!(asked, words[1..].join(" "));
            host.answer(1, &reqid, code, detail);
            let ended = finish(tool);
            assert_eq!((ended.code, ended.stdout.as_str()), (exit, ""), "{ended:?}");
            if exit == 0 {
                assert_eq!(ended.stderr, "");
            } else {
                let line = format!("qubes_penctl: {}: {}: {}\n", words[1], code.word(), detail.text());
                assert_eq!(ended.stderr, line);
            }
        }
    }
}

#[test]
fn a_pending_answer_is_told_and_another_request_may_follow_it() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    let send = host.spawn("work", &["qubes_penctl", "--progress", "send", "vault"]);
    let (_, first) = host.request(1);
    host.answer(1, &first, Code::Pending, Detail::AskingPerson);
    // Another tool of the same VM asks meanwhile, and its reply hides the first one.
    let umount = host.spawn("work", &["qubes_penctl", "umount"]);
    let (words, second) = host.request(1);
    assert_eq!(words, "umount");
    host.answer(1, &second, Code::Busy, Detail::NothingReceived);
    assert_eq!(finish(umount).code, 5);
    host.answer(1, &first, Code::Pending, Detail::WaitingForReceiver);
    std::thread::sleep(Duration::from_millis(400));
    host.answer(1, &first, Code::Denied, Detail::TimedOut);
    let ended = finish(send);
    assert_eq!(ended.code, 4);
    assert_eq!(
        ended.stderr,
        "qubes_penctl: waiting for the person in dom0\n\
         qubes_penctl: waiting for the receiver to unmount its pendrive\n\
         qubes_penctl: send: denied: nobody answered in time\n"
    );
}

#[test]
fn without_a_daemon_the_time_is_bounded() {
    let Some(host) = Host::start() else { return };
    let started = Instant::now();
    let ended = host.run("work", &["qubes_penctl", "--timeout", "1", "new"]);
    assert_eq!(ended.code, 7, "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1);
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_daemon_that_does_not_answer_is_not_waited_for_for_ever() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    let ended = host.run("work", &["qubes_penctl", "--timeout", "1", "umount"]);
    assert_eq!(ended.code, 7);
    assert!(ended.stderr.contains("no answer within 1 s"), "{ended:?}");
    let send = host.spawn("work", &["qubes_penctl", "--timeout", "2", "send", "vault"]);
    // The earlier request is still there.
    let (mut words, mut reqid) = host.request(1);
    if words == "umount" {
        (words, reqid) = host.request(1);
    }
    assert_eq!(words, "send vault");
    host.answer(1, &reqid, Code::Pending, Detail::AskingPerson);
    let ended = finish(send);
    assert_eq!(ended.code, 7);
    assert!(ended.stderr.contains("dom0 may still carry it out"), "{ended:?}");
}

#[test]
fn a_daemon_of_2010_is_understood_by_what_the_device_does() {
    let Some(mut host) = Host::start() else { return };
    host.serve_like_2010();
    let image = host.image(64);
    let new = host.spawn("work", &["qubes_penctl", "--timeout", "20", "new"]);
    assert_eq!(host.request(1).0, "new");
    host.attach_outgoing(1, &image);
    assert_eq!(finish(new).code, 0);
    let send = host.spawn("work", &["qubes_penctl", "--timeout", "20", "send", "vault"]);
    assert_eq!(host.request(1).0, "send vault");
    host.detach(1, Device::Outgoing);
    assert_eq!(finish(send).code, 0);
    // What has happened before says nothing.
    let send = host.run("work", &["qubes_penctl", "--timeout", "1", "send", "vault"]);
    assert_eq!(send.code, 7);
}

#[test]
fn a_stopped_tool_says_what_may_still_happen() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    let send = host.spawn("work", &["sh", "-c", "qubes_penctl send vault & sleep 1; kill -INT $!; wait $!"]);
    let (_, reqid) = host.request(1);
    host.answer(1, &reqid, Code::Pending, Detail::AskingPerson);
    let ended = finish(send);
    // A shell without job control has background programs ignore Ctrl-C, so this one asks for its own handler.
    assert_eq!(ended.code, 130, "{ended:?}");
    assert_eq!(
        ended.stderr,
        "qubes_penctl: interrupted: dom0 may still carry out the send that it was asked for\n"
    );
}
