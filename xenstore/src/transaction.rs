//! Transactions: several requests that happen together or not at all, sent without waiting for each reply.

use crate::client::{NO_TRANSACTION, missing_is_done};
use crate::connection::{Connection, PIPELINE_REQUESTS_MAX, RequestId};
use crate::error::{Error, Refusal};
use crate::number::decimal_u32;
use crate::path::{Readable, Watchable, XsPath};
use crate::permissions::Permissions;
use crate::token::{Token, watch_payload};
use crate::wire::Kind;
use std::collections::VecDeque;

/// What a reply that was not waited for must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Success,
    SuccessOrMissing,
    /// A watch, which may be set already.
    Watch(Token),
}

/// A question whose answer is not waited for yet: [`Transaction::answer`] does.
#[derive(Debug)]
#[must_use]
pub struct Asked(RequestId);

/// A transaction that is open.
///
/// [`Transaction::write`], [`Transaction::rm`] and the other changes only send: their replies are read before the next
/// [`Transaction::read`] and the like, at the latest before the commit, and the first refusal among them ends the transaction.
/// The questions of [`Transaction::ask_value`] and the like only send as well, and [`Transaction::answer`] waits for no change.
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: &'c mut Connection,
    id: u32,
    sent: VecDeque<(RequestId, Wanted)>,
    asked: Vec<RequestId>,
}

impl<'c> Transaction<'c> {
    pub(crate) fn start(connection: &'c mut Connection) -> Result<Self, Error> {
        let id = start(connection)?;
        Ok(Self { connection, id, sent: VecDeque::new(), asked: Vec::new() })
    }

    /// The value of a node, as this transaction sees it.
    ///
    /// # Errors
    /// [`Error`], also of a change that was sent before.
    pub fn read(&mut self, path: &impl Readable) -> Result<Vec<u8>, Error> {
        self.settle()?;
        self.connection.call(Kind::Read, self.id, &[path.text().as_bytes(), b"\0"])
    }

    /// Names of the children of a node, as this transaction sees it.
    ///
    /// # Errors
    /// [`Error`], also of a change that was sent before.
    pub fn directory(&mut self, path: &impl Readable) -> Result<Vec<Vec<u8>>, Error> {
        self.settle()?;
        crate::directory::list(self.connection, self.id, path.text())
    }

    /// Owner and access list of a node, as this transaction sees it.
    ///
    /// # Errors
    /// [`Error`], also of a change that was sent before.
    pub fn permissions(&mut self, path: &impl XsPath) -> Result<Permissions, Error> {
        self.settle()?;
        let parts: [&[u8]; 2] = [path.text().as_bytes(), b"\0"];
        Permissions::decode(&self.connection.call(Kind::GetPerms, self.id, &parts)?)
    }

    /// Asks for the value of a node, as this transaction sees it at this point.
    ///
    /// # Errors
    /// [`Error`]; [`Error::TooMany`] for more than [`crate::PIPELINE_REQUESTS_MAX`] that are not answered.
    pub fn ask_value(&mut self, path: &impl Readable) -> Result<Asked, Error> {
        self.ask(Kind::Read, path.text())
    }

    /// Asks for the names of the children of a node. Only for a node whose names fit into one reply.
    ///
    /// # Errors
    /// [`Error`]; [`Error::TooMany`] for more than [`crate::PIPELINE_REQUESTS_MAX`] that are not answered.
    pub fn ask_children(&mut self, path: &impl Readable) -> Result<Asked, Error> {
        self.ask(Kind::Directory, path.text())
    }

    /// Asks for owner and access list of a node.
    ///
    /// # Errors
    /// [`Error`]; [`Error::TooMany`] for more than [`crate::PIPELINE_REQUESTS_MAX`] that are not answered.
    pub fn ask_permissions(&mut self, path: &impl XsPath) -> Result<Asked, Error> {
        self.ask(Kind::GetPerms, path.text())
    }

    /// Waits for the answer, as xenstored wrote it: a value, names with a NUL behind each, an access list.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with [`Refusal::NoEntry`] when there is no such node.
    pub fn answer(&mut self, asked: Asked) -> Result<Vec<u8>, Error> {
        self.asked.retain(|request| *request != asked.0);
        self.connection.wait(asked.0)
    }

    /// Sets a watch, which is no part of the transaction, without waiting for the reply. One that is set already stays.
    ///
    /// # Errors
    /// [`Error`], also of a change that was sent before; [`Error::TooMany`] for more than [`crate::WATCHES_MAX`] watches.
    pub fn watch(&mut self, path: &impl Watchable, token: Token) -> Result<(), Error> {
        self.connection.expect_events(token)?;
        let payload = watch_payload(path, token);
        self.send_in(NO_TRANSACTION, Kind::Watch, Wanted::Watch(token), &[payload.as_bytes()])
    }

    /// Removes a watch, which is no part of the transaction, without waiting for the reply. None being set is no error.
    ///
    /// # Errors
    /// [`Error`], also of a change that was sent before.
    pub fn unwatch(&mut self, path: &impl Watchable, token: Token) -> Result<(), Error> {
        self.connection.forget_events(Some(token));
        let payload = watch_payload(path, token);
        self.send_in(NO_TRANSACTION, Kind::Unwatch, Wanted::SuccessOrMissing, &[payload.as_bytes()])
    }

    /// Removes a node and everything below it at once, whatever becomes of the transaction, without waiting for the reply.
    /// A node that is not there is no error.
    ///
    /// # Errors
    /// [`Error`], also of a change that was sent before.
    pub fn rm_at_once(&mut self, path: &impl XsPath) -> Result<(), Error> {
        let parts: [&[u8]; 2] = [path.text().as_bytes(), b"\0"];
        self.send_in(NO_TRANSACTION, Kind::Rm, Wanted::SuccessOrMissing, &parts)
    }

    /// Sets the value of a node; makes it, and the nodes above it, if missing.
    ///
    /// # Errors
    /// [`Error`], also of a change that was sent before.
    pub fn write(&mut self, path: &impl XsPath, value: &[u8]) -> Result<(), Error> {
        self.send(Kind::Write, Wanted::Success, &[path.text().as_bytes(), b"\0", value])
    }

    /// Makes an empty node if it is missing.
    ///
    /// # Errors
    /// [`Error`], also of a change that was sent before.
    pub fn mkdir(&mut self, path: &impl XsPath) -> Result<(), Error> {
        self.send(Kind::Mkdir, Wanted::Success, &[path.text().as_bytes(), b"\0"])
    }

    /// Removes a node and everything below it. A node that is not there is no error.
    ///
    /// # Errors
    /// [`Error`], also of a change that was sent before.
    pub fn rm(&mut self, path: &impl XsPath) -> Result<(), Error> {
        self.send(Kind::Rm, Wanted::SuccessOrMissing, &[path.text().as_bytes(), b"\0"])
    }

    /// Sets owner and access list of a node.
    ///
    /// # Errors
    /// [`Error`], also of a change that was sent before.
    pub fn set_permissions(&mut self, path: &impl XsPath, permissions: &Permissions) -> Result<(), Error> {
        let parts = [path.text().as_bytes(), b"\0", &permissions.encode()];
        self.send(Kind::SetPerms, Wanted::Success, &parts)
    }

    /// Waits until every change that was sent is answered; the error is the first refusal among them.
    fn settle(&mut self) -> Result<(), Error> {
        let mut first = Ok(());
        while let Some((request, wanted)) = self.sent.pop_front() {
            let reply = self.connection.wait(request);
            let result = match wanted {
                Wanted::Success => reply.map(drop),
                Wanted::SuccessOrMissing => missing_is_done(reply),
                Wanted::Watch(_) if reply == Err(Refusal::Exists.into()) => Ok(()),
                Wanted::Watch(token) => {
                    if reply.is_err() {
                        self.connection.forget_events(Some(token));
                    }
                    reply.map(drop)
                }
            };
            if matches!(result, Err(error) if error.is_fatal()) {
                return result;
            }
            first = first.and(result);
        }
        first
    }

    /// Takes the answers that nobody has taken.
    fn forget_asked(&mut self) -> Result<(), Error> {
        for request in std::mem::take(&mut self.asked) {
            match self.connection.wait(request) {
                Err(error) if error.is_fatal() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn ask(&mut self, kind: Kind, path: &str) -> Result<Asked, Error> {
        self.make_room()?;
        let request = self.connection.send(kind, self.id, &[path.as_bytes(), b"\0"])?;
        self.asked.push(request);
        Ok(Asked(request))
    }

    fn send(&mut self, kind: Kind, wanted: Wanted, parts: &[&[u8]]) -> Result<(), Error> {
        self.send_in(self.id, kind, wanted, parts)
    }

    fn send_in(&mut self, id: u32, kind: Kind, wanted: Wanted, parts: &[&[u8]]) -> Result<(), Error> {
        self.make_room()?;
        let request = self.connection.send(kind, id, parts)?;
        self.sent.push_back((request, wanted));
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), Error> {
        if self.connection.outstanding() >= PIPELINE_REQUESTS_MAX {
            self.settle()?;
        }
        // Answers that nobody has taken are left.
        if self.connection.outstanding() >= PIPELINE_REQUESTS_MAX { Err(Error::TooMany) } else { Ok(()) }
    }

    /// Commits after success of everything, aborts otherwise.
    pub(crate) fn end<T>(mut self, result: Result<T, Error>) -> Result<T, Error> {
        let settled = self.settle().and_then(|()| self.forget_asked());
        // The refusal of an earlier change says more than what followed from it.
        let result = match (settled, result) {
            (Ok(()), result) => result,
            (Err(error), _) => Err(error),
        };
        match result {
            Ok(value) => end(self.connection, self.id, true).map(|()| value),
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                abort(self.connection, self.id)?;
                Err(error)
            }
        }
    }
}

/// Begins a transaction; its id is never zero.
pub(crate) fn start(connection: &mut Connection) -> Result<u32, Error> {
    let reply = connection.call(Kind::TransactionStart, 0, &[b"\0"])?;
    match decimal_u32(reply.strip_suffix(b"\0").unwrap_or(&reply)) {
        Some(id) if id != 0 => Ok(id),
        Some(_) | None => Err(Error::BadReply),
    }
}

/// Commits or aborts.
pub(crate) fn end(connection: &mut Connection, id: u32, commit: bool) -> Result<(), Error> {
    let what: &[u8] = if commit { b"T\0" } else { b"F\0" };
    connection.call(Kind::TransactionEnd, id, &[what]).map(drop)
}

/// Aborts. That the server knows the transaction no more is as good.
pub(crate) fn abort(connection: &mut Connection, id: u32) -> Result<(), Error> {
    match end(connection, id, false) {
        Err(Error::Refused(Refusal::NoEntry | Refusal::Again)) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}
