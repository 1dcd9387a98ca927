//! What people and the service manager are told, and the watchdog's questions to the broker.

use protocol::journald::{Event as Happened, Note};
use protocol::log::Level;
use protocol::supervise::{Role, SupervisorNotice};

use super::Supervisor;
use crate::log::Log;
use crate::machine::Event;
use crate::notify::{self, Notifier};

/// Who is told how the daemon is.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// People.
    pub log: &'a Log,
    /// The service manager.
    pub notifier: &'a Notifier,
}

impl Supervisor<'_> {
    pub(super) fn end_broker(&mut self, why: &str) {
        let text = format!("the broker is ended: {why}");
        self.log(Level::Error, Note::about_process(Happened::ProcessEnded, Role::Broker, text));
        self.broker = None;
        self.events.push_back(Event::BrokerLost);
    }

    pub(super) fn log(&self, level: Level, note: Note) {
        self.told.log.line(level, &note);
    }

    pub(super) fn log_news(&self, role: Role, news: Option<String>) {
        if let Some(text) = news {
            self.log(Level::Info, Note::about_process(Happened::Desktop, role, text));
        }
    }

    pub(super) fn notify(&self, state: &str) {
        if let Err(error) = self.told.notifier.tell(state) {
            let word = state.lines().next().unwrap_or_default();
            let text = format!("cannot tell {word} to NOTIFY_SOCKET: {error}");
            self.log(Level::Warning, Note::new(Happened::Failed, text));
        }
    }

    /// Asks the broker whether it is at work, if somebody wants to know and it is time.
    pub(super) fn ask_broker(&mut self) {
        let now_ms = self.now_ms();
        if self.broker.is_some()
            && let Some(number) = self.watchdog.as_mut().and_then(|watchdog| watchdog.question(now_ms))
        {
            self.tell(|broker| broker.send(&SupervisorNotice::AreYouAlive { number }));
        }
    }

    pub(super) fn broker_lives(&mut self, number: u32) {
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.answered(number)) {
            self.notify(notify::WATCHDOG);
        } else {
            self.end_broker("it answered what it was not asked");
        }
    }
}
