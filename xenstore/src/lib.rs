//! A xenstore client over a descriptor that it is given, with paths that cannot be wrong.
//!
//! [`Client`] is what every process uses: typed paths ([`path`]), typed permissions, transactions whose changes are
//! sent without waiting for each reply, watches whose events say only which watch has fired. [`wire`] holds the
//! framing, which the relay between xs-monitor and xenstored uses alone. [`plain`] puts the traits of the crate
//! xenstore-rs on top.

mod client;
pub mod connect;
mod connection;
mod directory;
mod error;
pub mod number;
pub mod path;
mod permissions;
pub mod plain;
#[cfg(test)]
mod tests;
mod token;
mod transaction;
pub mod wire;

pub use client::{Client, TRANSACTION_TRIES_MAX};
pub use connection::{PIPELINE_REQUESTS_MAX, REPLY_MS_MAX, WATCHES_MAX};
pub use directory::{DIRECTORY_BYTES_MAX, DIRECTORY_TRIES_MAX};
pub use error::{Error, Refusal, missing_is_none};
pub use permissions::{Access, GRANTS_MAX, Permissions, Who};
pub use token::{Token, WatchEvent};
pub use transaction::{Asked, Transaction};
