//! The role of the VM that has sent a document: the answer.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::{OPEN, document, editor, entry, grant, grant_new, grant_send, opened, pendrive, sized, start};
use crate::host::{Host, finish};

const OLD: &[u8] = b"the old document";

/// *work* has a document, and waits for an answer to it.
fn waiting(host: &Host, seq: u32) -> PathBuf {
    let home = host.home("work");
    let path = home.join("file");
    fs::write(&path, OLD).unwrap();
    fs::create_dir_all(home.join(".dvm")).unwrap();
    // A tick of the kernel's clock, so that the entry is younger.
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(home.join(format!(".dvm/{seq}")), b"/home/user/file\0").unwrap();
    path
}

/// Everything that is in the document's directory.
fn beside(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.home("work")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_document_goes_out_is_changed_and_comes_back() {
    let Some(mut host) = start() else { return };
    let path = host.home("work").join("Grüße.odt");
    fs::write(&path, OLD).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    editor(&host, "printf ', changed' >> \"$1\"");
    let tool = host.spawn("work", &[OPEN, "Grüße.odt"]);
    let there = grant_new(&mut host, 1);
    assert_eq!(grant_send(&mut host, tool, 1).code, 0);
    host.attach_transaction(2, "work", 1, &there);
    grant(&mut host, 2, "umount");
    let back = grant_new(&mut host, 2);
    grant(&mut host, 2, "send work 1");
    assert_eq!(fs::read(&path).unwrap(), OLD);
    host.attach_transaction(1, "disp1", 1, &back);
    grant(&mut host, 1, "umount");
    host.until_udev_says("work", "disp1: /home/user/Grüße.odt was changed and has come back\n");
    assert_eq!(fs::read(&path).unwrap(), b"the old document, changed");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(entry(&host, 1), None);
    assert_eq!(beside(&host), [".dvm", "Grüße.odt"]);
}

#[test]
fn l9_the_name_in_an_answer_leads_nowhere() {
    let Some(mut host) = start() else { return };
    let path = waiting(&host, 3);
    for (seq, name) in [(3, ".bashrc"), (4, "-rf"), (5, "$(touch hacked)"), (6, "authorized_keys")] {
        waiting(&host, seq);
        let image = pendrive(&host, &document(name, name.as_bytes()));
        host.attach_transaction(1, "disp1", seq, &image);
        grant(&mut host, 1, "umount");
        assert_eq!(fs::read(&path).unwrap(), name.as_bytes());
    }
    assert_eq!(beside(&host), [".dvm", "file"]);
}

#[test]
fn l9_what_is_no_whole_document_leaves_the_old_one_untouched() {
    let Some(mut host) = start() else { return };
    let path = waiting(&host, 1);
    let inode = fs::metadata(&path).unwrap().ino();
    let good = document("file", b"new");
    let big = vec![b'x'; 5_000_000];
    for (bytes, said) in [
        // Died before the header, and in it.
        (vec![], "has no name"),
        (good[..8].to_vec(), "has no name"),
        (sized(&good, 64 << 20), "larger than the pendrive"),
        (sized(&good, (64 << 20) - 1023), "larger than the pendrive"),
        (sized(&good, 1 << 63), "larger than the pendrive"),
        (sized(&good, u64::MAX), "larger than the pendrive"),
        (document("../../etc/passwd", &big), "holds a /"),
        (document("..", b"new"), "that of a directory"),
        (document("a\nb", b"new"), "a control character"),
        (vec![0xFF; 2000], "does not end"),
    ] {
        waiting_again(&host);
        let image = pendrive(&host, &bytes);
        host.attach_transaction(1, "disp1", 1, &image);
        grant(&mut host, 1, "umount");
        host.until_udev_says("work", said);
        assert_eq!((fs::read(&path).unwrap().as_slice(), fs::metadata(&path).unwrap().ino()), (OLD, inode));
        assert_eq!(beside(&host), [".dvm", "file"]);
        assert_eq!(entry(&host, 1), None, "each number is accepted once");
    }
    let log = host.udev_log("work");
    assert!(
        log.lines()
            .all(|line| line.starts_with("qubes_add_pendrive_script: disp1: /home/user/file is as it was: "))
    );
    assert_eq!(log.lines().count(), 10);
}

fn waiting_again(host: &Host) {
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(host.home("work").join(".dvm/1"), b"/home/user/file\0").unwrap();
}

#[test]
fn a_wrong_or_repeated_number_is_refused_and_nothing_is_extracted_or_opened() {
    let Some(mut host) = start() else { return };
    // Were it opened, this would be seen.
    let home = host.home("work");
    editor(&host, "");
    fs::write(home.join("vm.toml"), "open_with = [\"/usr/bin/touch\", \"/home/user/hacked\"]\n").unwrap();
    let path = waiting(&host, 5);
    let image = pendrive(&host, &document("file", b"new"));
    for seq in [4, 6, 2_147_483_647] {
        host.attach_transaction(1, "disp1", seq, &image);
        grant(&mut host, 1, "umount");
        host.until_udev_says("work", &format!("disp1: refused: this VM waits for no document {seq}: "));
        assert_eq!(fs::read(&path).unwrap(), OLD);
        assert!(entry(&host, 5).is_some());
    }
    for count in 0..2 {
        let image = pendrive(&host, &document("file", format!("answer {count}").as_bytes()));
        host.attach_transaction(1, "disp1", 5, &image);
        grant(&mut host, 1, "umount");
    }
    host.until_udev_says("work", "disp1: refused: this VM waits for no document 5: ");
    assert_eq!(fs::read(&path).unwrap(), b"answer 0");
    assert_eq!(beside(&host), [".dvm", "file", "vm.toml"]);
    assert!(
        host.udev_log("work").lines().all(|line| line.ends_with("given back") || line.ends_with("come back"))
    );
}

#[test]
fn a_vm_that_never_sent_a_document_opens_none() {
    let Some(mut host) = start() else { return };
    let image = pendrive(&host, &document("file", b"new"));
    host.attach_transaction(1, "vault", 1, &image);
    grant(&mut host, 1, "umount");
    host.until_udev_says("work", "vault: refused: ");
    assert!(beside(&host).is_empty());
}

#[test]
fn one_to_be_looked_at_only_cannot_come_back() {
    let Some(mut host) = start() else { return };
    let path = host.home("work").join("file");
    fs::write(&path, OLD).unwrap();
    let tool = host.spawn("work", &[OPEN, "--view-only", "file"]);
    grant_new(&mut host, 1);
    assert_eq!(grant_send(&mut host, tool, 1).code, 0);
    let image = pendrive(&host, &document("file", b"new"));
    host.attach_transaction(1, "disp1", 1, &image);
    grant(&mut host, 1, "umount");
    host.until_udev_says("work", "disp1: refused: ");
    assert_eq!(fs::read(&path).unwrap(), OLD);
}

#[test]
fn a_copy_is_never_taken_for_a_document_nor_a_document_for_a_copy() {
    let Some(mut host) = start() else { return };
    let path = waiting(&host, 1);
    // A document without a number, as any VM can send it: no file system.
    let image = pendrive(&host, &document("file", b"new"));
    host.attach_incoming(1, "vault", &image);
    grant(&mut host, 1, "umount");
    host.until_udev_says("work", "nothing was received, and the pendrive was given back");
    assert_eq!(fs::read(&path).unwrap(), OLD);
    assert!(entry(&host, 1).is_some());
    assert!(opened(&host).is_empty());
}

#[test]
fn l22_without_a_place_to_write_the_answer_stays_and_can_be_taken_later() {
    let Some(mut host) = start() else { return };
    let path = waiting(&host, 1);
    let home = host.home("work");
    // The document's directory has become a link: nothing is followed.
    fs::create_dir(home.join("real")).unwrap();
    fs::rename(&path, home.join("real/file")).unwrap();
    symlink("real", home.join("link")).unwrap();
    fs::write(home.join(".dvm/1"), b"/home/user/link/file\0").unwrap();
    let image = pendrive(&host, &document("file", b"new"));
    host.attach_transaction(1, "disp1", 1, &image);
    host.until_udev_says("work", "the pendrive stays at /dev/xvdh");
    assert!(!host.has_requested(1));
    assert!(entry(&host, 1).is_some());
    assert_eq!(fs::read(home.join("real/file")).unwrap(), OLD);
    // By hand, after the cause is gone.
    fs::remove_file(home.join("link")).unwrap();
    fs::rename(home.join("real"), home.join("link")).unwrap();
    let tool = host.spawn("work", &["qubes_add_pendrive_script"]);
    grant(&mut host, 1, "umount");
    let ended = finish(tool);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(fs::read(home.join("link/file")).unwrap(), b"new");
}

#[test]
fn a_document_that_was_changed_here_meanwhile_is_not_lost() {
    let Some(mut host) = start() else { return };
    let path = waiting(&host, 9);
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(&path, b"changed here").unwrap();
    let image = pendrive(&host, &document("file", b"changed there"));
    host.attach_transaction(1, "disp1", 9, &image);
    grant(&mut host, 1, "umount");
    host.until_udev_says("work", "what came back is in /home/user/file.from-dvm-9");
    assert_eq!(fs::read(&path).unwrap(), b"changed here");
    assert_eq!(fs::read(host.home("work").join("file.from-dvm-9")).unwrap(), b"changed there");
}

#[test]
fn l9_a_receiver_that_is_killed_leaves_the_old_document() {
    let Some(mut host) = start() else { return };
    let path = waiting(&host, 1);
    // 60 MiB take a while; the receiver is ended in the middle of it, or has just finished: never anything between.
    let content = vec![b'n'; 60 << 20];
    let image = pendrive(&host, &document("file", &content));
    host.attach_transaction(1, "disp1", 1, &image);
    let ended = host.run("work", &["sh", "-c", "sleep 0.03; kill -9 $(pidof qubes_add_pendrive_script)"]);
    assert!(ended.code == 0 || ended.code == 1, "{ended:?}");
    let now = fs::read(&path).unwrap();
    assert!(now == OLD || now == content);
    if host.udev_log("work").is_empty() && now == OLD {
        assert!(entry(&host, 1).is_some(), "another try is possible");
    }
}

#[test]
fn l9_a_full_disk_leaves_the_old_document_and_the_answer_can_be_taken_when_there_is_space() {
    let Some(mut host) = start() else { return };
    let small = host.home("work").join("small");
    fs::create_dir(&small).unwrap();
    let mounted = host.run("work", &["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/home/user/small"]);
    if mounted.code != 0 {
        return testkit::skip(&format!("no small file system can be mounted in a VM: {}", mounted.stderr));
    }
    let made =
        "printf old > small/file; mkdir -p .dvm; sleep 0.1; printf '/home/user/small/file\\0' > .dvm/1";
    assert_eq!(host.run("work", &["sh", "-c", made]).code, 0);
    let content = vec![b'n'; 2 << 20];
    let image = pendrive(&host, &document("file", &content));
    host.attach_transaction(1, "disp1", 1, &image);
    host.until_udev_says("work", "no space left for the document; the pendrive stays at /dev/xvdh");
    let seen = host.run("work", &["sh", "-c", "cat small/file; ls -A small"]);
    assert_eq!(seen.stdout, "oldfile\n", "nothing is left of the attempt");
    assert!(entry(&host, 1).is_some());
    let larger = host.run("work", &["mount", "-o", "remount,size=8m", "/home/user/small"]);
    assert_eq!(larger.code, 0, "{larger:?}");
    let tool = host.spawn("work", &["qubes_add_pendrive_script"]);
    grant(&mut host, 1, "umount");
    let ended = finish(tool);
    assert_eq!(ended.code, 0, "{ended:?}");
    let seen = host.run("work", &["sh", "-c", "wc -c < small/file; ls -A small"]);
    assert_eq!(seen.stdout, "2097152\nfile\n");
    assert_eq!(entry(&host, 1), None);
}

#[test]
fn an_answer_without_content_is_a_whole_one() {
    let Some(mut host) = start() else { return };
    let path = waiting(&host, 1);
    let image = pendrive(&host, &document("file", b""));
    host.attach_transaction(1, "disp1", 1, &image);
    grant(&mut host, 1, "umount");
    host.until_udev_says("work", "has come back");
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn the_number_of_another_vm_is_none_of_this_one() {
    let Some(mut host) = start() else { return };
    let path = waiting(&host, 1);
    // disp1 has a number of its own; whatever it is called there, it means nothing here.
    fs::create_dir(host.home("disp1").join(".dvm")).unwrap();
    fs::write(host.home("disp1").join(".dvm/2"), b"/home/user/file\0").unwrap();
    let image = pendrive(&host, &document("file", b"new"));
    host.attach_transaction(1, "disp1", 2, &image);
    grant(&mut host, 1, "umount");
    host.until_udev_says("work", "disp1: refused: this VM waits for no document 2");
    assert_eq!(fs::read(&path).unwrap(), OLD);
    assert!(entry(&host, 1).is_some());
}
