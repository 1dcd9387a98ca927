//! The open questions: one that is shown, the others behind it in the order in which they came.

use std::collections::VecDeque;

use protocol::dialog::{QUESTIONS_OPEN_MAX, Question, QuestionId};

/// What the broker must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// More than [`QUESTIONS_OPEN_MAX`] open questions.
    #[error("the broker asks more questions than may be open")]
    TooMany,
    /// Two open questions of one number.
    #[error("the broker asks one question twice")]
    Twice,
}

/// A question that has no answer yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// What is asked.
    pub question: Question,
    /// When it came, in milliseconds.
    pub since_ms: u64,
    /// When the answer becomes *no*, in milliseconds.
    pub expires_at_ms: u64,
}

/// All questions that have no answer yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    shown: Option<Open>,
    waiting: VecDeque<Open>,
}

impl Queue {
    /// The question that is shown.
    #[must_use]
    pub fn shown(&self) -> Option<&Open> {
        self.shown.as_ref()
    }

    /// How many wait behind it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// All of them, the shown one first.
    pub fn all(&self) -> impl Iterator<Item = &Open> {
        self.shown.iter().chain(&self.waiting)
    }

    /// When the next of them expires.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.all().map(|open| open.expires_at_ms).min()
    }

    /// Puts a question behind the others.
    ///
    /// # Errors
    /// [`Breach`], when the broker may not ask it.
    pub fn add(&mut self, question: Question, now_ms: u64) -> Result<(), Breach> {
        if self.all().any(|open| open.question.id == question.id) {
            return Err(Breach::Twice);
        }
        if self.all().count() >= QUESTIONS_OPEN_MAX {
            return Err(Breach::TooMany);
        }
        let expires_at_ms = now_ms.saturating_add(u64::from(question.expires_ms));
        self.waiting.push_back(Open { question, since_ms: now_ms, expires_at_ms });
        Ok(())
    }

    /// Forgets those whose time is over; gives the one of them that was shown.
    pub fn expire(&mut self, now_ms: u64) -> Option<Open> {
        self.waiting.retain(|open| open.expires_at_ms > now_ms);
        self.shown.take_if(|shown| shown.expires_at_ms <= now_ms)
    }

    /// Forgets one that was settled otherwise; gives it if it was shown.
    pub fn withdraw(&mut self, id: QuestionId) -> Option<Open> {
        self.waiting.retain(|open| open.question.id != id);
        self.shown.take_if(|shown| shown.question.id == id)
    }

    /// Takes the one that is shown away: it is answered.
    pub fn settle(&mut self) -> Option<Open> {
        self.shown.take()
    }

    /// Shows the next one, if none is shown and one waits.
    pub fn show_next(&mut self) -> Option<&Open> {
        if self.shown.is_some() {
            return None;
        }
        self.shown = self.waiting.pop_front();
        self.shown.as_ref()
    }
}
