//! A real Xen host on a machine without one: Debian's Xen, a dom0 and guests under QEMU, without KVM and without root.
//!
//! `cargo xtask xen-test` runs the scenarios of [`scenarios`] in it, `cargo xtask xen-shell` gives a shell. README.md
//! in this folder says more.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and what they need: a failure here fails the test"
)]

pub mod bench;
pub mod clock;
mod host;
pub mod image;
mod machine;
mod product;
mod runner;
pub mod scenarios;
pub mod store;
pub mod waits;
pub mod wire;

use std::path::Path;
use std::process::Command;

pub use host::{Lab, Ran, Running};
pub use machine::Options;
pub use product::Product;
pub use runner::{Summary, run_all, shell};

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Something is needed that is not here.
    #[error("{0}")]
    Missing(String),
    /// A file.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// The machine did not come up.
    #[error("the lab does not boot: {0}")]
    Boot(String),
    /// Nothing that can be measured has such a name.
    #[error("nothing that is measured is called {0}")]
    NothingWanted(String),
}

impl LabError {
    fn at(path: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |error| Self::File(path.clone(), error)
    }
}

/// Runs a program that must succeed, and gives what it wrote.
fn run(command: &mut Command, what: &str) -> Result<Vec<u8>, LabError> {
    let output = command.output().map_err(|error| LabError::Missing(format!("{what}: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LabError::Missing(format!("{what}: {}: {said}", output.status)))
}
