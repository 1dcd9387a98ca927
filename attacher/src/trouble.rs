//! Why an effect failed: an answer for the broker, or the end of this process.

use protocol::attach::AttachFailure;

/// Why an effect failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The order fails, and nothing of it is left behind.
    #[error(transparent)]
    Failed(#[from] AttachFailure),
    /// Nothing more can be said about xenstore: this process must end, and its successor looks at everything anew.
    #[error(transparent)]
    Lost(xenstore::Error),
}

impl From<xenstore::Error> for Trouble {
    fn from(error: xenstore::Error) -> Self {
        if error.is_fatal() { Self::Lost(error) } else { Self::Failed(AttachFailure::Xenstore) }
    }
}

/// Takes the end of this process out of a result, and leaves what the broker is told.
///
/// # Errors
/// The connection to xenstored cannot be used any longer.
pub fn answerable<T>(result: Result<T, Trouble>) -> Result<Result<T, AttachFailure>, xenstore::Error> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Trouble::Failed(failure)) => Ok(Err(failure)),
        Err(Trouble::Lost(error)) => Err(error),
    }
}
