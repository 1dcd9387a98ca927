//! `xen-sim up`: one loop that waits for everything.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::control::{answer, receive};
use crate::daemon::{Change, Daemon, END_TIME_MAX, Source as DaemonSource};
use crate::error::{SimError, Trying, refused};
use crate::files::{HostFiles, listen};
use crate::host::{Host, Reply, Source as HostSource, random_uuid};
use crate::store::path::Domid;

/// Exit code when the daemon had to be given up.
const EXIT_DAEMON_FAILED: u8 = 1;

/// What `up` was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// The host's directory.
    pub(crate) dir: PathBuf,
    /// Names of the VMs to begin with.
    pub(crate) vms: Vec<String>,
    /// Whether the daemon is to run.
    pub(crate) daemon: bool,
    /// The daemon's configuration, where it is not to be generated.
    pub(crate) config: Option<PathBuf>,
    /// How the daemon asks.
    pub(crate) dialog: Option<DialogKind>,
    /// The VM tools, where they are not beside this program.
    pub(crate) tools: Option<PathBuf>,
    /// How the daemon makes DisposableVMs, if it is to make any.
    pub(crate) disposables: Option<Disposables>,
    /// The settings of the tools in DisposableVMs.
    pub(crate) vm_config: Option<PathBuf>,
    /// The session bus over which notices are shown, if they are to be shown.
    pub(crate) notifications: Option<PathBuf>,
}

/// What DisposableVMs are made from, as far as the daemon looks at it.
#[derive(Debug)]
pub(crate) struct Disposables {
    /// The file that must be there.
    pub(crate) template: Option<PathBuf>,
    /// The program that makes it.
    pub(crate) rebuild: Option<PathBuf>,
}

/// How the daemon asks the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialogKind {
    /// In a window.
    Window,
    /// On the terminal.
    Terminal,
    /// By `qfilexchgctl` alone.
    Control,
    /// Not at all: every answer is no.
    None,
}

/// What the loop waits for.
enum Source {
    Host(HostSource),
    Daemon(DaemonSource),
    Control,
    Signal,
}

/// Everything that runs while the host is up.
struct Running<'a> {
    host: &'a mut Host,
    daemon: Option<Daemon>,
    control: UnixListener,
    signals: &'a mut UnixStream,
    /// Who waits until which domain is introduced.
    starting: Vec<(UnixStream, Domid)>,
}

/// How the loop goes on.
enum Next {
    Go,
    End(u8),
}

/// Runs the host until a signal ends it.
pub(crate) fn up(options: &Options) -> Result<u8, SimError> {
    let files = HostFiles::create(&options.dir)?;
    let _lock = files.lock()?;
    let mut signals = catch_signals()?;
    let boot_id = files.path().join("boot_id");
    fs::write(&boot_id, format!("{}\n", random_uuid()?))
        .trying(|| format!("cannot write {}", boot_id.display()))?;
    let tools = match &options.tools {
        Some(tools) => fs::canonicalize(tools).trying(|| format!("cannot open {}", tools.display()))?,
        None => own_directory()?,
    };
    let vm_config = match &options.vm_config {
        Some(file) => Some(fs::read(file).trying(|| format!("cannot read {}", file.display()))?),
        None => None,
    };
    let mut host = Host::new(files.clone(), tools, vm_config)?;
    let outcome = serve(&mut host, options, &files, &mut signals);
    host.shut_down();
    outcome
}

fn serve(
    host: &mut Host,
    options: &Options,
    files: &HostFiles,
    signals: &mut UnixStream,
) -> Result<u8, SimError> {
    for name in &options.vms {
        host.start(name)?;
    }
    let control = listen(&files.control_socket())?;
    let mut running = Running { host, daemon: None, control, signals, starting: Vec::new() };
    let outcome = running.until_signal(options, files);
    running.end_daemon();
    outcome
}

impl Running<'_> {
    fn until_signal(&mut self, options: &Options, files: &HostFiles) -> Result<u8, SimError> {
        // `ready` promises that the first VMs can be used. How later ones grow is seen by the daemon.
        while !self.host.is_complete() {
            if let Next::End(code) = self.turn()? {
                return Ok(code);
            }
        }
        if options.daemon {
            self.daemon = Some(Daemon::start(options, files)?);
        } else {
            say("ready");
        }
        loop {
            if let Next::End(code) = self.turn()? {
                return Ok(code);
            }
        }
    }

    /// Waits once, and does everything that is to be done then.
    fn turn(&mut self) -> Result<Next, SimError> {
        for source in self.wait(None)? {
            if let Next::End(code) = self.handle(&source) {
                return Ok(Next::End(code));
            }
        }
        self.host.grow();
        self.answer_started();
        if let Some(daemon) = &mut self.daemon {
            daemon.work()?;
        }
        Ok(Next::Go)
    }

    /// The daemon ends while everything else still answers: it may have to write to xenstore.
    fn end_daemon(&mut self) {
        for (stream, _) in self.starting.drain(..) {
            answer(stream, &refused("the host ends"));
        }
        let Some(daemon) = &mut self.daemon else { return };
        daemon.ask_to_end();
        let deadline = Instant::now() + END_TIME_MAX;
        while self.daemon.as_ref().is_some_and(Daemon::is_running) && Instant::now() < deadline {
            let Ok(sources) = self.wait(Some(deadline.saturating_duration_since(Instant::now()))) else {
                break;
            };
            for source in sources {
                match source {
                    Source::Daemon(DaemonSource::Ended) => self.daemon = None,
                    Source::Host(_) | Source::Control | Source::Daemon(DaemonSource::Notified) => {
                        self.handle(&source);
                    }
                    // Who asks a second time does not want to wait.
                    Source::Signal => return self.kill_daemon(),
                }
            }
        }
        self.kill_daemon();
    }

    fn kill_daemon(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    fn handle(&mut self, source: &Source) -> Next {
        match source {
            Source::Host(source) => self.host.serve(source),
            Source::Control => self.serve_control(),
            Source::Daemon(source) => {
                let change = self.daemon.as_mut().map_or(Change::None, |daemon| daemon.serve(*source));
                match change {
                    Change::Ready => say("ready"),
                    Change::GivenUp => return Next::End(EXIT_DAEMON_FAILED),
                    Change::None | Change::Ended => {}
                }
            }
            Source::Signal => {
                // Which signal it was does not matter; one byte each.
                let _ = self.signals.read(&mut [0; 64]);
                return Next::End(0);
            }
        }
        Next::Go
    }

    /// Waits, and tells what has happened.
    fn wait(&mut self, limit: Option<Duration>) -> Result<Vec<Source>, SimError> {
        self.host.settle();
        let own = [
            (Source::Signal, self.signals.as_fd(), PollFlags::IN),
            (Source::Control, self.control.as_fd(), PollFlags::IN),
        ];
        let daemons = self.daemon.iter().flat_map(Daemon::interests);
        let daemons = daemons.map(|(source, fd, flags)| (Source::Daemon(source), fd, flags));
        let hosts = self.host.interests().map(|(source, fd, flags)| (Source::Host(source), fd, flags));
        let (sources, descriptors): (Vec<Source>, Vec<(BorrowedFd<'_>, PollFlags)>) = own
            .into_iter()
            .chain(daemons)
            .chain(hosts)
            .map(|(source, fd, flags)| (source, (fd, flags)))
            .unzip();
        let mut polled: Vec<PollFd<'_>> =
            descriptors.into_iter().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
        let own = [self.host.time_left(), self.daemon.as_ref().and_then(Daemon::time_left)];
        let limit = limit.or(own.into_iter().flatten().min());
        // A limit that cannot be expressed is longer than anybody waits.
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut polled, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).trying(|| "cannot wait".to_owned()),
        }
        let happened = polled.iter().map(|descriptor| !descriptor.revents().is_empty());
        let pairs = sources.into_iter().zip(happened);
        Ok(pairs.filter_map(|(source, happened)| happened.then_some(source)).collect())
    }

    fn serve_control(&mut self) {
        let Ok((stream, _)) = self.control.accept() else { return };
        let result = match receive(&stream) {
            Some(command) => self.host.obey(&command),
            None => Err(SimError::Refused("no such command".to_owned())),
        };
        self.host.settle();
        match result {
            Ok(Reply::OnceIntroduced(domid)) => self.starting.push((stream, domid)),
            Ok(Reply::Now(detail)) => answer(stream, &Ok(detail)),
            Err(error) => answer(stream, &Err(error)),
        }
    }

    fn answer_started(&mut self) {
        for (stream, domid) in std::mem::take(&mut self.starting) {
            match self.host.start_outcome(domid) {
                None => self.starting.push((stream, domid)),
                Some(outcome) => {
                    // Those who watch hear of it first.
                    self.host.settle();
                    answer(stream, &outcome);
                }
            }
        }
    }
}

/// A stream that is readable once this program is to end.
fn catch_signals() -> Result<UnixStream, SimError> {
    let what = || "cannot catch signals".to_owned();
    let (ours, theirs) = UnixStream::pair().trying(what)?;
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, theirs.try_clone().trying(what)?).trying(what)?;
    }
    ours.set_nonblocking(true).trying(what)?;
    Ok(ours)
}

/// Prints a line at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    // Nobody has to read it.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The directory of this very program, where its companions are.
pub(crate) fn own_directory() -> Result<PathBuf, SimError> {
    let program = env::current_exe().trying(|| "cannot find this program".to_owned())?;
    Ok(program.parent().unwrap_or(Path::new("/")).to_owned())
}
