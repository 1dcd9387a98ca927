//! The same attacher on the simulated host, whose block devices reach into running VMs.

use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use protocol::attach::{AttachFailure, AttachReply, AttachRequest, Attachment, Order, OrderId, Outcome};
use protocol::settings::Backing;
use protocol::types::{Device, ImageId, VmName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use crate::rig::{Attacher, domid, failed, incoming, mib, settings, spawn};

const A: ImageId = ImageId([0xAA; 16]);
const WORK: u16 = 1;
const VAULT: u16 = 2;

/// A host with the VMs *work* and *vault*, and an attacher, but no other process of the daemon.
struct Host {
    program: PathBuf,
    folder: tempfile::TempDir,
    host: Child,
    attacher: Attacher,
    next: u64,
}

impl Host {
    fn start() -> Option<Self> {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_attacher")).with_file_name("xen-sim");
        if !program.is_file() {
            testkit::skip("xen-sim is not built: cargo build --package simulator");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(&program);
        command.arg("up").arg("--dir").arg(folder.path());
        command.args(["--vm", "work", "--vm", "vault", "--no-daemon"]);
        let mut host = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(host.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let directory = folder.path().join("images");
        let backing = Backing::File { directory: directory.to_str().unwrap().to_owned() };
        let socket = folder.path().join("xenstored");
        let xenstored = xenstore::connect::connect_socket(socket.as_os_str().as_bytes()).unwrap();
        let attacher = spawn(&settings(backing), xenstored, &directory, None);
        Some(Self { program, folder, host, attacher, next: 0 })
    }

    fn order(&mut self, order: Order) -> Outcome {
        self.next += 1;
        let id = OrderId(self.next);
        self.attacher.edge.send(&AttachRequest { id, order }).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let pause = Timespec { tv_sec: 1, tv_nsec: 0 };
            poll(&mut [PollFd::new(&self.attacher.edge, PollFlags::IN)], Some(&pause)).unwrap();
            match self.attacher.edge.receive().unwrap() {
                Some(AttachReply::Finished { id: told, outcome }) if told == id => return outcome,
                Some(AttachReply::Finished { .. } | AttachReply::Log(_)) | None => {}
            }
        }
        panic!("no answer");
    }

    fn attach(&mut self, to: u16, place: Attachment) -> Outcome {
        let name = if to == WORK { &b"work"[..] } else { b"vault" };
        self.order(Order::Attach {
            image: A,
            domid: domid(to),
            name: VmName::new(name).unwrap(),
            boots: false,
            place,
        })
    }

    fn detach(&mut self, from: u16, device: Device) -> Outcome {
        self.order(Order::Detach { image: A, domid: domid(from), device })
    }

    fn control(&self, verb: &str, vm: &str) {
        let mut command = Command::new(&self.program);
        assert!(command.arg(verb).arg("--dir").arg(self.folder.path()).arg(vm).status().unwrap().success());
    }

    /// Runs a line of shell in a VM.
    fn in_vm(&self, vm: &str, line: &str) -> String {
        let mut command = Command::new(&self.program);
        command.arg("exec").arg("--dir").arg(self.folder.path()).args([vm, "--", "sh", "-c", line]);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.host.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        self.host.wait().unwrap();
    }
}

#[test]
fn what_one_vm_writes_another_one_reads() {
    let Some(mut host) = Host::start() else { return };
    let label = VmName::new(b"work").unwrap();
    assert_eq!(host.order(Order::Create { image: A, size: mib(40), label }), Outcome::Done);
    assert_eq!(host.attach(WORK, Attachment::Outgoing), Outcome::Done);
    assert_eq!(
        host.in_vm("work", "printf hello | dd of=/dev/xvdg bs=512 seek=70000 conv=notrunc status=none"),
        ""
    );
    assert_eq!(host.detach(WORK, Device::Outgoing), Outcome::Done);
    assert_eq!(host.in_vm("work", "test -e /dev/xvdg || echo gone"), "gone\n");
    assert_eq!(host.attach(VAULT, incoming(false)), Outcome::Done);
    let read = "dd if=/dev/xvdh bs=512 skip=70000 count=1 status=none | head -c 5";
    assert_eq!(host.in_vm("vault", read), "hello");
    assert_eq!(host.detach(VAULT, Device::Incoming), Outcome::Done);
    assert_eq!(host.order(Order::Destroy { image: A }), Outcome::Done);
    assert!(!host.folder.path().join(format!("images/{A}.img")).exists());
}

#[test]
fn a_paused_vm_loses_its_device_and_a_destroyed_one_leaves_nothing() {
    let Some(mut host) = Host::start() else { return };
    let label = VmName::new(b"work").unwrap();
    assert_eq!(host.order(Order::Create { image: A, size: mib(40), label }), Outcome::Done);
    assert_eq!(host.attach(WORK, Attachment::Outgoing), Outcome::Done);
    host.control("pause", "work");
    assert_eq!(host.detach(WORK, Device::Outgoing), Outcome::Done);
    assert_eq!(host.attach(WORK, Attachment::Outgoing), failed(AttachFailure::GuestSilent));
    host.control("unpause", "work");
    assert_eq!(host.attach(WORK, Attachment::Outgoing), Outcome::Done);
    host.control("destroy", "work");
    assert_eq!(host.order(Order::ForgetDomain { domid: domid(WORK) }), Outcome::Done);
    assert_eq!(host.attach(WORK, Attachment::Outgoing), failed(AttachFailure::DomainGone));
    assert_eq!(host.order(Order::Destroy { image: A }), Outcome::Done);
}
