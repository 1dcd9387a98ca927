//! The first process of the daemon: configuration, descriptors, workers.

pub mod config;
pub mod files;
