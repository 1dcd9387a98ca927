//! Documents in DisposableVMs, both sides.
//!
//! ```text
//! seq.rs         ~/.dvm: numbers of transactions, and which document each number stands for
//! ```

pub mod seq;
