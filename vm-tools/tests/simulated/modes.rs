//! Modes and outputs beside the usual ones. The simulated host's devices are regular files, which nothing mounts.

use std::fs;

use crate::copies::{grant_new, grant_send, grant_umount};
use crate::host::{Host, finish};

const COPY: &str = "qvm-copy-to-vm";

#[test]
fn l22_a_pendrive_that_cannot_be_mounted_is_not_sent_and_stays() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    fs::write(host.home("work").join("file"), b"content").unwrap();
    let tool = host.spawn("work", &[COPY, "--mode", "mount", "vault", "file"]);
    let image = grant_new(&mut host);
    let ended = finish(tool);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(
        ended.stderr,
        "qvm-copy-to-vm: /dev/xvdg is no block device; the pendrive stays at /dev/xvdg: try again with --reuse\n"
    );
    assert!(!host.has_requested(1));
    // Written without mounting, it can go.
    let tool = host.spawn("work", &[COPY, "--reuse", "vault", "file"]);
    assert_eq!(grant_send(&mut host, tool, &image).code, 0);
    grant_umount(&mut host);
}

#[test]
fn a_program_reads_on_stdout_how_far_a_copy_is() {
    let Some(mut host) = Host::start() else { return };
    host.serve();
    fs::write(host.home("work").join("file"), vec![7; 3_000_000]).unwrap();
    let tool = host.spawn("work", &[COPY, "--progress-lines", "vault", "file"]);
    let image = grant_new(&mut host);
    let ended = grant_send(&mut host, tool, &image);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let mut lines = ended.stdout.lines().peekable();
    let (mut last, mut total) = (0, 0);
    while let Some(line) = lines.next_if(|line| line.starts_with("progress ")) {
        let numbers: Vec<u64> = line.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
        assert!(numbers[0] >= last && numbers[0] <= numbers[1], "{line}");
        (last, total) = (numbers[0], numbers[1]);
    }
    assert!(total > 3_000_000 && last == total, "{last} of {total}");
    assert_eq!(lines.collect::<Vec<_>>(), ["note 1 files and directories were sent to vault"]);
    grant_umount(&mut host);
}
