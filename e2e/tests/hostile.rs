//! A VM that sends what it likes: file systems that lie, names that would be commands, no file system at all.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::Host;

/// A FAT image made by other people's tools, with one file of this name.
fn image_with(folder: &Path, name: &str) -> PathBuf {
    let image = folder.join("image");
    let file = folder.join("payload");
    std::fs::write(&file, "payload").unwrap();
    let mkfs = testkit::tool("mkfs.vfat").unwrap();
    run(Command::new(mkfs).args(["-F", "32", "-C"]).arg(&image).arg("40000"));
    let target = format!("::{name}");
    let mcopy = testkit::tool("mcopy").unwrap();
    run(Command::new(mcopy).env("LC_ALL", "C.UTF-8").arg("-i").arg(&image).arg(&file).arg(target));
    image
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sends an image as a guest without any tool of ours would: `dd` and `xenstore-write`.
fn send(host: &Host, image: &Path, round: usize) {
    std::fs::copy(image, host.home("work").join("image")).unwrap();
    assert_eq!(host.request("work", &format!("new 64 #n{round}")), "ok xvdg");
    let ran =
        host.exec("work", &["dd", "if=/home/user/image", "of=/dev/xvdg", "conv=notrunc", "status=none"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(host.request("work", &format!("send vault #s{round}")), "ok done");
    host.wait_until_clean(&["work", "vault"]);
}

fn needs_tools() -> bool {
    !testkit::require_tools(&["mkfs.vfat", "mcopy", "xenstore-write", "xenstore-read"])
}

#[test]
fn l8_a_name_that_looks_like_a_command_is_only_a_name() {
    if needs_tools() {
        return;
    }
    let host = Host::up_with_policy(&["work", "vault"], "copy work vault allow\n");
    let folder = tempfile::tempdir().unwrap();
    let name = "'; touch owned; $(touch owned) `touch owned` & #.txt";
    send(&host, &image_with(folder.path(), name), 1);
    let arrived = host.arrived("vault", "work");
    assert_eq!(arrived.len(), 1);
    assert_eq!(std::fs::read_to_string(arrived[0].join(name)).unwrap(), "payload");
    let find = host.exec("vault", &["find", "/home/user", "/tmp", "/run", "-name", "owned"]);
    assert_eq!(find.stdout, "");
}

#[test]
fn l8_a_size_that_the_device_cannot_hold_is_not_believed() {
    if needs_tools() {
        return;
    }
    let host = Host::up_with_policy(&["work", "vault"], "copy work vault allow\n");
    let folder = tempfile::tempdir().unwrap();
    let image = image_with(folder.path(), "FILE.TXT");
    let mut bytes = std::fs::read(&image).unwrap();
    let entry = bytes.windows(11).position(|window| window == b"FILE    TXT").unwrap();
    for (round, size) in [8_u32, 0x1000, 0x7FFF_FFFF, u32::MAX].into_iter().enumerate() {
        bytes[entry + 28..entry + 32].copy_from_slice(&size.to_le_bytes());
        std::fs::write(&image, &bytes).unwrap();
        send(&host, &image, round);
        for folder in host.arrived("vault", "work") {
            let length = std::fs::metadata(folder.join("FILE.TXT")).map_or(0, |meta| meta.len());
            assert!(length <= 512, "a file of one cluster came out with {length} bytes");
        }
    }
}

#[test]
fn l10_what_is_no_file_system_is_given_back_and_leaves_nothing() {
    if needs_tools() {
        return;
    }
    let host = Host::up_with_policy(&["work", "vault"], "copy work vault allow\n");
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    for (round, byte) in [0_u8, 0x55, 0xFF].into_iter().enumerate() {
        std::fs::write(&image, vec![byte; 2 << 20]).unwrap();
        send(&host, &image, round);
        assert!(host.arrived("vault", "work").is_empty());
        let inbox = host.home("vault").join("QubesIncoming/work");
        host.wait_for("the partial tree to be removed", || {
            std::fs::read_dir(&inbox).map_or(true, |entries| entries.count() == 0)
        });
    }
}

#[test]
fn l3_a_reused_pendrive_holds_nothing_of_what_was_denied() {
    if needs_tools() {
        return;
    }
    let host = Host::up_with_policy(&["work", "vault", "mail"], "copy * * deny\n");
    std::fs::write(host.home("work").join("secret"), b"SECRET-FOR-VAULT ".repeat(500_000)).unwrap();
    std::fs::write(host.home("work").join("note"), "hello").unwrap();
    assert_eq!(host.exec("work", &["qvm-copy-to-vm", "vault", "secret"]).code, 4);
    let count = || host.exec("work", &["grep", "-c", "-a", "SECRET-FOR-VAULT", "/dev/xvdg"]).stdout;
    assert_ne!(count().trim(), "0");
    assert_eq!(host.exec("work", &["qvm-copy-to-vm", "--reuse", "mail", "note"]).code, 4);
    assert_eq!(count().trim(), "0", "mail would have got what was meant for vault");
}

#[test]
fn l3_a_new_pendrive_shows_nothing_of_an_earlier_one() {
    if needs_tools() {
        return;
    }
    let host = Host::up_with_policy(&["work", "vault"], "copy work vault allow\n");
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::write(&image, b"SECRET-OF-WORK ".repeat(200_000)).unwrap();
    send(&host, &image, 1);
    for vm in ["vault", "work"] {
        assert_eq!(host.request(vm, "new 64 #fresh"), "ok xvdg");
        let grep = host.exec(vm, &["grep", "-c", "-a", "SECRET-OF-WORK", "/dev/xvdg"]);
        assert_eq!(grep.stdout.trim(), "0", "{vm} sees old bytes");
    }
}
