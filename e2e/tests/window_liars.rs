//! The dialog with a window, of all workers the one whose answers matter most, is one that lies: the broker takes for a
//! *yes* nothing but one whole answer to a question that is open.

use e2e::liars::LIES_OF_ALL;
use e2e::{Display, Host, Liars};

/// The program whose part is played.
const WINDOW: &str = "dialog-window";
/// Nobody is asked about `work`, everybody else is a matter for the person.
const POLICY: &str = "copy work vault allow\ncopy mail vault ask\ncopy chat vault ask\n";

/// A host with a dialog that does in each life what a word says.
fn host(display: &Display, words: &[&str]) -> (Liars, Host) {
    let liars = Liars::new(WINDOW, words);
    let host = Host::up_with_window_liar(&liars, display, &["work", "mail", "chat", "vault"], POLICY);
    (liars, host)
}

fn display() -> Option<Display> {
    testkit::require_tools(&["Xvfb", "xenstore-write", "xenstore-read"]).then(|| Display::start(None))
}

fn late_answers(host: &Host) -> usize {
    host.output().matches("a late answer was dropped").count()
}

fn nothing_of_mail_arrived(host: &Host) {
    assert_eq!((host.devices("mail"), host.devices("vault")), (vec!["xvdg".to_owned()], vec![]));
}

#[test]
fn a_window_that_lies_is_ended_and_others_are_served_and_one_that_does_not_is_believed() {
    let Some(display) = display() else { return };
    let own = [("unasked", "an answer although nothing was asked")];
    let lies = [&LIES_OF_ALL[..], &own].concat();
    let mut words: Vec<&str> = lies.iter().map(|(word, _)| *word).collect();
    words.push("yes");
    let (liars, host) = host(&display, &words);
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    assert_eq!(host.request("work", "send vault #s"), "ok done");
    host.wait_for("the last lie", || liars.lives() == words.len());
    host.wait_for("every reason", || host.restarts("dialog").len() >= lies.len());
    let expected: Vec<&str> = lies.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(host.restarts("dialog"), expected);
    // The receiver gives back what it has.
    host.vm("destroy", "vault");
    host.wait_until_clean(&["vault"]);
    host.vm("start", "vault");
    assert_eq!(host.request("mail", "new 64 #n"), "ok xvdg");
    assert_eq!(host.request("mail", "send vault #s"), "ok done");
}

/// Each of these holds every byte of a right answer to the very question that is open.
#[test]
fn l13_a_yes_that_is_not_whole_or_not_alone_is_no_answer() {
    let Some(display) = display() else { return };
    let lies = [
        ("yes-truncated", "the datagram does not decode"),
        ("yes-trailing", "the datagram has bytes after its message"),
        ("yes-oversized", "the datagram was cut off"),
        ("yes-with-descriptor", "the datagram carried unexpected descriptors"),
        ("yes-after-flood", "the datagram has bytes after its message"),
    ];
    let (liars, host) = host(&display, &lies.map(|(word, _)| word));
    assert_eq!(host.request("mail", "new 64 #n"), "ok xvdg");
    for (life, (word, _)) in lies.iter().enumerate() {
        host.wait_for("the next dialog", || liars.lives() > life);
        let reply = host.request("mail", &format!("send vault #s{life}"));
        assert!(reply.starts_with("denied"), "{word}: {reply}");
        nothing_of_mail_arrived(&host);
    }
    host.wait_for("every reason", || host.restarts("dialog").len() >= lies.len());
    assert_eq!(host.restarts("dialog"), lies.map(|(_, reason)| reason));
}

#[test]
fn l13_a_window_that_answers_what_it_was_not_asked_permits_nothing() {
    let Some(display) = display() else { return };
    let (_liars, host) = host(&display, &["stale"]);
    assert_eq!(host.request("mail", "new 64 #n"), "ok xvdg");
    assert!(host.request("mail", "send vault #s").starts_with("denied"));
    host.wait_for("what was dropped", || late_answers(&host) == 5);
    nothing_of_mail_arrived(&host);
    assert!(host.restarts("dialog").is_empty(), "being late is no breach");
}

#[test]
fn l13_a_yes_to_what_is_asked_later_is_gone_when_it_is_asked() {
    let Some(display) = display() else { return };
    let (_liars, host) = host(&display, &["ahead"]);
    for vm in ["mail", "chat"] {
        assert_eq!(host.request(vm, "new 64 #n"), "ok xvdg");
    }
    host.write_request("mail", "send vault #first");
    host.wait_for("what was dropped", || late_answers(&host) == 8);
    host.write_request("chat", "send vault #second");
    host.wait_for("the second question", || host.reply("chat").starts_with("second pending"));
    // Whatever was before it in the broker's queue has been done when this one is.
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    assert!(host.reply("mail").starts_with("first pending"), "{}", host.reply("mail"));
    assert!(host.reply("chat").starts_with("second pending"), "{}", host.reply("chat"));
    nothing_of_mail_arrived(&host);
    assert_eq!(host.devices("chat"), ["xvdg"]);
}

#[test]
fn l13_of_two_answers_the_first_counts_and_is_used_once() {
    let Some(display) = display() else { return };
    let (_liars, host) = host(&display, &["yes-then-no"]);
    assert_eq!(host.request("mail", "new 64 #n"), "ok xvdg");
    assert_eq!(host.request("mail", "send vault #s"), "ok done");
    host.wait_for("what was dropped", || late_answers(&host) == 1);
    // A second pendrive needs a second yes.
    assert_eq!(host.request("mail", "new 64 #n2"), "ok xvdg");
    host.write_request("mail", "send vault #s2");
    host.wait_for("the second question", || host.reply("mail").starts_with("s2 pending"));
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    assert!(host.reply("mail").starts_with("s2 pending"), "{}", host.reply("mail"));
}

#[test]
fn a_silent_window_delays_nobody_and_its_end_denies() {
    let Some(display) = display() else { return };
    let (_liars, host) = host(&display, &["silent"]);
    assert_eq!(host.request("mail", "new 64 #n"), "ok xvdg");
    host.write_request("mail", "send vault #s");
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    assert_eq!(host.request("work", "send vault #s"), "ok done");
    assert!(host.reply("mail").starts_with("s pending"), "{}", host.reply("mail"));
    host.kill("dialog");
    assert!(host.final_reply("mail", "s").starts_with("denied"));
    assert_eq!(host.devices("mail"), ["xvdg"]);
}
