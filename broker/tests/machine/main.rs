//! The broker's state machine in a world of fakes.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

mod control;
mod disposables;
mod found;
mod matrix;
mod play;
mod random;
mod restarts;
mod steps;
mod world;
