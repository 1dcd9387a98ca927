//! The real tools in VMs of a simulated host, against a daemon that the tests play.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod answers;
mod copies;
mod documents;
mod host;
mod modes;
mod usage;
