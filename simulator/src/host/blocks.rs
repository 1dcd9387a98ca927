//! Both ends of the block devices, played as Linux's drivers play them: the back end as domain 0, the front end of
//! each guest as that guest, each acting on what its watches tell.
//!
//! | phase | leaves it when | for |
//! |---|---|---|
//! | `Waiting` | the front end is Initialised | `Opening` |
//! | `Opening` | the image is open and copied | `Connected`, and the state is 4; or back to `Waiting`, and 5 |
//! | `Connected` | the front end is Closed or gone | `Closing` |
//! | `Closing` | what the guest wrote is in the image | `Gone`, and the state is 6 |
//! | `Waiting`, `Opening` | the nodes of the back end are removed | `Held`, and some nodes are there again |
//! | `Held` | those are removed too | nothing is left |
//! | any other | the nodes of the back end are removed | nothing is left, and nothing is copied back |
//!
//! `Held` may happen on Xen when a back end is removed that is just connecting: the kernel writes some nodes once more
//! and lets go of the device only when these are gone too. There it is a matter of luck, here it is always so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::copies::{Attached, Copies, JobId, Outcome};
use super::kernel_nodes::{FEATURES, REMAINS, RING, geometry};
use super::vbd::{VbdId, XenbusState};
use crate::error::SimError;
use crate::store::path::{Domid, NodePath, WatchPath};
use crate::store::wire::XsError;
use crate::store::{ConnectionId, NO_TRANSACTION, Store};

/// All block devices of the host.
#[derive(Debug)]
pub(super) struct Blocks {
    back: ConnectionId,
    fronts: BTreeMap<Domid, Front>,
    vbds: BTreeMap<VbdId, Vbd>,
    copies: Copies,
}

/// The front ends of a guest.
#[derive(Debug)]
struct Front {
    connection: ConnectionId,
    /// The VM's directory on the host.
    directory: PathBuf,
    paused: bool,
}

/// One device.
#[derive(Debug)]
struct Vbd {
    phase: Phase,
    /// The file that the guest has as its device, on the host.
    plugged: Option<PathBuf>,
}

#[derive(Debug)]
enum Phase {
    Waiting,
    Opening(JobId),
    Connected(Attached),
    Closing(JobId),
    Gone,
    Held,
}

/// A device that has just appeared in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) domid: Domid,
    pub(super) device: String,
}

impl Blocks {
    /// The back end, with no device yet.
    pub(super) fn new(store: &mut Store) -> Result<Self, SimError> {
        let back = store.connect(0);
        watch(store, back, 0, b"/local/domain/0/backend/vbd");
        Ok(Self { back, fronts: BTreeMap::new(), vbds: BTreeMap::new(), copies: Copies::new()? })
    }

    /// Readable when there is work to do.
    pub(super) fn woken(&self) -> &UnixStream {
        self.copies.woken()
    }

    /// The drivers of a guest start.
    pub(super) fn add_guest(&mut self, store: &mut Store, domid: Domid, directory: PathBuf) {
        let connection = store.connect(domid);
        watch(store, connection, domid, b"device/vbd");
        self.fronts.insert(domid, Front { connection, directory, paused: false });
    }

    /// What a guest wrote goes into the images, as far as it has changed.
    pub(super) fn flush(&mut self, domid: Domid) {
        for (_, vbd) in self.vbds.iter_mut().filter(|(id, _)| id.domid == domid) {
            if let Phase::Connected(attached) = &mut vbd.phase
                && let Err(error) = attached.copy_back()
            {
                eprintln!("xen-sim: {error}");
            }
        }
    }

    /// A paused guest's drivers do nothing.
    pub(super) fn set_paused(&mut self, domid: Domid, paused: bool) {
        if let Some(front) = self.fronts.get_mut(&domid) {
            front.paused = paused;
        }
    }

    /// A guest has ended: its devices are gone, and nothing of them is copied back. To be called before its nodes
    /// are removed. As on Xen the nodes of the back ends stay.
    pub(super) fn remove_guest(&mut self, store: &mut Store, domid: Domid) {
        if let Some(front) = self.fronts.remove(&domid) {
            store.disconnect(front.connection);
        }
        let ended: Vec<VbdId> = self.vbds.keys().copied().filter(|id| id.domid == domid).collect();
        for id in ended {
            self.unplug(id);
            self.set_phase(id, Phase::Gone);
            if self.back_state(store, id) == Some(XenbusState::Closing) {
                self.set_back_state(store, id, XenbusState::Closed);
            }
        }
    }

    /// Names of the devices that a guest has.
    pub(super) fn devices(&self, domid: Domid) -> Vec<String> {
        let of_guest = self.vbds.iter().filter(|(id, vbd)| id.domid == domid && vbd.plugged.is_some());
        of_guest.filter_map(|(id, _)| id.name()).collect()
    }

    /// Does everything that can be done now.
    pub(super) fn work(&mut self, store: &mut Store) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        while let Some((job, outcome)) = self.copies.next() {
            self.finish(store, job, outcome);
        }
        loop {
            let touched = self.touched(store);
            if touched.is_empty() {
                return arrivals;
            }
            for id in touched {
                self.step_back(store, id);
                arrivals.extend(self.step_front(store, id));
            }
        }
    }

    /// The devices that watch events speak of.
    fn touched(&mut self, store: &mut Store) -> BTreeSet<VbdId> {
        let mut touched = BTreeSet::new();
        while let Some((path, _)) = store.next_event(self.back) {
            match VbdId::from_back(&String::from_utf8_lossy(&path)) {
                Some(id) => drop(touched.insert(id)),
                None => touched.extend(self.vbds.keys().copied()),
            }
        }
        for (domid, front) in self.fronts.iter().filter(|(_, front)| !front.paused) {
            while let Some((path, _)) = store.next_event(front.connection) {
                match VbdId::from_front(*domid, &String::from_utf8_lossy(&path)) {
                    Some(id) => drop(touched.insert(id)),
                    None => touched.extend(self.vbds.keys().copied().filter(|id| id.domid == *domid)),
                }
            }
        }
        touched
    }

    /// The back end looks at a device.
    fn step_back(&mut self, store: &mut Store, id: VbdId) {
        let Some(back) = self.back_state(store, id) else { return self.step_removed(store, id) };
        let front = id.front("state").ok().and_then(|path| state(store, self.back, &path));
        let Some(vbd) = self.vbds.get(&id) else {
            // Only a new device is taken up; one in any other state has nobody behind it.
            if back == XenbusState::Initialising {
                self.vbds.insert(id, Vbd { phase: Phase::Waiting, plugged: None });
                for (node, value) in FEATURES {
                    self.set_back(store, id, node, value.as_bytes());
                }
                self.set_back_state(store, id, XenbusState::InitWait);
            }
            return;
        };
        let closed = matches!(front, None | Some(XenbusState::Closed));
        match (&vbd.phase, front) {
            (Phase::Waiting, Some(XenbusState::Initialised | XenbusState::Connected))
                if back == XenbusState::InitWait =>
            {
                self.open(store, id);
            }
            (Phase::Waiting, _) if closed => self.leave(store, id),
            (Phase::Connected(_), Some(XenbusState::Closing)) => {
                self.set_back_state(store, id, XenbusState::Closing);
            }
            (Phase::Connected(_), _) if closed => self.close(store, id),
            (
                Phase::Waiting
                | Phase::Connected(_)
                | Phase::Opening(_)
                | Phase::Closing(_)
                | Phase::Gone
                | Phase::Held,
                _,
            ) => {}
        }
    }

    /// The back end looks at a device that has no state: its nodes were removed, or only its own remains are there.
    fn step_removed(&mut self, store: &mut Store, id: VbdId) {
        match self.vbds.get(&id).map(|vbd| &vbd.phase) {
            None => {}
            Some(Phase::Waiting | Phase::Opening(_)) => {
                self.set_phase(id, Phase::Held);
                for (node, value) in REMAINS {
                    self.write_back(store, id, node, value.as_bytes());
                }
            }
            Some(Phase::Held) if self.is_back_there(store, id) => {}
            Some(Phase::Held | Phase::Connected(_) | Phase::Closing(_) | Phase::Gone) => self.forget(id),
        }
    }

    /// The front end of a running guest looks at a device.
    fn step_front(&mut self, store: &mut Store, id: VbdId) -> Option<Arrival> {
        let front = self.fronts.get(&id.domid).filter(|front| !front.paused)?;
        let connection = front.connection;
        let own = state(store, connection, &id.front("state").ok()?)?;
        let back = state(store, connection, &id.back("state").ok()?)?;
        let mut arrival = None;
        let next = match (back, own) {
            (XenbusState::InitWait, XenbusState::Initialising) => {
                for (node, value) in RING {
                    let path = id.front(node);
                    let written = path
                        .and_then(|path| store.write(connection, NO_TRANSACTION, &path, value.as_bytes()));
                    note(id, node, written);
                }
                XenbusState::Initialised
            }
            (XenbusState::Connected, XenbusState::Initialised) => {
                arrival = self.plug(id);
                XenbusState::Connected
            }
            (XenbusState::Closing | XenbusState::Closed, _) if own != XenbusState::Closed => {
                self.unplug(id);
                XenbusState::Closed
            }
            (_, _) => return None,
        };
        let path = id.front("state").ok()?;
        note(id, "state", store.write(connection, NO_TRANSACTION, &path, next.value()));
        arrival
    }

    fn open(&mut self, store: &mut Store, id: VbdId) {
        let text = |store: &mut Store, node: &str| {
            let value = id.back(node).and_then(|path| store.read(self.back, NO_TRANSACTION, &path));
            value.ok().and_then(|value| String::from_utf8(value).ok()).unwrap_or_default()
        };
        let (kind, image, mode) = (text(store, "type"), text(store, "params"), text(store, "mode"));
        let to = self.fronts.get(&id.domid).map(|front| front.directory.join("blk"));
        let (Some(to), Some(name)) = (to, id.name()) else {
            return self.fail(store, id, "no such device can be in a running guest");
        };
        if kind != "file" || !image.starts_with('/') {
            return self.fail(store, id, "only type=file with an absolute path in params is played");
        }
        // A copy that was never plugged in is of no use to anybody.
        let _ = fs::remove_file(to.join(&name));
        match self.copies.open(PathBuf::from(image), to.join(name), mode == "w") {
            Ok(job) => self.set_phase(id, Phase::Opening(job)),
            Err(error) => self.fail(store, id, &error.to_string()),
        }
    }

    fn close(&mut self, store: &mut Store, id: VbdId) {
        self.unplug(id);
        let Some(vbd) = self.vbds.get_mut(&id) else { return };
        let Phase::Connected(attached) = std::mem::replace(&mut vbd.phase, Phase::Gone) else { return };
        match self.copies.close(attached) {
            Ok(job) => self.set_phase(id, Phase::Closing(job)),
            Err(error) => self.fail(store, id, &error.to_string()),
        }
    }

    /// A job has ended; it means nothing if its device has gone meanwhile.
    fn finish(&mut self, store: &mut Store, job: JobId, outcome: Outcome) {
        let concerned = self.vbds.iter().find(|(_, vbd)| match vbd.phase {
            Phase::Opening(own) | Phase::Closing(own) => own == job,
            Phase::Waiting | Phase::Connected(_) | Phase::Gone | Phase::Held => false,
        });
        let Some(id) = concerned.map(|(id, _)| *id) else { return };
        match outcome {
            Outcome::Opened(Err(error)) => {
                self.set_phase(id, Phase::Waiting);
                self.fail(store, id, &error.to_string());
            }
            Outcome::Opened(Ok(attached)) => {
                let geometry = geometry(attached.bytes(), attached.is_writable());
                self.set_phase(id, Phase::Connected(attached));
                for (node, value) in geometry {
                    self.set_back(store, id, node, value.as_bytes());
                }
                if self.back_state(store, id) == Some(XenbusState::InitWait) {
                    self.set_back_state(store, id, XenbusState::Connected);
                }
                // The front end may have closed meanwhile.
                self.step_back(store, id);
            }
            Outcome::Closed(result) => {
                if let Err(error) = result {
                    eprintln!("xen-sim: {error}");
                }
                self.leave(store, id);
            }
        }
    }

    /// The back end has let go of the image. It says so unless the front end went without a word.
    fn leave(&mut self, store: &mut Store, id: VbdId) {
        self.set_phase(id, Phase::Gone);
        let front = id.front("state").ok().and_then(|path| state(store, self.back, &path));
        let asked = self.back_state(store, id) == Some(XenbusState::Closing);
        if asked || front == Some(XenbusState::Closed) {
            self.set_back_state(store, id, XenbusState::Closed);
        }
    }

    fn fail(&mut self, store: &mut Store, id: VbdId, why: &str) {
        eprintln!("xen-sim: device {} of domain {}: {why}", id.device, id.domid);
        let written =
            id.back_error().and_then(|path| store.write(self.back, NO_TRANSACTION, &path, why.as_bytes()));
        note(id, "error", written);
        self.set_back_state(store, id, XenbusState::Closing);
    }

    fn forget(&mut self, id: VbdId) {
        self.unplug(id);
        self.vbds.remove(&id);
    }

    fn plug(&mut self, id: VbdId) -> Option<Arrival> {
        let device = id.name()?;
        let directory = &self.fronts.get(&id.domid)?.directory;
        let (from, to) = (directory.join("blk").join(&device), directory.join("dev").join(&device));
        let vbd = self.vbds.get_mut(&id)?;
        if let Err(error) = fs::rename(&from, &to) {
            eprintln!("xen-sim: cannot make {}: {error}", to.display());
            return None;
        }
        vbd.plugged = Some(to);
        Some(Arrival { domid: id.domid, device })
    }

    fn unplug(&mut self, id: VbdId) {
        let Some(path) = self.vbds.get_mut(&id).and_then(|vbd| vbd.plugged.take()) else { return };
        // The guest may have removed it itself.
        let _ = fs::remove_file(path);
    }

    fn set_phase(&mut self, id: VbdId, phase: Phase) {
        if let Some(vbd) = self.vbds.get_mut(&id) {
            vbd.phase = phase;
        }
    }

    fn back_state(&self, store: &mut Store, id: VbdId) -> Option<XenbusState> {
        id.back("state").ok().and_then(|path| state(store, self.back, &path))
    }

    fn set_back_state(&self, store: &mut Store, id: VbdId, state: XenbusState) {
        self.set_back(store, id, "state", state.value());
    }

    /// Writes a node of the back end. A device that has gone must not come back by that.
    fn set_back(&self, store: &mut Store, id: VbdId, node: &str, value: &[u8]) {
        if self.back_state(store, id).is_some() {
            self.write_back(store, id, node, value);
        }
    }

    fn write_back(&self, store: &mut Store, id: VbdId, node: &str, value: &[u8]) {
        let written = id.back(node).and_then(|path| store.write(self.back, NO_TRANSACTION, &path, value));
        note(id, node, written);
    }

    fn is_back_there(&self, store: &mut Store, id: VbdId) -> bool {
        id.back_directory().is_ok_and(|path| store.directory(self.back, NO_TRANSACTION, &path).is_ok())
    }
}

fn state(store: &mut Store, who: ConnectionId, path: &NodePath) -> Option<XenbusState> {
    XenbusState::parse(&store.read(who, NO_TRANSACTION, path).ok()?)
}

fn watch(store: &mut Store, connection: ConnectionId, domid: Domid, path: &[u8]) {
    let watched = WatchPath::parse(domid, path).and_then(|path| store.watch(connection, path, b"vbd"));
    if let Err(error) = watched {
        eprintln!("xen-sim: the block drivers of domain {domid} cannot watch: {error}");
    }
}

/// Says when a driver cannot write what it should: somebody set wrong permissions.
fn note(id: VbdId, node: &str, result: Result<(), XsError>) {
    if let Err(error) = result {
        eprintln!("xen-sim: device {} of domain {}: cannot write {node}: {error}", id.device, id.domid);
    }
}
