//! Which guests have just asked dom0 for something. A guest flushes its devices before it asks, and dom0 then looks at
//! how much of an image is in use; so whoever plays the devices must hear of it first.

use std::collections::BTreeMap;

use crate::store::path::{Domid, WatchPath};
use crate::store::{ConnectionId, Store};

/// A watch of domain 0 on the requests of each guest.
#[derive(Debug, Default)]
pub(super) struct Requests {
    watching: BTreeMap<Domid, ConnectionId>,
}

impl Requests {
    /// Looks at a guest from now on.
    pub(super) fn add(&mut self, store: &mut Store, domid: Domid) {
        let connection = store.connect(0);
        let path = format!("/local/domain/{domid}/device/qpen");
        let watched =
            WatchPath::parse(0, path.as_bytes()).and_then(|path| store.watch(connection, path, b"qpen"));
        if let Err(error) = watched {
            eprintln!("xen-sim: cannot watch the requests of domain {domid}: {error}");
        }
        self.watching.insert(domid, connection);
    }

    /// A guest has ended.
    pub(super) fn remove(&mut self, store: &mut Store, domid: Domid) {
        if let Some(connection) = self.watching.remove(&domid) {
            store.disconnect(connection);
        }
    }

    /// Those that have asked since the last time.
    pub(super) fn take(&self, store: &mut Store) -> Vec<Domid> {
        let mut has_asked = |connection: ConnectionId| {
            let mut any = false;
            while store.next_event(connection).is_some() {
                any = true;
            }
            any
        };
        let asked = self.watching.iter().filter(|(_, connection)| has_asked(**connection));
        asked.map(|(domid, _)| *domid).collect()
    }
}
