//! The DisposableVM's role.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use protocol::reply::{Code, Detail};

use super::{beginning, document, editor, grant, grant_new, opened, pendrive, sized, start};
use crate::host::Host;

/// Opens a document in *disp1* with this editor.
fn open(host: &mut Host, name: &str, content: &[u8], script: &str) {
    editor(host, script);
    let image = pendrive(host, &document(name, content));
    host.attach_transaction(2, "work", 7, &image);
}

/// Serves everything of a changed document; gives the pendrive that goes back.
fn grant_return(host: &mut Host) -> PathBuf {
    grant(host, 2, "umount");
    let image = grant_new(host, 2);
    grant(host, 2, "send work 7");
    image
}

fn grant_end(host: &mut Host) {
    grant(host, 2, "umount");
    grant(host, 2, "killme");
}

/// The path of what was opened, on the host.
fn outside(host: &Host, path: &str) -> PathBuf {
    host.home("disp1").join(Path::new(path).strip_prefix("/home/user").unwrap())
}

#[test]
fn a_changed_document_goes_back_with_its_name() {
    let Some(mut host) = start() else { return };
    open(&mut host, "Grüße 日本.odt", b"old", "printf ' and new' >> \"$1\"");
    let image = grant_return(&mut host);
    assert_eq!(
        beginning(&image, 11 + 16),
        [document("Grüße 日本.odt", b"old and new"), vec![0; 16]].concat()
    );
    let paths = opened(&host);
    assert!(paths.len() == 1 && paths[0].ends_with("/Grüße 日本.odt"), "{paths:?}");
    let directory = outside(&host, &paths[0]).parent().unwrap().to_owned();
    assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn one_that_is_not_changed_does_not_go_back_whatever_its_time_says() {
    let Some(mut host) = start() else { return };
    for script in ["", "touch \"$1\"", "cp \"$1\" \"$1\".new; mv \"$1\".new \"$1\"", "echo x > \"$1\".bak"] {
        open(&mut host, "file", b"content", script);
        grant_end(&mut host);
    }
    assert_eq!(opened(&host).len(), 4);
}

#[test]
fn an_empty_document_is_one() {
    let Some(mut host) = start() else { return };
    open(&mut host, "file", b"", "printf x > \"$1\"");
    assert_eq!(beginning(&grant_return(&mut host), 1), document("file", b"x"));
    open(&mut host, "file", b"x", ": > \"$1\"");
    assert_eq!(beginning(&grant_return(&mut host), 16), [document("file", b""), vec![0; 16]].concat());
}

#[test]
fn a_disposable_vm_whose_settings_cannot_be_read_does_not_linger() {
    let Some(mut host) = start() else { return };
    fs::write(host.home("disp1").join("vm.toml"), "no such key = 1\n").unwrap();
    let image = pendrive(&host, &document("file", b"x"));
    host.attach_transaction(2, "work", 7, &image);
    grant(&mut host, 2, "killme");
    assert!(opened(&host).is_empty());
}

#[test]
fn one_that_is_saved_by_rename_goes_back() {
    let Some(mut host) = start() else { return };
    open(&mut host, "file", b"old", "printf new > \"$1\".tmp; mv \"$1\".tmp \"$1\"");
    assert_eq!(beginning(&grant_return(&mut host), 3), document("file", b"new"));
}

#[test]
fn an_editor_in_the_background_is_waited_for() {
    let Some(mut host) = start() else { return };
    // It detaches, ends, and what it has started saves later: first with the path among its arguments, then only with
    // the file open, then only working beside it.
    for background in [
        "setsid sh -c 'sleep 2; printf new > \"$1\"' sh \"$1\" &",
        "(exec 9<\"$1\"; cd /; exec setsid sh -c 'sleep 2; printf new > /proc/self/fd/9/../x; cat <&9 > /dev/null; \
         for f in /home/user/QubesDocument/*/file; do printf new > \"$f\"; done') &",
        "(cd \"${1%/*}\"; exec setsid sh -c 'sleep 2; printf new > file') &",
    ] {
        fs::remove_dir_all(host.home("disp1").join("QubesDocument")).unwrap_or_default();
        open(&mut host, "file", b"old", background);
        assert_eq!(beginning(&grant_return(&mut host), 3), document("file", b"new"), "{background}");
    }
}

#[test]
fn one_to_be_looked_at_only_is_read_only_and_never_goes_back() {
    let Some(mut host) = start() else { return };
    editor(&host, "printf changed > \"$1\"; chmod u+w \"$1\"; printf changed > \"$1\"");
    let image = pendrive(&host, &[document("file", b"x"), b"\0QFX:VIEW-ONLY\0\0".to_vec()].concat());
    host.attach_transaction(2, "work", 7, &image);
    grant_end(&mut host);
    assert_eq!(opened(&host).len(), 1);
    editor(&host, "stat -c %a \"$1\" > /home/user/mode");
    host.attach_transaction(2, "work", 8, &image);
    grant_end(&mut host);
    assert_eq!(fs::read_to_string(host.home("disp1").join("mode")).unwrap(), "400\n");
}

#[test]
fn l8_a_name_is_never_executed_and_stays_one_argument() {
    let Some(mut host) = start() else { return };
    for name in [
        "$(touch hacked)",
        "`touch hacked`",
        "a'; touch hacked; '",
        "a\"; touch hacked; \"",
        "-rf",
        "a b  c",
        "*",
    ] {
        open(&mut host, name, b"x", "printf y >> \"$1\"");
        let image = grant_return(&mut host);
        assert_eq!(beginning(&image, 2), document(name, b"xy"));
        let paths = opened(&host);
        assert!(paths.last().unwrap().starts_with("/home/user/QubesDocument/"), "{paths:?}");
        assert!(paths.last().unwrap().ends_with(&format!("/{name}")), "{paths:?}");
    }
    assert_eq!(opened(&host).len(), 7);
    assert!(!host.home("disp1").join("hacked").exists());
}

#[test]
fn what_could_mislead_in_a_name_is_replaced_here_and_goes_back_as_it_came() {
    let Some(mut host) = start() else { return };
    let long = format!("{}.odt", "n".repeat(400));
    for name in ["a\u{202e}tdo.exe", &long] {
        open(&mut host, name, b"x", "printf y >> \"$1\"");
        assert_eq!(beginning(&grant_return(&mut host), 2), document(name, b"xy"));
        let path = opened(&host).pop().unwrap();
        let shown = path.rsplit('/').next().unwrap();
        assert!(shown.len() <= 255 && !shown.contains('\u{202e}'), "{shown}");
    }
    assert!(opened(&host)[0].ends_with("/a_tdo.exe"));
}

#[test]
fn l8_what_is_no_document_is_not_opened_and_the_disposable_vm_ends() {
    let Some(mut host) = start() else { return };
    editor(&host, "");
    let good = document("file", b"x");
    for (count, (bytes, said)) in [
        (document("../x", b"x"), "holds a /"),
        (document("..", b"x"), "that of a directory"),
        (document("a\nb", b"x"), "a control character"),
        (document("", b"x"), "no name"),
        (sized(&good, 64 << 20), "larger than the pendrive"),
        (sized(&good, 1 << 63), "larger than the pendrive"),
        (sized(&good, u64::MAX), "larger than the pendrive"),
        (vec![0x41; 4096], "does not end"),
    ]
    .into_iter()
    .enumerate()
    {
        let image = pendrive(&host, &bytes);
        host.attach_transaction(2, "work", 7, &image);
        grant(&mut host, 2, "killme");
        host.until_udev_says("disp1", said);
        let lines = host.udev_log("disp1").matches("nothing was opened").count();
        assert!(lines > count, "{}", host.udev_log("disp1"));
        host.detach(2, protocol::types::Device::Incoming);
    }
    assert!(opened(&host).is_empty());
}

#[test]
fn a_program_that_is_missing_or_fails_is_told_and_the_disposable_vm_ends() {
    let Some(mut host) = start() else { return };
    open(&mut host, "file", b"x", "exit 3");
    grant(&mut host, 2, "killme");
    host.until_udev_says("disp1", "was not opened: its program ended by exit status: 3");
    host.detach(2, protocol::types::Device::Incoming);
    fs::write(host.home("disp1").join("vm.toml"), "open_with = [\"no-such-program\"]").unwrap();
    let image = pendrive(&host, &document("file", b"x"));
    host.attach_transaction(2, "work", 7, &image);
    grant(&mut host, 2, "killme");
    host.until_udev_says("disp1", "nothing here opens documents: install no-such-program");
}

#[test]
fn a_document_that_vanished_or_became_a_link_is_not_sent() {
    let Some(mut host) = start() else { return };
    for script in
        ["rm \"$1\"", "ln -sf /etc/passwd \"$1\"", "rm \"$1\"; mkdir \"$1\"", "rm \"$1\"; mkfifo \"$1\""]
    {
        open(&mut host, "file", b"x", script);
        grant(&mut host, 2, "killme");
        host.until_udev_says("disp1", "cannot be sent back");
        host.detach(2, protocol::types::Device::Incoming);
    }
}

#[test]
fn a_refused_return_is_told_and_the_disposable_vm_ends() {
    let Some(mut host) = start() else { return };
    open(&mut host, "file", b"x", "printf y >> \"$1\"");
    grant(&mut host, 2, "umount");
    grant_new(&mut host, 2);
    let (words, reqid) = host.request(2);
    assert_eq!(words, "send work 7");
    host.answer(2, &reqid, Code::Denied, Detail::ByPolicy);
    grant(&mut host, 2, "killme");
    host.until_udev_says("disp1", "send: denied: ");
}
