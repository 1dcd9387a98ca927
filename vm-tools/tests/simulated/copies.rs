//! Whole copies: out of one VM by `qvm-copy-to-vm`, into another by what udev runs.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use protocol::reply::{Code, Detail};
use protocol::types::Device;

use crate::host::{Ended, Host, finish};

const COPY: &str = "qvm-copy-to-vm";

/// Grants `new` of a copy; gives the image.
pub fn grant_new(host: &mut Host) -> PathBuf {
    let (words, reqid) = host.request(1);
    let mib: u64 = words.strip_prefix("new ").unwrap().parse().unwrap();
    assert!(mib >= 64);
    let image = host.image(mib);
    host.attach_outgoing(1, &image);
    host.answer(1, &reqid, Code::Ok, Detail::DeviceXvdg);
    image
}

/// Grants `send` of a copy, and lets the other VM have the image.
pub fn grant_send(host: &mut Host, tool: Child, image: &Path) -> Ended {
    let (words, reqid) = host.request(1);
    assert_eq!(words, "send vault");
    host.detach(1, Device::Outgoing);
    host.attach_incoming(2, "work", image);
    host.answer(1, &reqid, Code::Ok, Detail::Done);
    finish(tool)
}

/// Serves the `umount` that follows an arrival.
pub fn grant_umount(host: &mut Host) {
    let (words, reqid) = host.request(2);
    assert_eq!(words, "umount");
    host.detach(2, Device::Incoming);
    host.answer(2, &reqid, Code::Ok, Detail::Done);
}

/// The directories that have been received.
fn received(host: &Host) -> Vec<PathBuf> {
    let inbox = host.home("vault").join("QubesIncoming/work");
    let Ok(entries) = fs::read_dir(inbox) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn make_tree(home: &Path) {
    let tree = home.join("Grüße 日本/deep/er");
    fs::create_dir_all(&tree).unwrap();
    fs::create_dir(home.join("Grüße 日本/empty")).unwrap();
    fs::write(tree.join("a long name with spaces.txt"), b"hello").unwrap();
    fs::write(tree.join("empty file"), b"").unwrap();
    let large: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(home.join("large"), large).unwrap();
}

fn is_same(one: &Path, other: &Path) -> bool {
    Command::new("diff").arg("-r").args([one, other]).status().unwrap().success()
}

#[test]
fn a_tree_arrives_whole_under_a_new_name_and_nothing_changes_at_the_source() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    make_tree(&host.home("work"));
    for count in 1..=2 {
        let tool = host.spawn("work", &[COPY, "--progress", "vault", "Grüße 日本", "large"]);
        let image = grant_new(&mut host);
        let ended = grant_send(&mut host, tool, &image);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains("100 %"), "{ended:?}");
        if testkit::require_tools(&["fsck.vfat"]) {
            let fsck =
                Command::new(testkit::tool("fsck.vfat").unwrap()).arg("-n").arg(&image).output().unwrap();
            assert!(fsck.status.success(), "{fsck:?}");
        }
        grant_umount(&mut host);
        host.until_udev_says("vault", "are in /home/user/QubesIncoming/work/");
        // L24: each transfer has its own directory.
        assert_eq!(received(&host).len(), count);
        for directory in received(&host) {
            let name = directory.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with("20") && !name.starts_with('.'), "{name}");
            assert!(is_same(&directory.join("Grüße 日本"), &host.home("work").join("Grüße 日本")));
            assert!(is_same(&directory.join("large"), &host.home("work").join("large")));
        }
    }
}

#[test]
fn l22_a_denied_send_keeps_the_pendrive_and_reuse_sends_it() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    fs::write(host.home("work").join("file"), b"content").unwrap();
    let tool = host.spawn("work", &[COPY, "vault", "file"]);
    let image = grant_new(&mut host);
    let (_, reqid) = host.request(1);
    host.answer(1, &reqid, Code::Denied, Detail::ByPerson);
    let ended = finish(tool);
    assert_eq!(ended.code, 4);
    assert_eq!(
        ended.stderr,
        "qvm-copy-to-vm: send: denied: the person in dom0 said no; the pendrive stays at /dev/xvdg: try again with --reuse\n"
    );
    let ended = host.run("work", &[COPY, "vault", "file"]);
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(ended.stderr.contains("--reuse"), "{ended:?}");
    assert!(!host.has_requested(1));
    let tool = host.spawn("work", &[COPY, "--reuse", "vault", "file"]);
    let ended = grant_send(&mut host, tool, &image);
    assert_eq!(ended.code, 0, "{ended:?}");
    grant_umount(&mut host);
    host.until_udev_says("vault", "1 files, 0 directories, 7 bytes are in");
    assert!(host.home("work").join("file").exists());
}

#[test]
fn what_cannot_go_is_refused_before_dom0_is_asked() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    let home = host.home("work");
    File::create(home.join("huge")).unwrap().set_len(4 << 30).unwrap();
    fs::create_dir_all(home.join("names")).unwrap();
    fs::write(home.join("names/bad:name\n"), b"").unwrap();
    fs::write(home.join("names/same"), b"").unwrap();
    fs::write(home.join("names/SAME"), b"").unwrap();
    symlink("/etc", home.join("link")).unwrap();
    for file in ["huge", "names", "missing", "link", "/"] {
        let ended = host.run("work", &[COPY, "vault", file]);
        assert_eq!(ended.code, 8, "{file}: {ended:?}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert!(lines.iter().all(|line| line.starts_with("qvm-copy-to-vm: ")), "{ended:?}");
        assert!(!host.has_requested(1));
    }
}

#[test]
fn links_and_pipes_are_named_and_skipped_and_the_exit_code_says_so() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    let tree = host.home("work").join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), b"content").unwrap();
    symlink("/etc/passwd", tree.join("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let tool = host.spawn("work", &[COPY, "vault", "tree"]);
    let image = grant_new(&mut host);
    let ended = grant_send(&mut host, tool, &image);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(
        ended.stderr,
        "qvm-copy-to-vm: tree/link: skipped: a symbolic link\nqvm-copy-to-vm: tree/pipe: skipped: a named pipe\n"
    );
    grant_umount(&mut host);
    host.until_udev_says("vault", "1 files, 1 directories, 7 bytes");
}

#[test]
fn only_one_tool_uses_the_outgoing_pendrive() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    fs::write(host.home("work").join("file"), b"content").unwrap();
    let first = host.spawn("work", &[COPY, "vault", "file"]);
    let image = grant_new(&mut host);
    for words in [&[COPY, "vault", "file"][..], &["qubes_penctl", "send", "vault"], &["qubes_penctl", "new"]]
    {
        let ended = host.run("work", words);
        assert_eq!(ended.code, 5, "{ended:?}");
        assert!(ended.stderr.contains("another tool is using the outgoing pendrive"), "{ended:?}");
    }
    assert_eq!(grant_send(&mut host, first, &image).code, 0);
}

#[test]
fn l10_garbage_leaves_nothing_and_is_given_back() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    let image = host.image(64);
    host.attach_incoming(2, "work", &image);
    grant_umount(&mut host);
    host.until_udev_says("vault", "nothing was received, and the pendrive was given back");
    assert_eq!(received(&host), Vec::<PathBuf>::new());
}

#[test]
fn a_place_that_cannot_be_written_keeps_the_pendrive() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    symlink("/tmp", host.home("vault").join("QubesIncoming")).unwrap();
    let image = host.image(64);
    host.attach_incoming(2, "work", &image);
    host.until_udev_says("vault", "the pendrive stays at /dev/xvdh");
    assert!(!host.has_requested(2));
    // By hand, after the cause is gone: the same as udev's run.
    fs::remove_file(host.home("vault").join("QubesIncoming")).unwrap();
    let tool = host.spawn("vault", &["qubes_add_pendrive_script"]);
    grant_umount(&mut host);
    assert_eq!(finish(tool).code, 1);
}

#[test]
fn without_an_arrival_nothing_is_received() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    let ended = host.run("vault", &["qubes_add_pendrive_script"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("nothing was sent to this VM"), "{ended:?}");
}
