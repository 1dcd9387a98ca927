//! DisposableVMs: domains that know nothing of an earlier one, and requests that dom0 can measure.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;

use common::{Host, eventually};

/// What dom0 writes to connect one image to a guest, as it is written on Xen.
fn attach(host: &Host, vm: &str, number: u32, image: &std::path::Path, mode: &str) {
    let domid = host.domid(vm);
    let front = format!("/local/domain/{domid}/device/vbd/{number}");
    let back = format!("/local/domain/0/backend/vbd/{domid}/{number}");
    let image = image.display().to_string();
    let number = number.to_string();
    let domid = domid.to_string();
    let at = |base: &str, node: &str| format!("{base}/{node}");
    let values = [
        (at(&front, "backend"), back.as_str()),
        (at(&front, "backend-id"), "0"),
        (at(&front, "virtual-device"), number.as_str()),
        (at(&front, "state"), "1"),
        (at(&back, "frontend"), front.as_str()),
        (at(&back, "frontend-id"), domid.as_str()),
        (at(&back, "params"), image.as_str()),
        (at(&back, "type"), "file"),
        (at(&back, "mode"), mode),
        (at(&back, "state"), "1"),
    ];
    let values: Vec<(&str, Option<&str>)> =
        values.iter().map(|(path, value)| (path.as_str(), Some(*value))).collect();
    let (fronts, backs) = (format!("n{domid} r0"), format!("n0 r{domid}"));
    host.dom0().transact(&[(&front, &fronts), (&back, &backs)], &values);
    eventually("the device", || host.dom0().read(&at(&back, "state")).as_deref() == Some("4"));
}

#[test]
fn a_disposable_knows_nothing_of_an_earlier_one_of_its_name() {
    let Some(host) = Host::start(&["work"]) else { return };
    host.control("start-disposable", "disp1");
    host.ok("disp1", "echo secret > kept; echo secret > /tmp/kept; mkdir .dvm QubesIncoming");
    // Homes of other VMs are others.
    assert_eq!(host.ok("work", "ls -A"), "");
    host.control("destroy", "disp1");
    host.control("start-disposable", "disp1");
    assert_eq!(host.ok("disp1", "ls -A; ls -A /tmp"), "");
    assert!(!host.command("start-disposable").arg("disp1").status().unwrap().success());
    assert!(!host.command("start-disposable").arg("../work").status().unwrap().success());
    assert!(host.dir.join("vms/work/home").is_dir());
}

#[test]
fn a_domain_is_asked_for_by_its_name() {
    let Some(host) = Host::start(&["work"]) else { return };
    let asked = |vm: &str| {
        let output = host.command("domid").arg(vm).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(asked("work"), (Some(0), "1\n".to_owned()));
    assert_eq!(asked("disp1"), (Some(1), String::new()));
}

#[test]
fn a_disposable_has_the_settings_of_its_tools_and_runs_the_rule_when_a_pendrive_arrives() {
    let above = tempfile::tempdir().unwrap();
    let script = above.path().join("qubes_add_pendrive_script");
    testkit::write_program(&script, "#!/bin/sh\ncat $QFILEXCHG_VM_SETTINGS $DEVNAME > got; echo done\n");
    let settings = above.path().join("settings");
    fs::write(&settings, "open_with = [\"/bin/true\"]\n").unwrap();
    let more: Vec<&OsStr> =
        vec!["--tools".as_ref(), above.path().as_os_str(), "--vm-config".as_ref(), settings.as_os_str()];
    let Some(host) = Host::start_in(&above.path().join("host"), &["work"], &more) else { return };
    host.control("start-disposable", "disp1");
    assert_eq!(host.ok("disp1", "cat $QFILEXCHG_VM_SETTINGS"), "open_with = [\"/bin/true\"]");
    assert_eq!(host.ok("work", "echo \"-$QFILEXCHG_VM_SETTINGS-\""), "--");
    let image = host.dir.join("images/a");
    fs::write(&image, "document\n").unwrap();
    attach(&host, "disp1", 51824, &image, "r");
    let home = host.dir.join("vms/disp1/home/got");
    let expected = "open_with = [\"/bin/true\"]\ndocument\n";
    eventually("the rule has run", || fs::read_to_string(&home).is_ok_and(|text| text == expected));
    let log = host.dir.join("vms/disp1/udev.log");
    eventually("its log", || fs::read_to_string(&log).is_ok_and(|text| text == "done\n"));
    // Its end takes the device along, and what dom0 has made of it is dom0's to remove.
    host.control("destroy", "disp1");
    assert_eq!(host.list(), "work 1 running -\n");
    assert!(!host.dir.join("vms/disp1/dev").exists());
    assert_eq!(fs::read_to_string(&image).unwrap(), "document\n");
    assert_eq!(host.dom0().list("/local/domain/0/backend/vbd"), Some(vec!["2".to_owned()]));
}

#[test]
fn what_a_vm_wrote_before_a_request_is_in_the_image_when_dom0_hears_of_it() {
    const IMAGE_BYTES: u64 = 64 << 20;
    let Some(host) = Host::start(&["work"]) else { return };
    let image = host.dir.join("images/a");
    fs::File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    attach(&host, "work", 51808, &image, "w");
    let domid = host.domid("work");
    let path = format!("/local/domain/{domid}/device/qpen");
    let list = format!("n0 b{domid}");
    host.dom0().transact(&[(&path, &list)], &[]);
    let mut dom0 = host.dom0();
    dom0.ask(4, 0, format!("{path}\0token\0").as_bytes()).unwrap();
    assert_eq!(dom0.receive().unwrap().0, 15, "the event that every watch begins with");
    let used = || fs::metadata(&image).unwrap().blocks() * 512;
    let before = used();
    for round in 1..=2_u64 {
        let seek = format!("seek={}", round * 8);
        host.ok(
            "work",
            &format!("dd if=/dev/urandom of=/dev/xvdg bs=1M count=4 {seek} conv=notrunc status=none"),
        );
        host.client("work").write("device/qpen", &format!("send vault #{round}")).unwrap();
        assert_eq!(dom0.receive().unwrap().0, 15);
        assert!(used() >= before + round * (4 << 20), "round {round}: {} bytes", used());
    }
    assert_eq!(fs::metadata(&image).unwrap().len(), IMAGE_BYTES);
}
