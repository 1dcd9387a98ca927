//! More than one transfer at a time, and a receiver that stands still: what `xen-lab/src/scenarios/` does on a real host.

use e2e::{Host, digests, finish, make_tree};

/// Transfers one behind the other.
const QUEUE: usize = 10;

#[test]
fn two_transfers_in_opposite_directions_both_arrive() {
    let host = Host::up_with_policy(&["work", "vault"], "copy * * allow\n");
    let ways = [("work", "vault"), ("vault", "work")];
    for (number, (from, _)) in ways.into_iter().enumerate() {
        make_tree(&host.home(from).join("tree"), 20 + number);
    }
    let copies = ways.map(|(from, to)| host.spawn(from, &["qvm-copy-to-vm", to, "tree"]));
    for copy in copies {
        let ran = finish(copy);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    for (from, to) in ways {
        host.wait_for("the tree", || !host.arrived(to, from).is_empty());
        assert_eq!(digests(&host.arrived(to, from)[0].join("tree")), digests(&host.home(from).join("tree")));
    }
    host.wait_until_clean(&["work", "vault"]);
}

#[test]
fn a_queue_of_ten_arrives_whole_each_in_a_directory_of_its_own() {
    let mut host = Host::up_with_policy(&["work", "vault"], "copy work vault allow\n");
    let script = format!(
        "n=0; while [ $n -lt {QUEUE} ]; do mkdir -p tree; echo $n > tree/n; qvm-copy-to-vm vault tree || exit 1; \
         n=$((n+1)); done"
    );
    let copies = host.spawn("work", &["sh", "-c", &script]);
    let mut answered = 0;
    while host.arrived("vault", "work").len() < QUEUE {
        // A receiver that is still busy with the one before: the person is asked whether to wait.
        if let Some(seen) = host.output().get(answered..).and_then(|new| new.find("Type \"yes ")) {
            let from = answered + seen;
            host.answers(from, true);
            answered = from + 1;
        }
        host.wait_for("another tree or a question", || {
            host.arrived("vault", "work").len() >= QUEUE
                || host.output().get(answered..).is_some_and(|new| new.contains("Type \"yes "))
        });
    }
    let ran = finish(copies);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let read = |folder: &std::path::PathBuf| std::fs::read_to_string(folder.join("tree/n")).unwrap();
    let mut arrived = host.arrived("vault", "work").iter().map(read).collect::<Vec<_>>();
    arrived.sort();
    let sent = (0..QUEUE).map(|number| format!("{number}\n")).collect::<Vec<_>>();
    assert_eq!(arrived, sent);
    host.wait_until_clean(&["work", "vault"]);
}

#[test]
fn a_paused_receiver_gets_nothing_and_the_sender_is_told() {
    if !testkit::require_tools(&["xenstore-write"]) {
        return;
    }
    let host = Host::up_with_policy(&["work", "vault"], "copy work vault allow\n");
    assert_eq!(host.request("work", "new 64 #n"), "ok xvdg");
    host.vm("pause", "vault");
    let reply = host.request("work", "send vault #s");
    assert!(reply.starts_with("failed"), "{reply}");
    host.wait_until_clean(&["work", "vault"]);
    host.vm("unpause", "vault");
    std::fs::write(host.home("work").join("note.txt"), "afterwards").unwrap();
    let ran = host.exec("work", &["qvm-copy-to-vm", "vault", "note.txt"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    host.wait_for("the file", || !host.arrived("vault", "work").is_empty());
    host.wait_until_clean(&["work", "vault"]);
}
