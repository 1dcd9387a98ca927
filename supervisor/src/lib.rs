//! The first process of the daemon: configuration, descriptors, workers.

pub mod config;
pub mod files;
pub mod policy_files;
