//! The store: nodes, watches, transactions, quotas, and who may do what. It knows no sockets and no clock.
//!
//! It answers as Xen's C daemon does. Sources: Xen's `docs/misc/xenstore.txt`, `io/xs_wire.h`, and measurements
//! on Xen 4.17.

mod connection;
pub mod limits;
pub mod path;
pub mod perms;
mod requests;
mod tree;
mod view;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};

use connection::{Connection, Transaction, Watch};
use limits::{GUEST_NODES_MAX, GUEST_TRANSACTIONS_MAX, GUEST_WATCHES_MAX};
use path::{Domid, NodePath, WatchPath, home};
use perms::{Permissions, Wish};
use tree::{Node, Tree};
use view::{Change, Touched, View};
use wire::{Message, XsError};

/// Names one client of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// Fired when a domain has become usable.
pub const INTRODUCE_DOMAIN: &str = "@introduceDomain";
/// Fired when a domain has ended.
pub const RELEASE_DOMAIN: &str = "@releaseDomain";
/// The transaction id of a request outside transactions.
pub const NO_TRANSACTION: u32 = 0;

/// A whole xenstore.
#[derive(Debug)]
pub struct Store {
    tree: Tree,
    generation: u64,
    connections: BTreeMap<ConnectionId, Connection>,
    last_connection: u64,
    introduced: BTreeSet<Domid>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// A store with the root node alone, and domain 0 known.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tree: Tree::new(),
            generation: 0,
            connections: BTreeMap::new(),
            last_connection: 0,
            introduced: BTreeSet::from([0]),
        }
    }

    /// A new client, which is that domain.
    pub fn connect(&mut self, domid: Domid) -> ConnectionId {
        self.last_connection += 1;
        let id = ConnectionId(self.last_connection);
        self.connections.insert(id, Connection::new(domid));
        id
    }

    /// Forgets a client with its watches and transactions.
    pub fn disconnect(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// Tells everybody that a domain has become usable.
    pub fn introduce(&mut self, domid: Domid) {
        self.introduced.insert(domid);
        self.fire_special(INTRODUCE_DOMAIN);
    }

    /// Ends a domain: its nodes and the permissions of it on others' nodes go, then everybody is told.
    pub fn release(&mut self, domid: Domid) {
        self.introduced.remove(&domid);
        let own = |node: &Node| node.permissions.owner() == domid;
        let owned: Vec<NodePath> =
            self.tree.iter().filter(|(_, node)| own(node)).map(|(path, _)| path.clone()).collect();
        for path in owned {
            // A node below one that is gone already is no error worth telling.
            let _ = self.as_domain_0(|view| view.remove(&path));
        }
        let listed: Vec<(NodePath, Node)> =
            self.tree.iter().map(|(path, node)| (path.clone(), Node::clone(node))).collect();
        for (path, node) in listed {
            let permissions = node.permissions.without(domid);
            if permissions != node.permissions {
                self.generation += 1;
                self.tree.put(path, Node { permissions, generation: self.generation, ..node });
            }
        }
        self.fire_special(RELEASE_DOMAIN);
    }

    /// Whether that domain was introduced and not released.
    #[must_use]
    pub fn is_introduced(&self, domid: Domid) -> bool {
        self.introduced.contains(&domid)
    }

    /// Tells the watchers of a special name.
    pub fn fire_special(&mut self, name: &str) {
        for connection in self.connections.values_mut() {
            connection.tell_special(name);
        }
    }

    /// The next message for a client.
    pub fn next_message(&mut self, id: ConnectionId) -> Option<Message> {
        self.connections.get_mut(&id)?.next_message()
    }

    /// The next watch event for a client inside this process, as path and token.
    pub fn next_event(&mut self, id: ConnectionId) -> Option<(Vec<u8>, Vec<u8>)> {
        self.connections.get_mut(&id)?.next_event()
    }

    /// Whether messages wait for a client.
    #[must_use]
    pub fn has_output(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(Connection::has_output)
    }

    /// Whether requests of a client are to be left unread, because it does not read its replies.
    #[must_use]
    pub fn is_slow(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(Connection::is_slow)
    }

    /// Whether a client left so much unread that it is to be dropped.
    #[must_use]
    pub fn is_stuck(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(Connection::is_stuck)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// As the READ request.
    pub fn read(&mut self, id: ConnectionId, transaction: u32, path: &NodePath) -> Result<Vec<u8>, XsError> {
        self.work(id, transaction, |view| Ok(view.get(path, Wish::Read)?.value.clone()))
    }

    /// Sets a value.
    ///
    /// # Errors
    /// As the WRITE request.
    pub fn write(
        &mut self,
        id: ConnectionId,
        transaction: u32,
        path: &NodePath,
        value: &[u8],
    ) -> Result<(), XsError> {
        self.work(id, transaction, |view| view.write(path, value))
    }

    /// Makes a node.
    ///
    /// # Errors
    /// As the MKDIR request.
    pub fn mkdir(&mut self, id: ConnectionId, transaction: u32, path: &NodePath) -> Result<(), XsError> {
        self.work(id, transaction, |view| view.mkdir(path))
    }

    /// Removes a node with all below it.
    ///
    /// # Errors
    /// As the RM request.
    pub fn remove(&mut self, id: ConnectionId, transaction: u32, path: &NodePath) -> Result<(), XsError> {
        self.work(id, transaction, |view| view.remove(path))
    }

    /// The names of a node's children.
    ///
    /// # Errors
    /// As the DIRECTORY request.
    pub fn directory(
        &mut self,
        id: ConnectionId,
        transaction: u32,
        path: &NodePath,
    ) -> Result<Vec<String>, XsError> {
        self.work(id, transaction, |view| Ok(view.get(path, Wish::Read)?.children.iter().cloned().collect()))
    }

    /// Sets owner and permissions.
    ///
    /// # Errors
    /// As the SET_PERMS request.
    pub fn set_permissions(
        &mut self,
        id: ConnectionId,
        transaction: u32,
        path: &NodePath,
        list: Permissions,
    ) -> Result<(), XsError> {
        self.work(id, transaction, |view| view.set_permissions(path, list))
    }

    /// Begins to watch. The first event, which every watch fires at once, is not yet queued: [`Store::first_event`].
    ///
    /// # Errors
    /// As the WATCH request.
    pub fn watch(&mut self, id: ConnectionId, path: WatchPath, token: &[u8]) -> Result<(), XsError> {
        let domid = self.connection(id)?.domid;
        let of_domain: usize = self.of_domain(domid).map(|connection| connection.watches.len()).sum();
        let connection = self.connections.get_mut(&id).ok_or(XsError::NotFound)?;
        let watch = Watch { path, token: token.to_vec() };
        if connection.watches.iter().any(|other| same_watch(other, &watch)) {
            return Err(XsError::Exists);
        }
        if domid != 0 && of_domain >= GUEST_WATCHES_MAX {
            return Err(XsError::TooBig);
        }
        connection.watches.push(watch);
        Ok(())
    }

    /// Queues the event that the newest watch of a client fires when it is set.
    pub fn first_event(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(watch) = connection.watches.last().cloned() else { return };
        connection.queue_event(&watch.own_path(connection.domid), &watch.token);
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// [`XsError::NoSpace`] when the guest has too many open.
    pub fn begin(&mut self, id: ConnectionId) -> Result<u32, XsError> {
        let domid = self.connection(id)?.domid;
        let open: usize = self.of_domain(domid).map(|connection| connection.transactions.len()).sum();
        if domid != 0 && open >= GUEST_TRANSACTIONS_MAX {
            return Err(XsError::NoSpace);
        }
        let tree = self.tree.clone();
        let connection = self.connections.get_mut(&id).ok_or(XsError::NotFound)?;
        let number = connection.unused_transaction_id();
        let opened = Transaction { tree, touched: Touched::default(), changes: Vec::new() };
        connection.transactions.insert(number, opened);
        Ok(number)
    }

    /// Ends a transaction: its changes become visible at once, or not at all.
    ///
    /// # Errors
    /// [`XsError::Again`] when somebody else changed a node that it saw, [`XsError::NoSpace`] when a quota would
    /// be exceeded. In either case the transaction is gone.
    pub fn commit(&mut self, id: ConnectionId, number: u32) -> Result<(), XsError> {
        let connection = self.connections.get_mut(&id).ok_or(XsError::NotFound)?;
        let domid = connection.domid;
        let transaction = connection.transactions.remove(&number).ok_or(XsError::NotFound)?;
        let now = |path: &NodePath| self.tree.get(path).map(|node| node.generation);
        if transaction.touched.seen.iter().any(|(path, before)| now(path) != *before) {
            return Err(XsError::Again);
        }
        let mut merged = self.tree.clone();
        for path in &transaction.touched.changed {
            match transaction.tree.get(path) {
                None => merged.remove(path),
                Some(node) => {
                    self.generation += 1;
                    merged.put(path.clone(), Node { generation: self.generation, ..Node::clone(node) });
                }
            }
        }
        let owned = merged.owned_by(domid);
        if domid != 0 && owned > GUEST_NODES_MAX && owned > self.tree.owned_by(domid) {
            return Err(XsError::NoSpace);
        }
        self.tree = merged;
        self.tell(&transaction.changes);
        Ok(())
    }

    /// Forgets a transaction.
    ///
    /// # Errors
    /// [`XsError::NotFound`] when there is none of that number.
    pub fn abandon(&mut self, id: ConnectionId, number: u32) -> Result<(), XsError> {
        let connection = self.connections.get_mut(&id).ok_or(XsError::NotFound)?;
        connection.transactions.remove(&number).map(|_| ()).ok_or(XsError::NotFound)
    }

    fn connection(&self, id: ConnectionId) -> Result<&Connection, XsError> {
        self.connections.get(&id).ok_or(XsError::NotFound)
    }

    fn of_domain(&self, domid: Domid) -> impl Iterator<Item = &Connection> {
        self.connections.values().filter(move |connection| connection.domid == domid)
    }

    /// Runs an operation as a client, on the store or in one of its transactions.
    fn work<T>(
        &mut self,
        id: ConnectionId,
        transaction: u32,
        operation: impl FnOnce(&mut View<'_>) -> Result<T, XsError>,
    ) -> Result<T, XsError> {
        let connection = self.connections.get_mut(&id).ok_or(XsError::NotFound)?;
        let who = connection.domid;
        if transaction == NO_TRANSACTION {
            return self.work_as(who, operation);
        }
        let inside = connection.transactions.get_mut(&transaction).ok_or(XsError::NotFound)?;
        let mut view = View {
            who,
            tree: &mut inside.tree,
            touched: Some(&mut inside.touched),
            generation: &mut self.generation,
            changes: &mut inside.changes,
        };
        operation(&mut view)
    }

    fn as_domain_0<T>(
        &mut self,
        operation: impl FnOnce(&mut View<'_>) -> Result<T, XsError>,
    ) -> Result<T, XsError> {
        self.work_as(0, operation)
    }

    fn work_as<T>(
        &mut self,
        who: Domid,
        operation: impl FnOnce(&mut View<'_>) -> Result<T, XsError>,
    ) -> Result<T, XsError> {
        let mut changes = Vec::new();
        let mut view = View {
            who,
            tree: &mut self.tree,
            touched: None,
            generation: &mut self.generation,
            changes: &mut changes,
        };
        let result = operation(&mut view);
        self.tell(&changes);
        result
    }

    fn tell(&mut self, changes: &[Change]) {
        for change in changes {
            for connection in self.connections.values_mut() {
                connection.tell(change);
            }
        }
    }
}

/// Two watches of one node and token are the same, however the node was named.
fn same_watch(one: &Watch, other: &Watch) -> bool {
    let same_path = match (&one.path, &other.path) {
        (WatchPath::Node(one, _), WatchPath::Node(other, _)) => one == other,
        (WatchPath::Special(one), WatchPath::Special(other)) => one == other,
        (WatchPath::Node(..), WatchPath::Special(_)) | (WatchPath::Special(_), WatchPath::Node(..)) => false,
    };
    same_path && one.token == other.token
}

#[cfg(test)]
mod tests;
