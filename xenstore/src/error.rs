//! What can go wrong between a client and xenstored.

use crate::wire::FrameError;
use thiserror::Error;

/// Why xenstored refused a request: the names of `xs_wire.h`. Text that is none of them becomes [`Refusal::Other`]
/// and is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Refusal {
    /// `ENOENT`.
    #[error("ENOENT")]
    NoEntry,
    /// `EACCES`.
    #[error("EACCES")]
    Access,
    /// `EPERM`.
    #[error("EPERM")]
    Permission,
    /// `EAGAIN`: a transaction met another one.
    #[error("EAGAIN")]
    Again,
    /// `EEXIST`.
    #[error("EEXIST")]
    Exists,
    /// `EINVAL`.
    #[error("EINVAL")]
    Invalid,
    /// `E2BIG`.
    #[error("E2BIG")]
    TooBig,
    /// `ENOSPC`, or `EQUOTA` of oxenstored: a quota of this domain is used up.
    #[error("ENOSPC")]
    NoSpace,
    /// `ENOMEM`.
    #[error("ENOMEM")]
    NoMemory,
    /// `EBUSY`.
    #[error("EBUSY")]
    Busy,
    /// `EIO`.
    #[error("EIO")]
    Io,
    /// `EISDIR`.
    #[error("EISDIR")]
    IsDirectory,
    /// `ENOTEMPTY`.
    #[error("ENOTEMPTY")]
    NotEmpty,
    /// `ENOSYS`: the daemon does not know this request.
    #[error("ENOSYS")]
    NotSupported,
    /// `EROFS`.
    #[error("EROFS")]
    ReadOnly,
    /// `EISCONN`.
    #[error("EISCONN")]
    Connected,
    /// Another error.
    #[error("an unknown error")]
    Other,
}

impl Refusal {
    /// Reads the payload of an ERROR reply, with or without its NUL.
    #[must_use]
    pub fn of_payload(payload: &[u8]) -> Self {
        let name = payload.strip_suffix(b"\0").unwrap_or(payload);
        match name {
            b"ENOENT" => Self::NoEntry,
            b"EACCES" => Self::Access,
            b"EPERM" => Self::Permission,
            b"EAGAIN" => Self::Again,
            b"EEXIST" => Self::Exists,
            b"EINVAL" => Self::Invalid,
            b"E2BIG" => Self::TooBig,
            b"ENOSPC" | b"EQUOTA" => Self::NoSpace,
            b"ENOMEM" => Self::NoMemory,
            b"EBUSY" => Self::Busy,
            b"EIO" => Self::Io,
            b"EISDIR" => Self::IsDirectory,
            b"ENOTEMPTY" => Self::NotEmpty,
            b"ENOSYS" => Self::NotSupported,
            b"EROFS" => Self::ReadOnly,
            b"EISCONN" => Self::Connected,
            _ => Self::Other,
        }
    }
}

/// Why a call of the client failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// xenstored answered with an error; the connection is fine.
    #[error("xenstored refused: {0}")]
    Refused(#[from] Refusal),
    /// A path that is empty, too long, or has a byte that no path may have; nothing was sent.
    #[error("not a xenstore path")]
    BadPath,
    /// Path and value, or a permission list, do not fit into one request; nothing was sent.
    #[error("a xenstore request would be longer than 4096 bytes")]
    TooLong,
    /// A transaction, or a long directory, was disturbed by others too many times in a row.
    #[error("xenstore was changed by others during each of too many tries")]
    Disturbed,
    /// A reply arrived whole but does not say what such a reply says.
    #[error("a reply of xenstored does not parse")]
    BadReply,
    /// A list in a reply is longer than this client keeps.
    #[error("a list in xenstore is longer than this client keeps")]
    TooMany,
    /// No reply in time. The connection cannot be used any more.
    #[error("xenstored did not answer in time")]
    TimedOut,
    /// The other side closed the connection.
    #[error("the xenstore connection was closed")]
    Closed,
    /// The other side broke the protocol. The connection cannot be used any more.
    #[error("the xenstore connection is out of step: {0}")]
    Broken(&'static str),
    /// A system call on the connection failed. It cannot be used any more.
    #[error("the xenstore connection failed: {0}")]
    Io(#[from] rustix::io::Errno),
}

impl Error {
    /// Whether the connection must be given up.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        match self {
            Self::TimedOut | Self::Closed | Self::Broken(_) | Self::Io(_) => true,
            Self::Refused(_)
            | Self::BadPath
            | Self::TooLong
            | Self::Disturbed
            | Self::BadReply
            | Self::TooMany => false,
        }
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLong => Self::Broken("a message is longer than 4096 bytes"),
        }
    }
}

/// `Ok(None)` for a node that is not there, which is often no error.
///
/// # Errors
/// Every error but `ENOENT`.
pub fn missing_is_none<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Refused(Refusal::NoEntry)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_errors_are_read_with_and_without_their_nul() {
        assert_eq!(Refusal::of_payload(b"ENOENT\0"), Refusal::NoEntry);
        assert_eq!(Refusal::of_payload(b"ENOENT"), Refusal::NoEntry);
        assert_eq!(Refusal::of_payload(b"EQUOTA\0"), Refusal::NoSpace);
        for untrusted_text in [&b""[..], b"\0", b"ENOENT\0\0", b"enoent", b"\xff\x1b[2J"] {
            assert_eq!(Refusal::of_payload(untrusted_text), Refusal::Other);
        }
    }

    #[test]
    fn only_a_missing_node_becomes_none() {
        assert_eq!(missing_is_none(Ok(3)), Ok(Some(3)));
        assert_eq!(missing_is_none::<u8>(Err(Refusal::NoEntry.into())), Ok(None));
        assert_eq!(missing_is_none::<u8>(Err(Refusal::Access.into())), Err(Refusal::Access.into()));
    }
}
