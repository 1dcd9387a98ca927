//! Block devices, driven over xenstore as the toolstack drives them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::{Client, Host, eventually};

const XVDG: u32 = 51808;
const XVDH: u32 = 51824;
const IMAGE_BYTES: usize = 3 << 20;

/// A device as domain 0 sees it.
struct Device {
    front: String,
    back: String,
    dom0: Client,
}

impl Device {
    fn attach(host: &Host, vm: &str, number: u32, image: &Path, mode: &str) -> Self {
        let domid = host.domid(vm);
        let front = format!("/local/domain/{domid}/device/vbd/{number}");
        let back = format!("/local/domain/0/backend/vbd/{domid}/{number}");
        let mut device = Self { front, back, dom0: host.dom0() };
        let (front, back) = (&device.front, &device.back);
        let at = |base: &str, node: &str| format!("{base}/{node}");
        let values = [
            (at(front, "backend"), back.clone()),
            (at(front, "backend-id"), "0".to_owned()),
            (at(front, "virtual-device"), number.to_string()),
            (at(front, "device-type"), "disk".to_owned()),
            (at(front, "state"), "1".to_owned()),
            (at(back, "frontend"), front.clone()),
            (at(back, "frontend-id"), domid.to_string()),
            (at(back, "params"), image.display().to_string()),
            (at(back, "type"), "file".to_owned()),
            (at(back, "mode"), mode.to_owned()),
            (at(back, "online"), "1".to_owned()),
            (at(back, "state"), "1".to_owned()),
        ];
        let values: Vec<(&str, Option<&str>)> =
            values.iter().map(|(path, value)| (path.as_str(), Some(value.as_str()))).collect();
        let lists = [(front.as_str(), format!("n{domid} r0")), (back.as_str(), format!("n0 r{domid}"))];
        let lists: Vec<(&str, &str)> = lists.iter().map(|(path, list)| (*path, list.as_str())).collect();
        device.dom0.transact(&lists, &values);
        device
    }

    fn back_state(&mut self) -> Option<String> {
        self.dom0.read(&format!("{}/state", self.back))
    }

    fn front_state(&mut self) -> Option<String> {
        self.dom0.read(&format!("{}/state", self.front))
    }

    fn back_node(&mut self, node: &str) -> Option<String> {
        self.dom0.read(&format!("{}/{node}", self.back))
    }

    /// The names of the nodes that the back end has.
    fn back_nodes(&mut self) -> Option<Vec<String>> {
        let back = self.back.clone();
        self.dom0.list(&back)
    }

    fn wait_for_back(&mut self, state: &str) {
        eventually(&format!("back end in state {state}"), || self.back_state().as_deref() == Some(state));
    }

    fn connected(&mut self) {
        self.wait_for_back("4");
        eventually("front end in state 4", || self.front_state().as_deref() == Some("4"));
    }

    fn ask_to_close(&mut self) {
        let (online, state) = (format!("{}/online", self.back), format!("{}/state", self.back));
        self.dom0.transact(&[], &[(&online, Some("0")), (&state, Some("5"))]);
    }

    fn remove(&mut self) {
        let (front, back) = (self.front.clone(), self.back.clone());
        self.dom0.transact(&[], &[(&front, None), (&back, None)]);
    }
}

fn image(host: &Host, name: &str) -> PathBuf {
    let path = host.dir.join("images").join(name);
    fs::write(&path, vec![b'i'; IMAGE_BYTES]).unwrap();
    path
}

#[test]
fn what_a_vm_writes_is_in_the_image_once_the_device_is_closed() {
    let Some(host) = Host::start(&["work"]) else { return };
    let image = image(&host, "a");
    let mut device = Device::attach(&host, "work", XVDG, &image, "w");
    device.connected();
    assert_eq!(device.dom0.read(&format!("{}/sectors", device.back)), Some((IMAGE_BYTES / 512).to_string()));
    assert_eq!(host.list(), "work 1 running xvdg\n");
    host.ok("work", "printf hello | dd of=/dev/xvdg bs=1 seek=4096 conv=notrunc status=none");
    assert_eq!(host.ok("work", "stat -c %s /dev/xvdg"), IMAGE_BYTES.to_string());
    assert!(!fs::read(&image).unwrap().windows(5).any(|bytes| bytes == b"hello"), "only a copy is written");
    device.ask_to_close();
    device.wait_for_back("6");
    assert_eq!(device.front_state().as_deref(), Some("6"));
    let bytes = fs::read(&image).unwrap();
    assert_eq!((bytes.len(), &bytes[4095..4102]), (IMAGE_BYTES, &b"ihelloi"[..]));
    assert!(!host.shell("work", "test -e /dev/xvdg").status.success());
    assert_eq!(host.list(), "work 1 running -\n");
    device.remove();
    let mut again = Device::attach(&host, "work", XVDG, &image, "w");
    again.connected();
    assert_eq!(host.ok("work", "dd if=/dev/xvdg bs=1 skip=4096 count=5 status=none"), "hello");
}

#[test]
fn the_back_end_writes_what_linux_writes() {
    let Some(host) = Host::start(&["work"]) else { return };
    let image = image(&host, "a");
    host.control("pause", "work");
    for (number, mode, info) in [(XVDG, "w", "0"), (XVDH, "r", "4")] {
        let mut device = Device::attach(&host, "work", number, &image, mode);
        device.wait_for_back("2");
        let features = [
            ("feature-barrier", "1"),
            ("feature-flush-cache", "1"),
            ("feature-discard", "0"),
            ("feature-persistent", "1"),
            ("feature-max-indirect-segments", "256"),
            ("max-ring-page-order", "4"),
            ("multi-queue-max-queues", "2"),
        ];
        for (node, value) in features {
            assert_eq!(device.back_node(node).as_deref(), Some(value), "{node}");
        }
        let sectors = (IMAGE_BYTES / 512).to_string();
        let geometry = [
            ("sectors", sectors.as_str()),
            ("sector-size", "512"),
            ("info", info),
            ("physical-sector-size", "512"),
        ];
        for (node, _) in geometry {
            assert_eq!(device.back_node(node), None, "{node} comes with the connection");
        }
        host.control("unpause", "work");
        device.wait_for_back("4");
        for (node, value) in geometry {
            assert_eq!(device.back_node(node).as_deref(), Some(value), "{node}");
        }
        host.control("pause", "work");
    }
}

#[test]
fn a_back_end_that_is_removed_while_it_connects_comes_back_and_is_held_until_that_is_removed_too() {
    let Some(host) = Host::start(&["work"]) else { return };
    let image = image(&host, "a");
    host.control("pause", "work");
    let mut device = Device::attach(&host, "work", XVDG, &image, "w");
    device.wait_for_back("2");
    device.remove();
    let remains = ["feature-barrier", "feature-discard", "feature-flush-cache"];
    assert_eq!(device.back_nodes(), Some(remains.map(str::to_owned).to_vec()));
    host.control("unpause", "work");

    // A device that is made on top of them is not taken up.
    let mut covered = Device::attach(&host, "work", XVDG, &image, "w");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(covered.back_state().as_deref(), Some("1"));
    covered.remove();
    assert_eq!(covered.back_nodes(), None, "nothing is written twice");
    Device::attach(&host, "work", XVDG, &image, "w").connected();
}

#[test]
fn a_removed_device_leaves_an_empty_directory_in_the_guests_tree_and_nothing_else() {
    let Some(host) = Host::start(&["work"]) else { return };
    let image = image(&host, "a");
    let list = format!("/local/domain/{}/device/vbd", host.domid("work"));
    assert_eq!(host.dom0().list(&list), None);
    let mut device = Device::attach(&host, "work", XVDG, &image, "w");
    device.connected();
    device.ask_to_close();
    device.wait_for_back("6");
    device.remove();
    assert_eq!(host.dom0().list(&list), Some(vec![]));
    assert_eq!(device.back_nodes(), None);
}

#[test]
fn a_program_that_keeps_the_device_open_cannot_reach_the_image_any_more() {
    let Some(host) = Host::start(&["work"]) else { return };
    let image = image(&host, "a");
    let mut device = Device::attach(&host, "work", XVDG, &image, "w");
    device.connected();
    let late =
        "exec 3<>/dev/xvdg; touch /tmp/opened; while ! test -e /tmp/go; do sleep 0.02; done; printf late >&3";
    let writer = host.command("exec").args(["work", "--", "sh", "-c", late]).spawn().unwrap();
    eventually("the device is open", || host.dir.join("vms/work/tmp/opened").exists());
    device.ask_to_close();
    device.wait_for_back("6");
    host.ok("work", "touch /tmp/go");
    assert!(writer.wait_with_output().unwrap().status.success());
    assert_eq!(fs::read(&image).unwrap(), vec![b'i'; IMAGE_BYTES]);
}

#[test]
fn a_read_only_device_can_be_read_and_not_written() {
    let Some(host) = Host::start(&["vault"]) else { return };
    let image = image(&host, "a");
    let mut device = Device::attach(&host, "vault", XVDH, &image, "r");
    device.connected();
    assert_eq!(host.ok("vault", "head -c 3 /dev/xvdh"), "iii");
    assert!(!host.shell("vault", "printf x > /dev/xvdh").status.success());
    host.ok("vault", "chmod u+w /dev/xvdh && printf x | dd of=/dev/xvdh conv=notrunc status=none");
    device.ask_to_close();
    device.wait_for_back("6");
    assert_eq!(fs::read(&image).unwrap(), vec![b'i'; IMAGE_BYTES]);
}

#[test]
fn a_paused_guest_never_answers_and_its_device_can_be_taken_by_force() {
    let Some(host) = Host::start(&["work"]) else { return };
    let image = image(&host, "a");
    let mut device = Device::attach(&host, "work", XVDG, &image, "w");
    device.connected();
    host.ok("work", "printf lost | dd of=/dev/xvdg conv=notrunc status=none");
    host.control("pause", "work");
    assert_eq!(host.list(), "work 1 paused xvdg\n");
    assert_eq!(host.shell("work", "true").status.code(), Some(125));
    device.ask_to_close();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(device.back_state().as_deref(), Some("5"));
    assert_eq!(device.front_state().as_deref(), Some("4"));
    device.remove();
    eventually("the device is gone", || host.list() == "work 1 paused -\n");
    assert_eq!(fs::read(&image).unwrap(), vec![b'i'; IMAGE_BYTES], "nothing is copied back");
    host.control("unpause", "work");
    assert!(!host.shell("work", "test -e /dev/xvdg").status.success());
    let mut again = Device::attach(&host, "work", XVDG, &image, "w");
    again.connected();
}

#[test]
fn a_paused_guest_does_not_connect_until_it_goes_on() {
    let Some(host) = Host::start(&["work"]) else { return };
    let image = image(&host, "a");
    host.control("pause", "work");
    let mut device = Device::attach(&host, "work", XVDG, &image, "w");
    device.wait_for_back("2");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(device.front_state().as_deref(), Some("1"));
    host.control("unpause", "work");
    device.connected();
}

#[test]
fn a_device_ends_with_its_domain_and_its_back_end_stays() {
    let Some(host) = Host::start(&["work"]) else { return };
    let image = image(&host, "a");
    let mut device = Device::attach(&host, "work", XVDG, &image, "w");
    device.connected();
    host.ok("work", "printf lost | dd of=/dev/xvdg conv=notrunc status=none");
    host.control("destroy", "work");
    assert_eq!(device.back_state().as_deref(), Some("4"));
    assert_eq!(device.front_state(), None);
    assert_eq!(fs::read(&image).unwrap(), vec![b'i'; IMAGE_BYTES]);
    let back = device.back.clone();
    device.dom0.remove(&back);
    host.control("start", "work");
    assert_eq!(host.list(), "work 2 running -\n");
    Device::attach(&host, "work", XVDG, &image, "w").connected();
}

#[test]
fn an_image_that_cannot_be_opened_never_connects() {
    let Some(host) = Host::start(&["work"]) else { return };
    let mut device = Device::attach(&host, "work", XVDG, Path::new("/no/such/image"), "w");
    device.wait_for_back("6");
    assert!(device.dom0.read(&device.back.replace("0/backend", "0/error/backend").clone()).is_some());
    device.remove();
    let image = image(&host, "a");
    Device::attach(&host, "work", XVDG, &image, "w").connected();
}

#[test]
fn a_guest_that_removes_its_front_end_loses_the_device_and_leaves_the_back_end_hanging() {
    let Some(host) = Host::start(&["work"]) else { return };
    let image = image(&host, "a");
    let mut device = Device::attach(&host, "work", XVDG, &image, "w");
    device.connected();
    host.client("work").remove(&format!("device/vbd/{XVDG}"));
    eventually("the device is gone", || host.list() == "work 1 running -\n");
    device.ask_to_close();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(device.back_state().as_deref(), Some("5"));
    device.remove();
    Device::attach(&host, "work", XVDG, &image, "w").connected();
}

#[test]
fn a_guest_that_closes_its_front_end_closes_the_device() {
    let Some(host) = Host::start(&["work"]) else { return };
    let image = image(&host, "a");
    let mut device = Device::attach(&host, "work", XVDG, &image, "w");
    device.connected();
    host.ok("work", "printf kept | dd of=/dev/xvdg conv=notrunc status=none");
    host.client("work").write(&format!("device/vbd/{XVDG}/state"), "6").unwrap();
    device.wait_for_back("6");
    assert!(fs::read(&image).unwrap().starts_with(b"kepti"));
}

#[test]
fn the_udev_rule_is_played_for_the_incoming_device_alone() {
    let tools = tempfile::tempdir().unwrap();
    let script = tools.path().join("qubes_add_pendrive_script");
    testkit::write_program(
        &script,
        "#!/bin/sh\necho \"$ACTION $DEVNAME $KERNEL $SUBSYSTEM $HOME $USER\"; head -c 2 $DEVNAME\n",
    );
    let dir = tools.path().join("host");
    let more =
        [std::ffi::OsStr::new("--tools"), std::ffi::OsStr::from_bytes(tools.path().as_os_str().as_bytes())];
    let Some(host) = Host::start_in(&dir, &["vault"], &more) else { return };
    let image = image(&host, "a");
    Device::attach(&host, "vault", XVDG, &image, "w").connected();
    Device::attach(&host, "vault", XVDH, &image, "r").connected();
    assert_eq!(host.list(), "vault 1 running xvdg,xvdh\n");
    let log = host.dir.join("vms/vault/udev.log");
    let expected = "add /dev/xvdh xvdh block /home/user user\nii";
    eventually("the rule has run", || fs::read_to_string(&log).is_ok_and(|text| text == expected));
}
