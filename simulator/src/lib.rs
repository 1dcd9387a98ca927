//! A simulated Xen host: a xenstore server with a socket per domain, virtual machines that are namespaces, and
//! the two ends of their block devices. Everything else that runs on it is the real program.

pub mod cli;
mod control;
mod daemon;
mod error;
mod files;
mod host;
pub mod server;
pub mod store;
mod up;
mod vm;
