//! The traits of the crate xenstore-rs over this client, for programs that want plain strings.
//!
//! No process in dom0 uses this: here a path is any well-formed text, not a typed one.

use crate::client::{Client, NO_TRANSACTION, missing_is_done};
use crate::connection::Connection;
use crate::error::{Error, Refusal};
use crate::path::{AnyPath, XsPath};
use crate::transaction;
use crate::wire::Kind;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use xenstore_rs::{Xs, XsTransaction, XsTransactionSpan};

/// A client with plain strings, outside transactions.
#[derive(Clone, Debug)]
pub struct PlainClient {
    client: Rc<RefCell<Client>>,
}

/// An open transaction of a [`PlainClient`]; dropped without a commit, it is aborted.
#[derive(Debug)]
pub struct PlainTransaction {
    client: Rc<RefCell<Client>>,
    id: u32,
    open: bool,
}

impl PlainClient {
    /// Takes over a client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client: Rc::new(RefCell::new(client)) }
    }
}

impl Xs for PlainClient {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        directory(&self.client, NO_TRANSACTION, path)
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        read(&self.client, NO_TRANSACTION, path)
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        write(&self.client, NO_TRANSACTION, path, data)
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        rm(&self.client, NO_TRANSACTION, path)
    }
}

impl XsTransaction for PlainClient {
    type Span = PlainTransaction;

    fn transaction(&self) -> io::Result<Self::Span> {
        let id = with(&self.client, transaction::start)?;
        Ok(PlainTransaction { client: Rc::clone(&self.client), id, open: true })
    }
}

impl Xs for PlainTransaction {
    fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
        directory(&self.client, self.id, path)
    }

    fn read(&self, path: &str) -> io::Result<Box<str>> {
        read(&self.client, self.id, path)
    }

    fn write(&self, path: &str, data: &str) -> io::Result<()> {
        write(&self.client, self.id, path, data)
    }

    fn rm(&self, path: &str) -> io::Result<()> {
        rm(&self.client, self.id, path)
    }
}

impl XsTransactionSpan for PlainTransaction {
    fn commit(mut self) -> io::Result<()> {
        self.open = false;
        with(&self.client, |connection| transaction::end(connection, self.id, true))
    }
}

impl Drop for PlainTransaction {
    fn drop(&mut self) {
        if self.open {
            // A failure is seen by the next call on the connection, if it matters.
            drop(with(&self.client, |connection| transaction::abort(connection, self.id)));
        }
    }
}

fn directory(client: &RefCell<Client>, id: u32, path: &str) -> io::Result<Vec<Box<str>>> {
    let path = AnyPath::parse(path).map_err(to_io)?;
    let names = with(client, |connection| crate::directory::list(connection, id, path.text()))?;
    names.into_iter().map(text).collect()
}

fn read(client: &RefCell<Client>, id: u32, path: &str) -> io::Result<Box<str>> {
    let path = AnyPath::parse(path).map_err(to_io)?;
    let parts: [&[u8]; 2] = [path.text().as_bytes(), b"\0"];
    with(client, |connection| connection.call(Kind::Read, id, &parts)).and_then(text)
}

fn write(client: &RefCell<Client>, id: u32, path: &str, data: &str) -> io::Result<()> {
    let path = AnyPath::parse(path).map_err(to_io)?;
    let parts = [path.text().as_bytes(), b"\0", data.as_bytes()];
    with(client, |connection| connection.call(Kind::Write, id, &parts)).map(drop)
}

fn rm(client: &RefCell<Client>, id: u32, path: &str) -> io::Result<()> {
    let path = AnyPath::parse(path).map_err(to_io)?;
    let parts: [&[u8]; 2] = [path.text().as_bytes(), b"\0"];
    with(client, |connection| missing_is_done(connection.call(Kind::Rm, id, &parts)))
}

fn with<T>(
    client: &RefCell<Client>,
    call: impl FnOnce(&mut Connection) -> Result<T, Error>,
) -> io::Result<T> {
    // Each borrow ends before its function returns, and no function here calls back.
    let mut client = client.try_borrow_mut().map_err(|_| io::ErrorKind::ResourceBusy)?;
    call(&mut client.connection).map_err(to_io)
}

fn text(bytes: Vec<u8>) -> io::Result<Box<str>> {
    String::from_utf8(bytes).map(String::into_boxed_str).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn to_io(error: Error) -> io::Error {
    let kind = match error {
        Error::Refused(Refusal::NoEntry) => io::ErrorKind::NotFound,
        Error::Refused(Refusal::Access | Refusal::Permission) => io::ErrorKind::PermissionDenied,
        Error::Refused(Refusal::Again) => io::ErrorKind::WouldBlock,
        Error::Refused(Refusal::Exists) => io::ErrorKind::AlreadyExists,
        Error::BadPath | Error::TooLong | Error::Refused(Refusal::Invalid) => io::ErrorKind::InvalidInput,
        Error::BadReply | Error::Broken(_) => io::ErrorKind::InvalidData,
        Error::TimedOut => io::ErrorKind::TimedOut,
        Error::Closed => io::ErrorKind::UnexpectedEof,
        Error::Refused(
            Refusal::TooBig
            | Refusal::NoSpace
            | Refusal::NoMemory
            | Refusal::Busy
            | Refusal::Io
            | Refusal::IsDirectory
            | Refusal::NotEmpty
            | Refusal::NotSupported
            | Refusal::ReadOnly
            | Refusal::Connected
            | Refusal::Other,
        )
        | Error::Disturbed
        | Error::TooMany
        | Error::Io(_) => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
