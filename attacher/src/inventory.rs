//! What the world holds when the attacher starts: earlier lives of it may have ended anywhere.

use protocol::types::{Domid, ImageId};
use xenstore::number::{decimal_u16, decimal_u32};
use xenstore::path::{BackNode, BackendListPath, DomainPath, VbdPath};
use xenstore::{Client, Who, missing_is_none};

use crate::backing::Backing;
use crate::images::Listing;
use crate::machine::{BackState, Found, FoundPlace, Place};
use crate::trouble::Trouble;
use crate::vbd;

/// Looks for every place that is ours.
///
/// # Errors
/// [`Trouble`]: without knowing this nothing can be done.
pub fn take(client: &mut Client, backing: &Backing, listing: Listing) -> Result<Found, Trouble> {
    let mut found = Found { images: listing.images, places: Vec::new() };
    let domains = missing_is_none(client.directory(&BackendListPath::all()))?.unwrap_or_default();
    for domid in domains.iter().filter_map(|name| decimal_u16(name)).filter_map(|id| Domid::new(id).ok()) {
        let devices = missing_is_none(client.directory(&BackendListPath::of(domid)))?.unwrap_or_default();
        for device in devices.iter().filter_map(|name| decimal_u32(name)).filter_map(vbd::device_of) {
            found.places.extend(look_at(client, backing, Place { domid, device })?);
        }
    }
    Ok(found)
}

/// A back end with our numbers may be somebody else's: only one whose `params` names an image in our way is ours.
fn look_at(client: &mut Client, backing: &Backing, place: Place) -> Result<Option<FoundPlace>, Trouble> {
    let path = VbdPath::new(place.domid, place.device);
    let owner = missing_is_none(client.permissions(&path.back()))?.map(|permissions| permissions.owner());
    let params = missing_is_none(client.read(&path.back_node(BackNode::Params)))?;
    let image = params.and_then(|params| backing.image_of(&params));
    let (Some(Who::Dom0), Some(image)) = (owner, image) else { return Ok(None) };
    let is_alive = missing_is_none(client.permissions(&DomainPath::home(place.domid)))?.is_some();
    let connected = is_alive && vbd::state(client, place)? == BackState::Connected;
    Ok(Some(FoundPlace { place, image, connected }))
}

/// Images that are bound to a loop device although no place holds them: their process ended before it had written the
/// device's nodes, or after it had removed them.
#[must_use]
pub fn unheld(backing: &Backing, found: &Found) -> Vec<ImageId> {
    let is_held = |image| found.places.iter().any(|place| place.image == image);
    backing.bound().into_iter().filter(|image| !is_held(*image)).collect()
}
