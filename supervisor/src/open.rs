//! Everything that is opened before the first worker runs.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use policy::Policy;
use protocol::codec;
use protocol::supervise::Role;
use rustix::fs::{Mode, OFlags};
use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};
use sys::spawn::Account;

use crate::config::{Config, ConfigError, DialogKind, HostKind};
use crate::control_socket::{self, SocketError};
use crate::directories::{self, DirectoryError, JournalFiles};
use crate::display::{Display, Environment};
use crate::programs::Programs;
use crate::runner::{self, Runner};
use crate::session_bus::SessionBus;
use crate::{accounts, memory_file, settings, xenstored};

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What the administrator wrote cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A directory cannot be used.
    #[error("{}: {error}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: DirectoryError,
    },
    /// The socket for `qfilexchgctl` cannot be made.
    #[error("{}: cannot listen: {error}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: SocketError,
    },
    /// Something else cannot be opened.
    #[error("{}: cannot open: {error}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// There is no telling which display the window belongs to.
    #[error("the dialog's window: {0}")]
    Display(String),
    /// The service manager has taken away what the toolstack needs.
    #[error(
        "[disposables]: create is configured, but this service may not do what the toolstack does (CAP_SYS_ADMIN): under \
         systemd, add the drop-in disposables.conf (qfilexchgd(8)), or configure no DisposableVMs"
    )]
    Fenced,
    /// There is more policy than fits.
    #[error("the policy and the tags are longer than a worker can be told: shorten them")]
    PolicyTooLong,
}

/// What the supervisor holds for its workers.
#[derive(Debug)]
pub struct Opened {
    /// The programs.
    pub programs: Programs,
    /// Who they run as; empty without root.
    pub accounts: BTreeMap<Role, Account>,
    /// `/dev/null`.
    pub null: OwnedFd,
    /// The journal.
    pub journal: JournalFiles,
    /// The image directory.
    pub images: OwnedFd,
    /// The directory of the loop devices, on Xen.
    pub loops: Option<OwnedFd>,
    /// What the broker is told.
    pub broker_settings: OwnedFd,
    /// What the attacher is told.
    pub attacher_settings: OwnedFd,
    /// The socket to which each start of a worker connects anew.
    pub xenstored_socket: PathBuf,
    /// Whether there is a dialog.
    pub has_dialog: bool,
    /// What control is told.
    pub control_settings: OwnedFd,
    /// Where control listens.
    pub control_socket: OwnedFd,
    /// The display, if the dialog has a window.
    pub display: Option<Display>,
    /// The bus for notifications, if any are wanted.
    pub session_bus: Option<SessionBus>,
    /// What dvm-launcher is told.
    pub launcher_settings: OwnedFd,
    /// What runs the commands that make DisposableVMs, if any are made.
    pub runner: Option<Runner>,
}

impl Opened {
    /// Opens everything. The journal comes first: it says whether another daemon is here already, whose images
    /// must not be touched.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &Config, policy: Policy) -> Result<Self, OpenError> {
        let directory = |path: &Path, error| OpenError::Directory { path: path.to_owned(), error };
        let journal = directories::journal(&config.journal_directory)
            .map_err(|error| directory(&config.journal_directory, error))?;
        let accounts = accounts::resolve(&config.accounts)?;
        let attacher = accounts.get(&Role::Attacher).copied();
        let images = directories::own(&config.images.directory, attacher)
            .map_err(|error| directory(&config.images.directory, error))?;
        let loops = match config.host {
            HostKind::Simulated => None,
            HostKind::Xen => {
                let (first, count) = (config.images.loop_first, config.images.loop_count);
                let loops = directories::loops(first, count, attacher);
                Some(loops.map_err(|error| directory(Path::new("/dev"), error))?)
            }
        };
        let programs = Programs::open(config.dialog.kind)
            .map_err(|(path, errno)| OpenError::Io { path, error: errno.into() })?;
        // Tried once now: a wrong path must be an error of the start, not of a worker.
        xenstored::connect(&config.xenstored_socket).map_err(io(&config.xenstored_socket))?;
        let boot_id = settings::boot_id(&config.boot_id_file)?;
        let for_broker = settings::broker_bytes(settings::of_broker(config, boot_id), policy)
            .map_err(|_| OpenError::PolicyTooLong)?;
        let for_attacher =
            codec::encode_settings(&settings::of_attacher(config)?).map_err(|_| OpenError::PolicyTooLong)?;
        let control = accounts.get(&Role::Control).copied();
        let group = if control.is_some() { accounts::group(config.control.group.as_ref())? } else { None };
        let for_control = codec::encode_settings(&settings::of_control(control, group))
            .map_err(|_| OpenError::PolicyTooLong)?;
        let path = config.control.socket.clone();
        let control_socket =
            control_socket::listen(&path, group).map_err(|error| OpenError::Socket { path, error })?;
        let null = null()?;
        let display = match config.dialog.kind {
            DialogKind::Window => {
                let found = Display::find(&config.dialog.window, Environment::own());
                Some(found.map_err(OpenError::Display)?)
            }
            DialogKind::Terminal | DialogKind::Control | DialogKind::None => None,
        };
        let in_memory = || io(Path::new("a file in memory"));
        let launcher_settings = runner::launcher_settings(&config.disposables).map_err(in_memory())?;
        let mut runner = None;
        if config.disposables.are_made() {
            if config.host == HostKind::Xen && !may_run_toolstack() {
                return Err(OpenError::Fenced);
            }
            let for_runner = runner::runner_settings(config)?.map_err(in_memory())?;
            let started = Runner::start(programs.runner(), null.as_fd(), &for_runner);
            runner = Some(started.map_err(io(Path::new(runner::RUNNER)))?);
        }
        Ok(Self {
            programs,
            accounts,
            null,
            journal,
            images: images.into(),
            loops,
            broker_settings: memory("settings of the broker", &for_broker)?,
            attacher_settings: memory("settings of the attacher", &for_attacher)?,
            xenstored_socket: config.xenstored_socket.clone(),
            has_dialog: config.dialog.kind.has_process(),
            control_settings: memory("settings of control", &for_control)?,
            control_socket,
            display,
            session_bus: config.notifications_bus.as_deref().map(SessionBus::at),
            launcher_settings,
            runner,
        })
    }
}

/// Whether dvm-runner could run the toolstack's commands: not within the unit as it is shipped.
fn may_run_toolstack() -> bool {
    capability_is_in_bounding_set(CapabilitySet::SYS_ADMIN).unwrap_or(false)
}

fn null() -> Result<OwnedFd, OpenError> {
    let path = Path::new("/dev/null");
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| io(path)(errno.into()))
}

fn memory(name: &str, bytes: &[u8]) -> Result<OwnedFd, OpenError> {
    memory_file::sealed(name, bytes).map_err(io(Path::new("a file in memory")))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io { path, error }
}
