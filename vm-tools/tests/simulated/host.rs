//! A simulated host without a daemon: the test itself plays dom0's side, one step after the other.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use attacher::backing::{Access, Presented};
use attacher::machine::{BackState, Place};
use attacher::{keys, vbd};
use protocol::attach::Attachment;
use protocol::reply::{Code, Detail, Reply};
use protocol::types::{Device, Domid, ReqId, Seq, VmName};
use xenstore::path::DomainPath;
use xenstore::{Client, Permissions};

const WAIT: Duration = Duration::from_secs(30);

pub struct Host {
    sim: Child,
    program: PathBuf,
    dir: tempfile::TempDir,
    client: Client,
    /// The newest request of each VM that a test has taken.
    taken: BTreeMap<u16, Vec<u8>>,
    vms: u16,
    images: Cell<u32>,
}

/// How a tool ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn tools_directory() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_qubes_penctl")).parent().unwrap().to_owned()
}

impl Host {
    /// Starts VMs 1 (`work`) and 2 (`vault`), or says why that cannot be.
    pub fn start() -> Option<Self> {
        Self::start_with(&["work", "vault"])
    }

    /// Starts VMs of these names, with the numbers 1, 2, …. Their tools' settings are in `vm.toml` in their home
    /// directories.
    pub fn start_with(vms: &[&str]) -> Option<Self> {
        let tools = tools_directory();
        let program = tools.join("xen-sim");
        let programs = ["xen-sim", "fat-reader", "dvm-parser"];
        if !programs.iter().all(|name| tools.join(name).exists()) {
            testkit::skip("xen-sim or a worker is not built: cargo build -p simulator -p dvm-parser");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut sim = Command::new(&program)
            .args(["up", "--no-daemon"])
            .args(vms.iter().flat_map(|name| ["--vm", name]))
            .env("QFILEXCHG_VM_SETTINGS", "/home/user/vm.toml")
            .arg("--dir")
            .arg(dir.path())
            .arg("--tools")
            .arg(&tools)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(sim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "ready\n" {
            testkit::skip(&format!("the simulated host does not start: {:?}", sim.wait()));
            return None;
        }
        let mut words = Command::new(&program);
        words.arg("exec").arg("--dir").arg(dir.path()).args(["dom0", "--", "printenv", "XENSTORED_PATH"]);
        let socket = words.output().unwrap().stdout;
        let fd = xenstore::connect::connect_socket(socket.trim_ascii()).unwrap();
        let client = Client::new(fd).unwrap();
        let vms = u16::try_from(vms.len()).unwrap();
        Some(Self { sim, program, dir, client, taken: BTreeMap::new(), vms, images: Cell::new(0) })
    }

    /// Makes the keys as this project's daemon does.
    pub fn serve(&mut self) {
        for domid in 1..=self.vms {
            keys::make_qpen(&mut self.client, vm(domid)).map_err(drop).unwrap();
        }
    }

    /// Makes the only key that the daemon of 2010 knew.
    pub fn serve_like_2010(&mut self) {
        for domid in (1..=self.vms).map(vm) {
            self.client.mkdir(&DomainPath::qpen(domid)).unwrap();
            let permissions = Permissions::guest_reads_and_writes(domid);
            self.client.set_permissions(&DomainPath::qpen(domid), &permissions).unwrap();
        }
    }

    /// Runs a tool in a VM.
    pub fn spawn(&self, vm: &str, words: &[&str]) -> Child {
        Command::new(&self.program)
            .arg("exec")
            .arg("--dir")
            .arg(self.dir.path())
            .args([vm, "--"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub fn run(&self, vm: &str, words: &[&str]) -> Ended {
        finish(self.spawn(vm, words))
    }

    /// The next request of a VM: its words and its id.
    pub fn request(&mut self, domid: u16) -> (String, ReqId) {
        let deadline = Instant::now() + WAIT;
        loop {
            let value = self.client.read(&DomainPath::qpen(vm(domid))).unwrap();
            if !value.is_empty() && self.taken.get(&domid) != Some(&value) {
                let text = String::from_utf8(value.clone()).unwrap();
                self.taken.insert(domid, value);
                let (words, reqid) = text.rsplit_once(" #").unwrap();
                return (words.to_owned(), ReqId::new(reqid.as_bytes()).unwrap());
            }
            assert!(Instant::now() < deadline, "no request of VM {domid}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn has_requested(&mut self, domid: u16) -> bool {
        let value = self.client.read(&DomainPath::qpen(vm(domid))).unwrap();
        !value.is_empty() && self.taken.get(&domid) != Some(&value)
    }

    pub fn answer(&mut self, domid: u16, reqid: &ReqId, code: Code, detail: Detail) {
        let reply = Reply { reqid: Some(reqid.clone()), code, detail };
        keys::answer(&mut self.client, vm(domid), &reply).map_err(drop).unwrap();
    }

    /// Makes an image of zeros.
    pub fn image(&self, mib: u64) -> PathBuf {
        self.images.set(self.images.get() + 1);
        let path = self.dir.path().join(format!("images/{}-{mib}", self.images.get()));
        File::create(&path).unwrap().set_len(mib << 20).unwrap();
        path
    }

    pub fn attach_outgoing(&mut self, domid: u16, image: &Path) {
        self.attach(domid, &Attachment::Outgoing, image);
    }

    pub fn attach_incoming(&mut self, domid: u16, source: &str, image: &Path) {
        let source = VmName::new(source.as_bytes()).unwrap();
        self.attach(domid, &Attachment::Incoming { source, seq: None, writable: false }, image);
    }

    /// The same for a step of a DisposableVM transaction.
    pub fn attach_transaction(&mut self, domid: u16, source: &str, seq: u32, image: &Path) {
        let source = VmName::new(source.as_bytes()).unwrap();
        let seq = Some(Seq::new(seq).unwrap());
        self.attach(domid, &Attachment::Incoming { source, seq, writable: false }, image);
    }

    fn attach(&mut self, domid: u16, attachment: &Attachment, image: &Path) {
        let place = Place { domid: vm(domid), device: attachment.device() };
        let params = image.to_str().unwrap().to_owned();
        let presented = Presented { params, access: Access::Path };
        let name = self.client.read(&DomainPath::name(place.domid)).unwrap();
        let name = VmName::new(&name).unwrap();
        vbd::connect(&mut self.client, place, &name, attachment, || Ok(presented.clone()))
            .map_err(drop)
            .unwrap();
        self.until(place, |state| state == BackState::Connected);
    }

    pub fn detach(&mut self, domid: u16, device: Device) {
        let place = Place { domid: vm(domid), device };
        if vbd::close(&mut self.client, place).map_err(drop).unwrap() {
            self.until(place, |state| matches!(state, BackState::Closed | BackState::Gone));
        }
        vbd::remove(&mut self.client, place).map_err(drop).unwrap();
    }

    fn until(&mut self, place: Place, wanted: impl Fn(BackState) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !wanted(vbd::state(&mut self.client, place).map_err(drop).unwrap()) {
            assert!(Instant::now() < deadline, "{place} does not change its state");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A directory of a VM on the host.
    pub fn home(&self, vm: &str) -> PathBuf {
        self.dir.path().join("vms").join(vm).join("home")
    }

    /// What udev's programs said in a VM.
    pub fn udev_log(&self, vm: &str) -> String {
        fs::read_to_string(self.dir.path().join("vms").join(vm).join("udev.log")).unwrap_or_default()
    }

    /// Waits until udev's program has said this.
    pub fn until_udev_says(&self, vm: &str, text: &str) {
        let deadline = Instant::now() + WAIT;
        while !self.udev_log(vm).contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not in {:?}", self.udev_log(vm));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.sim);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.sim.wait();
    }
}

/// Waits for the end of a tool.
pub fn finish(mut child: Child) -> Ended {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    Ended { code: child.wait().unwrap().code().unwrap(), stdout, stderr }
}

fn vm(domid: u16) -> Domid {
    Domid::new(domid).unwrap()
}
