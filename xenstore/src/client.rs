//! The client: typed paths in, bytes out.

use crate::connection::Connection;
use crate::error::{Error, Refusal};
use crate::path::{Readable, Watchable, XsPath};
use crate::permissions::Permissions;
use crate::token::{Token, WatchEvent, watch_payload};
use crate::transaction::Transaction;
use crate::wire::Kind;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Most tries of one transaction that is disturbed by others (`EAGAIN`).
pub const TRANSACTION_TRIES_MAX: usize = 32;

/// Transaction id of requests outside transactions.
pub(crate) const NO_TRANSACTION: u32 = 0;

/// A client of xenstored on one connection that somebody else opened.
///
/// All calls wait for their reply, at most [`crate::REPLY_MS_MAX`]. Events that arrive meanwhile are kept: take all
/// of [`Client::next_event`] before waiting for [`Client::fd`]. Writing to a closed connection needs `SIGPIPE` to be
/// ignored, as Rust's runtime does at start.
#[derive(Debug)]
pub struct Client {
    pub(crate) connection: Connection,
}

impl Client {
    /// Takes a connected stream socket, or the device `/dev/xen/xenbus`, and makes it non-blocking.
    ///
    /// # Errors
    /// [`Error::Io`] when the descriptor does not take that.
    pub fn new(fd: OwnedFd) -> Result<Self, Error> {
        Connection::new(fd).map(|connection| Self { connection })
    }

    /// Changes the longest wait for one reply; the default is [`crate::REPLY_MS_MAX`].
    pub fn set_reply_ms_max(&mut self, reply_ms_max: u64) {
        self.connection.set_reply_ms_max(reply_ms_max);
    }

    /// The value of a node: at most 4096 bytes, and whatever a guest wrote if a guest can write it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(&mut self, path: &impl Readable) -> Result<Vec<u8>, Error> {
        self.connection.call(Kind::Read, NO_TRANSACTION, &[path.text().as_bytes(), b"\0"])
    }

    /// Sets the value of a node; makes it, and the nodes above it, if missing.
    ///
    /// # Errors
    /// [`Error`].
    pub fn write(&mut self, path: &impl XsPath, value: &[u8]) -> Result<(), Error> {
        let parts = [path.text().as_bytes(), b"\0", value];
        self.connection.call(Kind::Write, NO_TRANSACTION, &parts).map(drop)
    }

    /// Makes an empty node if it is missing.
    ///
    /// # Errors
    /// [`Error`].
    pub fn mkdir(&mut self, path: &impl XsPath) -> Result<(), Error> {
        self.connection.call(Kind::Mkdir, NO_TRANSACTION, &[path.text().as_bytes(), b"\0"]).map(drop)
    }

    /// Removes a node and everything below it. A node that is not there is no error.
    ///
    /// # Errors
    /// [`Error`].
    pub fn rm(&mut self, path: &impl XsPath) -> Result<(), Error> {
        let parts: [&[u8]; 2] = [path.text().as_bytes(), b"\0"];
        missing_is_done(self.connection.call(Kind::Rm, NO_TRANSACTION, &parts))
    }

    /// Owner and access list of a node.
    ///
    /// # Errors
    /// [`Error`].
    pub fn permissions(&mut self, path: &impl XsPath) -> Result<Permissions, Error> {
        let parts: [&[u8]; 2] = [path.text().as_bytes(), b"\0"];
        Permissions::decode(&self.connection.call(Kind::GetPerms, NO_TRANSACTION, &parts)?)
    }

    /// Sets owner and access list of a node.
    ///
    /// # Errors
    /// [`Error`].
    pub fn set_permissions(&mut self, path: &impl XsPath, permissions: &Permissions) -> Result<(), Error> {
        let parts = [path.text().as_bytes(), b"\0", &permissions.encode()];
        self.connection.call(Kind::SetPerms, NO_TRANSACTION, &parts).map(drop)
    }

    /// Names of the children of a node, in the server's order. A guest may have chosen them.
    ///
    /// # Errors
    /// [`Error`]; [`Error::TooMany`] beyond [`crate::DIRECTORY_BYTES_MAX`].
    pub fn directory(&mut self, path: &impl Readable) -> Result<Vec<Vec<u8>>, Error> {
        crate::directory::list(&mut self.connection, NO_TRANSACTION, path.text())
    }

    /// Sets a watch. It fires once at once, then for every change of the node and of everything below it.
    ///
    /// # Errors
    /// [`Error`]; [`Error::TooMany`] for more than [`crate::WATCHES_MAX`] watches.
    pub fn watch(&mut self, path: &impl Watchable, token: Token) -> Result<(), Error> {
        self.connection.expect_events(token)?;
        let payload = watch_payload(path, token);
        let result = self.connection.call(Kind::Watch, NO_TRANSACTION, &[payload.as_bytes()]).map(drop);
        if matches!(result, Err(error) if error != Error::Refused(Refusal::Exists)) {
            self.connection.forget_events(Some(token));
        }
        result
    }

    /// Removes a watch, and its event if one waits.
    ///
    /// # Errors
    /// [`Error`].
    pub fn unwatch(&mut self, path: &impl Watchable, token: Token) -> Result<(), Error> {
        self.connection.forget_events(Some(token));
        let payload = watch_payload(path, token);
        self.connection.call(Kind::Unwatch, NO_TRANSACTION, &[payload.as_bytes()]).map(drop)
    }

    /// Removes all watches of this connection, and all events that wait.
    ///
    /// # Errors
    /// [`Error`].
    pub fn reset_watches(&mut self) -> Result<(), Error> {
        self.connection.forget_events(None);
        self.connection.call(Kind::ResetWatches, NO_TRANSACTION, &[b"\0"]).map(drop)
    }

    /// Does what `steps` does in one transaction, again from the start when others disturb it.
    ///
    /// When `steps` or a request in it fails, nothing has happened and its error is returned.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Disturbed`] after [`TRANSACTION_TRIES_MAX`] tries.
    pub fn transaction<T>(
        &mut self,
        mut steps: impl FnMut(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..TRANSACTION_TRIES_MAX {
            let mut transaction = Transaction::start(&mut self.connection)?;
            let result = steps(&mut transaction);
            match transaction.end(result) {
                Err(Error::Refused(Refusal::Again)) => {}
                result => return result,
            }
        }
        Err(Error::Disturbed)
    }

    /// Readable when [`Client::pump`] has something to do.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.connection.fd()
    }

    /// Takes in what has arrived, without waiting.
    ///
    /// # Errors
    /// A fatal [`Error`], [`Error::Closed`] among them.
    pub fn pump(&mut self) -> Result<(), Error> {
        self.connection.pump()
    }

    /// The next watch that has fired. Each token waits at most once, so the queue is bounded by the watches.
    pub fn next_event(&mut self) -> Option<WatchEvent> {
        self.connection.next_event()
    }
}

/// Removing what is not there is done.
pub(crate) fn missing_is_done(result: Result<Vec<u8>, Error>) -> Result<(), Error> {
    crate::error::missing_is_none(result).map(drop)
}
