//! The programs inside a VM.
