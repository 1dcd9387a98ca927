//! Documents in DisposableVMs, both sides.
//!
//! ```text
//! open.rs        qvm-open-in-dvm
//! receive.rs     who this VM is to a document that arrives
//!   answer.rs      the VM that sent it: the changed document replaces the old one
//!   disposable.rs  a DisposableVM: opens it, and sends it back if it was changed
//!
//! seq.rs         ~/.dvm: numbers of transactions, and which documents each number stands for
//! document.rs    a document onto a pendrive
//! together.rs    several of them onto one, and off it
//! parser.rs      starting dvm-parser, and judging what it leaves
//! replace.rs     the old document or the whole new one, never anything between
//! handler.rs     the program that opens a document
//! release.rs     when nobody has to do with it any longer
//! holders.rs     who has to do with it
//! ```

pub mod answer;
pub mod disposable;
pub mod document;
pub mod handler;
pub mod holders;
pub mod open;
pub mod parser;
pub mod receive;
pub mod release;
pub mod replace;
pub mod seq;
pub mod together;
