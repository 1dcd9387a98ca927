//! A simulated host for a test, and a plain client of its xenstore.

#![expect(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub const XEN_SIM: &str = env!("CARGO_BIN_EXE_xen-sim");
/// How long anything may take that takes well under a second.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A host that ends with the test.
pub struct Host {
    pub dir: PathBuf,
    up: Child,
    _temporary: Option<tempfile::TempDir>,
}

impl Host {
    /// A host without daemon in a fresh directory; `None`, said as a skip, where namespaces are not permitted.
    pub fn start(vms: &[&str]) -> Option<Self> {
        let temporary = tempfile::tempdir().unwrap();
        let mut host = Self::start_in(&temporary.path().join("host"), vms, &[])?;
        host._temporary = Some(temporary);
        Some(host)
    }

    pub fn start_in(dir: &Path, vms: &[&str], more: &[&OsStr]) -> Option<Self> {
        let mut command = Command::new(XEN_SIM);
        command.args(["up", "--no-daemon", "--dir"]).arg(dir);
        for vm in vms {
            command.args(["--vm", vm]);
        }
        command.args(more);
        Self::start_command(command, dir)
    }

    pub fn start_command(mut command: Command, dir: &Path) -> Option<Self> {
        if !namespaces_are_permitted() {
            testkit::skip("this user may not make namespaces here");
            return None;
        }
        let mut up = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Some(Self { dir: dir.to_owned(), up, _temporary: None })
    }

    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(XEN_SIM);
        command.arg(verb).arg("--dir").arg(&self.dir);
        command
    }

    /// Runs a shell line in a VM.
    pub fn shell(&self, vm: &str, line: &str) -> Output {
        self.command("exec").args([vm, "--", "sh", "-c", line]).output().unwrap()
    }

    /// The same, which must succeed; gives its output without the last newline.
    pub fn ok(&self, vm: &str, line: &str) -> String {
        let output = self.shell(vm, line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Gives a command that names one VM, which must succeed.
    pub fn control(&self, verb: &str, vm: &str) {
        let output = self.command(verb).arg(vm).output().unwrap();
        assert!(output.status.success(), "{verb} {vm}: {output:?}");
    }

    pub fn list(&self) -> String {
        String::from_utf8(self.command("ls").output().unwrap().stdout).unwrap()
    }

    pub fn domid(&self, vm: &str) -> u32 {
        let list = self.list();
        let line = list.lines().find(|line| line.starts_with(&format!("{vm} "))).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// A client that is domain 0.
    pub fn dom0(&self) -> Client {
        Client::connect(Path::new(&self.ok("dom0", "printenv XENSTORED_PATH")))
    }

    /// A client that is that VM.
    pub fn client(&self, vm: &str) -> Client {
        Client::connect(&self.dir.join("vms").join(vm).join("run/xenstored/socket"))
    }

    /// Ends the host as a user does, and gives its exit code.
    pub fn end(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.up);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.up.wait().unwrap().code()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Ok(None) = self.up.try_wait() {
            self.end();
        }
    }
}

pub fn namespaces_are_permitted() -> bool {
    let Some(unshare) = testkit::tool("unshare") else { return true };
    Command::new(unshare)
        .args(["-Urmpf", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Waits until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} never came true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client of xenstore that knows just enough.
pub struct Client {
    stream: UnixStream,
}

impl Client {
    pub fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    pub fn send(&mut self, kind: u32, transaction: u32, payload: &[u8]) {
        let words = [kind, 1, transaction, u32::try_from(payload.len()).unwrap()];
        let header: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.stream.write_all(&[&header, payload].concat()).unwrap();
    }

    pub fn raw(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// The next message: its kind and payload.
    pub fn receive(&mut self) -> std::io::Result<(u32, Vec<u8>)> {
        let mut header = [0; 16];
        self.stream.read_exact(&mut header)?;
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        let mut payload = vec![0; usize::try_from(word(12)).unwrap()];
        self.stream.read_exact(&mut payload)?;
        Ok((word(0), payload))
    }

    pub fn ask(&mut self, kind: u32, transaction: u32, payload: &[u8]) -> Result<Vec<u8>, String> {
        self.send(kind, transaction, payload);
        match self.receive().unwrap() {
            (16, name) => Err(String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned()),
            (reply, payload) => {
                assert_eq!(reply, kind);
                Ok(payload)
            }
        }
    }

    pub fn read(&mut self, path: &str) -> Option<String> {
        let value = self.ask(2, 0, format!("{path}\0").as_bytes()).ok()?;
        Some(String::from_utf8(value).unwrap())
    }

    /// The names of a node's children, sorted.
    pub fn list(&mut self, path: &str) -> Option<Vec<String>> {
        let names = self.ask(1, 0, format!("{path}\0").as_bytes()).ok()?;
        let names = String::from_utf8(names).unwrap();
        let mut names: Vec<String> = names.split_terminator('\0').map(str::to_owned).collect();
        names.sort();
        Some(names)
    }

    pub fn write(&mut self, path: &str, value: &str) -> Result<(), String> {
        self.ask(11, 0, format!("{path}\0{value}").as_bytes()).map(drop)
    }

    pub fn remove(&mut self, path: &str) {
        self.ask(13, 0, format!("{path}\0").as_bytes()).unwrap();
    }

    /// All or nothing: a value for each path, or for `None` its removal; then permissions, which come first.
    pub fn transact(&mut self, permissions: &[(&str, &str)], values: &[(&str, Option<&str>)]) {
        loop {
            let number = self.ask(6, 0, b"\0").unwrap();
            let number = std::str::from_utf8(&number).unwrap().trim_end_matches('\0').parse().unwrap();
            for (path, list) in permissions {
                self.ask(12, number, format!("{path}\0").as_bytes()).unwrap();
                self.ask(14, number, format!("{path}\0{}\0", list.replace(' ', "\0")).as_bytes()).unwrap();
            }
            for (path, value) in values {
                match value {
                    Some(value) => self.ask(11, number, format!("{path}\0{value}").as_bytes()).unwrap(),
                    None => self.ask(13, number, format!("{path}\0").as_bytes()).unwrap(),
                };
            }
            match self.ask(7, number, b"T\0") {
                Ok(_) => return,
                Err(error) => assert_eq!(error, "EAGAIN"),
            }
        }
    }
}
