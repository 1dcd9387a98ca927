//! `qvm-open-in-dvm`: what goes out, and what is refused.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};

use protocol::reply::{Code, Detail};
use protocol::types::Device;

use super::{OPEN, beginning, entry, grant_new, grant_send, header, start};
use crate::host::finish;

#[test]
fn a_document_goes_out_as_the_contract_has_it_and_its_number_is_kept() {
    let Some(mut host) = start() else { return };
    let path = host.home("work").join("Grüße.odt");
    fs::write(&path, b"hello").unwrap();
    for seq in 1..=2 {
        let tool = host.spawn("work", &[OPEN, "--progress", "Grüße.odt"]);
        let image = grant_new(&mut host, 1);
        let ended = grant_send(&mut host, tool, seq);
        assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{ended:?}");
        assert!(ended.stderr.ends_with("Grüße.odt is in a DisposableVM\n"), "{ended:?}");
        assert_eq!(beginning(&image, 5 + 16), [&header(5, "Grüße.odt")[..], b"hello", &[0; 16]].concat());
        assert_eq!(entry(&host, seq).unwrap(), "/home/user/Grüße.odt\0");
        assert_eq!(fs::read(host.home("work").join(".dvm/seq")).unwrap(), seq.to_le_bytes());
    }
    assert_eq!(fs::read(&path).unwrap(), b"hello");
}

#[test]
fn one_to_be_looked_at_only_is_marked_and_no_answer_will_be_accepted() {
    let Some(mut host) = start() else { return };
    fs::write(host.home("work").join("file"), b"hello").unwrap();
    let tool = host.spawn("work", &[OPEN, "--view-only", "file"]);
    let image = grant_new(&mut host, 1);
    assert_eq!(grant_send(&mut host, tool, 1).code, 0);
    let marked = [&header(5, "file")[..], b"hello", b"\0QFX:VIEW-ONLY\0\0"].concat();
    assert_eq!(beginning(&image, 5 + 16), marked);
    assert_eq!(entry(&host, 1), None);
}

#[test]
fn a_link_is_resolved_to_the_real_file() {
    let Some(mut host) = start() else { return };
    let home = host.home("work");
    fs::create_dir(home.join("real")).unwrap();
    fs::write(home.join("real/file"), b"x").unwrap();
    symlink("real/file", home.join("link")).unwrap();
    let tool = host.spawn("work", &[OPEN, "link"]);
    let image = grant_new(&mut host, 1);
    assert_eq!(grant_send(&mut host, tool, 1).code, 0);
    assert_eq!(entry(&host, 1).unwrap(), "/home/user/real/file\0");
    assert_eq!(beginning(&image, 1), [&header(1, "file")[..], b"x"].concat());
}

#[test]
fn several_files_have_a_disposable_vm_each() {
    let Some(mut host) = start() else { return };
    for name in ["a", "b"] {
        fs::write(host.home("work").join(name), name).unwrap();
    }
    let tool = host.spawn("work", &[OPEN, "a", "b"]);
    let first = grant_new(&mut host, 1);
    let (words, reqid) = host.request(1);
    assert_eq!(words, "send disposable 1");
    host.detach(1, Device::Outgoing);
    host.answer(1, &reqid, Code::Ok, Detail::Done);
    let second = grant_new(&mut host, 1);
    assert_eq!(grant_send(&mut host, tool, 2).code, 0);
    assert_eq!(beginning(&first, 1), [&header(1, "a")[..], b"a"].concat());
    assert_eq!(beginning(&second, 1), [&header(1, "b")[..], b"b"].concat());
    assert_eq!(
        (entry(&host, 1).unwrap(), entry(&host, 2).unwrap()),
        ("/home/user/a\0".into(), "/home/user/b\0".into())
    );
}

#[test]
fn l23_what_cannot_go_is_refused_in_one_line_before_dom0_is_asked() {
    let Some(mut host) = start() else { return };
    let home = host.home("work");
    fs::create_dir(home.join("directory")).unwrap();
    fs::write(home.join("file"), b"x").unwrap();
    File::create(home.join("huge")).unwrap().set_len(1 << 42).unwrap();
    fs::write(home.join("secret"), b"x").unwrap();
    fs::set_permissions(home.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    for (files, said) in [
        (&["missing"][..], "missing: No such file"),
        (&["directory"], "a directory"),
        (&["file", "missing"], "missing: No such file"),
        (&["secret"], "secret: Permission denied"),
        (&["/etc/hostname"], "use --view-only"),
        (&["huge"], "larger than any pendrive"),
    ] {
        let words: Vec<&str> = std::iter::once(OPEN).chain(files.iter().copied()).collect();
        let ended = host.run("work", &words);
        assert_eq!((ended.code, ended.stderr.lines().count()), (8, 1), "{files:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{files:?}: {ended:?}");
        assert!(!host.has_requested(1));
    }
}

#[test]
fn l23_a_refused_send_is_told_keeps_the_pendrive_and_forgets_the_number() {
    let Some(mut host) = start() else { return };
    fs::write(host.home("work").join("secret"), b"a secret that is much longer").unwrap();
    fs::write(host.home("work").join("file"), b"x").unwrap();
    let tool = host.spawn("work", &[OPEN, "secret", "file"]);
    let image = grant_new(&mut host, 1);
    let (_, reqid) = host.request(1);
    assert!(entry(&host, 1).is_some(), "the answer may be fast");
    host.answer(1, &reqid, Code::Denied, Detail::ByPerson);
    let ended = finish(tool);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (
            4,
            "qvm-open-in-dvm: send: denied: the person in dom0 said no; the pendrive stays at /dev/xvdg: \
             try again with --reuse; 2 of 2 files were not opened\n"
        )
    );
    assert_eq!(entry(&host, 1), None);
    let ended = host.run("work", &[OPEN, "file"]);
    assert!(ended.code == 5 && ended.stderr.contains("--reuse"), "{ended:?}");
    // L11: nothing of the first document is left on the pendrive that carries the second.
    let tool = host.spawn("work", &[OPEN, "--reuse", "file"]);
    assert_eq!(grant_send(&mut host, tool, 2).code, 0);
    assert_eq!(beginning(&image, 100), [&header(1, "file")[..], b"x", &[0; 99]].concat());
}

#[test]
fn without_an_answer_the_number_is_kept_since_dom0_may_still_carry_it_out() {
    let Some(mut host) = start() else { return };
    fs::write(host.home("work").join("file"), b"x").unwrap();
    let tool = host.spawn("work", &[OPEN, "--timeout", "2", "file"]);
    grant_new(&mut host, 1);
    let (_, reqid) = host.request(1);
    host.answer(1, &reqid, Code::Pending, Detail::AskingPerson);
    let ended = finish(tool);
    assert!(ended.code == 7 && ended.stderr.contains("dom0 may still carry it out"), "{ended:?}");
    assert!(entry(&host, 1).is_some());
}
