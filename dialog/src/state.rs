//! What the dialog does about each event: pure, and bounded by the number of questions that can be open.

use protocol::dialog::{DialogCommand, DialogEvent, Notice, Question, QuestionId};
use protocol::log::{Level, LogLine};

use crate::answer::{self, Answer};
use crate::lines::{Line, Lines, ends_mid_line};
use crate::queue::{Breach, Queue};
use crate::text;

/// An empty line counts only after this long without any key, in milliseconds: a held Enter key answers
/// nothing (L14).
pub const QUIET_MS_MIN: u64 = 1000;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The broker's message.
    Command(DialogCommand),
    /// Bytes that the person typed while a question was shown.
    Input(Vec<u8>),
    /// What [`Action::Drain`] dropped ended in the middle of a line.
    DrainedMidLine,
    /// Nothing more can be typed, or shown.
    InputEnded,
    /// Time has passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Drop whatever has been typed so far (L13).
    Drain,
    /// Show this.
    Print(String),
    /// Tell the broker this.
    Send(DialogEvent),
    /// Give up: the broker does not keep to the protocol.
    End(Breach),
}

/// The open questions: one that is shown, the others behind it in the order in which they came.
///
/// | state | `Ask` | `Withdraw` of the shown / a waiting one / another | input, its end | time over for the shown / a waiting one |
/// |---|---|---|---|---|
/// | nothing shown | shown | – / – / ignored | ignored | – |
/// | one shown, none waiting | waits | nothing shown / – / ignored | answered: nothing shown | nothing shown / – |
/// | one shown, some waiting | waits | next shown / forgotten / ignored | answered: next shown | next shown / forgotten |
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    queue: Queue,
    /// When a question was shown, or when something was typed last.
    quiet_since_ms: u64,
    lines: Lines,
}

impl State {
    /// Whether a question is on the screen: only then is input read.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.queue.shown().is_some()
    }

    /// When [`Event::Tick`] is due, on the clock of `now_ms`.
    #[must_use]
    pub fn next_tick_ms(&self) -> Option<u64> {
        self.queue.next_expiry_ms()
    }
}

/// The whole behaviour. `now_ms` is any clock that never goes back.
#[must_use]
pub fn step(mut state: State, event: Event, now_ms: u64) -> (State, Vec<Action>) {
    let mut actions = Vec::new();
    // First of all, because an answer that comes too late must not count, however it is scheduled.
    expire(&mut state, now_ms, &mut actions);
    match event {
        Event::Command(DialogCommand::Ask(question)) => ask(&mut state, question, now_ms, &mut actions),
        Event::Command(DialogCommand::Tell(notice)) => tell(&state, &notice, &mut actions),
        Event::Command(DialogCommand::Withdraw { id }) => withdraw(&mut state, id, &mut actions),
        Event::Input(bytes) => input(&mut state, &bytes, now_ms, &mut actions),
        Event::DrainedMidLine => state.lines.restart(true),
        Event::InputEnded => input_ended(&mut state, &mut actions),
        Event::Tick => {}
    }
    show_next(&mut state, now_ms, &mut actions);
    (state, actions)
}

fn expire(state: &mut State, now_ms: u64, actions: &mut Vec<Action>) {
    if let Some(open) = state.queue.expire(now_ms) {
        // The broker times out by itself; an answer from here would claim that the person had said no.
        actions.push(Action::Print(text::expired(&open.question)));
    }
}

fn ask(state: &mut State, question: Question, now_ms: u64, actions: &mut Vec<Action>) {
    if let Err(breach) = state.queue.add(question, now_ms) {
        actions.push(Action::End(breach));
    }
}

/// A line for the person. A question that is on the screen gets its prompt again, so that it stays readable.
fn tell(state: &State, notice: &Notice, actions: &mut Vec<Action>) {
    actions.push(Action::Print(text::notice(notice)));
    if let Some(shown) = state.queue.shown() {
        actions.push(Action::Print(text::unclear(&shown.question)));
    }
}

fn withdraw(state: &mut State, id: QuestionId, actions: &mut Vec<Action>) {
    if let Some(open) = state.queue.withdraw(id) {
        actions.push(Action::Print(text::withdrawn(&open.question)));
    }
}

fn input(state: &mut State, bytes: &[u8], now_ms: u64, actions: &mut Vec<Action>) {
    let Some(shown) = state.queue.shown() else {
        // Settled while these bytes were on their way.
        state.lines.restart(ends_mid_line(bytes));
        return;
    };
    let question = shown.question.clone();
    let was_quiet = now_ms.saturating_sub(state.quiet_since_ms) >= QUIET_MS_MIN;
    state.quiet_since_ms = now_ms;
    let mut rest = bytes.iter();
    // A held key fills the buffer with lines: only the first one can follow a time without keys.
    let mut is_first_line = true;
    while let Some(&byte) = rest.next() {
        let Some(line) = state.lines.push(byte) else { continue };
        let verdict = judge(&line, &question, was_quiet && is_first_line);
        is_first_line = false;
        match verdict {
            Verdict::Nothing(message) => actions.extend(message.map(Action::Print)),
            Verdict::Answer(yes) => {
                // What follows in these bytes was typed before the next question is there.
                state.lines.restart(ends_mid_line(rest.as_slice()));
                state.queue.settle();
                actions.push(Action::Send(DialogEvent::Answer { id: question.id, yes }));
                actions.push(Action::Print(text::answered(&question, yes)));
                return;
            }
        }
    }
}

enum Verdict {
    Answer(bool),
    Nothing(Option<String>),
}

fn judge(line: &Line, question: &Question, was_quiet: bool) -> Verdict {
    let line = match line {
        Line::Whole(line) => line,
        Line::TooLong => return Verdict::Nothing(Some(text::unclear(question))),
        Line::BegunEarlier => return Verdict::Nothing(Some(text::begun_earlier(question))),
    };
    match answer::parse(line, question.id) {
        Answer::Yes => Verdict::Answer(true),
        Answer::No => Verdict::Answer(false),
        Answer::Empty if was_quiet => Verdict::Answer(false),
        Answer::Empty => Verdict::Nothing(None),
        Answer::OtherNumber => Verdict::Nothing(Some(text::other_number(question))),
        Answer::Unclear => Verdict::Nothing(Some(text::unclear(question))),
    }
}

fn input_ended(state: &mut State, actions: &mut Vec<Action>) {
    state.lines = Lines::default();
    if let Some(open) = state.queue.settle() {
        let question = &open.question;
        let line = format!("nothing can be typed at the terminal: question {} is answered no", question.id.0);
        actions.push(Action::Send(DialogEvent::Answer { id: question.id, yes: false }));
        actions.push(Action::Send(DialogEvent::Log(LogLine::new(Level::Warning, &line))));
        actions.push(Action::Print(text::input_ended(question)));
    }
}

fn show_next(state: &mut State, now_ms: u64, actions: &mut Vec<Action>) {
    let waiting_behind = state.queue.waiting().saturating_sub(1);
    if let Some(open) = state.queue.show_next() {
        let remaining_ms = open.expires_at_ms.saturating_sub(now_ms);
        actions.push(Action::Drain);
        actions.push(Action::Print(text::question(&open.question, waiting_behind, remaining_ms)));
        state.lines.restart(false);
        state.quiet_since_ms = now_ms;
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
