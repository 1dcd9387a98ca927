//! Documents in DisposableVMs, through every real process: there, edited, back; and every way in which it can go wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::os::unix::fs::PermissionsExt;

use e2e::{Host, processes};

const DRAFT: &str = "a draft\n";
/// An editor that changes the document, and replaces it as editors do.
const EDITOR: [&str; 3] = ["/bin/sed", "-i", "s/draft/letter/"];
/// A program that reads it and changes nothing.
const VIEWER: [&str; 1] = ["/bin/cat"];

fn write(host: &Host, vm: &str, name: &str, text: &str) {
    std::fs::write(host.home(vm).join(name), text).unwrap();
}

fn read(host: &Host, vm: &str, name: &str) -> String {
    std::fs::read_to_string(host.home(vm).join(name)).unwrap()
}

fn open(host: &Host, arguments: &[&str]) {
    let ran = host.exec("mail", &[&["qvm-open-in-dvm"], arguments].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn a_document_is_edited_in_a_disposable_vm_and_comes_back() {
    let host = Host::up_with_editor(&["mail"], &EDITOR);
    write(&host, "mail", "a letter.txt", DRAFT);
    let path = host.home("mail").join("a letter.txt");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    open(&host, &["a letter.txt"]);
    host.wait_for("the edited document", || read(&host, "mail", "a letter.txt") == "a letter\n");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    host.wait_until_disposed();
    host.wait_until_clean(&["mail"]);
    assert!(host.udev_log("mail").contains("was changed and has come back"), "{}", host.udev_log("mail"));
}

#[test]
fn a_document_that_nobody_changed_does_not_come_back() {
    let host = Host::up_with_editor(&["mail"], &VIEWER);
    write(&host, "mail", "letter.txt", DRAFT);
    open(&host, &["letter.txt"]);
    host.wait_until_disposed();
    host.wait_until_clean(&["mail"]);
    assert!(host.output().contains("disp1 asks: killme"), "{}", host.output());
    assert_eq!((read(&host, "mail", "letter.txt").as_str(), host.udev_log("mail").as_str()), (DRAFT, ""));
}

#[test]
fn what_is_only_viewed_cannot_come_back() {
    let host = Host::up_with_editor(&["mail"], &EDITOR);
    write(&host, "mail", "letter.txt", DRAFT);
    open(&host, &["--view-only", "letter.txt"]);
    host.wait_until_disposed();
    host.wait_until_clean(&["mail"]);
    assert_eq!(read(&host, "mail", "letter.txt"), DRAFT);
}

#[test]
fn each_document_has_a_disposable_vm_of_its_own() {
    let host = Host::up_with_editor(&["mail"], &EDITOR);
    for name in ["one", "two", "three"] {
        write(&host, "mail", name, DRAFT);
    }
    open(&host, &["one", "two", "three"]);
    for name in ["one", "two", "three"] {
        host.wait_for(name, || read(&host, "mail", name) == "a letter\n");
    }
    host.wait_until_disposed();
    host.wait_until_clean(&["mail"]);
    assert_eq!(host.output().matches(" is made for mail").count(), 3);
}

#[test]
fn documents_share_a_disposable_vm_when_that_is_asked_for() {
    let host = Host::up_with_editor(&["mail"], &EDITOR);
    for (name, text) in [("one", DRAFT), ("two", DRAFT), ("three", "nothing to change\n")] {
        write(&host, "mail", name, text);
    }
    open(&host, &["--together", "one", "two", "three"]);
    for name in ["one", "two"] {
        host.wait_for(name, || read(&host, "mail", name) == "a letter\n");
    }
    host.wait_until_disposed();
    host.wait_until_clean(&["mail"]);
    assert_eq!(read(&host, "mail", "three"), "nothing to change\n");
    assert_eq!(host.output().matches(" is made for mail").count(), 1);
}

#[test]
fn two_vms_edit_at_once_and_each_gets_its_own_back() {
    let host = Host::up_with_editor(&["mail", "work"], &EDITOR);
    for vm in ["mail", "work"] {
        write(&host, vm, "letter.txt", &format!("{vm}: {DRAFT}"));
    }
    let both = ["mail", "work"].map(|vm| host.spawn(vm, &["qvm-open-in-dvm", "letter.txt"]));
    for child in both {
        let ran = e2e::finish(child);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    for vm in ["mail", "work"] {
        host.wait_for(vm, || read(&host, vm, "letter.txt") == format!("{vm}: a letter\n"));
    }
    host.wait_until_disposed();
}

/// A DisposableVM that was taken over: what it runs in place of an editor is the test's own line of shell.
fn taken_over(line: &str) -> Host {
    let host = Host::up_with_editor(&["mail", "work"], &["/bin/sh", "-c", line]);
    write(&host, "mail", "letter.txt", DRAFT);
    open(&host, &["letter.txt"]);
    host
}

/// Asks dom0 from inside, as a program of the DisposableVM can.
const ASK: &str = "ask() { xenstore-write device/qpen \"$1 #$2\"; while :; do set -- \"$1\" \"$2\" $(xenstore-read qpen/reply); \
                   case \"$3 $4\" in \"$2 pending\") ;; \"$2 \"*) return;; esac; sleep 0.02; done; };";

#[test]
fn a_taken_over_disposable_vm_reaches_nobody_but_its_owner() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read"]) {
        return;
    }
    let line = format!(
        "{ASK} ask umount u; ask \"new 64\" n; ask \"send work\" a; ask \"send work 1\" b; ask \"send mail\" c; \
         ask \"send mail 77\" d; ask \"send disposable 1\" e; ask killme k"
    );
    let host = taken_over(&line);
    host.wait_until_disposed();
    host.wait_until_clean(&["mail", "work"]);
    let denied = "disp1: denied (a DisposableVM may only send back what it was given)";
    assert_eq!(host.output().matches(denied).count(), 5, "{}", host.output());
    assert_eq!(read(&host, "mail", "letter.txt"), DRAFT);
    assert!(host.arrived("work", "disp1").is_empty() && host.arrived("mail", "disp1").is_empty());
}

/// What a hostile DisposableVM puts onto the device that it may send back; zeros follow.
fn answers_with(bytes: &str) -> Host {
    let host = taken_over(&format!(
        "{ASK} ask umount u; ask \"new 64\" n; \
         {{ {bytes}; head -c 4000 /dev/zero; }} | dd of=/dev/xvdg conv=notrunc status=none; \
         ask \"send mail 1\" s"
    ));
    host.wait_for("what the receiver says", || host.udev_log("mail").contains('\n'));
    host.wait_until_disposed();
    host.wait_until_clean(&["mail", "work"]);
    host
}

#[test]
fn l8_l9_an_answer_that_lies_leaves_the_document_as_it_was() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read"]) {
        return;
    }
    let larger = "is said to be larger than the pendrive";
    let lies = [
        // 2^64 - 1, 2^63, and one byte more than a device of 64 MiB holds behind the header.
        ("printf '\\377\\377\\377\\377\\377\\377\\377\\377letter.txt'", larger),
        ("printf '\\0\\0\\0\\0\\0\\0\\0\\200letter.txt'", larger),
        ("printf '\\1\\374\\377\\003\\0\\0\\0\\0letter.txt'", larger),
        // Names that would lead elsewhere.
        ("printf '\\4\\0\\0\\0\\0\\0\\0\\0../owned'", "name holds a /"),
        ("printf '\\4\\0\\0\\0\\0\\0\\0\\0/home/user/owned'", "name holds a /"),
        ("printf '\\4\\0\\0\\0\\0\\0\\0\\0a\\nb'", "name holds a control character"),
        ("printf '\\4\\0\\0\\0\\0\\0\\0\\0'", "has no name"),
        ("printf ''", "has no name"),
    ];
    for (lie, reason) in lies {
        let host = answers_with(lie);
        assert_eq!(read(&host, "mail", "letter.txt"), DRAFT, "{lie}");
        let said = host.udev_log("mail");
        assert_eq!((said.lines().count(), said.contains(reason)), (1, true), "{lie}: {said}");
        let find = host.exec("mail", &["find", "/home/user", "/tmp", "-name", "owned"]);
        assert_eq!(find.stdout, "", "{lie}");
        assert!(host.arrived("mail", "disp1").is_empty(), "{lie}");
    }
}

#[test]
fn l8_a_name_that_is_a_command_elsewhere_is_not_even_a_name_here() {
    if !testkit::require_tools(&["xenstore-write", "xenstore-read"]) {
        return;
    }
    let host = answers_with("printf '\\5\\0\\0\\0\\0\\0\\0\\0\\042; $(touch owned) `touch owned`.txt'");
    // The header is well-formed; its name means nothing, because the owner knows which document it sent.
    let find = host.exec("mail", &["find", "/home/user", "/tmp", "/run", "-name", "owned*"]);
    assert_eq!(find.stdout, "");
    assert_eq!(read(&host, "mail", "letter.txt").len(), 5);
}

#[test]
fn an_empty_document_is_a_document() {
    let host = Host::up_with_editor(&["mail"], &["/bin/cp", "/dev/null"]);
    write(&host, "mail", "letter.txt", DRAFT);
    open(&host, &["letter.txt"]);
    host.wait_for("the emptied document", || read(&host, "mail", "letter.txt").is_empty());
    host.wait_until_disposed();
}

#[test]
fn a_disposable_vm_that_dies_at_work_leaves_the_document_and_nothing_else() {
    let host = Host::up_with_editor(&["mail"], &["/bin/sleep", "600"]);
    write(&host, "mail", "letter.txt", DRAFT);
    open(&host, &["letter.txt"]);
    host.vm("destroy", "disp1");
    host.wait_for("the broker", || host.output().contains("disp1 is gone"));
    host.wait_until_clean(&["mail"]);
    assert_eq!(read(&host, "mail", "letter.txt"), DRAFT);
}

#[test]
fn the_death_of_the_owner_destroys_its_disposable_vm() {
    let host = Host::up_with_editor(&["mail"], &["/bin/sleep", "600"]);
    write(&host, "mail", "letter.txt", DRAFT);
    open(&host, &["letter.txt"]);
    assert!(host.running().contains(&String::from("disp1")));
    host.vm("destroy", "mail");
    host.wait_until_disposed();
    host.wait_until_clean(&[]);
}

#[test]
fn one_that_outlives_the_daemon_is_destroyed_when_it_serves_again() {
    let host = Host::up_with_editor(&["mail"], &["/bin/sleep", "600"]);
    write(&host, "mail", "letter.txt", DRAFT);
    open(&host, &["letter.txt"]);
    let daemon = processes(host.pid()).into_iter().find(|process| process.name == "qfilexchgd").unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.pid).unwrap()).unwrap();
    let seen = host.output().len();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    host.vm("destroy", "mail");
    host.wait_for("the next daemon", || {
        host.output().get(seen..).unwrap_or_default().contains("requests are served")
    });
    host.wait_until_disposed();
    host.wait_until_clean(&[]);
}

#[test]
fn l23_a_host_that_makes_none_says_so() {
    let host = Host::up_with_policy(&["mail"], "dvm * * allow\n");
    write(&host, "mail", "letter.txt", DRAFT);
    let ran = host.exec("mail", &["qvm-open-in-dvm", "letter.txt"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("this host makes no DisposableVMs"), "{}", ran.stderr);
}

/// A program that makes what DisposableVMs are made from, and counts how often.
fn rebuilder(folder: &std::path::Path, line: &str) -> String {
    let program = folder.join("rebuild");
    testkit::write_program(&program, &format!("#!/bin/sh\necho x >> {0}/runs\n{line}\n", folder.display()));
    program.to_str().unwrap().to_owned()
}

#[test]
fn a_template_that_is_missing_is_rebuilt_with_a_notice_before_the_first_use_only() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template");
    let program = rebuilder(folder.path(), &format!("touch {}", template.display()));
    let options = ["--disposable-template", template.to_str().unwrap(), "--disposable-rebuild", &program];
    let host = Host::up_with_template(&["mail"], &EDITOR, &options);
    for name in ["one", "two"] {
        write(&host, "mail", name, DRAFT);
        open(&host, &[name]);
        host.wait_for(name, || read(&host, "mail", name) == "a letter\n");
    }
    host.wait_until_disposed();
    let notice = "the template of DisposableVMs is being rebuilt";
    assert_eq!(host.output().matches(notice).count(), 1, "{}", host.output());
    assert_eq!(std::fs::read_to_string(folder.path().join("runs")).unwrap(), "x\n");
}

#[test]
fn l6_l23_a_disposable_vm_that_cannot_be_made_is_told_to_both_and_the_pendrive_stays() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template");
    let program = rebuilder(folder.path(), "exit 3");
    let options = ["--disposable-template", template.to_str().unwrap(), "--disposable-rebuild", &program];
    let host = Host::up_with_template(&["mail"], &EDITOR, &options);
    write(&host, "mail", "letter.txt", DRAFT);
    let ran = host.exec("mail", &["qvm-open-in-dvm", "letter.txt"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("no DisposableVM could be started"), "{}", ran.stderr);
    let notice = "there is no DisposableVM for mail: rebuilding the template of DisposableVMs failed";
    host.wait_for("the notice", || host.output().contains(notice));
    assert_eq!(host.devices("mail"), ["xvdg"]);
    assert_eq!(read(&host, "mail", "letter.txt"), DRAFT);
    // The pendrive is used again once there is a template.
    std::fs::write(&template, "").unwrap();
    let ran = host.exec("mail", &["qvm-open-in-dvm", "--reuse", "letter.txt"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    host.wait_for("the edited document", || read(&host, "mail", "letter.txt") == "a letter\n");
}
