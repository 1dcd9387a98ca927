//! `qfilexchgd`: the command line of the daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};
use policy::Policy;
use protocol::journald::{self, Event, Note};
use protocol::log::Level;
use rustix::process::Signal;
use supervisor::config::{CONFIG_FILE, Config, ConfigError, DialogKind, HostKind};
use supervisor::log::Log;
use supervisor::notify::Notifier;
use supervisor::open::{OpenError, Opened};
use supervisor::policy_files::PolicyFiles;
use supervisor::run::{self, RunError, Told};
use supervisor::watchdog::{Watchdog, WatchdogError};
use sys::inherit::{InheritError, Inherited};
use sys::sandbox::SandboxError;
use sys::signals::Signals;

/// The daemon could not start, or gave up.
const EXIT_FAILURE: u8 = 1;
/// The command line makes no sense (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;
/// The configuration or the policy cannot be used (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// What ends the daemon in an orderly manner.
const ENDING_SIGNALS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];

const HELP: &str = "\
qfilexchgd - move files between VMs on virtual pendrives

usage:
  qfilexchgd [--config FILE] [--dialog KIND] [--check]

options:
  --config FILE   the configuration; /etc/qfilexchgd/qfilexchgd.toml when not given
  --dialog KIND   terminal, window, control or none, instead of what the configuration says
  --check         only check the configuration and the policy
  --help          this text
  --version       the version

It stays in the foreground and writes its log to stderr, or, where that is the journal, to journald
with fields. NOTIFY_SOCKET and WATCHDOG_USEC in its environment are followed as sd_notify(3) has it.
SIGTERM, SIGINT and SIGHUP end it.

exit codes:
   0  it was told to end
   1  it could not start, or gave up; the last line of the log says why
  64  the command line makes no sense
  78  the configuration or the policy cannot be used
";

/// Why the daemon ends otherwise than it was told to.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}\ntry: qfilexchgd --help")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Inherit(#[from] InheritError),
    #[error("entering the sandbox: {0}")]
    Sandbox(#[from] SandboxError),
    #[error("NOTIFY_SOCKET in the environment names no socket: {0}")]
    Notify(std::io::Error),
    #[error(transparent)]
    Watchdog(#[from] WatchdogError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Config(_)
            | Self::Open(
                OpenError::Config(_) | OpenError::Display(_) | OpenError::Fenced | OpenError::PolicyTooLong,
            ) => EXIT_CONFIG,
            Self::Open(OpenError::Directory { .. } | OpenError::Socket { .. } | OpenError::Io { .. })
            | Self::Run(_)
            | Self::Inherit(_)
            | Self::Sandbox(_)
            | Self::Notify(_)
            | Self::Watchdog(_)
            | Self::Io(_) => EXIT_FAILURE,
        }
    }
}

/// What the command line asks for.
enum Task {
    Print(String),
    Check(Options),
    Serve(Options),
}

/// What the command line says about the configuration.
struct Options {
    config: PathBuf,
    dialog: Option<DialogKind>,
}

fn main() -> ExitCode {
    let mut log = Log::default();
    match parse(&mut Parser::from_env()).and_then(|task| perform(task, &mut log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log.line(Level::Error, &Note::new(Event::Failed, failure.to_string()));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn parse(arguments: &mut Parser) -> Result<Task, Failure> {
    let usage = |error: lexopt::Error| Failure::Usage(error.to_string());
    let mut options = Options { config: PathBuf::from(CONFIG_FILE), dialog: None };
    let mut only_check = false;
    while let Some(argument) = arguments.next().map_err(usage)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Task::Print(HELP.to_owned())),
            Arg::Long("version") => {
                return Ok(Task::Print(format!("qfilexchgd {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Arg::Long("check") => only_check = true,
            Arg::Long("config") => options.config = arguments.value().map_err(usage)?.into(),
            Arg::Long("dialog") => {
                let kind = arguments.value().and_then(ValueExt::string).map_err(usage)?;
                options.dialog = Some(DialogKind::from_name(&kind).map_err(Failure::Usage)?);
            }
            other @ (Arg::Short(_) | Arg::Long(_) | Arg::Value(_)) => {
                return Err(usage(other.unexpected()));
            }
        }
    }
    Ok(if only_check { Task::Check(options) } else { Task::Serve(options) })
}

fn perform(task: Task, log: &mut Log) -> Result<(), Failure> {
    match task {
        Task::Print(text) => Ok(std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?),
        Task::Check(options) => {
            let (_, policy) = load(&options)?;
            let rules = policy.rules().len();
            let text = format!("configuration and policy can be used; the policy has {rules} rules");
            log.line(Level::Info, &Note::new(Event::Starting, text));
            Ok(())
        }
        Task::Serve(options) => serve(&options, log),
    }
}

fn load(options: &Options) -> Result<(Config, Policy), ConfigError> {
    let mut config = Config::load(&options.config)?;
    if let Some(kind) = options.dialog {
        config.dialog.kind = kind;
    }
    let policy = PolicyFiles::read(&config.policy_directory, &config.tags_file)?.parse()?;
    Ok((config, policy))
}

fn serve(options: &Options, log: &mut Log) -> Result<(), Failure> {
    let inherited = Inherited::take_over(&sandbox_profiles::SUPERVISOR)?;
    let variable = |name| std::env::var_os(name);
    *log = Log::open(variable("JOURNAL_STREAM").as_deref(), Path::new(journald::SOCKET));
    let signals = Signals::take(&ENDING_SIGNALS)?;
    let notifier = Notifier::open(variable("NOTIFY_SOCKET")).map_err(Failure::Notify)?;
    let (usec, pid) = (variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"));
    let watchdog = Watchdog::wanted(usec.as_deref(), pid.as_deref(), std::process::id())?;
    let told = Told { log, notifier: &notifier };
    let served = open_and_run(options, &inherited, signals, watchdog, told);
    if let Err(failure) = &served {
        notifier.tell_failure(&failure.to_string());
    }
    served
}

fn open_and_run(
    options: &Options,
    inherited: &Inherited,
    signals: Signals,
    watchdog: Option<Watchdog>,
    told: Told<'_>,
) -> Result<(), Failure> {
    let (config, policy) = load(options)?;
    let opened = Opened::open(&config, policy)?;
    let greeting = greeting(&config, &opened, &options.config);
    told.log.line(Level::Info, &Note::new(Event::Starting, greeting));
    let sandboxed = sys::sandbox::enter(&sandbox_profiles::SUPERVISOR, inherited)?;
    run::run(opened, signals, watchdog, told, &sandboxed)?;
    Ok(())
}

/// Which host, who runs it, and what does not hold without root.
fn greeting(config: &Config, opened: &Opened, file: &Path) -> String {
    let host = match config.host {
        HostKind::Xen => "a Xen host",
        HostKind::Simulated => "a simulated host",
    };
    let uid = rustix::process::geteuid().as_raw();
    let separation = if opened.accounts.is_empty() {
        "not able to change accounts, so the workers share this uid; everything else about their sandboxes holds"
    } else {
        "each worker under an account of its own"
    };
    let version = env!("CARGO_PKG_VERSION");
    format!("version {version} on {host}, run by uid {uid} with {}: {separation}", file.display())
}
