//! dvm-launcher in its real sandbox with a real dvm-runner, which runs small scripts of these tests.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test, helpers and all")]

mod commands;
mod hostile;
mod rig;
mod simulated;
