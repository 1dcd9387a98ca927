//! The operations on nodes, as one domain does them, on the store itself or inside a transaction.
//!
//! The checks follow Xen's C daemon: a node that the caller may not touch and a node that is missing are told
//! apart only to a caller who has the right in question on the nearest existing node above.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::limits::{GUEST_NODES_MAX, GUEST_PERMISSIONS_MAX, GUEST_VALUE_BYTES_MAX};
use super::path::{Domid, NodePath};
use super::perms::{Permissions, Wish};
use super::tree::{Node, Tree};
use super::wire::XsError;

/// Which watches a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those on the node and on all nodes above it.
    Upwards,
    /// Those on the node alone: it went together with a node above it.
    Exact,
}

/// Something that watchers are to be told.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) path: NodePath,
    pub(crate) reach: Reach,
    /// Only who may read by one of these lists is told.
    pub(crate) lists: Vec<Permissions>,
}

/// What a transaction touched, for its commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    /// Each node that was looked at or changed, with its generation at the beginning, `None` if it was missing.
    pub(crate) seen: BTreeMap<NodePath, Option<u64>>,
    /// Those of them that were changed.
    pub(crate) changed: BTreeSet<NodePath>,
}

/// A tree with the domain that works on it.
pub(crate) struct View<'a> {
    pub(crate) who: Domid,
    pub(crate) tree: &'a mut Tree,
    pub(crate) touched: Option<&'a mut Touched>,
    pub(crate) generation: &'a mut u64,
    pub(crate) changes: &'a mut Vec<Change>,
}

impl View<'_> {
    /// The node, if the caller has that right on it.
    pub(crate) fn get(&mut self, path: &NodePath, wish: Wish) -> Result<Arc<Node>, XsError> {
        let error = match self.look(path) {
            Some(node) if node.permissions.allow(self.who, wish) => return Ok(node),
            Some(_) => XsError::Access,
            None => XsError::NotFound,
        };
        let mut above = path.parent();
        while let Some(candidate) = above {
            if let Some(node) = self.look(&candidate) {
                let may_know = node.permissions.allow(self.who, wish);
                return Err(if may_know { error } else { XsError::Access });
            }
            above = candidate.parent();
        }
        Err(error)
    }

    /// Sets a value, making the node and those above it where they are missing.
    pub(crate) fn write(&mut self, path: &NodePath, value: &[u8]) -> Result<(), XsError> {
        let existing = self.get(path, Wish::Write);
        if self.who != 0 && value.len() > GUEST_VALUE_BYTES_MAX {
            return Err(existing
                .err()
                .filter(|error| *error != XsError::NotFound)
                .unwrap_or(XsError::NoSpace));
        }
        match existing {
            Ok(node) => self.put(path, Node { value: value.to_vec(), ..Node::clone(&node) }),
            Err(XsError::NotFound) => self.create(path, value)?,
            Err(error) => return Err(error),
        }
        self.tell(path, Reach::Upwards, None);
        Ok(())
    }

    /// Makes a node without a value; one that exists already is left as it is.
    pub(crate) fn mkdir(&mut self, path: &NodePath) -> Result<(), XsError> {
        match self.get(path, Wish::Write) {
            Ok(_) => return Ok(()),
            Err(XsError::NotFound) => self.create(path, &[])?,
            Err(error) => return Err(error),
        }
        self.tell(path, Reach::Upwards, None);
        Ok(())
    }

    /// Removes a node and all below it. As in Xen the right to write the node itself suffices; its parent does
    /// not matter. A node that is missing below an existing parent counts as removed.
    pub(crate) fn remove(&mut self, path: &NodePath) -> Result<(), XsError> {
        match self.get(path, Wish::Write) {
            Ok(_) => {}
            Err(XsError::NotFound) => {
                let parent_exists = path.parent().is_some_and(|parent| self.look(&parent).is_some());
                return if parent_exists { Ok(()) } else { Err(XsError::NotFound) };
            }
            Err(error) => return Err(error),
        }
        let parent = path.parent().ok_or(XsError::Invalid)?;
        self.remove_tree(path, Reach::Upwards);
        if let Some(node) = self.look(&parent) {
            let mut node = Node::clone(&node);
            node.children.remove(path.name());
            self.put(&parent, node);
        }
        Ok(())
    }

    /// Sets owner and permissions. An unprivileged owner stays the owner.
    pub(crate) fn set_permissions(&mut self, path: &NodePath, list: Permissions) -> Result<(), XsError> {
        if self.who != 0 && list.entries() > GUEST_PERMISSIONS_MAX {
            return Err(XsError::NoSpace);
        }
        let node = self.get(path, Wish::Own)?;
        if self.who != 0 && list.owner() != node.permissions.owner() {
            return Err(XsError::NotPermitted);
        }
        self.put(path, Node { permissions: list, ..Node::clone(&node) });
        self.tell(path, Reach::Upwards, Some(node.permissions.clone()));
        Ok(())
    }

    fn create(&mut self, path: &NodePath, value: &[u8]) -> Result<(), XsError> {
        let mut missing = vec![path.clone()];
        let mut above = path.parent().ok_or(XsError::Invalid)?;
        let mut node = loop {
            match self.look(&above) {
                Some(node) => break Node::clone(&node),
                None => missing.push(above.clone()),
            }
            above = above.parent().ok_or(XsError::Invalid)?;
        };
        if self.who != 0 && self.tree.owned_by(self.who).saturating_add(missing.len()) > GUEST_NODES_MAX {
            return Err(XsError::NoSpace);
        }
        while let Some(made) = missing.pop() {
            let permissions = node.permissions.inherited_by(self.who);
            node.children.insert(made.name().to_owned());
            self.put(&above, node);
            node = Node { value: Vec::new(), permissions, children: BTreeSet::new(), generation: 0 };
            above = made;
        }
        node.value = value.to_vec();
        self.put(&above, node);
        Ok(())
    }

    fn remove_tree(&mut self, path: &NodePath, reach: Reach) {
        let Some(node) = self.look(path) else { return };
        for child in &node.children {
            self.remove_tree(&path.child(child), Reach::Exact);
        }
        self.tell(path, reach, None);
        self.tree.remove(path);
        if let Some(touched) = &mut self.touched {
            touched.changed.insert(path.clone());
        }
    }

    fn look(&mut self, path: &NodePath) -> Option<Arc<Node>> {
        let node = self.tree.get(path).cloned();
        if let Some(touched) = &mut self.touched {
            let generation = node.as_ref().map(|node| node.generation);
            touched.seen.entry(path.clone()).or_insert(generation);
        }
        node
    }

    fn put(&mut self, path: &NodePath, mut node: Node) {
        self.look(path);
        *self.generation += 1;
        node.generation = *self.generation;
        self.tree.put(path.clone(), node);
        if let Some(touched) = &mut self.touched {
            touched.changed.insert(path.clone());
        }
    }

    fn tell(&mut self, path: &NodePath, reach: Reach, former: Option<Permissions>) {
        let node = self.tree.get(path).map(|node| node.permissions.clone());
        let parent =
            path.parent().and_then(|above| self.tree.get(&above)).map(|node| node.permissions.clone());
        let lists = [former, node, parent].into_iter().flatten().collect();
        self.changes.push(Change { path: path.clone(), reach, lists });
    }
}
