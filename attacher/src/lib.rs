//! Everything that has a Xen privilege: the attacher, and the gate in front of xenstored.
//!
//! Nothing here reads a byte that a VM has chosen. The attacher takes typed orders from the broker and carries them
//! out on the image directory, on loop devices and in xenstore; what it decides is in [`machine`], which has no
//! effects, and what it does is in the other modules, which decide nothing.

pub mod backing;
pub mod gate;
pub mod images;
pub mod inventory;
pub mod keys;
pub mod launcher;
pub mod machine;
pub mod name;
pub mod runner;
pub mod settings;
pub mod trouble;
pub mod vbd;
pub mod worker;
