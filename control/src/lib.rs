//! control: holds the socket that `qfilexchgctl` connects to, and passes what it asks on to the broker.
//!
//! [`admission`] says who may ask. [`desk`] is the whole of its thinking, event in, actions out. [`worker`] is the loop
//! around both.

pub mod admission;
pub mod desk;
pub mod worker;
