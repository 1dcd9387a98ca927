//! QEMU: booted, saved, resumed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::LabError;
use crate::image::Image;

/// Memory of the whole machine where nothing else is said, and of dom0, in MiB.
const MEMORY_MIB: u32 = 2560;
const DOM0_MEMORY_MIB: u32 = 1024;
/// Processors of the machine and of dom0.
const PROCESSORS: u32 = 2;
/// How long it may take until the agent of dom0 speaks.
const BOOT_MAX: Duration = Duration::from_secs(600);
/// What a PV dom0 can live with. QEMU before 9.1 faults on a return from user to user mode with SMAP, which such a dom0
/// does all the time; with AVX and XSAVE version 7.2 damages memory now and then.
const PROCESSOR: &str = "qemu64,-svm,+ssse3,+sse4.1,+sse4.2,+popcnt";
/// Mitigations only cost time here.
const XEN_ARGUMENTS: &str = "console=com1 com1=115200,8n1 xpti=off spec-ctrl=off smap=off";
/// The machine's own program.
const QEMU: &str = "qemu-system-x86_64";

/// How the lab is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// `xenstored`, or `oxenstored`.
    pub xenstored: &'static str,
    /// Further words of the command line of dom0's Linux, a comma as two; empty for none.
    pub linux: &'static str,
    /// The guests that are there at the start.
    pub guests: &'static [&'static str],
    /// Memory of the machine, in MiB.
    pub memory_mib: u32,
    /// Resume a saved machine if there is one.
    pub resume: bool,
    /// Save the machine after a boot.
    pub save: bool,
    /// The terminal is a shell in dom0.
    pub shell: bool,
}

impl Default for Options {
    fn default() -> Self {
        let guests = &["g1", "g2"];
        let memory_mib = MEMORY_MIB;
        let xenstored = "xenstored";
        Self { xenstored, linux: "", guests, memory_mib, resume: true, save: false, shell: false }
    }
}

/// A running machine. It ends when dropped.
pub struct Machine {
    qemu: Child,
    folder: tempfile::TempDir,
    /// Where the agent of dom0 is heard.
    pub reader: BufReader<UnixStream>,
    /// Where it is spoken to.
    pub writer: UnixStream,
}

impl Machine {
    /// Resumes the saved machine, or boots one.
    pub fn start(image: &Image, options: &Options) -> Result<Self, LabError> {
        let state = Self::saved(image, options);
        if options.resume && state.is_file() {
            match Self::launch(image, options, Some(&state)).and_then(Self::resumed) {
                Ok(machine) => return Ok(machine),
                Err(error) => println!("{error}; booting instead"),
            }
            let _ = fs::remove_file(&state);
        }
        let mut machine = Self::launch(image, options, None)?;
        machine.wait_until_ready()?;
        if options.save {
            machine.save(&state)?;
        }
        Ok(machine)
    }

    /// Where such a machine is kept when it was saved.
    pub fn saved(image: &Image, options: &Options) -> PathBuf {
        image.state(&format!("{}-{}{}", options.xenstored, options.guests.join("-"), options.linux))
    }

    /// What Xen and dom0 have printed.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.folder.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for the end, as of a shell.
    pub fn wait(&mut self) {
        let _ = self.qemu.wait();
    }

    fn launch(image: &Image, options: &Options, state: Option<&Path>) -> Result<Self, LabError> {
        let folder =
            tempfile::Builder::new().prefix("xen-lab-").tempdir().map_err(LabError::at(Path::new("/tmp")))?;
        let socket = |name: &str| folder.path().join(name);
        let server = |id: &str| format!("socket,id={id},path={},server=on,wait=off", socket(id).display());
        let xen = format!(
            "{XEN_ARGUMENTS} dom0_mem={DOM0_MEMORY_MIB}M,max:{DOM0_MEMORY_MIB}M dom0_max_vcpus={PROCESSORS}"
        );
        // A comma separates the parts of this option; two mean one.
        let guests = options.guests.join(",,");
        let linux = format!(
            "{} console=hvc0 mitigations=off quiet lab.xenstored={} lab.guests={guests} {},{}",
            image.linux().display(),
            options.xenstored,
            options.linux,
            image.dom0().display()
        );
        // It must not outlive the tests, however these end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU]);
        command.args(["-machine", "pc", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", PROCESSOR]);
        command.args(["-smp", &PROCESSORS.to_string(), "-m", &options.memory_mib.to_string()]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(["-serial", &format!("file:{}", socket("console").display())]);
        command.args(["-serial", if options.shell { "chardev:terminal" } else { "null" }]);
        if options.shell {
            command.args(["-chardev", "stdio,id=terminal,signal=off"]);
        } else {
            command.stdin(Stdio::null());
        }
        command.args(["-device", "virtio-serial-pci", "-chardev", &server("agent")]);
        command.args(["-device", "virtserialport,chardev=agent,name=agent"]);
        command.args(["-chardev", &server("monitor"), "-mon", "chardev=monitor"]);
        command.arg("-kernel").arg(image.xen()).args(["-append", &xen, "-initrd", &linux]);
        if let Some(state) = state {
            command.arg("-incoming").arg(format!("exec:cat '{}'", state.display()));
        }
        let mut qemu = command.spawn().map_err(|error| LabError::Missing(format!("{QEMU}: {error}")))?;
        match connect(&socket("agent"), &mut qemu) {
            Ok(stream) => {
                let writer = stream.try_clone().map_err(LabError::at(folder.path()))?;
                Ok(Self { qemu, folder, reader: BufReader::new(stream), writer })
            }
            Err(error) => {
                let _ = qemu.kill();
                let _ = qemu.wait();
                Err(error)
            }
        }
    }

    /// The agent says so when it begins.
    fn wait_until_ready(&mut self) -> Result<(), LabError> {
        self.wait_for_line("#ready", BOOT_MAX)
    }

    /// The agent of a resumed machine has said so long ago: it is asked for something.
    fn resumed(mut self) -> Result<Self, LabError> {
        let request = crate::wire::Request {
            id: "resumed".to_owned(),
            domid: 0,
            task: crate::wire::Task::Run("true".to_owned()),
        };
        let sent = self.writer.write_all(request.line().as_bytes());
        sent.map_err(|error| LabError::Boot(error.to_string()))?;
        self.wait_for_line("=resumed 0", Duration::from_secs(60))?;
        Ok(self)
    }

    fn wait_for_line(&mut self, wanted: &str, patience: Duration) -> Result<(), LabError> {
        let begin = Instant::now();
        let set = |machine: &Self, time| machine.writer.set_read_timeout(time);
        set(self, Some(Duration::from_secs(1))).map_err(LabError::at(self.folder.path()))?;
        let mut line = String::new();
        loop {
            match self.reader.read_line(&mut line) {
                Ok(0) => return Err(self.silent("it ended")),
                Ok(_) if line.starts_with(wanted) => break,
                Ok(_) => line.clear(),
                Err(_) if begin.elapsed() < patience => {}
                Err(_) => return Err(self.silent("no word of it in time")),
            }
        }
        set(self, None).map_err(LabError::at(self.folder.path()))
    }

    fn silent(&self, what: &str) -> LabError {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        let last = lines.iter().rev().take(40).rev().copied().collect::<Vec<_>>().join("\n  ");
        LabError::Boot(format!("{what}; the console ends with\n  {last}"))
    }

    /// Writes the machine's state to a file, and lets it go on.
    fn save(&mut self, to: &Path) -> Result<(), LabError> {
        let new = to.with_extension("new");
        let failed = |error: std::io::Error| LabError::Boot(format!("saving: {error}"));
        let mut monitor = UnixStream::connect(self.folder.path().join("monitor")).map_err(failed)?;
        for command in [
            "migrate_set_parameter max-bandwidth 10000000000".to_owned(),
            format!("migrate \"exec:cat > '{}'\"", new.display()),
            "cont".to_owned(),
        ] {
            prompt(&mut monitor).map_err(failed)?;
            writeln!(monitor, "{command}").map_err(failed)?;
        }
        prompt(&mut monitor).map_err(failed)?;
        // What a cut-off write left must not be taken for a machine.
        File::open(&new).and_then(|file| file.sync_all()).map_err(failed)?;
        fs::rename(&new, to).map_err(failed)
    }
}

/// Waits for the monitor's prompt.
fn prompt(monitor: &mut UnixStream) -> std::io::Result<()> {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"(qemu) ") {
        monitor.read_exact(&mut byte)?;
        seen.extend(byte);
    }
    Ok(())
}

fn connect(socket: &PathBuf, qemu: &mut Child) -> Result<UnixStream, LabError> {
    let begin = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if begin.elapsed() > Duration::from_secs(20) => {
                return Err(LabError::Boot(format!("{}: {error}", socket.display())));
            }
            Err(_) => {}
        }
        if let Ok(Some(status)) = qemu.try_wait() {
            return Err(LabError::Boot(format!("{QEMU}: {status}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.silent("a failure"));
        }
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
