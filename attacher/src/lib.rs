//! The attacher.

pub mod gate;
