//! Several documents in one DisposableVM.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::{OPEN, document, editor, entry, grant, grant_new, grant_send, opened, pendrive, start};
use crate::host::Host;

const NAMES: [&str; 3] = ["a", "b", "Grüße.odt"];

fn content(host: &Host, name: &str) -> String {
    fs::read_to_string(host.home("work").join(name)).unwrap()
}

/// Sends three documents, with these further words; gives the pendrive.
fn send(host: &mut Host, words: &[&str], seq: u32) -> PathBuf {
    for name in NAMES {
        fs::write(host.home("work").join(name), format!("old {name}")).unwrap();
    }
    let all: Vec<&str> = [OPEN, "--together"].into_iter().chain(words.iter().copied()).chain(NAMES).collect();
    let tool = host.spawn("work", &all);
    let image = grant_new(host, 1);
    assert_eq!(grant_send(host, tool, seq).code, 0);
    image
}

#[test]
fn those_that_were_changed_come_back_and_no_others() {
    let Some(mut host) = start() else { return };
    editor(&host, "case \"$1\" in */a) touch \"$1\";; *) printf ', new' >> \"$1\";; esac");
    let there = send(&mut host, &[], 1);
    assert_eq!(entry(&host, 1).unwrap(), "/home/user/a\0/home/user/b\0/home/user/Grüße.odt\0");
    host.attach_transaction(2, "work", 1, &there);
    grant(&mut host, 2, "umount");
    let back = grant_new(&mut host, 2);
    grant(&mut host, 2, "send work 1");
    assert_eq!(opened(&host).len(), 3);
    host.attach_transaction(1, "disp1", 1, &back);
    grant(&mut host, 1, "umount");
    host.until_udev_says(
        "work",
        "disp1: /home/user/b was changed and has come back; /home/user/Grüße.odt was changed",
    );
    assert_eq!(NAMES.map(|name| content(&host, name)), ["old a", "old b, new", "old Grüße.odt, new"]);
    assert!(!host.udev_log("work").contains("/home/user/a "));
    assert_eq!(entry(&host, 1), None);
    let left = fs::read_dir(host.home("work").join(".dvm")).unwrap().count();
    assert_eq!(left, 1, "only the counter is left");
    // The same answer once more.
    host.attach_transaction(1, "disp1", 1, &back);
    grant(&mut host, 1, "umount");
    host.until_udev_says("work", "disp1: refused: ");
}

#[test]
fn unchanged_ones_and_those_to_be_looked_at_only_do_not_come_back() {
    let Some(mut host) = start() else { return };
    editor(&host, "");
    let image = send(&mut host, &[], 1);
    host.attach_transaction(2, "work", 1, &image);
    grant(&mut host, 2, "umount");
    grant(&mut host, 2, "killme");
    editor(&host, "stat -c %a \"$1\" >> /home/user/modes; rm -f \"$1\"; printf changed > \"$1\"");
    let image = send(&mut host, &["--view-only"], 2);
    assert_eq!(entry(&host, 2), None);
    host.attach_transaction(2, "work", 2, &image);
    grant(&mut host, 2, "umount");
    grant(&mut host, 2, "killme");
    let modes = fs::read_to_string(host.home("disp1").join("modes")).unwrap();
    assert_eq!(modes, "400\n400\n400\n");
}

#[test]
fn one_that_was_removed_there_does_not_keep_the_others() {
    let Some(mut host) = start() else { return };
    editor(&host, "case \"$1\" in */a) rm \"$1\";; */b) printf new > \"$1\";; esac");
    let there = send(&mut host, &[], 1);
    host.attach_transaction(2, "work", 1, &there);
    grant(&mut host, 2, "umount");
    let back = grant_new(&mut host, 2);
    grant(&mut host, 2, "send work 1");
    host.until_udev_says("disp1", "/1/a cannot be sent back");
    host.attach_transaction(1, "disp1", 1, &back);
    grant(&mut host, 1, "umount");
    assert_eq!(NAMES.map(|name| content(&host, name)), ["old a", "new", "old Grüße.odt"]);
}

#[test]
fn l9_an_answer_of_another_kind_leaves_all_documents_untouched() {
    let Some(mut host) = start() else { return };
    let three = send(&mut host, &[], 1);
    let home = host.home("work");
    let one = pendrive(&host, &document("a", b"new"));
    let empty = host.image(64);
    let expected = |host: &Host| {
        assert_eq!(NAMES.map(|name| content(host, name)), NAMES.map(|name| format!("old {name}")))
    };
    for (image, seq, paths, said) in [
        (&one, 1, "/home/user/a\0/home/user/b\0", "no FAT file system"),
        (&empty, 2, "/home/user/a\0/home/user/b\0", "no FAT file system"),
        (&three, 3, "/home/user/a\0/home/user/b\0", "more than were sent"),
        (&three, 4, "/home/user/a\0", "a file system and no document"),
    ] {
        fs::write(home.join(format!(".dvm/{seq}")), paths).unwrap();
        host.attach_transaction(1, "disp1", seq, image);
        grant(&mut host, 1, "umount");
        host.until_udev_says("work", said);
        expected(&host);
        assert_eq!(entry(&host, seq), None);
    }
    // When one of them cannot be replaced, none is, and the answer waits.
    symlink("a", home.join("link")).unwrap();
    fs::write(home.join(".dvm/5"), "/home/user/b\0/home/user/link\0/home/user/a\0").unwrap();
    host.attach_transaction(1, "disp1", 5, &three);
    host.until_udev_says("work", "cannot replace /home/user/link");
    host.until_udev_says("work", "the pendrive stays at /dev/xvdh");
    expected(&host);
    assert!(entry(&host, 5).is_some());
    let left = fs::read_dir(home.join(".dvm")).unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().to_str().unwrap().starts_with('.')));
}

#[test]
fn what_fat_cannot_hold_is_refused_before_dom0_is_asked_unless_it_is_alone() {
    let Some(mut host) = start() else { return };
    for name in ["a:b", "c"] {
        fs::write(host.home("work").join(name), b"x").unwrap();
    }
    let ended = host.run("work", &[OPEN, "--together", "a:b", "c"]);
    assert_eq!((ended.code, ended.stderr.lines().count()), (8, 1), "{ended:?}");
    assert!(!host.has_requested(1));
    let tool = host.spawn("work", &[OPEN, "--together", "a:b"]);
    let image = grant_new(&mut host, 1);
    assert_eq!(grant_send(&mut host, tool, 1).code, 0);
    assert_eq!(super::beginning(&image, 1), document("a:b", b"x"));
}
