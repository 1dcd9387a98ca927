//! What the store keeps for one client: its watches, its transactions, and the messages that wait for it.

use std::collections::{BTreeMap, VecDeque};

use super::limits::{OUT_QUEUE_BYTES_MAX, OUT_QUEUE_PAUSE_BYTES};
use super::path::{Domid, Named, NodePath, WatchPath, home};
use super::perms::Wish;
use super::tree::Tree;
use super::view::{Change, Reach, Touched};
use super::wire::{Message, WATCH_EVENT};

/// A watch of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) path: WatchPath,
    pub(crate) token: Vec<u8>,
}

/// An open transaction: a snapshot that the client changes, and what it touched of it.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) tree: Tree,
    pub(crate) touched: Touched,
    pub(crate) changes: Vec<Change>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) domid: Domid,
    pub(crate) watches: Vec<Watch>,
    pub(crate) transactions: BTreeMap<u32, Transaction>,
    next_transaction: u32,
    out: VecDeque<Message>,
    out_bytes: usize,
}

impl Connection {
    pub(crate) fn new(domid: Domid) -> Self {
        Self {
            domid,
            watches: Vec::new(),
            transactions: BTreeMap::new(),
            next_transaction: 1,
            out: VecDeque::new(),
            out_bytes: 0,
        }
    }

    pub(crate) fn unused_transaction_id(&mut self) -> u32 {
        loop {
            let id = self.next_transaction;
            self.next_transaction = self.next_transaction.checked_add(1).unwrap_or(1);
            if !self.transactions.contains_key(&id) {
                return id;
            }
        }
    }

    pub(crate) fn queue(&mut self, message: Message) {
        self.out_bytes = self.out_bytes.saturating_add(message.wire_bytes());
        self.out.push_back(message);
    }

    /// Queues a watch event, unless the very same one waits already.
    pub(crate) fn queue_event(&mut self, path: &str, token: &[u8]) {
        let Some(event) = Message::event(path, token) else { return };
        if !self.out.contains(&event) {
            self.queue(event);
        }
    }

    pub(crate) fn next_message(&mut self) -> Option<Message> {
        let message = self.out.pop_front()?;
        self.out_bytes = self.out_bytes.saturating_sub(message.wire_bytes());
        Some(message)
    }

    /// The next watch event as path and token; everything else that waits is dropped.
    pub(crate) fn next_event(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        while let Some(message) = self.next_message() {
            if message.header.kind == WATCH_EVENT {
                let mut parts = message.payload.split(|byte| *byte == 0).map(<[u8]>::to_vec);
                return Some((parts.next()?, parts.next()?));
            }
        }
        None
    }

    /// Whether enough waits for this client that its requests are left unread.
    pub(crate) fn is_slow(&self) -> bool {
        self.out_bytes > OUT_QUEUE_PAUSE_BYTES
    }

    /// Whether so much waits for this client that it must be dropped.
    pub(crate) fn is_stuck(&self) -> bool {
        self.out_bytes > OUT_QUEUE_BYTES_MAX
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Queues the events of a change that this client watches and may know of.
    pub(crate) fn tell(&mut self, change: &Change) {
        if !change.lists.iter().any(|list| list.allow(self.domid, Wish::Read)) {
            return;
        }
        let concerned: Vec<(String, Vec<u8>)> = self
            .watches
            .iter()
            .filter(|watch| watch.concerns(change))
            .map(|watch| (watch.event_path(&change.path, self.domid), watch.token.clone()))
            .collect();
        for (path, token) in concerned {
            self.queue_event(&path, &token);
        }
    }

    /// Queues the event of a special watch, which only domain 0 may know of.
    pub(crate) fn tell_special(&mut self, name: &str) {
        if self.domid != 0 {
            return;
        }
        let special = WatchPath::Special(name.to_owned());
        let tokens: Vec<Vec<u8>> = self
            .watches
            .iter()
            .filter(|watch| watch.path == special)
            .map(|watch| watch.token.clone())
            .collect();
        for token in tokens {
            self.queue_event(name, &token);
        }
    }
}

impl Watch {
    /// The path as the client named it.
    pub(crate) fn own_path(&self, domid: Domid) -> String {
        match &self.path {
            WatchPath::Node(path, _) => self.event_path(path, domid),
            WatchPath::Special(name) => name.clone(),
        }
    }

    fn concerns(&self, change: &Change) -> bool {
        match (&self.path, change.reach) {
            (WatchPath::Node(path, _), Reach::Upwards) => change.path.is_within(path.as_str()),
            (WatchPath::Node(path, _), Reach::Exact) => change.path == *path,
            (WatchPath::Special(_), _) => false,
        }
    }

    fn event_path(&self, path: &NodePath, domid: Domid) -> String {
        let relative = match &self.path {
            WatchPath::Node(_, Named::Relative) => path.as_str().strip_prefix(&home(domid)),
            WatchPath::Node(_, Named::Absolute) | WatchPath::Special(_) => None,
        };
        relative.map_or(path.as_str(), |rest| rest.trim_start_matches('/')).to_owned()
    }
}
