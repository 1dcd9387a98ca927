//! Desktop notifications in dom0: what the policy decided without a question, shown on the person's session bus.
//!
//! [`text`] makes the words, [`wire`] the bytes of the two messages that are ever sent, [`bus`] is the conversation
//! without its socket, and [`worker`] the loop around it.

pub mod bus;
pub mod text;
pub mod wire;
pub mod worker;
