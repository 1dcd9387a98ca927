//! The daemon on the simulated host, looked after as systemd would do it: started, told ready, started again.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{SimError, Trying, refused};
use crate::files::{HostFiles, receive_at};
use crate::up::{DialogKind, Disposables, Options, own_directory, say};

/// The daemon's program, beside this one.
const PROGRAM: &str = "qfilexchgd";
/// What the daemon says when requests are served.
const READY: &str = "READY=1";
/// The daemon's exit code for a configuration that it cannot use.
const EXIT_CONFIG: i32 = 78;
/// How often the daemon may end within [`RESTART_WINDOW`] before it is given up.
const RESTARTS_MAX: usize = 10;
/// See [`RESTARTS_MAX`].
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// How long after its end the daemon is started again.
const RESTART_DELAY: Duration = Duration::from_millis(100);
/// How long the daemon may take to end.
pub(crate) const END_TIME_MAX: Duration = Duration::from_secs(10);

/// The daemon, running or about to be started again.
#[derive(Debug)]
pub(crate) struct Daemon {
    config: PathBuf,
    dialog: Option<DialogKind>,
    /// Whether the daemon has this program's terminal.
    on_terminal: bool,
    notify: UnixDatagram,
    notify_path: PathBuf,
    running: Option<Running>,
    starts_at: Option<Instant>,
    ends: VecDeque<Instant>,
    ready: bool,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pidfd: OwnedFd,
}

/// What a descriptor of the daemon's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The daemon has ended.
    Ended,
    /// The daemon has said something.
    Notified,
}

/// What has become of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that anybody has to know.
    None,
    /// Requests are served, for the first time.
    Ready,
    /// It has ended and will be started again.
    Ended,
    /// It ends again and again.
    GivenUp,
}

impl Daemon {
    /// Writes the configuration unless there is one, and starts the daemon.
    pub(crate) fn start(options: &Options, files: &HostFiles) -> Result<Self, SimError> {
        let kind = options.dialog.unwrap_or(DialogKind::Terminal);
        let (config, dialog) = match &options.config {
            Some(config) => (config.clone(), options.dialog),
            None => (write_configuration(files, kind, options)?, None),
        };
        let notify_path = files.notify_socket()?;
        let mut daemon = Self {
            config,
            dialog,
            on_terminal: kind == DialogKind::Terminal,
            notify: receive_at(&notify_path)?,
            notify_path,
            running: None,
            starts_at: None,
            ends: VecDeque::new(),
            ready: false,
        };
        daemon.launch()?;
        Ok(daemon)
    }

    /// What to wait for.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>, PollFlags)> {
        let ended = self.running.iter().map(|running| (Source::Ended, running.pidfd.as_fd(), PollFlags::IN));
        ended.chain([(Source::Notified, self.notify.as_fd(), PollFlags::IN)])
    }

    /// How long to wait at most.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.starts_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Looks at what has happened.
    pub(crate) fn serve(&mut self, source: Source) -> Change {
        match source {
            Source::Notified => self.hear(),
            Source::Ended => self.bury(),
        }
    }

    /// Starts the daemon again when its time has come.
    pub(crate) fn work(&mut self) -> Result<(), SimError> {
        if self.starts_at.is_some_and(|at| at <= Instant::now()) {
            self.starts_at = None;
            self.launch()?;
        }
        Ok(())
    }

    /// Asks the daemon to end, and starts it no more.
    pub(crate) fn ask_to_end(&mut self) {
        self.starts_at = None;
        if let Some(running) = &self.running {
            // It may have ended meanwhile.
            let _ = pidfd_send_signal(&running.pidfd, Signal::TERM);
        }
    }

    /// Whether the daemon runs.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Ends the daemon whatever it does.
    pub(crate) fn kill(mut self) {
        if let Some(mut running) = self.running.take() {
            // It may have ended meanwhile.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    fn launch(&mut self) -> Result<(), SimError> {
        let program = own_directory()?.join(PROGRAM);
        let what = || format!("cannot start {}", program.display());
        let mut command = Command::new(&program);
        command.arg("--config").arg(&self.config).env("NOTIFY_SOCKET", &self.notify_path);
        if let Some(dialog) = self.dialog {
            command.args(["--dialog", dialog.word()]);
        }
        if !self.on_terminal {
            command.stdin(Stdio::null()).stdout(Stdio::null());
        }
        let child = command.spawn().trying(what)?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).trying(what)?;
        self.running = Some(Running { child, pidfd });
        Ok(())
    }

    fn hear(&mut self) -> Change {
        let mut buffer = [0; 1024];
        let Ok(count) = self.notify.recv(&mut buffer) else { return Change::None };
        let text = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned();
        if self.ready || !text.lines().any(|line| line == READY) {
            return Change::None;
        }
        self.ready = true;
        Change::Ready
    }

    fn bury(&mut self) -> Change {
        let Some(mut running) = self.running.take() else { return Change::None };
        let status = running.child.wait();
        let hopeless = status.as_ref().ok().and_then(ExitStatus::code) == Some(EXIT_CONFIG);
        let status = status.map_or_else(|error| error.to_string(), describe);
        if hopeless && !self.ready {
            return Change::GivenUp;
        }
        let now = Instant::now();
        self.ends.push_back(now);
        while self.ends.front().is_some_and(|end| now.duration_since(*end) > RESTART_WINDOW) {
            self.ends.pop_front();
        }
        if self.ends.len() > RESTARTS_MAX {
            say(&format!("{PROGRAM} has ended ({status}) more than {RESTARTS_MAX} times in a minute"));
            return Change::GivenUp;
        }
        say(&format!("{PROGRAM} has ended ({status}), it is started again"));
        self.starts_at = Some(now + RESTART_DELAY);
        Change::Ended
    }
}

impl DialogKind {
    /// The word for it in the configuration and on command lines.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Terminal => "terminal",
            Self::Control => "control",
            Self::None => "none",
        }
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn write_configuration(
    files: &HostFiles,
    dialog: DialogKind,
    options: &Options,
) -> Result<PathBuf, SimError> {
    let path = files.path().join("qfilexchgd.toml");
    let mut text = configuration(files.path(), &files.dom0_socket()?, dialog)?;
    if let Some(bus) = &options.notifications {
        text.push_str(&format!("\n[notifications]\nbus = {}\n", toml_string(bus)?));
    }
    if let Some(made) = &options.disposables {
        let own = env::current_exe().trying(|| "cannot find this program".to_owned())?;
        text.push_str(&disposables(files.path(), &own, made)?);
    }
    fs::write(&path, text).trying(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn configuration(dir: &Path, xenstored: &Path, dialog: DialogKind) -> Result<String, SimError> {
    let below = |name: &str| toml_string(&dir.join(name));
    Ok(format!(
        "# Written by xen-sim at each start.\n\
         [host]\nkind = \"simulated\"\nxenstored_socket = {}\nboot_id_file = {}\n\n\
         [images]\ndirectory = {}\n\n\
         [journal]\ndirectory = {}\n\n\
         [policy]\ndirectory = {}\ntags_file = {}\n\n\
         [dialog]\nkind = \"{}\"\n\n\
         [control]\nsocket = {}\n",
        toml_string(xenstored)?,
        below("boot_id")?,
        below("images")?,
        below("journal")?,
        below("policy.d")?,
        below("tags")?,
        dialog.word(),
        below("qfilexchgd.control")?,
    ))
}

/// The section about DisposableVMs: this very program is the toolstack.
fn disposables(dir: &Path, own: &Path, made: &Disposables) -> Result<String, SimError> {
    let (own, dir) = (toml_string(own)?, toml_string(dir)?);
    let command = |verb| format!("[{own}, \"{verb}\", \"--dir\", {dir}, \"{{name}}\"]");
    let mut text = format!(
        "\n[disposables]\ncreate = {}\ndestroy = {}\nexists = {}\n",
        command("start-disposable"),
        command("destroy"),
        command("domid"),
    );
    if let Some(template) = &made.template {
        text.push_str(&format!("template = {}\n", toml_string(template)?));
    }
    if let Some(rebuild) = &made.rebuild {
        text.push_str(&format!("rebuild = [{}]\n", toml_string(rebuild)?));
    }
    Ok(text)
}

/// The path as a basic string of TOML.
fn toml_string(path: &Path) -> Result<String, SimError> {
    let Some(text) = path.to_str() else {
        return refused("the host's directory has a name that is not UTF-8");
    };
    let escaped: String = text
        .chars()
        .map(|letter| match letter {
            '"' | '\\' => format!("\\{letter}"),
            control if control.is_control() => format!("\\u{:04X}", u32::from(control)),
            plain => plain.to_string(),
        })
        .collect();
    Ok(format!("\"{escaped}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_directories_are_written_as_toml() {
        assert_eq!(toml_string(Path::new("/a b/\"\\\n\u{e4}")).unwrap(), "\"/a b/\\\"\\\\\\u000A\u{e4}\"");
    }

    #[test]
    fn this_program_is_the_toolstack_of_disposables() {
        let made = Disposables { template: Some("/t".into()), rebuild: Some("/r".into()) };
        let text = disposables(Path::new("/a \"b"), Path::new("/bin/xen-sim"), &made).unwrap();
        for line in [
            "[disposables]",
            "create = [\"/bin/xen-sim\", \"start-disposable\", \"--dir\", \"/a \\\"b\", \"{name}\"]",
            "destroy = [\"/bin/xen-sim\", \"destroy\", \"--dir\", \"/a \\\"b\", \"{name}\"]",
            "exists = [\"/bin/xen-sim\", \"domid\", \"--dir\", \"/a \\\"b\", \"{name}\"]",
            "template = \"/t\"",
            "rebuild = [\"/r\"]",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
    }

    #[test]
    fn the_configuration_names_everything_below_the_directory() {
        let text =
            configuration(Path::new("/host"), Path::new("/tmp/short/xenstored"), DialogKind::None).unwrap();
        for line in [
            "kind = \"simulated\"",
            "xenstored_socket = \"/tmp/short/xenstored\"",
            "boot_id_file = \"/host/boot_id\"",
            "directory = \"/host/policy.d\"",
            "kind = \"none\"",
            "socket = \"/host/qfilexchgd.control\"",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}");
        }
    }
}
