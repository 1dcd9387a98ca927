//! A simulated host with the whole daemon on it, as the end-to-end tests use it: real programs, real
//! sandboxes, real files. Only the hypervisor is played.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure here fails the test")]

mod display;
pub mod liars;
mod processes;
mod trees;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use display::Display;
pub use liars::Liars;
pub use processes::{DAEMON_PROCESSES, Process, processes};
pub use trees::{digests, make_tree};

/// How long anything on the simulated host may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running host. Ended, with everything on it, when dropped.
pub struct Host {
    programs: PathBuf,
    directory: tempfile::TempDir,
    up: Child,
    answers: ChildStdin,
    output: Arc<Mutex<String>>,
}

/// What a program in a VM did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// The folder of the built programs: that of the running test, or its parent.
#[must_use]
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().find(|folder| folder.join("xen-sim").is_file());
    folder
        .unwrap_or_else(|| panic!("xen-sim is not built: run `cargo build --workspace` first"))
        .to_path_buf()
}

impl Host {
    /// Starts a host with these VMs whose person answers through [`Host::says`].
    #[must_use]
    pub fn up(vms: &[&str]) -> Self {
        Self::start(vms, "terminal", &[], "")
    }

    /// Starts a host whose dialog is `none`.
    #[must_use]
    pub fn up_without_dialog(vms: &[&str]) -> Self {
        Self::start(vms, "none", &[], "")
    }

    /// Starts a host without a daemon.
    #[must_use]
    pub fn up_without_daemon(vms: &[&str]) -> Self {
        Self::start(vms, "none", &["--no-daemon"], "")
    }

    /// Starts a host whose questions wait for `qfilexchgctl`, and in whose VMs nobody takes a pendrive in.
    #[must_use]
    pub fn up_with_control(vms: &[&str]) -> Self {
        let nothing = tempfile::tempdir().unwrap();
        let tools = nothing.path().display().to_string();
        Self::start(vms, "control", &["--tools", &tools], "")
    }

    /// Starts a host with a policy and DisposableVMs, one of whose workers lies.
    #[must_use]
    pub fn up_with_liar(liars: &Liars, dialog: &str, vms: &[&str], more: &[&str], policy: &str) -> Self {
        Self::start_from(liars.programs(), vms, dialog, more, policy, &[])
    }

    /// Starts a host with a policy whose dialog is a window on this display, and one of whose workers lies.
    #[must_use]
    pub fn up_with_window_liar(liars: &Liars, display: &Display, vms: &[&str], policy: &str) -> Self {
        let environment = [("DISPLAY", display.name()), ("XAUTHORITY", "/dev/null")];
        Self::start_from(liars.programs(), vms, "window", &[], policy, &environment)
    }

    /// Starts a host with a policy.
    #[must_use]
    pub fn up_with_policy(vms: &[&str], policy: &str) -> Self {
        Self::start(vms, "terminal", &[], policy)
    }

    /// Starts a host that makes DisposableVMs.
    #[must_use]
    pub fn up_with_disposables(vms: &[&str]) -> Self {
        Self::start(vms, "terminal", &["--disposables"], "")
    }

    /// Starts a host that makes DisposableVMs without asking, in which this opens documents: the words of `open_with`.
    #[must_use]
    pub fn up_with_editor(vms: &[&str], open_with: &[&str]) -> Self {
        Self::up_with_template(vms, open_with, &[])
    }

    /// The same, with options of `xen-sim up` that say what DisposableVMs are made from.
    #[must_use]
    pub fn up_with_template(vms: &[&str], open_with: &[&str], options: &[&str]) -> Self {
        let settings = tempfile::NamedTempFile::new().unwrap();
        let words: Vec<String> = open_with.iter().map(|word| format!("{word:?}")).collect();
        let text = format!("open_with = [{}]\nhand_over_s = 1\n", words.join(", "));
        std::fs::write(settings.path(), text).unwrap();
        let more = ["--disposables", "--vm-config", settings.path().to_str().unwrap()];
        Self::start(vms, "terminal", &[&more, options].concat(), "dvm * * allow\n")
    }

    /// Starts a host whose dialog is a window on this display.
    #[must_use]
    pub fn up_with_window(vms: &[&str], display: &str) -> Self {
        Self::start_with(vms, "window", &[], "", &[("DISPLAY", display), ("XAUTHORITY", "/dev/null")])
    }

    /// Starts a host with a policy that shows notices over a session bus, which need not be there yet.
    #[must_use]
    pub fn up_with_notifications(vms: &[&str], policy: &str, bus: &Path) -> Self {
        Self::start(vms, "none", &["--notifications", bus.to_str().unwrap()], policy)
    }

    /// Starts a host from the programs in this folder.
    #[must_use]
    pub fn up_from(programs: &Path, vms: &[&str]) -> Self {
        Self::start_from(programs, vms, "terminal", &[], "", &[])
    }

    fn start(vms: &[&str], dialog: &str, more: &[&str], policy: &str) -> Self {
        Self::start_with(vms, dialog, more, policy, &[])
    }

    fn start_with(
        vms: &[&str],
        dialog: &str,
        more: &[&str],
        policy: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::start_from(&programs(), vms, dialog, more, policy, environment)
    }

    fn start_from(
        programs: &Path,
        vms: &[&str],
        dialog: &str,
        more: &[&str],
        policy: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let directory = tempfile::Builder::new().prefix("qfx").tempdir().unwrap();
        let rules = directory.path().join("policy.d");
        std::fs::create_dir_all(&rules).unwrap();
        std::fs::write(rules.join("50-test.policy"), policy).unwrap();
        let programs = programs.to_owned();
        let mut command = Command::new(programs.join("xen-sim"));
        command.arg("up").arg("--dir").arg(directory.path()).args(["--dialog", dialog]).args(more);
        command.envs(environment.iter().copied());
        for vm in vms {
            command.args(["--vm", vm]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut up = command.spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        collect(up.stdout.take().unwrap(), &output);
        collect(up.stderr.take().unwrap(), &output);
        let answers = up.stdin.take().unwrap();
        let host = Self { programs, directory, up, answers, output };
        host.wait_for("the line `ready`", || host.output().lines().any(|line| line == "ready"));
        host
    }

    /// Everything that the host, the daemon and its dialog have written.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// The directory of the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A VM's home directory, seen from outside.
    #[must_use]
    pub fn home(&self, vm: &str) -> PathBuf {
        self.path().join("vms").join(vm).join("home")
    }

    /// The process of `xen-sim up`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.up.id()
    }

    /// Runs a program in a VM and waits for its end.
    #[must_use]
    pub fn exec(&self, vm: &str, program: &[&str]) -> Ran {
        let output = self.command(vm, program).output().unwrap();
        Ran::from(&output)
    }

    /// Starts a program in a VM.
    #[must_use]
    pub fn spawn(&self, vm: &str, program: &[&str]) -> Child {
        let mut command = self.command(vm, program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn command(&self, vm: &str, program: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("xen-sim"));
        command.arg("exec").arg("--dir").arg(self.path()).arg(vm).arg("--").args(program);
        command
    }

    /// Does something to a VM: `start`, `destroy`, `pause`, `unpause`.
    pub fn vm(&self, what: &str, vm: &str) {
        let mut command = Command::new(programs().join("xen-sim"));
        let output = command.arg(what).arg("--dir").arg(self.path()).arg(vm).output().unwrap();
        assert!(output.status.success(), "{what} {vm}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes a request as any guest can, with Debian's xenstore-write.
    pub fn write_request(&self, vm: &str, value: &str) {
        // The daemon may not have made the key yet.
        self.wait_for(&format!("device/qpen of {vm}"), || {
            self.exec(vm, &["xenstore-write", "device/qpen", value]).code == 0
        });
    }

    /// Writes a request and waits for its final reply: `CODE DETAIL`. The request must hold its `#REQID`.
    #[must_use]
    pub fn request(&self, vm: &str, value: &str) -> String {
        self.write_request(vm, value);
        let reqid = value.rsplit('#').next().unwrap().trim();
        self.final_reply(vm, reqid)
    }

    /// Waits for the final reply to a request (`-` for one without id): `CODE DETAIL`.
    #[must_use]
    pub fn final_reply(&self, vm: &str, reqid: &str) -> String {
        let mut reply = String::new();
        self.wait_for(&format!("the reply to {reqid} of {vm}"), || {
            reply = self.reply(vm);
            let mut words = reply.split(' ');
            words.next() == Some(reqid) && words.next() != Some("pending")
        });
        reply.split_once(' ').unwrap().1.to_owned()
    }

    /// The reply that is there now.
    #[must_use]
    pub fn reply(&self, vm: &str) -> String {
        self.exec(vm, &["xenstore-read", "qpen/reply"]).stdout.trim_end().to_owned()
    }

    /// Types a line at the dialog.
    pub fn types(&mut self, line: &str) {
        writeln!(self.answers, "{line}").unwrap();
        self.answers.flush().unwrap();
    }

    /// Waits for the next question after `seen` bytes of output and gives its number.
    #[must_use]
    pub fn question_after(&self, seen: usize) -> u64 {
        let mut number = None;
        self.wait_for("a question", || {
            let output = self.output();
            let new = output.get(seen..).unwrap_or_default();
            number = new.split("Type \"yes ").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok());
            number.is_some()
        });
        number.unwrap()
    }

    /// Waits for the next question after `seen` bytes of output, and answers it.
    pub fn answers(&mut self, seen: usize, yes: bool) {
        let number = self.question_after(seen);
        // An answer that comes at once could have been typed before the question was read.
        std::thread::sleep(Duration::from_millis(1200));
        self.types(&format!("{} {number}", if yes { "yes" } else { "no" }));
    }

    /// Waits until something holds.
    pub fn wait_for(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !holds() {
            assert!(
                begin.elapsed() < PATIENCE,
                "waited in vain for {what}; the host said:\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The images in dom0's image directory, spares not counted.
    #[must_use]
    pub fn images(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.path().join("images")) else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.path());
        names
            .filter(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("spare")))
            .collect()
    }

    /// The device files in a VM's /dev.
    #[must_use]
    pub fn devices(&self, vm: &str) -> Vec<String> {
        let dev = self.path().join("vms").join(vm).join("dev");
        let both = ["xvdg", "xvdh"].into_iter();
        both.filter(|device| dev.join(device).exists()).map(String::from).collect()
    }

    /// The running VMs.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        let output =
            Command::new(programs().join("xen-sim")).arg("ls").arg("--dir").arg(self.path()).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.lines().filter_map(|line| line.split(' ').next().map(String::from)).collect()
    }

    /// Waits until no DisposableVM is left.
    pub fn wait_until_disposed(&self) {
        self.wait_for("the end of every DisposableVM", || {
            !self.running().iter().any(|name| name.starts_with("disp"))
        });
    }

    /// What the pendrive script of a VM said, as udev keeps it.
    #[must_use]
    pub fn udev_log(&self, vm: &str) -> String {
        std::fs::read_to_string(self.path().join("vms").join(vm).join("udev.log")).unwrap_or_default()
    }

    /// Backend nodes of block devices that are left in xenstore.
    #[must_use]
    pub fn backends(&self) -> String {
        self.exec("dom0", &["xenstore-ls", "-f", "/local/domain/0/backend/vbd"]).stdout
    }

    /// Waits until no image, device and back end is left.
    pub fn wait_until_clean(&self, vms: &[&str]) {
        self.wait_for("everything to be gone", || {
            let backends = self.backends();
            self.images().is_empty()
                && vms.iter().all(|vm| self.devices(vm).is_empty())
                && !backends.lines().any(|line| line.contains("/5180") || line.contains("/51824"))
        });
    }

    /// The trees that arrived in a VM from a source, complete ones only.
    #[must_use]
    pub fn arrived(&self, vm: &str, source: &str) -> Vec<PathBuf> {
        let inbox = self.home(vm).join("QubesIncoming").join(source);
        let Ok(entries) = std::fs::read_dir(inbox) else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        let visible =
            |path: &PathBuf| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let mut complete: Vec<PathBuf> = paths.filter(visible).collect();
        complete.sort();
        complete
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.up.id()).unwrap()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(20) {
            if matches!(self.up.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.up.kill();
        let _ = self.up.wait();
        if !std::thread::panicking() {
            panic!("xen-sim did not end after SIGTERM; it said:\n{}", self.output());
        }
    }
}

impl From<&Output> for Ran {
    fn from(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Self { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// Waits for a program and takes what it wrote.
#[must_use]
pub fn finish(child: Child) -> Ran {
    Ran::from(&child.wait_with_output().unwrap())
}

fn collect(from: impl std::io::Read + Send + 'static, to: &Arc<Mutex<String>>) {
    let to = Arc::clone(to);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut bytes = Vec::new();
        // By chunks and not by lines: a prompt ends without one.
        loop {
            let length = match reader.fill_buf() {
                Ok([]) | Err(_) => return,
                Ok(chunk) => {
                    bytes.extend_from_slice(chunk);
                    chunk.len()
                }
            };
            reader.consume(length);
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&std::mem::take(&mut bytes)));
        }
    });
}
