//! `xen-sim up`: one loop that waits for everything.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::{env, fs};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::control::{answer, receive};
use crate::error::{SimError, Trying};
use crate::files::{HostFiles, listen};
use crate::host::{Host, Source as HostSource, random_uuid};

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
}

/// How the daemon asks the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialogKind {
    /// In a window.
    Window,
    /// On the terminal.
    Terminal,
    /// Not at all: every answer is no.
    None,
}

/// What the loop waits for.
enum Source {
    Host(HostSource),
    Control,
    Signal,
}

/// Runs the host until a signal ends it.
pub(crate) fn up(options: Options) -> Result<u8, SimError> {
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
    let mut host = Host::new(files.clone(), tools)?;
    let outcome = serve(&mut host, &options, &files, &mut signals);
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
    say("ready");
    loop {
        host.settle();
        for source in wait(host, &control, signals)? {
            match source {
                Source::Host(source) => host.serve(&source),
                Source::Control => serve_control(host, &control),
                Source::Signal => {
                    // Which signal it was does not matter; one byte each.
                    let _ = signals.read(&mut [0; 64]);
                    return Ok(0);
                }
            }
        }
    }
}

/// Waits, and tells what has happened.
fn wait(host: &Host, control: &UnixListener, signals: &UnixStream) -> Result<Vec<Source>, SimError> {
    let own =
        [(Source::Signal, signals.as_fd(), PollFlags::IN), (Source::Control, control.as_fd(), PollFlags::IN)];
    let hosts = host.interests().map(|(source, fd, flags)| (Source::Host(source), fd, flags));
    let (sources, descriptors): (Vec<Source>, Vec<(BorrowedFd<'_>, PollFlags)>) =
        own.into_iter().chain(hosts).map(|(source, fd, flags)| (source, (fd, flags))).unzip();
    let mut polled: Vec<PollFd<'_>> =
        descriptors.into_iter().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
    match poll(&mut polled, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error).trying(|| "cannot wait".to_owned()),
    }
    let happened = polled.iter().map(|descriptor| !descriptor.revents().is_empty());
    Ok(sources
        .into_iter()
        .zip(happened)
        .filter_map(|(source, happened)| happened.then_some(source))
        .collect())
}

fn serve_control(host: &mut Host, control: &UnixListener) {
    let Ok((stream, _)) = control.accept() else { return };
    let result = match receive(&stream) {
        Some(command) => host.obey(&command),
        None => Err(SimError::Refused("no such command".to_owned())),
    };
    host.settle();
    answer(stream, &result);
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
