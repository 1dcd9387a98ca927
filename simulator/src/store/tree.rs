//! The nodes themselves. Copies of a tree share the nodes that did not change, so a snapshot is cheap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::path::{Domid, NodePath};
use super::perms::{Access, Permissions};

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Vec<u8>,
    pub(crate) permissions: Permissions,
    pub(crate) children: BTreeSet<String>,
    /// Grows with each change of the node in the whole store.
    pub(crate) generation: u64,
}

/// All nodes by path. Every node but the root has its parent, which lists it among its children.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    nodes: BTreeMap<NodePath, Arc<Node>>,
    owned: BTreeMap<Domid, usize>,
}

impl Tree {
    /// A tree of the root alone, which belongs to domain 0.
    pub(crate) fn new() -> Self {
        let mut tree = Self { nodes: BTreeMap::new(), owned: BTreeMap::new() };
        let permissions = Permissions::new(0, Access::None, &[]);
        let root = Node { value: Vec::new(), permissions, children: BTreeSet::new(), generation: 0 };
        tree.put(NodePath::root(), root);
        tree
    }

    pub(crate) fn get(&self, path: &NodePath) -> Option<&Arc<Node>> {
        self.nodes.get(path)
    }

    /// Sets a node. Its parent's list of children is the caller's business.
    pub(crate) fn put(&mut self, path: NodePath, node: Node) {
        *self.owned.entry(node.permissions.owner()).or_default() += 1;
        let replaced = self.nodes.insert(path, Arc::new(node));
        self.no_longer_owned(replaced.as_deref());
    }

    /// Takes a node away. Its parent's list of children is the caller's business.
    pub(crate) fn remove(&mut self, path: &NodePath) {
        let removed = self.nodes.remove(path);
        self.no_longer_owned(removed.as_deref());
    }

    /// How many nodes that domain owns.
    pub(crate) fn owned_by(&self, domid: Domid) -> usize {
        self.owned.get(&domid).copied().unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodePath, &Arc<Node>)> {
        self.nodes.iter()
    }

    fn no_longer_owned(&mut self, node: Option<&Node>) {
        if let Some(count) = node.and_then(|node| self.owned.get_mut(&node.permissions.owner())) {
            *count = count.saturating_sub(1);
        }
    }
}
