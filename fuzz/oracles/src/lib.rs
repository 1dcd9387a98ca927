//! What must hold whatever comes: one module for each fuzz target.
//!
//! A target is a function of bytes that panics when something does not hold. libFuzzer calls it (`fuzz/targets/`), and
//! an ordinary test calls it with every input that is kept in `fuzz/seeds/`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how an oracle speaks"
)]

pub mod broker;
mod bus;
pub mod bytes;
mod client;
pub mod config;
mod desk;
pub mod document;
pub mod edges;
pub mod fat_round_trip;
pub mod fat_volume;
pub mod gate;
pub mod journal;
mod launcher;
mod liars;
pub mod machines;
mod memory;
mod monitor;
pub mod policy;
pub mod request;
mod store;
pub mod xenstore;

/// One fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its file in `fuzz/targets/`, of its folder in `fuzz/seeds/`, and of its dictionary.
    pub name: &'static str,
    /// Tries one input.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "broker", run: broker::run },
    Target { name: "config", run: config::run },
    Target { name: "document", run: document::run },
    Target { name: "edges", run: edges::run },
    Target { name: "fat_round_trip", run: fat_round_trip::run },
    Target { name: "fat_volume", run: fat_volume::run },
    Target { name: "gate", run: gate::run },
    Target { name: "journal", run: journal::run },
    Target { name: "machines", run: machines::run },
    Target { name: "policy", run: policy::run },
    Target { name: "request", run: request::run },
    Target { name: "xenstore", run: xenstore::run },
];
