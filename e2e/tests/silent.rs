//! Workers that say nothing at all, in the whole daemon: the broker waits for none of them, and where it must not go on
//! without an answer it says so, ends that worker, and goes on with another.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Host, Liars, programs};

/// How long the broker waits for an answer to an order, and for xs-monitor's list, and then some.
const SILENCE_MAX: Duration = Duration::from_secs(100);

const POLICY: &str = "copy work vault allow\ndvm * * allow\n";

fn needs_tools() -> bool {
    !testkit::require_tools(&["xenstore-write", "xenstore-read"])
}

/// A host whose worker is itself, then silent, then itself again. It is silent when this returns.
fn host(worker: &str, more: &[&str]) -> (Liars, Host) {
    let liars = Liars::new(worker, &["real", "silent", "real"]);
    let host = Host::up_with_liar(&liars, "terminal", &["work", "vault", "mail"], more, POLICY);
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    host.kill(worker);
    host.wait_for("the silent one", || liars.lives() == 2);
    (liars, host)
}

fn wait_long(host: &Host, line: &str) {
    let begin = Instant::now();
    while !host.output().contains(line) {
        assert!(
            begin.elapsed() < SILENCE_MAX,
            "waited in vain for {line:?}; the host said:\n{}",
            host.output()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn status(host: &Host) -> std::process::Child {
    let mut command = Command::new(programs().join("qfilexchgctl"));
    command.arg("status").arg("--socket").arg(host.path().join("qfilexchgd.control"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn is_served(host: &Host) {
    let output = status(host).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn an_attacher() {
    let (liars, host) = host("attacher", &[]);
    host.write_request("mail", "new 64 #m");
    // What needs no attacher is done meanwhile.
    is_served(&host);
    wait_long(&host, "attacher is restarted: no answer to an order");
    assert_eq!(host.final_reply("mail", "m"), "ok xvdg");
    assert_eq!(host.request("work", "send vault #s"), "ok done");
    assert_eq!(liars.lives(), 3);
}

fn a_monitor() {
    let (liars, host) = host("xs-monitor", &[]);
    host.write_request("work", "send vault #s");
    is_served(&host);
    wait_long(&host, "xs-monitor is restarted: it has not named every domain in time");
    assert_eq!(host.final_reply("work", "s"), "ok done");
    assert_eq!(liars.lives(), 3);
}

/// Both only wait, and what they wait for takes a minute each: so they wait at once.
#[test]
fn a_silent_attacher_and_a_silent_monitor_are_ended_and_every_request_is_answered() {
    if needs_tools() {
        return;
    }
    std::thread::scope(|scope| {
        let both = [scope.spawn(an_attacher), scope.spawn(a_monitor)];
        let failed = both.map(std::thread::ScopedJoinHandle::join).into_iter().filter(Result::is_err).count();
        assert!(failed == 0, "what failed stands above");
    });
}

#[test]
fn a_silent_launcher_delays_nobody_and_its_end_is_the_answer() {
    if needs_tools() {
        return;
    }
    let (liars, host) = host("dvm-launcher", &["--disposables"]);
    assert_eq!(host.request("mail", "new 64 #m"), "ok xvdg");
    host.write_request("mail", "send disposable 7 #d");
    host.wait_for("that it is begun", || host.reply("mail").starts_with("d pending"));
    assert_eq!(host.request("work", "send vault #s"), "ok done");
    is_served(&host);
    assert!(host.reply("mail").starts_with("d pending"), "{}", host.reply("mail"));
    host.kill("dvm-launcher");
    assert!(host.final_reply("mail", "d").starts_with("failed"));
    assert_eq!(host.devices("mail"), ["xvdg"]);
    assert_eq!(host.request("mail", "send disposable 8 #again"), "ok done");
    assert_eq!(liars.lives(), 3);
}

#[test]
fn a_silent_control_delays_only_those_who_ask_it() {
    if needs_tools() {
        return;
    }
    let (liars, host) = host("control", &[]);
    let asked = status(&host);
    assert_eq!(host.request("work", "send vault #s"), "ok done");
    assert_eq!(host.request("mail", "new 64 #m"), "ok xvdg");
    // Whoever waits at the socket is served by the next one.
    host.kill("control");
    assert!(asked.wait_with_output().unwrap().status.success());
    assert_eq!(liars.lives(), 3);
}
