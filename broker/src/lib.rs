//! The broker: decides about every transfer, and can carry out none.
//!
//! [`machine`] is the whole of its thinking, a pure state machine. [`journal`] keeps what must outlive the
//! process. [`run`] is the thin loop around both.

pub mod journal;
pub mod machine;
pub mod run;
