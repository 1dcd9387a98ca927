//! The daemon's first process.
