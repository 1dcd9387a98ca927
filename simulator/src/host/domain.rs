//! The nodes that the toolstack writes for a domain, and what is left of them when it ends.

use crate::error::{SimError, refused};
use crate::store::path::{Domid, NodePath, home};
use crate::store::perms::{Access, Permissions};
use crate::store::wire::XsError;
use crate::store::{ConnectionId, NO_TRANSACTION, Store};

/// KiB of memory that a guest is said to have.
const MEMORY_KIB: u32 = 409_600;
/// Directories that a guest owns.
const OWNED: [&str; 6] = ["data", "drivers", "feature", "attr", "error", "control/shutdown"];

/// The nodes of domain 0.
pub(super) fn write_domain_0(store: &mut Store, dom0: ConnectionId) -> Result<(), SimError> {
    let mut writer = Writer { store, dom0, base: home(0), mistake: None };
    writer.value("name", "Domain-0");
    writer.value("domid", "0");
    writer.directory("backend");
    writer.done()?;
    let mut writer = Writer { store, dom0, base: "/tool".to_owned(), mistake: None };
    writer.directory("xenstored");
    writer.done()
}

/// The nodes of a guest, as they are before the domain is introduced; all but its name, which may come later.
pub(super) fn write_guest(
    store: &mut Store,
    dom0: ConnectionId,
    domid: Domid,
    name: &str,
) -> Result<(), SimError> {
    let uuid = random_uuid()?;
    let readable = Permissions::new(0, Access::None, &[(domid, Access::Read)]);
    let owned = Permissions::new(domid, Access::None, &[]);

    let mut writer = Writer { store, dom0, base: format!("/vm/{uuid}"), mistake: None };
    writer.permissions("", &readable);
    writer.value("uuid", &uuid);
    writer.value("name", name);
    writer.done()?;

    let mut writer = Writer { store, dom0, base: home(domid), mistake: None };
    writer.permissions("", &readable);
    writer.value("vm", &format!("/vm/{uuid}"));
    writer.value("domid", &domid.to_string());
    // `device/vbd` comes with the first device, and stays when that goes.
    for directory in ["cpu/0", "device", "control", "memory"] {
        writer.directory(directory);
    }
    writer.value("cpu/0/availability", "online");
    writer.value("memory/static-max", &MEMORY_KIB.to_string());
    writer.value("memory/target", &MEMORY_KIB.to_string());
    for directory in OWNED {
        writer.permissions(directory, &owned);
    }
    writer.done()
}

/// The name of a guest, in its own directory.
pub(super) fn write_name(
    store: &mut Store,
    dom0: ConnectionId,
    domid: Domid,
    name: &str,
) -> Result<(), SimError> {
    let mut writer = Writer { store, dom0, base: home(domid), mistake: None };
    writer.value("name", name);
    writer.done()
}

/// Removes the toolstack's nodes of a guest. The back ends of its devices stay, as on Xen.
pub(super) fn remove_guest(store: &mut Store, dom0: ConnectionId, domid: Domid) {
    let home = home(domid);
    let path = |text: &str| NodePath::parse(0, text.as_bytes());
    let vm = path(&format!("{home}/vm"))
        .and_then(|link| store.read(dom0, NO_TRANSACTION, &link))
        .and_then(|target| NodePath::parse(0, &target));
    for gone in [vm, path(&home)].into_iter().flatten() {
        // It is gone already when the guest could remove it.
        let _ = store.remove(dom0, NO_TRANSACTION, &gone);
    }
}

/// A random UUID in the usual form.
pub(crate) fn random_uuid() -> Result<String, SimError> {
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled.ok() != Some(bytes.len()) {
        return refused("the kernel gives no random bytes");
    }
    let number = u128::from_be_bytes(bytes);
    // Version 4, variant 1 of RFC 9562.
    let number = number & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let mut text = format!("{number:032x}");
    for place in [20, 16, 12, 8] {
        text.insert(place, '-');
    }
    Ok(text)
}

/// Writes nodes below one directory as domain 0, and keeps the first mistake.
struct Writer<'a> {
    store: &'a mut Store,
    dom0: ConnectionId,
    base: String,
    mistake: Option<XsError>,
}

impl Writer<'_> {
    fn value(&mut self, name: &str, value: &str) {
        self.each(name, |store, dom0, path| store.write(dom0, NO_TRANSACTION, path, value.as_bytes()));
    }

    fn directory(&mut self, name: &str) {
        self.each(name, |store, dom0, path| store.mkdir(dom0, NO_TRANSACTION, path));
    }

    fn permissions(&mut self, name: &str, list: &Permissions) {
        self.directory(name);
        self.each(name, |store, dom0, path| store.set_permissions(dom0, NO_TRANSACTION, path, list.clone()));
    }

    fn each(
        &mut self,
        name: &str,
        operation: impl FnOnce(&mut Store, ConnectionId, &NodePath) -> Result<(), XsError>,
    ) {
        let slash = if name.is_empty() { "" } else { "/" };
        let path = NodePath::parse(0, format!("{}{slash}{name}", self.base).as_bytes());
        let result = path.and_then(|path| operation(self.store, self.dom0, &path));
        self.mistake = self.mistake.or(result.err());
    }

    fn done(self) -> Result<(), SimError> {
        match self.mistake {
            None => Ok(()),
            Some(error) => refused(format!("cannot write {}: {error}", self.base)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_the_usual_form() {
        let uuid = random_uuid().unwrap();
        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(
            uuid.get(14..15) == Some("4") && uuid.get(19..20).is_some_and(|digit| "89ab".contains(digit))
        );
        assert_ne!(uuid, random_uuid().unwrap());
    }

    #[test]
    fn a_guest_has_the_rights_that_the_toolstack_gives_it() {
        let mut store = Store::new();
        let dom0 = store.connect(0);
        write_domain_0(&mut store, dom0).unwrap();
        write_guest(&mut store, dom0, 3, "work").unwrap();
        let guest = store.connect(3);
        let path = |text: &str| NodePath::parse(3, text.as_bytes()).unwrap();
        assert_eq!(store.read(guest, 0, &path("name")), Err(XsError::NotFound));
        write_name(&mut store, dom0, 3, "work").unwrap();
        assert_eq!(store.read(guest, 0, &path("name")), Ok(b"work".to_vec()));
        for own in OWNED {
            store.write(guest, 0, &path(&format!("{own}/x")), b"1").unwrap();
        }
        for foreign in ["name", "device/qpen", "device/vbd/51808", "memory/target", "qpen/reply"] {
            assert_eq!(store.write(guest, 0, &path(foreign), b"1"), Err(XsError::Access), "{foreign}");
        }
        remove_guest(&mut store, dom0, 3);
        store.release(3);
        assert_eq!(store.directory(dom0, 0, &path("/vm")), Ok(vec![]));
        assert_eq!(store.directory(dom0, 0, &path("/local/domain")), Ok(vec!["0".to_owned()]));
    }
}
