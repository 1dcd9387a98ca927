//! The only crate with unsafe code: descriptors taken over from a parent, processes started in namespaces of their
//! own, the sandbox that each process enters, and loop devices.
//!
//! A process of this project is started by [`spawn::Spawn`], begins with [`worker::run`], which takes its descriptors
//! ([`inherit::Inherited`]) and enters its profile ([`sandbox::enter`]), and works only with the
//! [`sandbox::Sandboxed`] token that this yields. What a profile is says [`profile`]; the profiles themselves are in
//! the crate `sandbox-profiles`.

mod heap;
pub mod inherit;
pub mod loopdev;
pub mod peer;
pub mod profile;
pub mod sandbox;
pub mod signals;
pub mod spawn;
pub mod worker;
