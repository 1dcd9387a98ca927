//! Attaching and detaching a block device through xenstore alone: no toolstack, no script, no hypercall.
//!
//! Both ends of a device are directories in xenstore. Domain 0 writes the back end and makes the front end, which then
//! belongs to the guest. Whatever the guest writes there is never read (L16): how far a device is tells the back end's
//! `state`, which the kernel of domain 0 writes. States and nodes are those of Xen's `io/xenbus.h` and `io/blkif.h`.

use protocol::attach::{AttachFailure, Attachment};
use protocol::types::{Device, Domid, VmName};
use xenstore::path::{BackNode, BackendListPath, DomainPath, FrontNode, VbdPath};
use xenstore::{Asked, Client, Error, Permissions, Refusal, Token, Transaction, WatchEvent, missing_is_none};

use crate::backing::{Access, Presented};
use crate::machine::{BackState, Place};
use crate::trouble::Trouble;

/// Marks the watches of this module.
const TOKEN_BACK_END: u8 = 1;

const STATE_INITIALISING: &[u8] = b"1";
const STATE_CONNECTED: &[u8] = b"4";
const STATE_CLOSING: &[u8] = b"5";
const STATE_CLOSED: &[u8] = b"6";

/// Makes both ends of a device, and for an incoming one the two keys, all at once; and watches the back end.
///
/// `present` makes the image usable for the back end. It is called once at most, while xenstored is busy with what was
/// sent before; who calls this undoes it after an error.
///
/// # Errors
/// [`AttachFailure::DomainGone`], [`AttachFailure::OtherName`], [`AttachFailure::InUse`] when somebody else has made
/// that device, [`AttachFailure::Xenstore`], those of `present`; nothing has happened in xenstore then.
pub fn connect(
    client: &mut Client,
    place: Place,
    name: &VmName,
    attachment: &Attachment,
    mut present: impl FnMut() -> Result<Presented, AttachFailure>,
) -> Result<(), Trouble> {
    let mut presented = None;
    let mut refused = None;
    let written = client.transaction(|transaction| {
        transaction.watch(&path(place).back_node(BackNode::State), token(place))?;
        let checks = Checks::ask(transaction, place)?;
        // Nobody sees any of this before the commit, and when a check fails there is none.
        write_keys(transaction, place.domid, attachment)?;
        write_front(transaction, place)?;
        write_back(transaction, place, attachment)?;
        let backing = presented.get_or_insert_with(&mut present);
        refused = match backing {
            Ok(backing) => {
                write_backing(transaction, place, backing)?;
                checks.failed(transaction, name)?
            }
            Err(failure) => Some(*failure),
        };
        if refused.is_some() { Err(Refusal::Invalid.into()) } else { Ok(()) }
    });
    let failure = match (written, refused) {
        (Ok(()), _) => return Ok(()),
        (Err(error), Some(refused)) if !error.is_fatal() => refused.into(),
        (Err(error), _) => error.into(),
    };
    unwatch(client, place)?;
    Err(failure)
}

/// What must hold for a device to be made, asked within the transaction that makes it: nothing can change in between.
struct Checks {
    name: Asked,
    back_end: Asked,
}

impl Checks {
    fn ask(transaction: &mut Transaction<'_>, place: Place) -> Result<Self, Error> {
        Ok(Self {
            // The toolstack wrote it and the guest may only read it: it is there as long as the domain.
            name: transaction.ask_value(&DomainPath::name(place.domid))?,
            back_end: transaction.ask_children(&path(place).back())?,
        })
    }

    fn failed(
        self,
        transaction: &mut Transaction<'_>,
        name: &VmName,
    ) -> Result<Option<AttachFailure>, Error> {
        let found = missing_is_none(transaction.answer(self.name))?;
        let back_end = missing_is_none(transaction.answer(self.back_end))?;
        Ok(match found {
            None => Some(AttachFailure::DomainGone),
            Some(found) if found != name.as_str().as_bytes() => Some(AttachFailure::OtherName),
            Some(_) => back_end.map(|_| AttachFailure::InUse),
        })
    }
}

/// Whether there is a back end of nodes alone that the kernel has written after the device was removed: it was just
/// connecting it then. As long as they are there the kernel does not let go of the device.
fn is_remains(transaction: &mut Transaction<'_>, place: Place) -> Result<bool, Error> {
    let vbd = path(place);
    if missing_is_none(transaction.directory(&vbd.back()))?.is_none() {
        return Ok(false);
    }
    // Whoever makes a device writes these; the kernel never does.
    for node in [BackNode::Frontend, BackNode::Params] {
        if missing_is_none(transaction.read(&vbd.back_node(node)))?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes what the kernel has written after a device was removed, and says whether there was such a thing. A device
/// that somebody has made stays.
///
/// # Errors
/// [`AttachFailure::Xenstore`].
pub fn sweep(client: &mut Client, place: Place) -> Result<bool, Trouble> {
    // Nearly always there is nothing, which one request tells.
    if missing_is_none(client.directory(&path(place).back()))?.is_none() {
        return Ok(false);
    }
    let swept = client.transaction(|transaction| {
        let remains = is_remains(transaction, place)?;
        if remains {
            transaction.rm(&path(place).back())?;
            remove_list_if_empty(transaction, place.domid)?;
        }
        Ok(remains)
    })?;
    Ok(swept)
}

/// Removes the list of back ends of a domain if it is empty. One that is longer than a reply is not.
pub(crate) fn remove_list_if_empty(transaction: &mut Transaction<'_>, domid: Domid) -> Result<(), Error> {
    let list = BackendListPath::of(domid);
    let others = transaction.ask_children(&list)?;
    match transaction.answer(others) {
        Ok(names) if names.is_empty() => transaction.rm(&list),
        Ok(_) | Err(Error::Refused(Refusal::NoEntry | Refusal::TooBig)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The receiver's programs run as soon as the device is there, and find the keys then.
fn write_keys(transaction: &mut Transaction<'_>, domid: Domid, attachment: &Attachment) -> Result<(), Error> {
    let Attachment::Incoming { source, seq, writable: _ } = attachment else { return Ok(()) };
    let seq = seq.map_or(0, protocol::types::Seq::get).to_string();
    let readable = Permissions::guest_reads(domid);
    let keys =
        [(DomainPath::source(domid), source.as_str()), (DomainPath::transaction_seq(domid), seq.as_str())];
    for (key, value) in keys {
        transaction.write(&key, value.as_bytes())?;
        transaction.set_permissions(&key, &readable)?;
    }
    Ok(())
}

fn write_front(transaction: &mut Transaction<'_>, place: Place) -> Result<(), Error> {
    let vbd = path(place);
    let front = vbd.front();
    transaction.rm(&front)?;
    transaction.mkdir(&front)?;
    // First, because the nodes inside inherit it.
    transaction.set_permissions(&front, &Permissions::guest_owns(place.domid))?;
    let back = vbd.back().to_string();
    let number = place.device.number().to_string();
    let nodes: [(FrontNode, &[u8]); 5] = [
        (FrontNode::Backend, back.as_bytes()),
        (FrontNode::BackendId, b"0"),
        (FrontNode::VirtualDevice, number.as_bytes()),
        (FrontNode::DeviceType, b"disk"),
        (FrontNode::State, STATE_INITIALISING),
    ];
    for (node, value) in nodes {
        transaction.write(&vbd.front_node(node), value)?;
    }
    Ok(())
}

/// Only what a kernel reads, of domain 0 or of some guest: for each node in the back end domain 0's kernel looks at it
/// once more, and goes on with the device only afterwards. So there is no `device-type` (it is read in the front end), no
/// `removable` (without it a device is not), no `type` (the toolstack's) and no `hotplug-status` (by which a script answers
/// the toolstack).
fn write_back(transaction: &mut Transaction<'_>, place: Place, attachment: &Attachment) -> Result<(), Error> {
    let vbd = path(place);
    transaction.mkdir(&vbd.back())?;
    transaction.set_permissions(&vbd.back(), &Permissions::guest_reads(place.domid))?;
    let front = vbd.front().to_string();
    let domid = place.domid.to_string();
    let mode: &[u8] = if is_writable(attachment) { b"w" } else { b"r" };
    let nodes: [(BackNode, &[u8]); 6] = [
        (BackNode::Frontend, front.as_bytes()),
        (BackNode::FrontendId, domid.as_bytes()),
        (BackNode::Dev, place.device.name().as_bytes()),
        (BackNode::Mode, mode),
        (BackNode::Online, b"1"),
        // Without it the kernel would offer to discard.
        (BackNode::DiscardEnable, b"0"),
    ];
    for (node, value) in nodes {
        transaction.write(&vbd.back_node(node), value)?;
    }
    Ok(())
}

/// The rest of the back end: where the image is, and that the device is new.
fn write_backing(transaction: &mut Transaction<'_>, place: Place, backing: &Presented) -> Result<(), Error> {
    let vbd = path(place);
    transaction.write(&vbd.back_node(BackNode::Params), backing.params.as_bytes())?;
    let (node, value) = match &backing.access {
        Access::Device(number) => (BackNode::PhysicalDevice, number.as_str()),
        Access::Path => (BackNode::Type, "file"),
    };
    transaction.write(&vbd.back_node(node), value.as_bytes())?;
    transaction.write(&vbd.back_node(BackNode::State), STATE_INITIALISING)
}

/// Whether the guest may write to a device that is attached in this way.
#[must_use]
pub fn is_writable(attachment: &Attachment) -> bool {
    match attachment {
        Attachment::Outgoing => true,
        Attachment::Incoming { writable, .. } => *writable,
    }
}

/// Watches the back end and tells it to close. Says whether there is anything to wait for: a back end that is closed
/// or gone already says nothing more.
///
/// # Errors
/// [`AttachFailure::Xenstore`].
pub fn close(client: &mut Client, place: Place) -> Result<bool, Trouble> {
    let vbd = path(place);
    let mut is_over = false;
    let told = client.transaction(|transaction| {
        // Only while something is waited for: a guest can make its back end change state as often as it likes (L18).
        transaction.watch(&vbd.back_node(BackNode::State), token(place))?;
        let state = transaction.ask_value(&vbd.back_node(BackNode::State))?;
        // Nobody sees this before the commit, and when the back end is closed or gone there is none.
        transaction.write(&vbd.back_node(BackNode::Online), b"0")?;
        transaction.write(&vbd.back_node(BackNode::State), STATE_CLOSING)?;
        let state = missing_is_none(transaction.answer(state))?;
        is_over = state.is_none_or(|state| state == STATE_CLOSED);
        if is_over { Err(Refusal::Invalid.into()) } else { Ok(()) }
    });
    match told {
        Ok(()) => Ok(true),
        Err(error) if is_over && !error.is_fatal() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes both ends of a device, the two keys of an incoming one, and the list of back ends of that domain if it is
/// then empty; and stops watching. What is not there is removed.
///
/// The back end in the kernel lets go of its block device when its directory goes, whatever the guest does.
///
/// # Errors
/// [`AttachFailure::Xenstore`].
pub fn remove(client: &mut Client, place: Place) -> Result<(), Trouble> {
    let vbd = path(place);
    client.transaction(|transaction| {
        transaction.unwatch(&vbd.back_node(BackNode::State), token(place))?;
        // Not in it, because the guest owns it: one that keeps writing there could disturb a transaction for ever.
        transaction.rm_at_once(&vbd.front())?;
        transaction.rm(&vbd.back())?;
        if place.device == Device::Incoming {
            transaction.rm(&DomainPath::source(place.domid))?;
            transaction.rm(&DomainPath::transaction_seq(place.domid))?;
        }
        remove_list_if_empty(transaction, place.domid)
    })?;
    Ok(())
}

/// How far the back end is.
///
/// # Errors
/// [`AttachFailure::Xenstore`].
pub fn state(client: &mut Client, place: Place) -> Result<BackState, Trouble> {
    let state = missing_is_none(client.read(&path(place).back_node(BackNode::State)))?;
    Ok(match state.as_deref() {
        None => BackState::Gone,
        Some(STATE_CONNECTED) => BackState::Connected,
        Some(STATE_CLOSING) => BackState::Closing,
        Some(STATE_CLOSED) => BackState::Closed,
        Some(_) => BackState::Opening,
    })
}

/// The place whose back end a watch event is about.
#[must_use]
pub fn place_of(event: WatchEvent) -> Option<Place> {
    let WatchEvent { token } = event;
    let domid = Domid::new(token.domid).ok()?;
    let device = device_of(token.number)?;
    (token.kind == TOKEN_BACK_END).then_some(Place { domid, device })
}

/// The device of ours that has this number.
#[must_use]
pub fn device_of(number: u32) -> Option<Device> {
    Device::ALL.into_iter().find(|device| device.number() == number)
}

/// Stops watching the back end. Not having watched it is no error.
///
/// # Errors
/// [`AttachFailure::Xenstore`].
pub fn unwatch(client: &mut Client, place: Place) -> Result<(), Trouble> {
    let state = path(place).back_node(BackNode::State);
    missing_is_none(client.unwatch(&state, token(place)))?;
    Ok(())
}

fn token(place: Place) -> Token {
    Token { kind: TOKEN_BACK_END, domid: place.domid.get(), number: place.device.number() }
}

fn path(place: Place) -> VbdPath {
    VbdPath::new(place.domid, place.device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_event_leads_back_to_its_place() {
        for device in Device::ALL {
            let place = Place { domid: Domid::new(7).unwrap(), device };
            assert_eq!(place_of(WatchEvent { token: token(place) }), Some(place));
        }
        let foreign = [
            Token { kind: 2, domid: 7, number: 51808 },
            Token { kind: 1, domid: 0, number: 51808 },
            Token { kind: 1, domid: 7, number: 51712 },
        ];
        for token in foreign {
            assert_eq!(place_of(WatchEvent { token }), None);
        }
    }
}
