//! Lines of the log as fields, for journald.
//!
//! One datagram is one entry: lines `FIELD=value`, or, for a value that may hold anything, `FIELD`, a newline, the
//! value's length as 64 bits little-endian, the value, a newline (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>). The
//! names of the fields are constants, and every value but the message is of a type that holds no newline. So nothing
//! that a VM chose can make a field.

use crate::log::Level;
use crate::supervise::Role;
use crate::types::{Domid, VmName};

/// Where journald hears programs (systemd-journald.service(8)).
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// The name that entries have with `journalctl --identifier`.
const IDENTIFIER: &str = "qfilexchgd";
/// Longest message of an entry, in bytes; what is longer is cut.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// What happened, as the field `QFILEXCHG_EVENT` names it. docs/systemd.md says when each is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The daemon begins.
    Starting,
    /// Requests are served.
    Serving,
    /// The daemon was told to end.
    Stopping,
    /// The daemon ends because of what the line says.
    Failed,
    /// A process of the daemon ended, or is ended because it broke its protocol.
    ProcessEnded,
    /// A process of the daemon says something.
    ProcessSaid,
    /// The display or the session bus has come or gone.
    Desktop,
    /// A VM runs.
    VmSeen,
    /// A VM takes no part.
    VmUnfit,
    /// A VM does not run any longer.
    VmGone,
    /// A VM asks for something.
    Request,
    /// The policy was asked.
    Policy,
    /// A person answered a question.
    Answer,
    /// A VM was given word of its request.
    Reply,
    /// The attacher could not do what it was told.
    OrderFailed,
    /// A pendrive is destroyed although no VM asked for that.
    PendriveLost,
    /// A step in the life of a DisposableVM.
    Disposable,
    /// There were more lines than are logged.
    LinesLost,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 18] = [
        Self::Starting,
        Self::Serving,
        Self::Stopping,
        Self::Failed,
        Self::ProcessEnded,
        Self::ProcessSaid,
        Self::Desktop,
        Self::VmSeen,
        Self::VmUnfit,
        Self::VmGone,
        Self::Request,
        Self::Policy,
        Self::Answer,
        Self::Reply,
        Self::OrderFailed,
        Self::PendriveLost,
        Self::Disposable,
        Self::LinesLost,
    ];

    /// The value of `QFILEXCHG_EVENT`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::ProcessEnded => "process-ended",
            Self::ProcessSaid => "process-said",
            Self::Desktop => "desktop",
            Self::VmSeen => "vm-seen",
            Self::VmUnfit => "vm-unfit",
            Self::VmGone => "vm-gone",
            Self::Request => "request",
            Self::Policy => "policy",
            Self::Answer => "answer",
            Self::Reply => "reply",
            Self::OrderFailed => "order-failed",
            Self::PendriveLost => "pendrive-lost",
            Self::Disposable => "disposable",
            Self::LinesLost => "lines-lost",
        }
    }
}

/// A line of the log, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What happened.
    pub event: Event,
    /// The same for people.
    pub text: String,
    /// The domain that it is about.
    pub domid: Option<Domid>,
    /// The name of that domain.
    pub vm: Option<VmName>,
    /// The process of the daemon that it is about.
    pub process: Option<Role>,
}

impl Note {
    /// A line about the daemon itself.
    #[must_use]
    pub fn new(event: Event, text: String) -> Self {
        Self { event, text, domid: None, vm: None, process: None }
    }

    /// A line about a VM.
    #[must_use]
    pub fn about_vm(event: Event, domid: Domid, vm: Option<VmName>, text: String) -> Self {
        Self { domid: Some(domid), vm, ..Self::new(event, text) }
    }

    /// A line about a process of the daemon.
    #[must_use]
    pub fn about_process(event: Event, process: Role, text: String) -> Self {
        Self { process: Some(process), ..Self::new(event, text) }
    }
}

/// The datagram for journald. Text that a VM could have influenced must be escaped before ([`crate::log::LogText`]).
#[must_use]
pub fn entry(level: Level, note: &Note) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut field = |name: &str, value: &str| {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    };
    field("PRIORITY", priority(level));
    field("SYSLOG_IDENTIFIER", IDENTIFIER);
    field("QFILEXCHG_EVENT", note.event.word());
    if let Some(domid) = note.domid {
        field("QFILEXCHG_DOMID", &domid.to_string());
    }
    if let Some(vm) = &note.vm {
        field("QFILEXCHG_VM", vm.as_str());
    }
    if let Some(process) = note.process {
        field("QFILEXCHG_PROCESS", process.process());
    }
    let message = cut(&note.text);
    bytes.extend_from_slice(b"MESSAGE\n");
    bytes.extend_from_slice(&u64::try_from(message.len()).unwrap_or_default().to_le_bytes());
    bytes.extend_from_slice(message.as_bytes());
    bytes.push(b'\n');
    bytes
}

/// The priority as syslog(3) counts them.
fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "3",
        Level::Warning => "4",
        Level::Info => "6",
    }
}

/// At most [`MESSAGE_BYTES_MAX`] bytes, whole characters.
fn cut(text: &str) -> &str {
    let mut length = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(length) {
        length = length.saturating_sub(1);
    }
    text.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The message of an entry whose last field it is.
    fn message(entry: &[u8]) -> &[u8] {
        let at = entry.windows(9).position(|window| window == b"\nMESSAGE\n").unwrap() + 9;
        let length = u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
        assert_eq!(entry.len(), at + 8 + usize::try_from(length).unwrap() + 1);
        assert_eq!(entry.last(), Some(&b'\n'));
        &entry[at + 8..entry.len() - 1]
    }

    #[test]
    fn an_entry_has_the_fields_that_are_known_and_no_other() {
        let (domid, vm) = (Domid::new(7).unwrap(), VmName::new(b"work").unwrap());
        let note = Note::about_vm(Event::Request, domid, Some(vm), "work asks: new".to_owned());
        assert_eq!(
            entry(Level::Info, &note),
            b"PRIORITY=6\nSYSLOG_IDENTIFIER=qfilexchgd\nQFILEXCHG_EVENT=request\nQFILEXCHG_DOMID=7\n\
              QFILEXCHG_VM=work\nMESSAGE\n\x0e\0\0\0\0\0\0\0work asks: new\n"
        );
        let note = Note::about_process(Event::ProcessEnded, Role::Monitor, "x".to_owned());
        assert_eq!(
            entry(Level::Error, &note),
            b"PRIORITY=3\nSYSLOG_IDENTIFIER=qfilexchgd\nQFILEXCHG_EVENT=process-ended\n\
              QFILEXCHG_PROCESS=xs-monitor\nMESSAGE\n\x01\0\0\0\0\0\0\0x\n"
        );
    }

    #[test]
    fn l7_a_newline_in_a_message_makes_no_field() {
        let text = "a\nQFILEXCHG_VM=vault\nPRIORITY=0";
        let entry = entry(Level::Warning, &Note::new(Event::ProcessSaid, text.to_owned()));
        assert_eq!(message(&entry), text.as_bytes());
        // What journald takes for fields is what lies outside of the counted message.
        let outside = &entry[..entry.len() - text.len() - 1];
        assert!(outside.starts_with(b"PRIORITY=4\n"));
        assert!(!outside.windows(12).any(|window| window == b"QFILEXCHG_VM"));
    }

    #[test]
    fn l19_a_message_is_cut_at_its_limit_between_characters() {
        for (text, length) in [
            (String::new(), 0),
            ("x".to_owned(), 1),
            ("x".repeat(MESSAGE_BYTES_MAX), MESSAGE_BYTES_MAX),
            ("x".repeat(MESSAGE_BYTES_MAX + 1), MESSAGE_BYTES_MAX),
            ("é".repeat(MESSAGE_BYTES_MAX / 2) + "x", MESSAGE_BYTES_MAX),
            ("x".to_owned() + &"é".repeat(MESSAGE_BYTES_MAX / 2), MESSAGE_BYTES_MAX - 1),
        ] {
            let entry = entry(Level::Info, &Note::new(Event::Serving, text));
            assert_eq!(message(&entry).len(), length);
            assert!(std::str::from_utf8(message(&entry)).is_ok());
        }
    }

    #[test]
    fn every_event_has_a_word_of_its_own_that_is_a_plain_value() {
        let words: BTreeSet<&str> = Event::ALL.iter().map(|event| event.word()).collect();
        assert_eq!(words.len(), Event::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
        let document = include_str!("../../docs/systemd.md");
        let described: BTreeSet<&str> = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
            .map(|row| row.0)
            .collect();
        let missing: Vec<&&str> = words.difference(&described).collect();
        assert!(missing.is_empty(), "docs/systemd.md says nothing of {missing:?}");
    }
}
