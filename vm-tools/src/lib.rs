//! The programs inside a VM, and what they share.
//!
//! They run as an ordinary user; the udev script is started as root and becomes the user before it touches anything
//! of the user's. [`session`] is the VM's side of the contract with dom0; [`exit`] and [`failure`] are how each of them
//! ends: with one clear line and one of a few codes.

pub mod child;
pub mod cli;
pub mod copy;
pub mod desktop;
pub mod device;
pub mod dvm;
pub mod exit;
pub mod failure;
pub mod inbox;
pub mod incoming;
pub mod interrupt;
pub mod lock;
pub mod mount;
pub mod penctl;
pub mod progress;
pub mod receiver;
pub mod session;
pub mod settings;
pub mod shown;
pub mod stamp;
pub mod tree;
pub mod unpack;
pub mod unpacked;
pub mod waiting;
