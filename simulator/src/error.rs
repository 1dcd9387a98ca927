//! What can go wrong on the simulated host, said in one line.

use std::io;

/// An error of the simulator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimError {
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it did not work.
        source: io::Error,
    },
    /// What was asked for makes no sense now.
    #[error("{0}")]
    Refused(String),
}

/// Says what was tried when something fails.
pub(crate) trait Trying<T> {
    /// Adds what was tried.
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, SimError>;
}

impl<T, E: Into<io::Error>> Trying<T> for Result<T, E> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, SimError> {
        self.map_err(|error| SimError::System { what: what(), source: error.into() })
    }
}

/// An error that is a sentence.
pub(crate) fn refused<T>(text: impl Into<String>) -> Result<T, SimError> {
    Err(SimError::Refused(text.into()))
}
