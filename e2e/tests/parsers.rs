//! fat-reader and dvm-parser are ones that lie to the tools of their VM, each in its real profile: the tool says in one
//! line what was wrong, nothing is left of what they did, and the pendrive is given back.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use e2e::{Host, Liars};

const DRAFT: &str = "a draft\n";
const EDITOR: [&str; 3] = ["/bin/sed", "-i", "s/draft/letter/"];

/// Lies of fat-reader, and what the tool says of them.
const TREES: [(&str, &str); 30] = [
    ("garbage", RULES),
    ("truncated", RULES),
    ("trailing", RULES),
    ("oversized", RULES),
    ("huge", RULES),
    ("foreign", RULES),
    ("one-descriptor", RULES),
    ("two-descriptors", RULES),
    ("raw-name", RULES),
    ("flood", RULES),
    ("shrinks", RULES),
    ("crawls", RULES),
    ("beyond", RULES),
    ("names", RULES),
    ("after-the-end", RULES),
    ("done-twice", RULES),
    ("done-beyond", RULES),
    ("done-for-nothing", OTHER),
    ("fewer-bytes", OTHER),
    ("more-files", OTHER),
    ("outside", OTHER),
    ("terminal-name", "fat-reader has left a name that no file may have"),
    ("lines-name", "fat-reader has left a name that no file may have"),
    ("set-user-id", "fat-reader has left something that is no plain file"),
    ("done-but-fails", "fat-reader ended by exit code 1: the files are not whole"),
    ("code-200", "fat-reader ended by exit code 200: the files are not whole"),
    ("speechless", "fat-reader ended by exit code 0: the files are not whole"),
    ("panic", "fat-reader ended by SIGILL (a panic, or no memory left): the files are not whole"),
    (
        "forbidden",
        "fat-reader ended by SIGSYS (a system call outside of its profile): the files are not whole",
    ),
    ("fails-but-fine", "the file system is damaged; ask the sender to write it again"),
];
const RULES: &str = "fat-reader broke its rules and was ended";
const OTHER: &str = "fat-reader has not written what it says that it has written";

/// Lies of dvm-parser, and what the tool says of them.
const DOCUMENTS: [(&str, &str); 18] = [
    ("nothing", NONSENSE),
    ("no-record", NONSENSE),
    ("smaller", NONSENSE),
    ("larger", NONSENSE),
    ("largest", NONSENSE),
    ("path", NONSENSE),
    ("directory", NONSENSE),
    ("control", NONSENSE),
    ("nameless", NONSENSE),
    ("flags", NONSENSE),
    ("version", NONSENSE),
    ("beyond", LARGER),
    ("stretches", LARGER),
    ("code-9", "dvm-parser ended by exit code 9: the document is not whole"),
    ("code-255", "dvm-parser ended by exit code 255: the document is not whole"),
    ("refuses", "the pendrive holds fewer than 1024 bytes"),
    ("panic", "dvm-parser ended by SIGILL (a panic, or no memory left): the document is not whole"),
    (
        "forbidden",
        "dvm-parser ended by SIGSYS (a system call outside of its profile): the document is not whole",
    ),
];
const NONSENSE: &str = "dvm-parser has left a record that makes no sense";
const LARGER: &str = "dvm-parser has written more than the pendrive holds";

fn needs_tools() -> bool {
    !testkit::require_tools(&["xenstore-write", "xenstore-read"])
}

/// The line with which the script of a VM has ended, once there is one behind the first `seen` bytes. Whoever looks at what
/// it says sees nothing that a liar chose.
fn said(host: &Host, vm: &str, seen: usize) -> String {
    let ends = |line: &str| line.ends_with("given back\n") || line.ends_with("script again\n");
    host.wait_for("what the tool says", || ends(&host.udev_log(vm)[seen..]));
    let log = host.udev_log(vm);
    assert!(log.bytes().all(|byte| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic()), "{log:?}");
    let mut lines = log[seen..].lines();
    let line = lines.next_back().unwrap();
    assert!(lines.all(|line| line == "qubes_add_pendrive_script: a name was changed to a"), "{log}");
    line.to_owned()
}

/// Everything in a directory, as `find` names it.
fn left(host: &Host, vm: &str, directory: &str) -> String {
    host.exec(vm, &["find", directory, "-mindepth", "1"]).stdout
}

fn send(host: &Host, round: usize) {
    assert_eq!(host.request("work", &format!("new 64 #n{round}")), "ok xvdg");
    assert_eq!(host.request("work", &format!("send vault #s{round}")), "ok done");
}

#[test]
fn a_fat_reader_that_lies_leaves_nothing_and_the_pendrive_is_given_back() {
    if needs_tools() {
        return;
    }
    let liars = Liars::in_vms("fat-reader");
    let host = Host::up_with_liar(&liars, "none", &["work", "vault"], &[], "copy work vault allow\n");
    for (round, (lie, reason)) in TREES.into_iter().enumerate() {
        liars.says("fat-reader", "vault", lie);
        let seen = host.udev_log("vault").len();
        send(&host, round);
        let line = said(&host, "vault", seen);
        let end = "nothing was received, and the pendrive was given back";
        assert_eq!(line, format!("qubes_add_pendrive_script: work: {reason}; {end}"), "{lie}");
        host.wait_until_clean(&["work", "vault"]);
        assert_eq!(left(&host, "vault", "/home/user/QubesIncoming/work"), "", "{lie}");
    }
    assert_eq!(
        left(&host, "vault", "/home/user"),
        "/home/user/QubesIncoming\n/home/user/QubesIncoming/work\n"
    );
}

#[test]
fn a_fat_reader_that_says_that_it_is_this_vms_fault_keeps_nothing_from_the_next_one() {
    if needs_tools() {
        return;
    }
    let liars = Liars::in_vms("fat-reader");
    let host = Host::up_with_liar(&liars, "none", &["work", "vault"], &[], "copy work vault allow\n");
    std::fs::write(host.home("work").join("file"), "content").unwrap();
    let stays = "the pendrive stays at /dev/xvdh: run qubes_add_pendrive_script again";
    liars.says("fat-reader", "vault", "no-space");
    assert_eq!(host.exec("work", &["qvm-copy-to-vm", "vault", "file"]).code, 0);
    assert!(said(&host, "vault", 0).ends_with(&format!("let the file system be sent again; {stays}")));
    liars.says("fat-reader", "vault", "raw-reason");
    let ran = host.exec("vault", &["qubes_add_pendrive_script"]);
    let line = format!("qubes_add_pendrive_script: work: fat-reader stopped: \\u{{1b}}[2J\\n; {stays}\n");
    assert_eq!((ran.code, ran.stderr), (1, line));
    assert_eq!(left(&host, "vault", "/home/user/QubesIncoming/work"), "");
    assert_eq!(host.devices("vault"), ["xvdh"]);
    // An honest one then finds everything as it was sent.
    std::fs::remove_file(liars.program("fat-reader.vault")).unwrap();
    assert_eq!(host.exec("vault", &["qubes_add_pendrive_script"]).code, 0);
    host.wait_until_clean(&["work", "vault"]);
    let arrived = host.arrived("vault", "work");
    assert_eq!(arrived.len(), 1);
    assert_eq!(std::fs::read_to_string(arrived[0].join("file")).unwrap(), "content");
}

/// A host in which documents are edited without a question.
fn with_editor(liars: &Liars) -> Host {
    let settings = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(settings.path(), format!("open_with = {EDITOR:?}\nhand_over_s = 0\n")).unwrap();
    let more = ["--disposables", "--vm-config", settings.path().to_str().unwrap()];
    Host::up_with_liar(liars, "none", &["mail"], &more, "dvm * * allow\n")
}

fn open(host: &Host) {
    std::fs::write(host.home("mail").join("letter.txt"), DRAFT).unwrap();
    let ran = host.exec("mail", &["qvm-open-in-dvm", "letter.txt"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

fn letter(host: &Host) -> String {
    std::fs::read_to_string(host.home("mail").join("letter.txt")).unwrap()
}

#[test]
fn l9_a_dvm_parser_that_lies_about_an_answer_leaves_the_document_as_it_was() {
    if needs_tools() {
        return;
    }
    let liars = Liars::in_vms("dvm-parser");
    let host = with_editor(&liars);
    for (lie, reason) in DOCUMENTS {
        liars.says("dvm-parser", "mail", lie);
        let seen = host.udev_log("mail").len();
        open(&host);
        let line = said(&host, "mail", seen);
        assert!(line.contains("/home/user/letter.txt is as it was: "), "{lie}: {line}");
        assert!(line.ends_with(&format!(": {reason}; the pendrive was given back")), "{lie}: {line}");
        assert_eq!(letter(&host), DRAFT, "{lie}");
        host.wait_until_disposed();
        host.wait_until_clean(&["mail"]);
    }
    let left = left(&host, "mail", "/home/user");
    let mut left: Vec<&str> = left.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["/home/user/.dvm", "/home/user/.dvm/seq", "/home/user/letter.txt"]);
}

#[test]
fn a_dvm_parser_that_says_that_it_is_this_vms_fault_leaves_the_answer_for_an_honest_one() {
    if needs_tools() {
        return;
    }
    let liars = Liars::in_vms("dvm-parser");
    let host = with_editor(&liars);
    liars.says("dvm-parser", "mail", "no-space");
    open(&host);
    let line = said(&host, "mail", 0);
    assert!(line.ends_with("the pendrive stays at /dev/xvdh: run qubes_add_pendrive_script again"), "{line}");
    assert_eq!(letter(&host), DRAFT);
    std::fs::remove_file(liars.program("dvm-parser.mail")).unwrap();
    assert_eq!(host.exec("mail", &["qubes_add_pendrive_script"]).code, 0);
    assert_eq!(letter(&host), "a letter\n");
}

#[test]
fn a_dvm_parser_that_lies_in_a_disposable_vm_has_nothing_opened_and_the_vm_ended() {
    if needs_tools() {
        return;
    }
    let liars = Liars::in_vms("dvm-parser");
    let host = with_editor(&liars);
    for lie in ["nothing", "path", "control", "beyond", "stretches", "code-9", "forbidden", "no-space"] {
        for number in 1..=9 {
            liars.says("dvm-parser", &format!("disp{number}"), lie);
        }
        let seen = host.output().matches(" asks: killme").count();
        open(&host);
        host.wait_until_disposed();
        host.wait_until_clean(&["mail"]);
        assert_eq!(host.output().matches(" asks: killme").count(), seen + 1, "{lie}");
        assert_eq!((letter(&host).as_str(), host.udev_log("mail").as_str()), (DRAFT, ""), "{lie}");
    }
}
