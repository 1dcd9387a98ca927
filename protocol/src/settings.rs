//! What the supervisor, which alone reads the configuration, hands to a worker at its start: one message in
//! a sealed memory file.

use bincode::{Decode, Encode};

use crate::types::{SizeMib, VmName};

/// Most VMs that the dialog can be told a label of.
pub const LABELS_MAX: usize = 1024;

/// Limits and times that the broker keeps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct BrokerSettings {
    /// Size of a pendrive when the request names none.
    pub size_default: SizeMib,
    /// Largest pendrive that a request may name.
    pub size_max: SizeMib,
    /// Most images at once that one VM's requests made, wherever they are now.
    pub images_per_vm_max: u32,
    /// Most images at once.
    pub images_max: u32,
    /// Most bytes, in MiB, of the images that one VM's requests made.
    pub total_per_vm_mib_max: u32,
    /// Most bytes, in MiB, of all images.
    pub total_mib_max: u32,
    /// How long a question stays open, in milliseconds.
    pub question_ms_max: u32,
    /// How long a transfer waits for a busy receiver, in milliseconds.
    pub wait_ms_max: u32,
    /// Whether receivers may write to what they received.
    pub incoming_writable: bool,
    /// Whether there is a dialog; without one, and without `asks_control`, every question is denied at once.
    pub has_dialog: bool,
    /// Whether this host makes DisposableVMs; without a launcher whoever asks for one is refused.
    pub has_launcher: bool,
    /// Most DisposableVMs at once.
    pub disposables_max: u32,
    /// Most DisposableVMs at once that one VM's requests made.
    pub disposables_per_vm_max: u32,
    /// How long the launcher may take for one order, in milliseconds, a rebuild of the template included.
    pub launch_ms_max: u32,
    /// Whether a question stays open for `qfilexchgctl` although there is no dialog.
    pub asks_control: bool,
    /// Identifies this run of the host: domain numbers of another run mean nothing.
    pub boot_id: [u8; 16],
}

/// What the attacher is told.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AttacherSettings {
    /// How images are given to the block back end.
    pub backing: Backing,
    /// Size of the spare pendrive that is kept ready.
    pub spare_size: SizeMib,
    /// Most images at once, the spare not counted.
    pub images_max: u32,
    /// Most bytes, in MiB, of all images.
    pub total_mib_max: u32,
    /// Space in MiB that must stay free on the file system of the images.
    pub free_mib_min: u32,
    /// How long a guest may take to connect a device, in milliseconds.
    pub connect_ms_max: u32,
    /// How long a guest that was just made may take to connect a device, in milliseconds.
    pub boot_ms_max: u32,
    /// How long a guest may take to let a device go before it is taken away, in milliseconds.
    pub close_ms_max: u32,
}

/// What dvm-launcher is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LauncherSettings {
    /// Whether the existence of a DisposableVM can be asked for.
    pub has_exists: bool,
    /// Whether the template can be made anew.
    pub has_rebuild: bool,
    /// Whether the free memory can be asked for.
    pub has_free_memory: bool,
    /// Whether there must be a template.
    pub has_template: bool,
    /// Whether the template must not be older than its base.
    pub has_base: bool,
    /// Memory in MiB that must be free for each DisposableVM that is made.
    pub memory_mib_min: u32,
    /// How long making one may take, in milliseconds.
    pub create_ms_max: u32,
    /// How long ending one may take, in milliseconds.
    pub destroy_ms_max: u32,
    /// How long making the template may take, in milliseconds.
    pub rebuild_ms_max: u32,
    /// How long a command that only asks something may take, in milliseconds.
    pub ask_ms_max: u32,
}

/// What control is told: who may ask, in the numbers that it sees.
///
/// control runs in a user namespace, so the kernel translates the ids of its peers for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ControlSettings {
    /// The daemon has accounts, and control's namespace knows every id: its own account's is 0 there, those below
    /// are one higher, and those above are what they are.
    Accounts {
        /// The account's user id outside of the namespace.
        uid: u32,
        /// The account's group id outside of the namespace.
        gid: u32,
        /// The group that may ask besides root, as it is outside.
        group: Option<u32>,
    },
    /// The daemon runs under one user id, which is 0 in every namespace, and that user alone may ask.
    Owner {
        /// That user id, outside of the namespace.
        uid: u32,
    },
}

/// How images are given to the block back end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Backing {
    /// Through loop devices, whose descriptors the attacher holds: the descriptors named `loop` in order.
    Loop {
        /// How many there are.
        devices: u32,
    },
    /// As files, by path: the simulated host.
    File {
        /// The absolute path of the image directory, for `params` of the back end.
        directory: String,
    },
}

/// What the dialog with a window is told.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DialogSettings {
    /// Number of the display: 0 for `:0`.
    pub display: u32,
    /// Number of the screen of that display.
    pub screen: u32,
    /// How large everything is.
    pub scale: Scale,
    /// How light it is.
    pub theme: Theme,
    /// The labels of VMs, at most [`LABELS_MAX`], each VM once.
    pub labels: Vec<(VmName, Label)>,
}

/// How large the window is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub enum Scale {
    /// One pixel for each unit of length.
    #[default]
    Single,
    /// Two, for displays with small pixels.
    Double,
}

/// How light the window is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub enum Theme {
    /// Dark on light.
    #[default]
    Light,
    /// Light on dark.
    Dark,
}

/// The color of a VM's label, as Qubes OS has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Label {
    /// `red`
    Red,
    /// `orange`
    Orange,
    /// `yellow`
    Yellow,
    /// `green`
    Green,
    /// `gray`
    Gray,
    /// `blue`
    Blue,
    /// `purple`
    Purple,
    /// `black`
    Black,
}

impl Label {
    /// Every label, in Qubes OS's order.
    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Gray,
        Self::Blue,
        Self::Purple,
        Self::Black,
    ];

    /// Its name in the configuration and on the screen.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Gray => "gray",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Black => "black",
        }
    }
}
