//! The configuration: one TOML file, every key bounded, unknown keys refused.
//!
//! `packaging/qfilexchgd.toml` is the reference: it names every key with its default and its bounds, and a test
//! holds it against this file.

mod check;
mod disposables;
mod fault;
mod raw;
mod window;

use std::path::{Path, PathBuf};

use protocol::supervise::Role;
use protocol::types::SizeMib;

pub use disposables::{ASK_S_MAX, Disposables};
pub use fault::ConfigError;
pub use window::{DisplayName, Window};

/// The configuration when the command line names none.
pub const CONFIG_FILE: &str = "/etc/qfilexchgd/qfilexchgd.toml";
/// Longest configuration file in bytes.
pub const CONFIG_BYTES_MAX: usize = 64 * 1024;
/// Longest path of the session bus's socket in bytes, as the kernel has it (`sun_path` less its NUL).
pub const BUS_BYTES_MAX: usize = 107;
/// Longest path in the configuration in bytes, as the kernel has it (`PATH_MAX` less its NUL).
pub const PATH_BYTES_MAX: usize = 4095;

/// Everything that can be configured, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the VMs run.
    pub host: HostKind,
    /// The socket of xenstored.
    pub xenstored_socket: PathBuf,
    /// A file whose UUID identifies this run of the host.
    pub boot_id_file: PathBuf,
    /// Pendrive images.
    pub images: Images,
    /// Where the two files of the journal are.
    pub journal_directory: PathBuf,
    /// Where the `*.policy` files are.
    pub policy_directory: PathBuf,
    /// Which VM has which tag.
    pub tags_file: PathBuf,
    /// The person.
    pub dialog: Dialog,
    /// The socket of the session bus where notifications are shown, if any are.
    pub notifications_bus: Option<PathBuf>,
    /// `qfilexchgctl`.
    pub control: Control,
    /// How DisposableVMs are made.
    pub disposables: Disposables,
    /// Who the workers run as when root starts the daemon.
    pub accounts: Accounts,
}

/// Where the VMs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// On this machine's Xen; images go through loop devices.
    Xen,
    /// In the simulator; images are plain files.
    Simulated,
}

/// Pendrive images and their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Where they are.
    pub directory: PathBuf,
    /// Size of a pendrive when the request names none.
    pub size_default: SizeMib,
    /// Largest pendrive that a request may name.
    pub size_max: SizeMib,
    /// Most images at once that one VM's requests made.
    pub per_vm_max: u32,
    /// Most images at once.
    pub total_max: u32,
    /// Most MiB of the images that one VM's requests made.
    pub per_vm_mib_max: u32,
    /// Most MiB of all images.
    pub total_mib_max: u32,
    /// MiB that stay free on their file system.
    pub free_mib_min: u32,
    /// How long a guest may take to connect a device.
    pub connect_ms_max: u32,
    /// The same for a guest that was just made.
    pub boot_ms_max: u32,
    /// How long a guest may take to let a device go.
    pub close_ms_max: u32,
    /// Number of the first loop device that is ours; only for [`HostKind::Xen`].
    pub loop_first: u32,
    /// How many of them there are.
    pub loop_count: u32,
}

/// The person who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// How.
    pub kind: DialogKind,
    /// How long a question stays open, in seconds.
    pub question_s_max: u32,
    /// How long a transfer waits for a busy receiver, in seconds.
    pub wait_s_max: u32,
    /// Whether receivers may write to what they received.
    pub incoming_writable: bool,
    /// How and where the window is shown, if it is.
    pub window: Window,
}

/// Who may ask and order by `qfilexchgctl`, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The socket.
    pub socket: PathBuf,
    /// The group that may besides root.
    pub group: Option<Account>,
}

/// How the person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialogKind {
    /// On the terminal that the daemon was started from.
    Terminal,
    /// In a window.
    Window,
    /// By `qfilexchgctl` alone: a question waits there.
    Control,
    /// Not at all: every question is answered *no* at once.
    None,
}

impl DialogKind {
    /// Reads the name of a kind.
    ///
    /// # Errors
    /// A sentence about what would be right.
    pub fn from_name(name: &str) -> Result<Self, String> {
        match name {
            "terminal" => Ok(Self::Terminal),
            "control" => Ok(Self::Control),
            "none" => Ok(Self::None),
            "window" => Ok(Self::Window),
            _ => Err("the kind of dialog is \"terminal\", \"window\", \"control\" or \"none\"".to_owned()),
        }
    }

    /// Whether a process of the daemon asks the person.
    #[must_use]
    pub fn has_process(self) -> bool {
        match self {
            Self::Terminal | Self::Window => true,
            Self::Control | Self::None => false,
        }
    }
}

/// Who each worker runs as when root starts the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// The broker.
    pub broker: Account,
    /// The monitor.
    pub xs_monitor: Account,
    /// The gate.
    pub xs_gate: Account,
    /// The attacher.
    pub attacher: Account,
    /// The dialog.
    pub dialog: Account,
    /// The launcher.
    pub dvm_launcher: Account,
    /// The process that hears `qfilexchgctl`.
    pub control: Account,
    /// The notifier.
    pub notifier: Account,
}

impl Accounts {
    /// The account of one worker.
    #[must_use]
    pub fn of(&self, role: Role) -> &Account {
        match role {
            Role::Broker => &self.broker,
            Role::Monitor => &self.xs_monitor,
            Role::Gate => &self.xs_gate,
            Role::Attacher => &self.attacher,
            Role::Dialog => &self.dialog,
            Role::Launcher => &self.dvm_launcher,
            Role::Control => &self.control,
            Role::Notifier => &self.notifier,
        }
    }
}

/// Who a worker runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// A name that the user data base knows.
    Name(String),
    /// A number that need not have a name; user and group alike.
    Number(u32),
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`ConfigError`]: it cannot be read, is too long, or says something that cannot be used.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = crate::files::read_text(file, CONFIG_BYTES_MAX)?;
        Self::parse(file, &text)
    }

    /// Checks the text of a file; its name is for the messages.
    ///
    /// # Errors
    /// [`ConfigError`] with line and column.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        check::check(text).map_err(|fault| fault.in_file(file, text))
    }
}

#[cfg(test)]
mod tests;
