//! The first process of the daemon: configuration, descriptors, workers.

pub mod accounts;
pub mod config;
pub mod control_socket;
pub mod directories;
pub mod display;
pub mod files;
pub mod log;
pub mod machine;
pub mod memory_file;
pub mod notify;
pub mod open;
pub mod policy_files;
pub mod programs;
pub mod run;
pub mod runner;
pub mod session_bus;
pub mod settings;
pub mod watchdog;
pub mod workers;
pub mod xenstored;
