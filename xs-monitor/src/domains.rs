//! The domains that run, as far as the monitor knows them: a bounded table, served in turn.

use crate::bucket::Bucket;
use protocol::types::{Domid, VmName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use xenstore::number::decimal_u16;

/// Most domains that are followed; those beyond are logged once and left alone.
pub const DOMAINS_MAX: usize = 1024;

/// What is known of a domain's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// It has none yet.
    Unknown,
    /// One that the contract permits.
    Fit(VmName),
    /// Another one: the domain takes no part.
    Unfit,
}

/// A node of a domain that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// Its name.
    Name,
    /// Its requests.
    Qpen,
}

/// One domain. Its size does not depend on what the domain does.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its name.
    pub name: Name,
    /// The name may have changed since it was read.
    pub name_changed: bool,
    /// The request may have changed since it was read.
    pub qpen_changed: bool,
    /// `device/qpen` was missing when it was read; told once the domain is known to be there still.
    pub qpen_missing: bool,
    /// Not everything of it has been read for the first time.
    pub fresh: bool,
    bucket: Bucket,
    queued: bool,
}

impl Domain {
    /// The node to read next. Nothing is asked of a domain that takes no part, or whose name is not there yet.
    fn wanted(&self) -> Option<Node> {
        match self.name {
            _ if self.name_changed => Some(Node::Name),
            Name::Fit(_) if self.qpen_changed => Some(Node::Qpen),
            Name::Fit(_) | Name::Unknown | Name::Unfit => None,
        }
    }
}

/// All of them, with the queue of those that have something to read.
#[derive(Debug, Default)]
pub struct Domains {
    known: BTreeMap<Domid, Domain>,
    queue: VecDeque<Domid>,
}

impl Domains {
    /// The domain of that number.
    pub fn get_mut(&mut self, domid: Domid) -> Option<&mut Domain> {
        self.known.get_mut(&domid)
    }

    /// Begins to follow a domain; `false` when there are [`DOMAINS_MAX`] already.
    pub fn add(&mut self, domid: Domid, now_ms: u64) -> bool {
        if self.known.len() >= DOMAINS_MAX {
            return false;
        }
        let domain = Domain {
            name: Name::Unknown,
            name_changed: false,
            qpen_changed: false,
            qpen_missing: false,
            fresh: true,
            bucket: Bucket::full(now_ms),
            queued: false,
        };
        self.known.entry(domid).or_insert(domain);
        true
    }

    /// Forgets a domain.
    pub fn remove(&mut self, domid: Domid) {
        self.known.remove(&domid);
        self.queue.retain(|queued| *queued != domid);
    }

    /// Those that are listed but not known, and those that are known but not listed.
    #[must_use]
    pub fn compare(&self, listed: &BTreeSet<Domid>) -> (Vec<Domid>, Vec<Domid>) {
        let new = listed.iter().filter(|domid| !self.known.contains_key(domid)).copied().collect();
        let gone = self.known.keys().filter(|domid| !listed.contains(domid)).copied().collect();
        (new, gone)
    }

    /// Those whose `device/qpen` was missing; each is told once.
    pub fn take_missing(&mut self) -> Vec<Domid> {
        let known = self.known.iter_mut();
        let missing =
            known.filter_map(|(domid, domain)| std::mem::take(&mut domain.qpen_missing).then_some(*domid));
        missing.collect()
    }

    /// Whether everything of every domain has been read at least once.
    #[must_use]
    pub fn none_fresh(&self) -> bool {
        self.known.values().all(|domain| !domain.fresh)
    }

    /// Puts a domain with something to read at the end of the queue, unless it is in it.
    pub fn enqueue(&mut self, domid: Domid) {
        if let Some(domain) = self.known.get_mut(&domid)
            && !domain.queued
            && domain.wanted().is_some()
        {
            domain.queued = true;
            self.queue.push_back(domid);
        }
    }

    /// The next node to read. Domains take turns, one read each; one without a token is passed over.
    pub fn next_read(&mut self, now_ms: u64) -> Option<(Domid, Node)> {
        for _ in 0..self.queue.len() {
            let domid = self.queue.pop_front()?;
            let Some(domain) = self.known.get_mut(&domid) else { continue };
            let Some(node) = domain.wanted() else {
                domain.queued = false;
                continue;
            };
            if !domain.bucket.take(now_ms) {
                self.queue.push_back(domid);
                continue;
            }
            domain.queued = false;
            // Marked as read before it is: what changes from here on is seen by the next watch event.
            match node {
                Node::Name => domain.name_changed = false,
                Node::Qpen => domain.qpen_changed = false,
            }
            self.enqueue(domid);
            return Some((domid, node));
        }
        None
    }

    /// When [`Domains::next_read`] will have something; `None` when it will not before the next event.
    #[must_use]
    pub fn ready_ms(&self) -> Option<u64> {
        let queued = self.queue.iter().filter_map(|domid| self.known.get(domid));
        queued.map(|domain| domain.bucket.ready_ms()).min()
    }
}

/// What the names in `/local/domain` say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The guests.
    pub domids: BTreeSet<Domid>,
    /// How many names are no number of a guest or of domain 0.
    pub strange: usize,
}

/// Reads the list of domains. Domain 0 is no guest and is left out.
#[must_use]
pub fn parse_listing(names: &[Vec<u8>]) -> Listing {
    let mut listing = Listing::default();
    for name in names {
        match decimal_u16(name) {
            Some(0) => {}
            Some(number) => match Domid::new(number) {
                Ok(domid) => drop(listing.domids.insert(domid)),
                Err(_) => listing.strange += 1,
            },
            None => listing.strange += 1,
        }
    }
    listing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domid(number: u16) -> Domid {
        Domid::new(number).unwrap()
    }

    #[test]
    fn only_canonical_numbers_of_guests_are_domains_and_domain_0_never_is() {
        let names = ["0", "5", "12", "05", "+7", "32751", "32752", "65536", "name", "", "5 ", "-1"];
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listing = parse_listing(&names);
        assert_eq!(listing.domids, [5, 12, 32751].map(domid).into());
        assert_eq!(listing.strange, 8);
    }

    #[test]
    fn l19_domains_beyond_1024_are_not_followed() {
        let mut domains = Domains::default();
        for number in 1..=u16::try_from(DOMAINS_MAX).unwrap() {
            assert!(domains.add(domid(number), 0));
        }
        assert!(!domains.add(domid(2000), 0));
        assert!(domains.get_mut(domid(2000)).is_none());
    }

    #[test]
    fn l18_domains_take_turns() {
        let mut domains = Domains::default();
        for number in 1..=3 {
            domains.add(domid(number), 0);
            let domain = domains.get_mut(domid(number)).unwrap();
            (domain.name, domain.qpen_changed) = (Name::Fit(VmName::new(b"vm").unwrap()), true);
            domains.enqueue(domid(number));
        }
        let mut served = Vec::new();
        for _ in 0..6 {
            let (next, node) = domains.next_read(0).unwrap();
            assert_eq!(node, Node::Qpen);
            served.push(next.get());
            // Domain 1 floods, the others write once.
            if next == domid(1) {
                domains.get_mut(next).unwrap().qpen_changed = true;
                domains.enqueue(next);
            }
        }
        assert_eq!(served, [1, 2, 3, 1, 1, 1]);
    }

    #[test]
    fn a_domain_without_a_name_or_with_an_unfit_one_is_asked_nothing() {
        let mut domains = Domains::default();
        domains.add(domid(1), 0);
        for name in [Name::Unknown, Name::Unfit] {
            let domain = domains.get_mut(domid(1)).unwrap();
            (domain.name, domain.qpen_changed) = (name, true);
            domains.enqueue(domid(1));
            assert_eq!(domains.next_read(0), None);
        }
    }
}
