//! The dialog on a terminal: it puts the broker's questions to the person in dom0, one at a time.
//!
//! [`state`] decides everything and touches nothing; [`text`] is what the person sees, [`answer`] what the
//! person may type; [`terminal`] and [`worker`] are the thin shell around them.

pub mod answer;
pub mod lines;
pub mod queue;
pub mod state;
pub mod terminal;
pub mod text;
pub mod window;
pub mod worker;
