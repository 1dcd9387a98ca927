//! Somebody pulls a plug: each process of the daemon is killed in the middle of a transfer, and VMs vanish.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use e2e::{DAEMON_PROCESSES, Host, Process, finish, make_tree, processes};

fn process(host: &Host, name: &str) -> Option<Process> {
    processes(host.pid()).into_iter().find(|process| process.name == name)
}

fn kill(host: &Host, name: &str) {
    let victim = process(host, name).unwrap_or_else(|| panic!("no process {name}"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(victim.pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    host.wait_for(&format!("another {name}"), || {
        process(host, name).is_some_and(|now| now.pid != victim.pid)
    });
}

/// After anything: the service is whole, and a whole transfer works.
fn works_again(host: &mut Host, text: &str) {
    host.wait_for("all processes", || DAEMON_PROCESSES.iter().all(|name| process(host, name).is_some()));
    // What the interrupted transfer left with its sender goes with the sender.
    host.vm("destroy", "work");
    host.wait_until_clean(&["vault"]);
    host.vm("start", "work");
    std::fs::write(host.home("work").join("again.txt"), text).unwrap();
    let before = host.arrived("vault", "work").len();
    let seen = host.output().len();
    let copy = host.spawn("work", &["qvm-copy-to-vm", "vault", "again.txt"]);
    host.answers(seen, true);
    let ran = finish(copy);
    assert_eq!(ran.code, 0, "{text}: {}", ran.stderr);
    host.wait_for("the file", || host.arrived("vault", "work").len() > before);
    let newest = host
        .arrived("vault", "work")
        .into_iter()
        .find(|folder| std::fs::read_to_string(folder.join("again.txt")).is_ok_and(|found| found == text));
    assert!(newest.is_some(), "{text}");
    host.wait_until_clean(&["work", "vault"]);
}

#[test]
fn each_process_killed_during_a_transfer_is_back_and_nothing_is_left() {
    let mut host = Host::up(&["work", "vault"]);
    for name in DAEMON_PROCESSES {
        make_tree(&host.home("work").join("tree"), 50);
        let seen = host.output().len();
        let copy = host.spawn("work", &["qvm-copy-to-vm", "--timeout", "40", "vault", "tree"]);
        let _ = host.question_after(seen);
        kill(&host, name);
        // A question that is still open after the kill is answered; one that went with the process is not.
        std::thread::sleep(std::time::Duration::from_millis(1300));
        let number = host.question_after(seen);
        host.types(&format!("no {number}"));
        let ran = finish(copy);
        assert_ne!(ran.code, 0, "{name}: the transfer was not permitted");
        assert!(!ran.stderr.is_empty(), "{name}: the tool says what happened");
        works_again(&mut host, &format!("after {name}"));
    }
}

/// Kills without waiting for the next one: at some moments the process is just being started.
fn kill_if_there(host: &Host, name: &str) {
    let victim = process(host, name)
        .and_then(|victim| rustix::process::Pid::from_raw(i32::try_from(victim.pid).ok()?));
    if let Some(pid) = victim {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[test]
fn a_process_killed_at_any_moment_of_a_permitted_transfer_leaves_no_leak_and_no_silence() {
    let host = Host::up_with_policy(&["work", "vault"], "copy work vault allow\n");
    make_tree(&host.home("work").join("tree"), 30);
    for name in DAEMON_PROCESSES {
        for delay_ms in [0, 40, 90, 160, 300] {
            let copy = host.spawn("work", &["qvm-copy-to-vm", "--timeout", "30", "vault", "tree"]);
            std::thread::sleep(std::time::Duration::from_millis(delay_ms));
            kill_if_there(&host, name);
            let before = std::time::Instant::now();
            let ran = finish(copy);
            assert!(ran.code == 0 || !ran.stderr.is_empty(), "{name} after {delay_ms} ms: silence");
            assert!(before.elapsed().as_secs() < 40, "{name} after {delay_ms} ms: no answer");
            for vm in ["work", "vault"] {
                host.vm("destroy", vm);
            }
            host.wait_until_clean(&["work", "vault"]);
            for vm in ["work", "vault"] {
                host.vm("start", vm);
            }
        }
    }
    let ran = host.exec("work", &["qvm-copy-to-vm", "vault", "tree"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn l4_a_vm_that_is_destroyed_with_its_pendrive_leaves_nothing() {
    if !testkit::require_tools(&["xenstore-write"]) {
        return;
    }
    let host = Host::up(&["work", "vault"]);
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    host.vm("destroy", "work");
    host.wait_until_clean(&["work", "vault"]);
}

#[test]
fn a_question_whose_vm_died_disappears() {
    if !testkit::require_tools(&["xenstore-write"]) {
        return;
    }
    let host = Host::up(&["work", "vault"]);
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    let seen = host.output().len();
    host.write_request("work", "send vault #s");
    let _ = host.question_after(seen);
    host.vm("destroy", "vault");
    assert!(host.final_reply("work", "s").starts_with("failed the other VM went away"));
    host.wait_for("the withdrawal", || host.output().get(seen..).unwrap_or_default().contains("withdrawn"));
    assert_eq!(host.devices("work"), ["xvdg"], "the sender keeps its pendrive");
}

#[test]
fn a_paused_guest_does_not_keep_its_device() {
    if !testkit::require_tools(&["xenstore-write"]) {
        return;
    }
    let host = Host::up_with_policy(&["work", "vault"], "copy work vault allow\n");
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    host.write_request("work", "send vault #s");
    host.vm("pause", "work");
    host.wait_for("the pendrive at the receiver or its end", || {
        let output = host.output();
        output.contains("work: ok (done)") || output.contains("work: failed")
    });
    host.vm("unpause", "work");
    host.vm("destroy", "work");
    host.vm("destroy", "vault");
    host.wait_until_clean(&["work", "vault"]);
}
