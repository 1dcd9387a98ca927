//! The attacher in its real sandbox, against a xenstore, a kernel and guests that are played here.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test, helpers and all")]

mod loop_devices;
mod rig;
mod simulated;
mod xen_sim;
