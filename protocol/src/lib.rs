//! What the processes of qfilexchgd say to each other.
//!
//! One module for each edge between two processes holds the message types of both directions and the
//! table of what may be received in which state. Underneath lie [`codec`] (bytes to message, bounded)
//! and [`channel`] (one datagram is one message, over `SOCK_SEQPACKET`).
//!
//! Every type that carries something a VM chose checks it in its constructor and checks it **again** when
//! it is decoded: a message that arrives is as suspicious as the process that sent it.

pub mod attach;
pub mod channel;
pub mod codec;
pub mod control;
pub mod dialog;
pub mod journald;
pub mod launch;
pub mod log;
pub mod monitor;
pub mod notify;
pub mod reply;
pub mod request;
pub mod runner;
pub mod settings;
pub mod supervise;
pub mod types;
pub mod unpack;
