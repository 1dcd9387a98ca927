//! Each worker in turn is one that lies, in its real profile: the broker says what was wrong, has it ended, and goes on
//! with everybody else. What it says to all but the last lie stands in the tables here.

use e2e::liars::LIES_OF_ALL;
use e2e::{Host, Liars};

const POLICY: &str = "copy work vault allow\ncopy mail vault ask\n";

fn needs_tools() -> bool {
    !testkit::require_tools(&["xenstore-write", "xenstore-read"])
}

/// A worker that is real, then tells these lies, and then is real again. `meanwhile` is what goes on while it lies.
fn lies(worker: &str, own: &[(&str, &str)], more: &[&str], meanwhile: impl FnOnce(&Host)) {
    let lies = [&LIES_OF_ALL[..], own].concat();
    let mut words = vec!["real"];
    words.extend(lies.iter().map(|(word, _)| *word));
    words.push("real");
    let liars = Liars::new(worker, &words);
    let host = Host::up_with_liar(&liars, "terminal", &["work", "vault", "mail"], more, POLICY);
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    host.kill(worker);
    meanwhile(&host);
    host.wait_for("the last lie", || liars.lives() == words.len());
    let expected: Vec<&str> = lies.iter().map(|(_, reason)| *reason).collect();
    host.wait_for("every reason", || host.restarts(worker).len() >= expected.len());
    assert_eq!(host.restarts(worker), expected);
    // Now it is the real one, and nothing is left of what the others did.
    for vm in ["work", "vault", "mail"] {
        host.vm("destroy", vm);
    }
    host.wait_until_clean(&["work", "vault"]);
    for vm in ["work", "vault", "mail"] {
        host.vm("start", vm);
    }
    assert_eq!(host.request("work", "new 64 #again"), "ok xvdg");
    assert_eq!(host.request("work", "send vault #away"), "ok done");
}

/// Nobody waits for a worker that is not asked anything.
fn others_are_served(host: &Host) {
    assert_eq!(host.request("mail", "new 64 #meanwhile"), "ok xvdg");
    assert_eq!(host.request("work", "send vault #s"), "ok done");
}

/// A request that waits for the worker is answered in the end, once it is itself again.
fn others_are_answered(host: &Host) {
    host.write_request("work", "send vault #s");
    let reply = host.final_reply("work", "s");
    // Without its pendrive, where an attacher said that there is none.
    assert!(["ok", "failed", "busy"].iter().any(|code| reply.starts_with(code)), "{reply}");
}

#[test]
fn a_monitor_that_lies_is_ended_and_every_request_is_answered() {
    if needs_tools() {
        return;
    }
    lies("xs-monitor", &[], &[], others_are_answered);
}

/// That is all it can do: VMs lose their pendrives and open requests, as if they had been destroyed.
#[test]
fn a_monitor_that_invents_domains_and_hides_others_moves_nothing_and_leaves_nothing() {
    if needs_tools() {
        return;
    }
    let twice = "a message that its state does not permit";
    lies("xs-monitor", &[("synced-twice", twice), ("strangers", twice)], &[], |host| {
        host.wait_for("the end of what work held", || host.devices("work").is_empty());
        assert!(host.devices("vault").is_empty());
    });
}

#[test]
fn a_gate_that_lies_is_ended_and_every_request_is_answered() {
    if needs_tools() {
        return;
    }
    lies("xs-gate", &[], &[], others_are_answered);
}

#[test]
fn an_attacher_that_lies_is_ended_and_every_request_is_answered() {
    if needs_tools() {
        return;
    }
    let (unasked, misfit) =
        ("an answer to an order that is not open", "an answer that does not fit its order");
    let own = [
        ("unasked", unasked),
        ("misfit", misfit),
        ("too-many", misfit),
        ("no-inventory", "no inventory"),
        ("twice", unasked),
    ];
    lies("attacher", &own, &[], others_are_answered);
}

#[test]
fn a_dialog_that_lies_is_ended_and_others_are_served() {
    if needs_tools() {
        return;
    }
    let own = [("unasked", "an answer although nothing was asked")];
    lies("dialog", &own, &[], others_are_served);
}

#[test]
fn a_control_that_lies_is_ended_and_others_are_served() {
    if needs_tools() {
        return;
    }
    let ticket = "a message that its state does not permit";
    let own = [("same-ticket", ticket), ("older-ticket", ticket)];
    lies("control", &own, &[], others_are_served);
}

#[test]
fn a_launcher_that_lies_is_ended_and_others_are_served() {
    if needs_tools() {
        return;
    }
    let own = [
        ("unasked", "an answer to an order that is not open"),
        ("rebuilding", "a rebuild that nothing asked for"),
    ];
    lies("dvm-launcher", &own, &["--disposables"], others_are_served);
}

#[test]
fn a_notifier_that_lies_is_ended_and_others_are_served() {
    if needs_tools() {
        return;
    }
    // Nobody speaks on this bus; the notifier only has to be connected.
    let folder = tempfile::tempdir().unwrap();
    let bus = folder.path().join("bus");
    let _listener = std::os::unix::net::UnixListener::bind(&bus).unwrap();
    lies("notifier", &[], &["--notifications", bus.to_str().unwrap()], others_are_served);
}

#[test]
fn a_gate_that_speaks_no_xenstore_ends_the_monitor_and_both_are_started_anew() {
    if needs_tools() {
        return;
    }
    let liars = Liars::new("xs-gate", &["real", "stream-garbage", "real"]);
    let host = Host::up_with_liar(&liars, "terminal", &["work", "vault"], &[], POLICY);
    host.kill("xs-gate");
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    assert_eq!(liars.lives(), 3);
    assert!(host.output().contains("xs-monitor ended with exit code"), "{}", host.output());
}

#[test]
fn l13_a_dialog_that_answers_what_it_was_not_asked_permits_nothing() {
    if needs_tools() {
        return;
    }
    let liars = Liars::new("dialog", &["stale"]);
    let host = Host::up_with_liar(&liars, "terminal", &["mail", "vault"], &[], POLICY);
    assert_eq!(host.request("mail", "new 64 #n"), "ok xvdg");
    assert!(host.request("mail", "send vault #s").starts_with("denied"));
    host.wait_for("what was dropped", || {
        let late = host.output().matches("a late answer was dropped").count();
        late == 5
    });
    assert_eq!((host.devices("mail"), host.devices("vault")), (vec!["xvdg".to_owned()], vec![]));
    assert!(host.restarts("dialog").is_empty(), "being late is no breach");
}

#[test]
fn a_silent_dialog_delays_nobody() {
    if needs_tools() {
        return;
    }
    let liars = Liars::new("dialog", &["silent"]);
    let host = Host::up_with_liar(&liars, "terminal", &["mail", "vault", "work"], &[], POLICY);
    assert_eq!(host.request("mail", "new 64 #n"), "ok xvdg");
    host.write_request("mail", "send vault #s");
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    assert_eq!(host.request("work", "send vault #s"), "ok done");
    assert!(host.reply("mail").starts_with("s pending"), "{}", host.reply("mail"));
}

#[test]
fn a_worker_that_panics_is_reported_and_started_anew() {
    if needs_tools() {
        return;
    }
    let liars = Liars::new("attacher", &["real", "panic", "real"]);
    let host = Host::up_with_liar(&liars, "terminal", &["work", "vault"], &[], POLICY);
    host.kill("attacher");
    // A request that one of the two had begun with is answered with `failed`.
    host.wait_for("the report", || host.output().contains("attacher ended with signal 4"));
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
}

#[test]
fn a_broker_that_serves_and_then_says_it_cannot_be_confined_is_started_anew() {
    if needs_tools() {
        return;
    }
    let liars = Liars::new("broker", &["ready-and-unconfined", "ready-and-unconfined", "real"]);
    let host = Host::up_with_liar(&liars, "terminal", &["work"], &[], POLICY);
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    let said = host.output();
    let ends: Vec<&str> = said.lines().filter(|line| line.contains("broker (process")).collect();
    assert_eq!(ends.len(), 2, "{said}");
    assert!(ends.iter().all(|line| line.ends_with("; everything is started anew")), "{ends:?}");
}
