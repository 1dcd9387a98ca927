//! What the window does about each event: pure, like the terminal's [`crate::state`], and without a word of X11.
//!
//! A key or a button works only when the window is *armed*: it has shown this very thing and had the keyboard's focus
//! for [`ATTENTION_MS_MIN`] without a key or a button moving, and then no key and no button was held down (L14).
//! Every newly shown thing disarms it, so an answer is always to what has been on the screen for that long (L13).

use std::collections::VecDeque;

use protocol::dialog::{DialogCommand, DialogEvent, Notice, Question};

use crate::queue::{Breach, Open, Queue};

/// How long the window must have had the focus, undisturbed, before a key or a button works, in milliseconds (L14).
pub const ATTENTION_MS_MIN: u64 = 1000;
/// How long a notice is shown, in milliseconds.
pub const NOTICE_MS: u64 = 10_000;
/// Most notices that wait to be shown. The oldest is dropped for a newer one: all are in the log.
pub const NOTICES_MAX: usize = 8;
/// How often the countdown changes, in milliseconds.
const COUNTDOWN_MS: u64 = 1000;

/// One of the two answers, and its button.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// Refuse. What has the focus whenever something is newly shown; of a notice, the only one.
    #[default]
    No,
    /// Allow.
    Yes,
}

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Enter or the space bar: the button that has the focus.
    Enter,
    /// *No*, whichever button has the focus.
    Escape,
    /// The other button gets the focus.
    Tab,
    /// The left button, *yes*, gets the focus.
    Left,
    /// The right button, *no*, gets the focus.
    Right,
    /// Any other key, and the release of any key.
    Other,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The broker's message.
    Command(DialogCommand),
    /// The window got the keyboard's focus, or lost it.
    Focus(bool),
    /// A key was pressed, or is repeated by the keyboard.
    Key(Key),
    /// The first button of the mouse was pressed, over one of the window's buttons or beside them.
    Pressed(Option<Choice>),
    /// It was released there.
    Released(Option<Choice>),
    /// The answer to [`Action::LookAtHands`]: whether no key and no mouse button is down.
    HandsFree(bool),
    /// The window manager asks to close the window, which means *no*.
    Close,
    /// Time has passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell the broker this.
    Send(DialogEvent),
    /// Find out whether a key or a mouse button is down; [`Event::HandsFree`] is the answer. What was pressed before
    /// it is told first.
    LookAtHands,
    /// Give up: the broker does not keep to the protocol.
    End(Breach),
}

/// What the person sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// No window.
    Nothing,
    /// A question.
    Question {
        /// Which.
        question: Question,
        /// How many wait behind it.
        waiting: usize,
        /// How long ago the VM asked, in seconds.
        age_s: u64,
        /// How long until the answer is *no*, in seconds, rounded up.
        left_s: u64,
        /// How much of the time is left, in thousandths.
        left_permille: u64,
        /// Which button has the focus, and so on.
        buttons: Buttons,
    },
    /// A notice with one button, which has the focus.
    Notice {
        /// What the person is told.
        notice: Notice,
        /// How long it stays, in seconds, rounded up.
        left_s: u64,
        /// How much of the time is left, in thousandths.
        left_permille: u64,
        /// Whether the button works, and whether it is pressed.
        buttons: Buttons,
    },
}

/// How the buttons look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Buttons {
    /// Which has the focus.
    pub focus: Choice,
    /// Which the mouse holds down.
    pub pressed: Option<Choice>,
    /// Whether they work by now.
    pub armed: bool,
    /// Whether the window has the keyboard's focus.
    pub has_focus: bool,
}

/// The questions and notices, and whether keys and buttons work.
///
/// | state | key or button | focus lost | hands free | newly shown |
/// |---|---|---|---|---|
/// | disarmed | does nothing; the time begins again | the time begins with the next focus | armed, once the time is over | disarmed |
/// | armed | works | disarmed | – | disarmed |
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    queue: Queue,
    notices: VecDeque<Notice>,
    /// Until when the first notice is shown, unless a question is.
    notice_until_ms: Option<u64>,
    shown_since_ms: u64,
    /// Since when the window has the focus and nothing was touched.
    quiet_since_ms: Option<u64>,
    buttons: Buttons,
}

impl State {
    /// Whether there is something on the screen.
    #[must_use]
    pub fn is_showing(&self) -> bool {
        self.queue.shown().is_some() || self.notice_until_ms.is_some()
    }

    /// What the person sees at this time.
    #[must_use]
    pub fn view(&self, now_ms: u64) -> View {
        if let Some(open) = self.queue.shown() {
            let asked_ms =
                u64::from(open.question.age_ms).saturating_add(now_ms.saturating_sub(open.since_ms));
            let (left_s, left_permille) =
                left(open.expires_at_ms, u64::from(open.question.expires_ms), now_ms);
            return View::Question {
                question: open.question.clone(),
                waiting: self.queue.waiting(),
                age_s: asked_ms / 1000,
                left_s,
                left_permille,
                buttons: self.buttons,
            };
        }
        match (self.notices.front(), self.notice_until_ms) {
            (Some(notice), Some(until_ms)) => {
                let (left_s, left_permille) = left(until_ms, NOTICE_MS, now_ms);
                View::Notice { notice: notice.clone(), left_s, left_permille, buttons: self.buttons }
            }
            (None, _) | (_, None) => View::Nothing,
        }
    }

    /// When [`Event::Tick`] is due, on the clock of `now_ms`.
    #[must_use]
    pub fn next_tick_ms(&self, now_ms: u64) -> Option<u64> {
        let armed_at_ms = self.quiet_since_ms.filter(|_| self.is_showing() && !self.buttons.armed);
        let second_ms = self.is_showing().then(|| now_ms.saturating_add(COUNTDOWN_MS));
        let due = [
            self.queue.next_expiry_ms(),
            self.notice_until_ms,
            armed_at_ms.map(|since_ms| since_ms.saturating_add(ATTENTION_MS_MIN)),
            second_ms,
        ];
        due.into_iter().flatten().min()
    }

    /// Whether nothing was touched for long enough.
    fn is_attended(&self, now_ms: u64) -> bool {
        self.quiet_since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= ATTENTION_MS_MIN)
    }

    fn touched(&mut self, now_ms: u64) {
        if let Some(since_ms) = &mut self.quiet_since_ms {
            *since_ms = now_ms;
        }
    }

    /// Something else is shown from now on: whatever was begun before does not count for it.
    fn newly_shown(&mut self, now_ms: u64) {
        self.shown_since_ms = now_ms;
        self.touched(now_ms);
        self.buttons = Buttons { has_focus: self.buttons.has_focus, ..Buttons::default() };
    }
}

/// Seconds until then, rounded up, and thousandths of the whole time.
fn left(until_ms: u64, whole_ms: u64, now_ms: u64) -> (u64, u64) {
    let left_ms = until_ms.saturating_sub(now_ms);
    (left_ms.div_ceil(1000), left_ms.saturating_mul(1000).checked_div(whole_ms).unwrap_or(0))
}

/// The whole behaviour. `now_ms` is any clock that never goes back.
#[must_use]
pub fn step(mut state: State, event: Event, now_ms: u64) -> (State, Vec<Action>) {
    let mut actions = Vec::new();
    let before = shown(&state).cloned();
    // First of all, because an answer that comes too late must not count, however it is scheduled. Nothing is sent
    // for what expires: the broker times out by itself, and an answer from here would claim that the person said no.
    state.queue.expire(now_ms);
    if state.notice_until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
        dismiss(&mut state);
    }
    if shown(&state) == before.as_ref() || !is_input(&event) {
        react(&mut state, event, now_ms, &mut actions);
    }
    show_next(&mut state, now_ms);
    if state.is_showing() && !state.buttons.armed && state.is_attended(now_ms) {
        actions.push(Action::LookAtHands);
    }
    (state, actions)
}

/// Whether it may be meant for what has been on the screen until now.
fn is_input(event: &Event) -> bool {
    match event {
        Event::Key(_) | Event::Pressed(_) | Event::Released(_) | Event::HandsFree(_) | Event::Close => true,
        Event::Command(_) | Event::Focus(_) | Event::Tick => false,
    }
}

fn shown(state: &State) -> Option<&Open> {
    state.queue.shown()
}

fn react(state: &mut State, event: Event, now_ms: u64, actions: &mut Vec<Action>) {
    match event {
        Event::Command(DialogCommand::Ask(question)) => {
            if let Err(breach) = state.queue.add(question, now_ms) {
                actions.push(Action::End(breach));
            }
        }
        Event::Command(DialogCommand::Withdraw { id }) => drop(state.queue.withdraw(id)),
        Event::Command(DialogCommand::Tell(notice)) => tell(state, notice),
        Event::Focus(has_focus) => {
            state.quiet_since_ms = has_focus.then_some(now_ms);
            state.buttons = Buttons { has_focus, ..Buttons::default() };
        }
        Event::Key(key) if state.buttons.armed => key_works(state, key, actions),
        Event::Pressed(over) if state.buttons.armed => state.buttons.pressed = over,
        Event::Released(over) if state.buttons.armed => {
            let pressed = state.buttons.pressed.take();
            if let Some(choice) = over.filter(|_| over == pressed) {
                choose(state, choice, actions);
            }
        }
        Event::Key(_) | Event::Pressed(_) | Event::Released(_) => state.touched(now_ms),
        Event::HandsFree(true) => state.buttons.armed = state.is_showing() && state.is_attended(now_ms),
        Event::HandsFree(false) => state.touched(now_ms),
        // The window manager's own button needs no focus, but the second of two clicks on it must not close what the
        // first one has brought up.
        Event::Close if now_ms.saturating_sub(state.shown_since_ms) >= ATTENTION_MS_MIN => {
            choose(state, Choice::No, actions);
        }
        Event::Close | Event::Tick => {}
    }
}

fn key_works(state: &mut State, key: Key, actions: &mut Vec<Action>) {
    let is_question = state.queue.shown().is_some();
    match key {
        Key::Enter => choose(state, state.buttons.focus, actions),
        Key::Escape => choose(state, Choice::No, actions),
        Key::Tab if is_question => {
            state.buttons.focus = match state.buttons.focus {
                Choice::No => Choice::Yes,
                Choice::Yes => Choice::No,
            };
        }
        Key::Left if is_question => state.buttons.focus = Choice::Yes,
        Key::Right => state.buttons.focus = Choice::No,
        Key::Tab | Key::Left | Key::Other => {}
    }
}

/// An answer, or the end of a notice.
fn choose(state: &mut State, choice: Choice, actions: &mut Vec<Action>) {
    if let Some(open) = state.queue.settle() {
        actions.push(Action::Send(DialogEvent::Answer { id: open.question.id, yes: choice == Choice::Yes }));
    } else {
        dismiss(state);
    }
}

fn tell(state: &mut State, notice: Notice) {
    if state.notices.len() >= NOTICES_MAX {
        // The first one may be on the screen.
        let oldest = usize::from(state.notice_until_ms.is_some());
        state.notices.remove(oldest);
    }
    state.notices.push_back(notice);
}

fn dismiss(state: &mut State) {
    if state.notice_until_ms.take().is_some() {
        state.notices.pop_front();
    }
}

/// A question before a notice: one that is interrupted is shown again, from its beginning.
fn show_next(state: &mut State, now_ms: u64) {
    if state.queue.show_next().is_some() {
        state.notice_until_ms = None;
        state.newly_shown(now_ms);
    } else if state.queue.shown().is_none() && state.notice_until_ms.is_none() && !state.notices.is_empty() {
        state.notice_until_ms = Some(now_ms.saturating_add(NOTICE_MS));
        state.newly_shown(now_ms);
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
