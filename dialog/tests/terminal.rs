//! The real program in its real profile, on a terminal and on pipes, as root and as an ordinary user.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use protocol::channel::{Channel, pair};
use protocol::dialog::{DialogCommand, DialogEvent, Question, QuestionId, QuestionKind, Recipient};
use protocol::log::LogText;
use protocol::types::VmName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pipe::pipe;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sandbox_profiles::DIALOG_TERMINAL;
use sys::spawn::{Account, Child, Ended, Spawn};

const WAIT: Duration = Duration::from_secs(20);
/// An ordinary user: `nobody`.
const ORDINARY: Account = Account { uid: 65_534, gid: 65_534 };

struct Dialog {
    child: Child,
    edge: Channel<DialogCommand, DialogEvent>,
    keys: Option<File>,
    screen: Option<File>,
    seen: String,
}

enum Kind {
    Pty,
    Pipes,
}

fn spawn(kind: &Kind, account: Option<Account>) -> Dialog {
    let (ours, its) = pair().unwrap();
    let (keys, input, screen, output) = match kind {
        Kind::Pty => {
            let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
            grantpt(&master).unwrap();
            unlockpt(&master).unwrap();
            let name = ptsname(&master, Vec::new()).unwrap();
            let slave =
                openat(CWD, &name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            (master.try_clone().unwrap(), slave.try_clone().unwrap(), master, slave)
        }
        Kind::Pipes => {
            let (input, keys) = pipe().unwrap();
            let (screen, output) = pipe().unwrap();
            (keys, input, screen, output)
        }
    };
    let program =
        openat(CWD, env!("CARGO_BIN_EXE_dialog"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let null: OwnedFd = File::options().read(true).write(true).open("/dev/null").unwrap().into();
    let child = Spawn {
        program: program.as_fd(),
        argv0: DIALOG_TERMINAL.process,
        args: &[],
        stdio: [input.as_fd(), output.as_fd(), null.as_fd()],
        descriptors: &[its.as_fd()],
        account,
        namespaces: DIALOG_TERMINAL.namespaces,
    }
    .start()
    .unwrap();
    Dialog {
        child,
        edge: Channel::new(ours),
        keys: Some(File::from(keys)),
        screen: Some(File::from(screen)),
        seen: String::new(),
    }
}

/// Every way in which the program is run here.
fn all_dialogs() -> Vec<Dialog> {
    let mut accounts = vec![None];
    if sys::spawn::can_switch_accounts() {
        accounts.push(Some(ORDINARY));
    } else {
        testkit::skip("only root can try the dialog as another user");
    }
    let kinds = [Kind::Pty, Kind::Pipes];
    accounts.iter().flat_map(|account| kinds.iter().map(|kind| spawn(kind, *account))).collect()
}

fn is_readable(fd: impl AsFd, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).unwrap();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}

impl Dialog {
    fn ask(&mut self, id: u64, expires_ms: u32) {
        let question = Question {
            id: QuestionId(id),
            kind: QuestionKind::Transfer,
            source: VmName::new(b"work").unwrap(),
            target: Recipient::Vm(VmName::new(b"vault").unwrap()),
            size_mib: 64,
            used_mib: 5,
            age_ms: 0,
            rule: LogText::new("30-user.policy:4"),
            expires_ms,
        };
        self.edge.send(&DialogCommand::Ask(question)).unwrap();
    }

    fn withdraw(&mut self, id: u64) {
        self.edge.send(&DialogCommand::Withdraw { id: QuestionId(id) }).unwrap();
    }

    /// Types this; a terminal echoes it.
    fn type_in(&mut self, text: &str) {
        self.keys.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Reads the screen until this is on it, and forgets what was there up to then.
    fn see(&mut self, text: &str) -> String {
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let screen = self.screen.as_mut().unwrap();
            assert!(is_readable(&*screen, left), "{text:?} does not appear after {:?}", self.seen);
            let mut bytes = [0; 4096];
            let count = screen.read(&mut bytes).unwrap();
            assert!(count > 0, "the screen was closed: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]).replace('\r', ""));
        }
    }

    fn event(&mut self) -> DialogEvent {
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(event) = self.edge.receive().unwrap() {
                return event;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(is_readable(&self.edge, left), "no event");
        }
    }

    fn has_answered(&mut self) -> bool {
        is_readable(&self.edge, Duration::from_millis(300))
    }
}

fn answer(id: u64, yes: bool) -> DialogEvent {
    DialogEvent::Answer { id: QuestionId(id), yes }
}

#[test]
fn questions_are_answered_one_after_the_other() {
    for mut dialog in all_dialogs() {
        dialog.ask(3, 60_000);
        dialog
            .see("qfilexchgd: question 3\n  work wants to send its pendrive (5 of 64 MiB used) to vault.\n");
        dialog.see("Asked by: 30-user.policy:4. Asked 0 s ago. No answer within 60 s means no.\n");
        dialog.see("refuses: ");
        dialog.ask(4, 60_000);
        dialog.ask(5, 60_000);
        dialog.type_in("yes 3\n");
        assert_eq!(dialog.event(), answer(3, true));
        dialog.see("Question 3 (work -> vault): yes.\n");
        dialog.see("question 4 (1 more waiting)\n");
        dialog.see("refuses: ");
        dialog.type_in("what?\nyes 3\nno\n");
        assert_eq!(dialog.event(), answer(4, false));
        dialog.see("Question 4 (work -> vault): no.\n");
        dialog.see("question 5\n");
        dialog.withdraw(5);
        dialog.see("The question about work -> vault was withdrawn");
        dialog.type_in("yes 5\n");
        assert!(!dialog.has_answered());
        // The broker goes away.
        drop(dialog.edge);
        assert_eq!(dialog.child.wait().unwrap(), Ended::Code(0));
    }
}

#[test]
fn l13_what_was_typed_before_the_question_answers_nothing() {
    for mut dialog in all_dialogs() {
        // The first question waits until the program runs, so that all of this is there before the second one.
        dialog.ask(1, 60_000);
        dialog.see("refuses: ");
        dialog.withdraw(1);
        dialog.see("withdrawn");
        dialog.type_in("yes 2\nyes 2\nyes");
        dialog.ask(2, 60_000);
        dialog.see("question 2\n");
        dialog.see("refuses: ");
        assert!(!dialog.has_answered());
        // The end of a line that was begun earlier. A terminal drops its beginning, too.
        dialog.type_in(" 2\n");
        assert!(!dialog.has_answered());
        dialog.type_in("yes 2\n");
        assert_eq!(dialog.event(), answer(2, true));
    }
}

#[test]
fn l14_an_early_enter_answers_nothing_and_a_late_one_means_no() {
    for mut dialog in all_dialogs() {
        dialog.ask(1, 60_000);
        dialog.see("refuses: ");
        for _ in 0..10 {
            dialog.type_in("\n");
            std::thread::sleep(Duration::from_millis(30));
        }
        assert!(!dialog.has_answered());
        std::thread::sleep(Duration::from_millis(1000));
        dialog.type_in("\n");
        assert_eq!(dialog.event(), answer(1, false));
    }
}

#[test]
fn a_terminal_that_is_gone_answers_every_question_with_no() {
    for mut dialog in all_dialogs() {
        dialog.ask(1, 60_000);
        dialog.see("refuses: ");
        dialog.ask(2, 60_000);
        dialog.keys = None;
        dialog.screen = None;
        for id in [1, 2] {
            assert_eq!(dialog.event(), answer(id, false));
            assert!(matches!(dialog.event(), DialogEvent::Log(_)));
        }
        dialog.ask(3, 60_000);
        assert_eq!(dialog.event(), answer(3, false));
        assert_eq!(dialog.child.try_wait().unwrap(), None);
    }
}

#[test]
fn time_that_is_over_is_told_and_nothing_is_sent() {
    for mut dialog in all_dialogs() {
        dialog.ask(1, 400);
        dialog.see("Nobody answered question 1 (work -> vault) in time: no.\n");
        dialog.type_in("yes 1\n");
        assert!(!dialog.has_answered());
    }
}

#[test]
fn a_stopped_terminal_does_not_stop_the_dialog() {
    let mut dialog = spawn(&Kind::Pipes, None);
    // Nobody reads the screen: 40 questions of 60 lines of hints fill every buffer.
    for id in 1..=40 {
        dialog.ask(id, 60_000);
    }
    for id in 1..=40 {
        // Typed again if it came before the question, which drops it.
        for _ in 0..20 {
            dialog.type_in(&format!("{}no {id}\n", "x\n".repeat(60)));
            if dialog.has_answered() {
                break;
            }
        }
        assert_eq!(dialog.event(), answer(id, false));
    }
}

#[test]
fn the_program_is_confined_before_it_asks() {
    for mut dialog in all_dialogs() {
        dialog.ask(1, 60_000);
        dialog.see("refuses: ");
        let status = std::fs::read_to_string(format!("/proc/{}/status", dialog.child.pid())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().to_owned()
        };
        assert_eq!(field("Seccomp:"), "2");
        assert_eq!(field("NoNewPrivs:"), "1");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
    }
}

#[test]
fn a_broker_that_breaks_the_protocol_is_left() {
    for mut dialog in all_dialogs() {
        dialog.ask(1, 60_000);
        dialog.see("refuses: ");
        dialog.ask(1, 60_000);
        assert_eq!(dialog.child.wait().unwrap(), Ended::Code(1));
    }
}
