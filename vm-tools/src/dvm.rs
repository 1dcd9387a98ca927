//! Documents in DisposableVMs, both sides.
//!
//! ```text
//! seq.rs         ~/.dvm: numbers of transactions, and which documents each number stands for
//! document.rs    a document onto a pendrive
//! open.rs        qvm-open-in-dvm
//! ```

pub mod document;
pub mod open;
pub mod seq;
