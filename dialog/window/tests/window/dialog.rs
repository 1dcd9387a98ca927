//! The real program in its real profile, with the broker's end of its edge.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use protocol::channel::{Channel, ChannelError, pair};
use protocol::codec;
use protocol::dialog::{DialogCommand, DialogEvent, Question, QuestionId, QuestionKind, Recipient};
use protocol::log::LogText;
use protocol::settings::{DialogSettings, Label, Scale, Theme};
use protocol::types::VmName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use sandbox_profiles::DIALOG_WINDOW;
use sys::spawn::{Account, Child, Spawn};

use crate::WAIT;
use crate::display::Display;

/// An ordinary user: `nobody`.
const ORDINARY: Account = Account { uid: 65_534, gid: 65_534 };
/// Long enough for the second that the window must have had the focus.
const ATTENTION: Duration = Duration::from_millis(1400);

pub struct Dialog {
    pub child: Child,
    pub edge: Channel<DialogCommand, DialogEvent>,
}

pub fn name(text: &str) -> VmName {
    VmName::new(text.as_bytes()).unwrap()
}

pub fn settings(display: &Display, theme: Theme, scale: Scale) -> DialogSettings {
    let labels = vec![
        (name("work"), Label::Blue),
        (name("vault"), Label::Black),
        (name("personal-mail"), Label::Yellow),
        (name("untrusted"), Label::Red),
    ];
    DialogSettings { display: display.number, screen: 0, scale, theme, labels }
}

pub fn question(id: u64) -> Question {
    Question {
        id: QuestionId(id),
        kind: QuestionKind::Transfer,
        source: name("work"),
        target: Recipient::Vm(name("vault")),
        size_mib: 64,
        used_mib: 13,
        age_ms: 2000,
        rule: LogText::new("90-default.policy:24"),
        expires_ms: 60_000,
    }
}

pub fn answer(id: u64, yes: bool) -> DialogEvent {
    DialogEvent::Answer { id: QuestionId(id), yes }
}

impl Dialog {
    pub fn start(display: &Display) -> Self {
        let settings = settings(display, Theme::Light, Scale::Single);
        Self::start_with(display, &settings, display.cookie_file())
    }

    pub fn start_with(display: &Display, settings: &DialogSettings, cookie: File) -> Self {
        let (ours, its) = pair().unwrap();
        let program = env!("CARGO_BIN_EXE_dialog-window");
        let program = openat(CWD, program, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let null: OwnedFd = File::options().read(true).write(true).open("/dev/null").unwrap().into();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&codec::encode_settings(settings).unwrap()).unwrap();
        file.rewind().unwrap();
        let socket = display.socket();
        let child = Spawn {
            program: program.as_fd(),
            argv0: DIALOG_WINDOW.process,
            args: &[],
            stdio: [null.as_fd(); 3],
            descriptors: &[its.as_fd(), file.as_fd(), socket.as_fd(), cookie.as_fd()],
            account: sys::spawn::can_switch_accounts().then_some(ORDINARY),
            namespaces: DIALOG_WINDOW.namespaces,
        }
        .start()
        .unwrap();
        Self { child, edge: Channel::new(ours) }
    }

    pub fn ask(&mut self, question: Question) {
        self.edge.send(&DialogCommand::Ask(question)).unwrap();
    }

    pub fn withdraw(&mut self, id: u64) {
        self.edge.send(&DialogCommand::Withdraw { id: QuestionId(id) }).unwrap();
    }

    pub fn event(&mut self) -> Result<DialogEvent, ChannelError> {
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(event) = self.edge.receive()? {
                return Ok(event);
            }
            assert!(self.is_readable(deadline.saturating_duration_since(Instant::now())), "no event");
        }
    }

    fn is_readable(&self, timeout: Duration) -> bool {
        let timeout = Timespec::try_from(timeout).unwrap();
        poll(&mut [PollFd::new(&self.edge, PollFlags::IN)], Some(&timeout)).unwrap() > 0
    }

    pub fn has_said_something(&self) -> bool {
        self.is_readable(Duration::from_millis(300))
    }
}

/// Gives the window the focus, and waits until keys and buttons work.
pub fn attend(display: &Display) -> u32 {
    let window = display.wait_for_window(true);
    display.xdotool(&format!("windowfocus --sync {window}"));
    std::thread::sleep(ATTENTION);
    window
}
