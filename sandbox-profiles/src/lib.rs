//! The profile of each process, compiled.
