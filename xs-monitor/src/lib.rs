//! xs-monitor: reads what VMs ask for, and tells the broker in small typed messages.
//!
//! Runs as: its own user, in its own namespaces · Holds: the edge to the broker, a stream to xs-gate · May: read and
//! watch xenstore through xs-gate · Must never: write a node, or pass on a byte of a VM that was not parsed · Trusts:
//! nothing that a VM can write · Ends when: the broker or xs-gate is gone, or says what it has no right to say.
//!
//! [`request`] is the grammar, [`machine`] decides, [`domains`] and [`bucket`] are its memory, [`shell`] is the loop.

pub mod bucket;
pub mod domains;
pub mod machine;
pub mod request;
pub mod shell;
