//! A tree of files from one VM to another, through every real process.

use e2e::{DAEMON_PROCESSES, Host, digests, finish, make_tree, processes};

#[test]
fn a_tree_arrives_whole_after_a_yes_and_nothing_is_left_in_dom0() {
    let mut host = Host::up(&["work", "vault"]);
    make_tree(&host.home("work").join("tree"), 200);
    let seen = host.output().len();
    let copy = host.spawn("work", &["qvm-copy-to-vm", "vault", "tree"]);
    host.answers(seen, true);
    let ran = finish(copy);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    host.wait_for("the tree", || !host.arrived("vault", "work").is_empty());
    let arrived = host.arrived("vault", "work");
    assert_eq!(arrived.len(), 1);
    assert_eq!(digests(&arrived[0].join("tree")), digests(&host.home("work").join("tree")));
    host.wait_until_clean(&["work", "vault"]);
    // L21: the dialog spoke of the VMs and of nothing that is in the tree.
    let output = host.output();
    assert!(output.contains("work") && output.contains("vault"));
    assert!(!output.contains("level 0") && !output.contains(".bin"), "{output}");
}

#[test]
fn l24_two_transfers_of_one_name_land_in_two_directories() {
    let host = Host::up_with_policy(&["work", "vault"], "copy work vault allow\n");
    for text in ["first", "second"] {
        std::fs::write(host.home("work").join("note.txt"), text).unwrap();
        let before = host.arrived("vault", "work").len();
        let ran = host.exec("work", &["qvm-copy-to-vm", "vault", "note.txt"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        host.wait_for("the file", || host.arrived("vault", "work").len() > before);
        host.wait_until_clean(&["work", "vault"]);
    }
    let texts = host
        .arrived("vault", "work")
        .iter()
        .map(|folder| std::fs::read_to_string(folder.join("note.txt")).unwrap())
        .collect::<Vec<_>>();
    assert_eq!(texts.len(), 2);
    assert!(texts.contains(&String::from("first")) && texts.contains(&String::from("second")));
}

#[test]
fn l22_l23_a_denied_copy_fails_loudly_and_removes_nothing() {
    let mut host = Host::up(&["work", "vault"]);
    std::fs::write(host.home("work").join("note.txt"), "keep me").unwrap();
    let seen = host.output().len();
    let copy = host.spawn("work", &["qvm-copy-to-vm", "vault", "note.txt"]);
    host.answers(seen, false);
    let ran = finish(copy);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("no"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(host.home("work").join("note.txt")).unwrap(), "keep me");
    assert!(host.arrived("vault", "work").is_empty());
    assert_eq!(host.devices("work"), ["xvdg"], "the sender keeps its pendrive");
}

#[test]
fn l13_a_yes_that_was_typed_before_the_question_answers_nothing() {
    if !testkit::require_tools(&["xenstore-write"]) {
        return;
    }
    let mut host = Host::up(&["work", "vault"]);
    host.types("yes 1");
    host.types("yes 1");
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    let seen = host.output().len();
    host.write_request("work", "send vault #s");
    let _ = host.question_after(seen);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(host.reply("work").starts_with("s pending"), "{}", host.reply("work"));
    assert!(host.devices("vault").is_empty());
    host.answers(seen, false);
    assert!(host.final_reply("work", "s").starts_with("denied"));
}

#[test]
fn l2_l18_an_open_question_and_a_flood_delay_nobody_else() {
    if !testkit::require_tools(&["xenstore-write"]) {
        return;
    }
    let host = Host::up(&["work", "vault", "mail"]);
    assert_eq!(host.request("work", "new #n"), "ok xvdg");
    let seen = host.output().len();
    host.write_request("work", "send vault #s");
    let _ = host.question_after(seen);
    let script = "i=0; while [ $i -lt 400 ]; do xenstore-write device/qpen \"noise $i\"; i=$((i+1)); done";
    let flood = host.spawn("vault", &["sh", "-c", script]);
    for round in 0..3 {
        assert_eq!(
            host.request("mail", &format!("new 64 #m{round}")).split(' ').next(),
            Some(if round == 0 { "ok" } else { "busy" })
        );
    }
    assert!(host.reply("work").starts_with("s pending"));
    assert_eq!(finish(flood).code, 0);
}

#[test]
fn a_receiver_that_is_busy_is_waited_for() {
    if !testkit::require_tools(&["xenstore-write"]) {
        return;
    }
    // In the receiver nobody takes the first pendrive away: an empty FAT volume would be, so it gets garbage
    // only after the udev script is out of the way.
    let mut host =
        Host::up_with_policy(&["work", "mail", "vault"], "copy work vault allow\ncopy mail vault allow\n");
    for vm in ["work", "mail"] {
        assert_eq!(host.request(vm, "new 64 #n"), "ok xvdg");
    }
    host.vm("pause", "vault");
    let seen = host.output().len();
    host.write_request("work", "send vault #s");
    host.write_request("mail", "send vault #s");
    host.answers(seen, true);
    host.vm("unpause", "vault");
    assert!(host.final_reply("work", "s").starts_with("ok"));
    assert!(host.final_reply("mail", "s").starts_with("ok"));
    host.wait_until_clean(&["work", "mail", "vault"]);
}

#[test]
fn every_process_of_the_daemon_is_confined() {
    let host = Host::up(&["work"]);
    let all = processes(host.pid());
    for name in DAEMON_PROCESSES {
        let process =
            all.iter().find(|process| process.name == name).unwrap_or_else(|| panic!("no {name} in {all:?}"));
        let field = |key: &str| process.status.get(key).map(String::as_str).unwrap_or_default();
        assert_eq!(field("Seccomp"), "2", "{name}");
        assert_eq!(field("NoNewPrivs"), "1", "{name}");
        if name != "qfilexchgd" {
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(field(set), "0000000000000000", "{name} {set}");
            }
            let root = std::fs::read_dir(format!("/proc/{}/root", process.pid));
            assert!(root.is_err() || root.unwrap().count() == 0, "{name} sees files");
        }
    }
}
