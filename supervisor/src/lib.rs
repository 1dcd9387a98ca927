//! The first process of the daemon: configuration, descriptors, workers.

pub mod accounts;
pub mod config;
pub mod files;
pub mod machine;
pub mod memory_file;
pub mod notify;
pub mod policy_files;
pub mod settings;
