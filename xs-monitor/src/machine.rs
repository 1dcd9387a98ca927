//! What the monitor does about what it sees: a pure state machine, so that every order of events can be tried.
//!
//! | event | what follows |
//! |---|---|
//! | the set of domains may have changed | the domains are listed, when it is the turn of that |
//! | a list | new domains are watched, gone ones told and forgotten; a missing `device/qpen` of one that is there is told |
//! | a node changed | it is read, when it is the turn of its domain and the domain has a token |
//! | a name was read | told if it is new; the first unfit one of a domain is told, too |
//! | a request was read | told, parsed; an empty one is nothing; a missing one leads to a list first |
//!
//! `Synced` is told once, after everything that runs at the start has been read.

use crate::domains::{DOMAINS_MAX, Domains, Name, Node, parse_listing};
use crate::request::{self, Parsed};
use protocol::log::{Level, LogLine};
use protocol::monitor::MonitorEvent;
use protocol::types::{Domid, VmName};

/// How long to wait before the domains are listed again after that failed.
pub const LIST_RETRY_MS: u64 = 1000;

/// What the monitor's shell has seen or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A domain came or went; nobody says which.
    DomainsChanged,
    /// The names in `/local/domain`.
    Listed {
        /// As they are.
        names: Vec<Vec<u8>>,
    },
    /// The domains could not be listed.
    ListFailed,
    /// The watches of a domain could not be set.
    WatchFailed {
        /// Its number.
        domid: Domid,
    },
    /// A watch on a node of a domain has fired.
    NodeChanged {
        /// Its number.
        domid: Domid,
        /// Which node.
        node: Node,
    },
    /// A node of a domain was read.
    NodeRead {
        /// Its number.
        domid: Domid,
        /// Which node.
        node: Node,
        /// The value; `None` when the node is not there.
        untrusted_value: Option<Vec<u8>>,
    },
    /// A node of a domain could not be read, although it may be there.
    ReadFailed {
        /// Its number.
        domid: Domid,
        /// Which node.
        node: Node,
    },
    /// The shell has time for one more request to xenstore.
    Turn,
}

/// What the shell is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// List the domains; answer with [`Event::Listed`] or [`Event::ListFailed`].
    List,
    /// Set the watches of a domain.
    Watch {
        /// Its number.
        domid: Domid,
    },
    /// Remove the watches of a domain.
    Unwatch {
        /// Its number.
        domid: Domid,
    },
    /// Read a node; answer with [`Event::NodeRead`] or [`Event::ReadFailed`].
    Read {
        /// Number of its domain.
        domid: Domid,
        /// Which node.
        node: Node,
    },
    /// Tell the broker.
    Tell(MonitorEvent),
}

/// Everything that the monitor remembers.
#[derive(Debug)]
pub struct Monitor {
    domains: Domains,
    list_wanted_ms: Option<u64>,
    listed_before: bool,
    synced: bool,
    logged_too_many: bool,
    logged_strange: bool,
    logged_read_failed: bool,
    logged_watch_failed: bool,
    logged_list_failed: bool,
}

impl Default for Monitor {
    fn default() -> Self {
        Self::new()
    }
}

impl Monitor {
    /// Knows nothing, and wants the domains listed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            domains: Domains::default(),
            list_wanted_ms: Some(0),
            listed_before: false,
            synced: false,
            logged_too_many: false,
            logged_strange: false,
            logged_read_failed: false,
            logged_watch_failed: false,
            logged_list_failed: false,
        }
    }

    /// Takes in one event. The number of actions is bounded by the number of domains, and by two but for a list.
    pub fn step(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        let mut actions = match event {
            Event::DomainsChanged => {
                self.list_wanted_ms = Some(0);
                Vec::new()
            }
            Event::Listed { names } => self.compare(&names, now_ms),
            Event::ListFailed => {
                self.list_wanted_ms = Some(now_ms.saturating_add(LIST_RETRY_MS));
                let text = "cannot list the domains; trying again every second";
                log_once(&mut self.logged_list_failed, Level::Error, text)
            }
            Event::WatchFailed { domid } => self.give_up(domid),
            Event::NodeChanged { domid, node } => {
                self.mark(domid, node);
                Vec::new()
            }
            Event::NodeRead { domid, node: Node::Name, untrusted_value } => {
                self.name_read(domid, untrusted_value.as_deref())
            }
            Event::NodeRead { domid, node: Node::Qpen, untrusted_value } => {
                self.qpen_read(domid, untrusted_value.as_deref())
            }
            Event::ReadFailed { domid, node } => self.read_failed(domid, node),
            Event::Turn => return self.turn(now_ms),
        };
        if !self.synced && self.listed_before && self.list_wanted_ms.is_none() && self.domains.none_fresh() {
            self.synced = true;
            actions.push(Action::Tell(MonitorEvent::Synced));
        }
        actions
    }

    /// When the next [`Event::Turn`] will lead to something; `None`: not before another event.
    #[must_use]
    pub fn wake_ms(&self) -> Option<u64> {
        self.list_wanted_ms.into_iter().chain(self.domains.ready_ms()).min()
    }

    fn turn(&mut self, now_ms: u64) -> Vec<Action> {
        if self.list_wanted_ms.is_some_and(|wanted_ms| wanted_ms <= now_ms) {
            self.list_wanted_ms = None;
            return vec![Action::List];
        }
        let read = self.domains.next_read(now_ms);
        read.map(|(domid, node)| Action::Read { domid, node }).into_iter().collect()
    }

    fn compare(&mut self, names: &[Vec<u8>], now_ms: u64) -> Vec<Action> {
        self.listed_before = true;
        self.logged_list_failed = false;
        let mut actions = Vec::new();
        let listing = parse_listing(names);
        let (new, gone) = self.domains.compare(&listing.domids);
        for domid in gone {
            self.domains.remove(domid);
            actions.push(Action::Unwatch { domid });
            actions.push(Action::Tell(MonitorEvent::DomainGone { domid }));
        }
        for domid in self.domains.take_missing() {
            actions.push(Action::Tell(MonitorEvent::QpenMissing { domid }));
        }
        for domid in new {
            // Setting the watches makes them fire once, which begins the reading.
            if self.domains.add(domid, now_ms) {
                actions.push(Action::Watch { domid });
            } else {
                let text = format!("more than {DOMAINS_MAX} domains run; some of them are not served");
                actions.extend(log_once(&mut self.logged_too_many, Level::Error, &text));
            }
        }
        if listing.strange > 0 {
            let text = "/local/domain has entries that are no domains";
            actions.extend(log_once(&mut self.logged_strange, Level::Warning, text));
        }
        actions
    }

    fn give_up(&mut self, domid: Domid) -> Vec<Action> {
        self.domains.remove(domid);
        let mut actions = vec![Action::Unwatch { domid }];
        let text = format!("cannot watch domain {domid}; it is not served");
        actions.extend(log_once(&mut self.logged_watch_failed, Level::Error, &text));
        actions
    }

    fn mark(&mut self, domid: Domid, node: Node) {
        let Some(domain) = self.domains.get_mut(domid) else { return };
        match node {
            Node::Name => domain.name_changed = true,
            Node::Qpen => domain.qpen_changed = true,
        }
        self.domains.enqueue(domid);
    }

    fn name_read(&mut self, domid: Domid, untrusted_value: Option<&[u8]>) -> Vec<Action> {
        let Some(domain) = self.domains.get_mut(domid) else { return Vec::new() };
        let Some(untrusted_name) = untrusted_value else {
            // It comes later, or the whole domain is going; a name that was there is kept until then.
            if domain.name == Name::Unknown {
                domain.fresh = false;
            }
            return Vec::new();
        };
        let name = VmName::new(untrusted_name).map_or(Name::Unfit, Name::Fit);
        if domain.name == name {
            return Vec::new();
        }
        let takes_part_now = !matches!(domain.name, Name::Fit(_)) && matches!(name, Name::Fit(_));
        domain.qpen_changed |= takes_part_now;
        domain.name = name.clone();
        let told = match name {
            Name::Fit(name) => MonitorEvent::DomainSeen { domid, name },
            Name::Unfit | Name::Unknown => {
                domain.fresh = false;
                MonitorEvent::NameUnfit { domid }
            }
        };
        self.domains.enqueue(domid);
        vec![Action::Tell(told)]
    }

    fn qpen_read(&mut self, domid: Domid, untrusted_value: Option<&[u8]>) -> Vec<Action> {
        let Some(domain) = self.domains.get_mut(domid) else { return Vec::new() };
        domain.fresh = false;
        let Some(untrusted_value) = untrusted_value else {
            // A domain that ends loses its nodes before anybody is told: see first whether it is still there.
            domain.qpen_missing = true;
            self.list_wanted_ms = Some(0);
            return Vec::new();
        };
        domain.qpen_missing = false;
        let digest = request::digest(untrusted_value);
        match request::parse(untrusted_value) {
            Parsed::Empty => Vec::new(),
            Parsed::Request(request) => {
                vec![Action::Tell(MonitorEvent::RequestSeen { domid, request, digest })]
            }
            Parsed::Invalid { reqid } => {
                vec![Action::Tell(MonitorEvent::RequestUnparsable { domid, reqid, digest })]
            }
        }
    }

    fn read_failed(&mut self, domid: Domid, node: Node) -> Vec<Action> {
        if let Some(domain) = self.domains.get_mut(domid) {
            domain.fresh = false;
        }
        let what = match node {
            Node::Name => "name",
            Node::Qpen => "request",
        };
        let text = format!("cannot read the {what} of domain {domid}");
        log_once(&mut self.logged_read_failed, Level::Error, &text)
    }
}

/// A line for the log, unless that was logged before.
fn log_once(before: &mut bool, level: Level, text: &str) -> Vec<Action> {
    if std::mem::replace(before, true) {
        return Vec::new();
    }
    vec![Action::Tell(MonitorEvent::Log(LogLine::new(level, text)))]
}

#[cfg(test)]
mod tests;
