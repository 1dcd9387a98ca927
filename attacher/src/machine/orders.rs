//! Orders: what each means for the images and places that there are.

use protocol::attach::{
    AttachFailure, AttachRequest, Attachment, InventoryItem, ORDERS_OPEN_MAX, Order, OrderId, Outcome,
};
use protocol::types::{Domid, ImageId, SizeMib, VmName};

use super::{Action, Holding, Image, Machine, Millis, Place, State, Why, answer};

impl Machine {
    pub(super) fn order(&mut self, request: AttachRequest, now: Millis, actions: &mut Vec<Action>) {
        let AttachRequest { id, order } = request;
        if self.orders_open() >= ORDERS_OPEN_MAX {
            actions.push(answer(id, Err(AttachFailure::Conflict)));
            return;
        }
        let refused = match order {
            Order::Inventory => {
                actions.push(Action::Answered(id, Outcome::Inventory(self.inventory())));
                Ok(())
            }
            Order::MakeQpen { domid } => {
                actions.push(Action::MakeQpen(id, domid));
                Ok(())
            }
            Order::Answer { domid, reply } => {
                actions.push(Action::Answer(id, domid, reply));
                Ok(())
            }
            Order::Create { image, size, label } => self.create(id, image, size, label, actions),
            Order::Attach { image, domid, name, boots, place } => {
                let patience = if boots { self.limits.boot_ms_max } else { self.limits.connect_ms_max };
                self.attach(id, image, (domid, name), place, now.saturating_add(patience), actions)
            }
            Order::Detach { image, domid, device } => {
                self.detach(id, image, Place { domid, device }, now, actions)
            }
            Order::Measure { image } => self.measure(id, image, actions),
            Order::Destroy { image } => self.destroy(id, image, actions),
            Order::ForgetDomain { domid } => self.forget(id, domid, actions),
        };
        if let Err(failure) = refused {
            actions.push(answer(id, Err(failure)));
        }
    }

    /// Orders that are not answered yet. Everything else is answered within its own step.
    fn orders_open(&self) -> usize {
        let releasing = self.images.values().filter(|image| image.releasing.is_some()).count();
        let waiting = self.places.values().filter(|holding| match holding.state {
            State::Connecting { .. } | State::Closing { .. } | State::Releasing { .. } => true,
            State::Attached | State::Half | State::Stuck => false,
        });
        releasing.saturating_add(waiting.count()).saturating_add(self.forgetting.len())
    }

    fn inventory(&self) -> Vec<InventoryItem> {
        let item = |image: &ImageId| {
            let holder = self.holder(*image).map(|place| (place.domid, place.device));
            InventoryItem { image: *image, holder }
        };
        self.images.keys().map(item).collect()
    }

    fn create(
        &mut self,
        id: OrderId,
        image: ImageId,
        size: SizeMib,
        label: VmName,
        actions: &mut Vec<Action>,
    ) -> Result<(), AttachFailure> {
        if self.images.contains_key(&image) {
            return Err(AttachFailure::InUse);
        }
        let total_mib: u64 = self.images.values().map(|image| image.size_mib).sum();
        let total_mib = total_mib.saturating_add(u64::from(size.mib()));
        if self.images.len() >= self.limits.images_max || total_mib > self.limits.total_mib_max {
            return Err(AttachFailure::NoSpace);
        }
        actions.push(Action::Create { id, image, size, label });
        Ok(())
    }

    pub(super) fn created(
        &mut self,
        id: OrderId,
        image: ImageId,
        size: SizeMib,
        result: Result<(), AttachFailure>,
        actions: &mut Vec<Action>,
    ) {
        if result.is_ok() {
            self.images.insert(image, Image { size_mib: u64::from(size.mib()), releasing: None });
        }
        actions.push(answer(id, result));
    }

    fn attach(
        &mut self,
        id: OrderId,
        image: ImageId,
        (domid, name): (Domid, VmName),
        attachment: Attachment,
        deadline: Millis,
        actions: &mut Vec<Action>,
    ) -> Result<(), AttachFailure> {
        let known = self.images.get(&image).ok_or(AttachFailure::NoSuchImage)?;
        if known.releasing.is_some() {
            return Err(AttachFailure::Conflict);
        }
        let place = Place { domid, device: attachment.device() };
        if self.forgetting.contains_key(&domid) {
            return Err(AttachFailure::DomainGone);
        }
        if let Some(holding) = self.places.get(&place) {
            let is_same = holding.image == image
                && holding.attachment.as_ref().is_none_or(|attached| *attached == attachment);
            return match holding.state {
                State::Attached if is_same => {
                    actions.push(answer(id, Ok(())));
                    Ok(())
                }
                State::Attached | State::Half | State::Stuck => Err(AttachFailure::InUse),
                State::Connecting { .. } | State::Closing { .. } | State::Releasing { .. } => {
                    Err(AttachFailure::Conflict)
                }
            };
        }
        if self.holder(image).is_some() {
            return Err(AttachFailure::InUse);
        }
        let state = State::Connecting { id, deadline };
        self.places.insert(place, Holding { image, attachment: Some(attachment.clone()), state });
        actions.push(Action::Connect { place, name, image, attachment });
        Ok(())
    }

    fn detach(
        &mut self,
        id: OrderId,
        image: ImageId,
        place: Place,
        now: Millis,
        actions: &mut Vec<Action>,
    ) -> Result<(), AttachFailure> {
        let held = self.places.get_mut(&place).filter(|holding| holding.image == image);
        let Some(holding) = held else {
            actions.push(answer(id, Ok(())));
            return Ok(());
        };
        let deadline = now.saturating_add(self.limits.close_ms_max);
        match holding.state {
            State::Attached | State::Half => {
                holding.state = State::Closing { why: Why::Detach(id), deadline };
                actions.push(Action::Close { place, image });
                Ok(())
            }
            State::Stuck => {
                self.take_away(place, Why::Detach(id), actions);
                Ok(())
            }
            // It goes already and nobody waits for it: this order does from now on.
            State::Releasing { why: Why::Leftover, retry, deadline } => {
                holding.state = State::Releasing { why: Why::Detach(id), retry, deadline };
                Ok(())
            }
            State::Closing { .. } | State::Releasing { .. } | State::Connecting { .. } => {
                Err(AttachFailure::Conflict)
            }
        }
    }

    fn measure(&self, id: OrderId, image: ImageId, actions: &mut Vec<Action>) -> Result<(), AttachFailure> {
        if !self.images.contains_key(&image) {
            return Err(AttachFailure::NoSuchImage);
        }
        actions.push(Action::Measure(id, image));
        Ok(())
    }

    fn destroy(
        &mut self,
        id: OrderId,
        image: ImageId,
        actions: &mut Vec<Action>,
    ) -> Result<(), AttachFailure> {
        if self.holder(image).is_some() {
            return Err(AttachFailure::InUse);
        }
        let Some(known) = self.images.get_mut(&image) else {
            actions.push(answer(id, Ok(())));
            return Ok(());
        };
        if known.releasing.is_some() {
            return Err(AttachFailure::Conflict);
        }
        known.releasing = Some(id);
        Ok(())
    }

    pub(super) fn piece_released(
        &mut self,
        image: ImageId,
        more: Result<bool, AttachFailure>,
        actions: &mut Vec<Action>,
    ) {
        let Some(known) = self.images.get_mut(&image) else { return };
        if more == Ok(true) {
            return;
        }
        if let Some(id) = known.releasing.take() {
            actions.push(answer(id, more.map(drop)));
        }
        if more.is_ok() {
            self.images.remove(&image);
        }
    }

    fn forget(&mut self, id: OrderId, domid: Domid, actions: &mut Vec<Action>) -> Result<(), AttachFailure> {
        if self.forgetting.contains_key(&domid) {
            return Err(AttachFailure::Conflict);
        }
        self.forgetting.insert(domid, id);
        let places: Vec<Place> = self.places.keys().copied().filter(|place| place.domid == domid).collect();
        for place in places {
            let Some(holding) = self.places.get(&place) else { continue };
            let why = match holding.state {
                State::Connecting { id, .. } => Why::Undo(id, AttachFailure::DomainGone),
                State::Closing { why, .. } => why,
                State::Attached | State::Half | State::Stuck => Why::Leftover,
                // Its nodes are removed already; the release of its loop device goes on by itself.
                State::Releasing { .. } => continue,
            };
            self.take_away(place, why, actions);
        }
        self.forget_if_empty(domid, actions);
        Ok(())
    }

    /// Goes on with forgetting a domain once none of its places is left.
    pub(super) fn forget_if_empty(&mut self, domid: Domid, actions: &mut Vec<Action>) {
        if self.places.keys().any(|place| place.domid == domid) {
            return;
        }
        if let Some(id) = self.forgetting.remove(&domid) {
            actions.push(Action::Forget(id, domid));
        }
    }
}
