//! The broker's state machine under a model checker.
//!
//! What is explored is [`broker::machine::Machine`] itself, not a description of it. Around it are a host, workers and
//! VMs that do everything that they can do in every order, and now and then die, fail or repeat themselves.
//! docs/model.md says what is modelled, what is not, and what was found.

pub mod actions;
pub mod attacher;
pub mod config;
pub mod configs;
pub mod guests;
pub mod properties;
pub mod rest;
pub mod run;
pub mod step;
pub mod workers;
pub mod world;
