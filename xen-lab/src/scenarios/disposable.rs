//! Documents in DisposableVMs that Debian's toolstack makes.

use crate::host::Lab;

/// What a DisposableVM is, without a name.
const DISPOSABLE: &str = r#"type = "pv"
kernel = "/lab/vmlinux"
ramdisk = "/lab/guest.cpio"
memory = 160
vcpus = 1
extra = "console=hvc0 quiet mitigations=off"
disk = ["vdev=xvdt,format=raw,access=r,script=/lab/block,target=/dev/loop0"]
"#;
const CONFIGURATION: &str = "/etc/qfilexchgd/disposable.cfg";
/// Where a saved one is kept.
const SAVED: &str = "/var/lib/xen/disposable.save";
/// Makes it.
const SAVE: &str = r#"#!/bin/sh
set -e
xl create -q /etc/qfilexchgd/disposable.cfg 'name="template"'
id=$(xl domid template)
until xenstore-exists /local/domain/$id/data/ready; do sleep 0.1; done
xl save template /var/lib/xen/disposable.new
mv /var/lib/xen/disposable.new /var/lib/xen/disposable.save
"#;
/// Everything may be opened without a question.
const POLICY: &str = "dvm * * allow\n";
/// Makes a document in a VM, and opens it.
const OPEN: &str = "echo 'a draft' > letter.txt && qvm-open-in-dvm letter.txt";

/// How `xl create` makes them.
pub fn by_create(lab: &mut Lab) {
    lab.put(CONFIGURATION, DISPOSABLE.as_bytes().to_vec());
    lab.configure(&[
        ("create", &format!(r#"["/usr/sbin/xl", "create", "-q", "{CONFIGURATION}", 'name="{{name}}"']"#)),
        ("destroy", r#"["/usr/sbin/xl", "destroy", "{name}"]"#),
        ("exists", r#"["/usr/sbin/xl", "domid", "{name}"]"#),
        ("free_memory", r#"["/usr/sbin/xl", "info", "free_memory"]"#),
        ("memory_mib_min", "170"),
        ("boot_ms_max", "50000"),
    ]);
    lab.start_daemon(POLICY);
}

/// How `xl restore` makes them, from a saved one that is not there yet.
pub fn by_restore(lab: &mut Lab) {
    lab.put(CONFIGURATION, DISPOSABLE.as_bytes().to_vec());
    lab.put("/lab/save-disposable", SAVE.as_bytes().to_vec());
    lab.dom0(&format!("chmod 755 /lab/save-disposable; rm -f {SAVED}"));
    let create = format!(
        r#"["/usr/lib/qfilexchgd/restore-disposable", "/usr/sbin/xl", "{{name}}", "{CONFIGURATION}", "{SAVED}"]"#
    );
    lab.configure(&[
        ("create", &create),
        ("destroy", r#"["/usr/sbin/xl", "destroy", "{name}"]"#),
        ("exists", r#"["/usr/sbin/xl", "domid", "{name}"]"#),
        ("rebuild", r#"["/lab/save-disposable"]"#),
        ("template", &format!("\"{SAVED}\"")),
        ("boot_ms_max", "50000"),
    ]);
    lab.start_daemon(POLICY);
}

fn disposables(lab: &mut Lab) -> Vec<String> {
    let list = lab.dom0("xl list");
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("disp")).map(str::to_owned).collect()
}

/// Waits until none is left.
pub fn until_disposed(lab: &mut Lab) {
    lab.wait_for("the end of every DisposableVM", |lab| disposables(lab).is_empty());
}

fn until_edited(lab: &mut Lab) {
    lab.wait_for("the document's return", |lab| lab.guest("g1", "cat /home/user/letter.txt") == "a final\n");
}

/// `xl create` makes one, the document is edited there and comes back, and the VM is gone.
pub fn edited_in_one_that_is_created(lab: &mut Lab) {
    by_create(lab);
    lab.user("g1", OPEN);
    until_edited(lab);
    until_disposed(lab);
    lab.wait_until_clean();
    assert_eq!(lab.guest("g1", "ls -A /home/user/.dvm").trim(), "seq", "the number is used up");
}

/// The same by `xl restore`, for which the saved one is made first, once.
pub fn edited_in_one_that_is_restored(lab: &mut Lab) {
    by_restore(lab);
    for round in 0..2 {
        lab.user("g1", OPEN);
        until_edited(lab);
        until_disposed(lab);
        let log = lab.log();
        assert!(log.contains("template"), "{log}");
        assert_eq!(lab.dom0(&format!("ls {SAVED} | wc -l")).trim(), "1", "round {round}");
    }
    lab.wait_until_clean();
    lab.dom0(&format!("rm {SAVED}"));
}

/// The daemon is killed while one is being opened: the next daemon finds it and destroys it.
pub fn one_that_outlives_the_daemon_is_destroyed(lab: &mut Lab) {
    by_create(lab);
    lab.user("g1", OPEN);
    lab.wait_for("a DisposableVM", |lab| !disposables(lab).is_empty());
    lab.kill_daemon();
    assert!(!disposables(lab).is_empty());
    lab.restart_daemon();
    until_disposed(lab);
    lab.wait_until_clean();
    let letter = lab.guest("g1", "cat /home/user/letter.txt");
    assert!(["a draft\n", "a final\n"].contains(&letter.as_str()), "{letter}");
}

/// Its VM is destroyed while the document is away: so is the DisposableVM.
pub fn its_owner_is_destroyed(lab: &mut Lab) {
    by_create(lab);
    lab.user("g1", OPEN);
    lab.wait_for("a DisposableVM", |lab| !disposables(lab).is_empty());
    lab.destroy("g1");
    until_disposed(lab);
    lab.wait_until_clean();
}
