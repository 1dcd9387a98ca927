//! The only crate with unsafe code.
