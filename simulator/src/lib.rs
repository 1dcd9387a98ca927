//! A simulated Xen host: a xenstore server with a socket per domain, virtual machines that are namespaces, and
//! the two ends of their block devices. Everything else that runs on it is the real program.

pub mod server;
pub mod store;
