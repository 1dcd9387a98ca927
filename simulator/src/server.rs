//! The sockets of the store. Each domain has its own: whoever connects to it is that domain.
//!
//! One request of one client is served at a time, in turn, so that a busy client delays another by one request
//! only. A reply leaves as Xen's C daemon sends it: the header in one write, the payload in another.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::event::PollFlags;

use crate::store::limits::{CONNECTIONS_PER_DOMAIN_MAX, PAYLOAD_BYTES_MAX};
use crate::store::path::Domid;
use crate::store::wire::{HEADER_BYTES, Header};
use crate::store::{ConnectionId, Store};

/// What a descriptor of the server belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The listening socket of a domain.
    Listener(Domid),
    /// One client.
    Client(ConnectionId),
}

/// The server's sockets. The store itself is handed to each call.
#[derive(Debug, Default)]
pub struct Server {
    listeners: BTreeMap<Domid, UnixListener>,
    clients: BTreeMap<ConnectionId, Client>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    domid: Domid,
    /// At most one request.
    input: Vec<u8>,
    /// What is left of the write that is under way.
    output: Vec<u8>,
    /// The payload that follows the header in `output`.
    payload: Vec<u8>,
}

impl Server {
    /// A server without sockets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a domain on a listening socket, which must not block.
    pub fn listen(&mut self, domid: Domid, listener: UnixListener) {
        self.listeners.insert(domid, listener);
    }

    /// Serves one client that is connected already. The stream must not block.
    pub fn adopt(&mut self, store: &mut Store, domid: Domid, stream: UnixStream) {
        let id = store.connect(domid);
        let (input, output, payload) = (Vec::new(), Vec::new(), Vec::new());
        self.clients.insert(id, Client { stream, domid, input, output, payload });
    }

    /// Closes the socket and all connections of a domain.
    pub fn drop_domain(&mut self, store: &mut Store, domid: Domid) {
        self.listeners.remove(&domid);
        let gone: Vec<ConnectionId> =
            self.clients.iter().filter(|(_, client)| client.domid == domid).map(|(id, _)| *id).collect();
        for id in gone {
            self.drop_client(store, id);
        }
    }

    /// The descriptors to wait for, and what for.
    pub fn interests<'a>(
        &'a self,
        store: &'a Store,
    ) -> impl Iterator<Item = (Source, BorrowedFd<'a>, PollFlags)> {
        let listeners = self
            .listeners
            .iter()
            .map(|(domid, listener)| (Source::Listener(*domid), listener.as_fd(), PollFlags::IN));
        let clients = self.clients.iter().map(|(id, client)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !store.is_slow(*id));
            flags.set(PollFlags::OUT, client.is_writing() || store.has_output(*id));
            (Source::Client(*id), client.stream.as_fd(), flags)
        });
        listeners.chain(clients)
    }

    /// Does what can be done at once for a descriptor that poll named.
    pub fn serve(&mut self, store: &mut Store, source: Source) {
        match source {
            Source::Listener(domid) => self.accept(store, domid),
            Source::Client(id) => {
                let Some(client) = self.clients.get_mut(&id) else { return };
                let alive = (store.is_slow(id) || client.read(store, id)) && client.write(store, id);
                if !alive {
                    self.drop_client(store, id);
                }
            }
        }
    }

    /// Sends what waits, and drops the clients of whom too much does.
    pub fn flush(&mut self, store: &mut Store) {
        let ids: Vec<ConnectionId> = self.clients.keys().copied().collect();
        for id in ids {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            if !client.write(store, id) || store.is_stuck(id) {
                self.drop_client(store, id);
            }
        }
    }

    fn accept(&mut self, store: &mut Store, domid: Domid) {
        let Some(listener) = self.listeners.get(&domid) else { return };
        let Ok((stream, _)) = listener.accept() else { return };
        let open = self.clients.values().filter(|client| client.domid == domid).count();
        if open < CONNECTIONS_PER_DOMAIN_MAX && stream.set_nonblocking(true).is_ok() {
            self.adopt(store, domid, stream);
        }
    }

    fn drop_client(&mut self, store: &mut Store, id: ConnectionId) {
        self.clients.remove(&id);
        store.disconnect(id);
    }
}

impl Client {
    fn is_writing(&self) -> bool {
        !self.output.is_empty() || !self.payload.is_empty()
    }

    /// Reads at most to the end of one request, and serves it when it is whole. False ends the connection.
    fn read(&mut self, store: &mut Store, id: ConnectionId) -> bool {
        loop {
            let Some(wanted) = self.bytes_of_request() else { return false };
            let missing = wanted.saturating_sub(self.input.len());
            if missing > 0 {
                let mut chunk = [0; HEADER_BYTES + PAYLOAD_BYTES_MAX];
                let Some(space) = chunk.get_mut(..missing) else { return false };
                match self.stream.read(space) {
                    Ok(0) => return false,
                    Ok(count) => self.input.extend(space.iter().take(count)),
                    Err(error) => {
                        return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
                    }
                }
                continue;
            }
            let Some((header, payload)) = self.input.split_first_chunk::<HEADER_BYTES>() else {
                return false;
            };
            store.handle(id, &Header::decode(header), payload);
            self.input.clear();
            return true;
        }
    }

    /// The bytes of the request that is being read, as far as is known; `None` breaks the limits.
    fn bytes_of_request(&self) -> Option<usize> {
        let Some((header, _)) = self.input.split_first_chunk::<HEADER_BYTES>() else {
            return Some(HEADER_BYTES);
        };
        let payload = usize::try_from(Header::decode(header).payload_bytes).ok()?;
        (payload <= PAYLOAD_BYTES_MAX).then_some(HEADER_BYTES + payload)
    }

    /// Sends what waits, as far as the socket takes it. False ends the connection.
    fn write(&mut self, store: &mut Store, id: ConnectionId) -> bool {
        loop {
            if self.output.is_empty() {
                self.output = std::mem::take(&mut self.payload);
            }
            if self.output.is_empty() {
                let Some(message) = store.next_message(id) else { return true };
                self.output = message.header.encode().to_vec();
                self.payload = message.payload;
            }
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count.min(self.output.len()))),
                Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
            }
        }
    }
}
