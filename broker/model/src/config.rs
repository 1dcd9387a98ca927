//! What a run of the checker explores: who there is, what they want, and how much may go wrong.

use policy::Policy;
use protocol::settings::BrokerSettings;
use protocol::types::{Domid, SizeMib, VmName};

/// How long a question stays open, in milliseconds: less than an order may take.
pub const QUESTION_MS: u32 = 10_000;
/// How long a transfer waits for its receiver, in milliseconds.
pub const WAIT_MS: u32 = 30_000;
/// How long the launcher may take, in milliseconds.
pub const LAUNCH_MS: u32 = 20_000;

/// What a VM asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// `new`
    New,
    /// `send VM`, to the VM of this number.
    Send(u16),
    /// `send disposable SEQ`
    SendDisposable,
    /// `send VM SEQ` with the number that it got, to the VM of this number. Meant for DisposableVMs.
    Answer(u16),
    /// The same with another number.
    WrongAnswer(u16),
    /// `umount`
    Umount,
    /// `killme`
    Killme,
    /// Something that does not parse.
    Nonsense,
}

/// What dom0's policy says of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The person is asked.
    Ask,
    /// Permitted.
    Allow,
    /// Refused.
    Deny,
}

/// One VM that runs from the beginning.
#[derive(Debug, Clone)]
pub struct Guest {
    /// What it may ask for, each as often as it likes.
    pub wants: Vec<Want>,
    /// How many requests it makes.
    pub asks: u8,
}

/// How often each mishap may happen in one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// VMs that die.
    pub deaths: u8,
    /// Ends of a worker: attacher, monitor, dialog, launcher or control.
    pub crashes: u8,
    /// Ends of the broker, between any two of its actions.
    pub broker_crashes: u8,
    /// Orders that fail.
    pub failures: u8,
    /// Messages that come once more: requests, answers of workers, a *yes* that was given before.
    pub repeats: u8,
    /// What the person does by `qfilexchgctl`: answers, and kills.
    pub controls: u8,
    /// How often the time of something is up while a worker is still at work.
    pub delays: u8,
}

/// One configuration of the model.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name on the command line and in docs/model.md.
    pub name: &'static str,
    /// The VMs, with the domain numbers 1, 2, ...
    pub guests: Vec<Guest>,
    /// What a DisposableVM asks for, and how often.
    pub disposable: Guest,
    /// The policy for copies.
    pub copy: Rule,
    /// The same for `send disposable`.
    pub dvm: Rule,
    /// The policy for copies that the broker is given. Another one than `copy` shows that the checker notices.
    pub given_copy: Rule,
    /// How much may go wrong.
    pub budget: Budget,
    /// Whether a VM waits for the final reply before it asks again.
    pub is_patient: bool,
    /// Whether replies take their time like every order. If not, each is given before anything else happens.
    pub replies_wait: bool,
    /// Whether the person also says *no*, and lets questions expire.
    pub person_refuses: bool,
    /// The longest paths that are explored; 0 for all.
    pub depth_max: usize,
}

impl Config {
    /// The policy as the broker knows it.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let mut text = String::new();
        for (operation, rule) in [("copy", self.given_copy), ("dvm", self.dvm)] {
            let word = match rule {
                Rule::Ask => "ask",
                Rule::Allow => "allow",
                Rule::Deny => "deny",
            };
            text.push_str(&format!("{operation} * * {word}\n"));
        }
        let files = [(String::from("model.policy"), text.into_bytes())];
        policy::load(&files, ("tags", b"")).unwrap_or_default()
    }

    /// The broker's settings.
    #[must_use]
    pub fn settings(&self) -> BrokerSettings {
        BrokerSettings {
            size_default: size(64),
            size_max: size(64),
            images_per_vm_max: 4,
            images_max: 8,
            total_per_vm_mib_max: 1024,
            total_mib_max: 1024,
            question_ms_max: QUESTION_MS,
            wait_ms_max: WAIT_MS,
            incoming_writable: false,
            has_dialog: true,
            has_launcher: self.has_disposables(),
            disposables_max: 1,
            disposables_per_vm_max: 1,
            launch_ms_max: LAUNCH_MS,
            asks_control: false,
            boot_id: [7; 16],
        }
    }

    /// Whether there can be a DisposableVM.
    #[must_use]
    pub fn has_disposables(&self) -> bool {
        self.guests.iter().any(|guest| guest.wants.contains(&Want::SendDisposable))
    }
}

/// The domain of this number.
#[must_use]
#[expect(clippy::expect_used, reason = "numbers that the configurations name")]
pub fn domid(number: u16) -> Domid {
    Domid::new(number).expect("a guest's number")
}

/// The name of the VM of this number.
#[must_use]
#[expect(clippy::expect_used, reason = "a letter and a number fit")]
pub fn name_of(number: u16) -> VmName {
    VmName::new(format!("vm{number}").as_bytes()).expect("a name")
}

#[expect(clippy::expect_used, reason = "a constant")]
fn size(mib: u32) -> SizeMib {
    SizeMib::new(mib).expect("a size")
}
