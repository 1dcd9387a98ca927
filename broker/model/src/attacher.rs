//! The attacher and the host behind it: what orders do to images, and what must never be asked of it.
//!
//! It does as it is told, so that a wrong order is seen. The real one refuses most of them.

use protocol::attach::{AttachFailure, Attachment, InventoryItem, Order, Outcome};
use protocol::dialog::Recipient;
use protocol::reply::Reply;
use protocol::types::{Device, Domid, ImageId, VmName};

use crate::config::{Config, Rule, Want, name_of};
use crate::world::{Image, Use, World, Wrong};

/// What every image occupies, in MiB.
const USED_MIB: u32 = 3;

/// Does what an order asks for.
pub fn carry_out(config: &Config, world: &mut World, order: &Order) -> Outcome {
    match order {
        Order::Inventory => {
            let items = world.images.iter();
            let items = items.map(|(image, known)| InventoryItem { image: *image, holder: known.holder });
            Outcome::Inventory(items.collect())
        }
        Order::MakeQpen { .. } => Outcome::Done,
        Order::ForgetDomain { domid } => {
            let left = world.images.values_mut();
            left.filter(|image| image.holder.is_some_and(|(holder, _)| holder == *domid))
                .for_each(|image| image.holder = None);
            Outcome::Done
        }
        Order::Answer { domid, reply } => answer(world, *domid, reply),
        Order::Create { image, .. } => {
            if world.images.contains_key(image) {
                world.is_wrong(Wrong::BytesAstray);
            }
            world.images.insert(*image, Image { holder: None, maker: None, last: None, was_sent: false });
            Outcome::Done
        }
        Order::Attach { image, domid, name, place, .. } => {
            attach(config, world, *image, (*domid, name), place)
        }
        Order::Detach { image, domid, device } => {
            if let Some(known) = world.images.get_mut(image)
                && known.holder == Some((*domid, *device))
            {
                known.holder = None;
            }
            Outcome::Done
        }
        Order::Measure { image } if world.images.contains_key(image) => {
            Outcome::Measured { used_mib: USED_MIB }
        }
        Order::Measure { .. } => Outcome::Failed(AttachFailure::NoSuchImage),
        Order::Destroy { image } => {
            if world.images.remove(image).is_some_and(|image| image.holder.is_some()) {
                world.is_wrong(Wrong::DestroyedWhileHeld);
            }
            Outcome::Done
        }
    }
}

fn attach(
    config: &Config,
    world: &mut World,
    image: ImageId,
    (domid, name): (Domid, &VmName),
    attachment: &Attachment,
) -> Outcome {
    let Some(vm) = world.vms.get(&domid) else { return Outcome::Failed(AttachFailure::DomainGone) };
    if vm.name != *name {
        return Outcome::Failed(AttachFailure::OtherName);
    }
    let Some(known) = world.images.get(&image).cloned() else {
        return Outcome::Failed(AttachFailure::NoSuchImage);
    };
    let wanted = (domid, attachment.device());
    if known.holder == Some(wanted) {
        return Outcome::Done;
    }
    if known.holder.is_some() || world.held(domid, wanted.1).is_some() {
        world.is_wrong(Wrong::TwoHolders);
    }
    match attachment {
        Attachment::Outgoing => {
            if known.was_sent || known.maker.is_some_and(|maker| maker != domid) {
                world.is_wrong(Wrong::BytesAstray);
            }
        }
        Attachment::Incoming { .. } => arrives(config, world, image, &known, domid),
    }
    if let Some(known) = world.images.get_mut(&image) {
        known.holder = Some(wanted);
        known.last = Some(domid);
        match wanted.1 {
            Device::Outgoing => known.maker = Some(domid),
            Device::Incoming => known.was_sent = true,
        }
    }
    Outcome::Done
}

/// A receiver gets an image.
fn arrives(config: &Config, world: &mut World, image: ImageId, known: &Image, to: Domid) {
    let Some(maker) = known.maker else { return world.is_wrong(Wrong::BytesAstray) };
    let Some(sender) = world.vms.get(&maker) else { return };
    let Some(receiver) = world.vms.get(&to) else { return };
    let is_made_for_sender = receiver.is_disposable && world.owners.get(&to) == Some(&maker);
    let wants_it = |want: Want| match want {
        Want::Send(number) => name_of(number) == receiver.name && !sender.is_disposable,
        Want::SendDisposable => is_made_for_sender,
        Want::Answer(number) => {
            name_of(number) == receiver.name
                && (!sender.is_disposable || world.owners.get(&maker) == Some(&to))
        }
        Want::WrongAnswer(number) => name_of(number) == receiver.name && !sender.is_disposable,
        Want::New | Want::Umount | Want::Killme | Want::Nonsense => false,
    };
    if known.was_sent || !sender.requests.iter().any(|asked| asked.answer.is_none() && wants_it(asked.want)) {
        return world.is_wrong(Wrong::BytesAstray);
    }
    let rule = if is_made_for_sender { config.dvm } else { config.copy };
    if sender.is_disposable || rule == Rule::Allow {
        return;
    }
    let target =
        if is_made_for_sender { Recipient::NewDisposable } else { Recipient::Vm(receiver.name.clone()) };
    let said_yes = world.yes.iter().any(|yes| yes.source == maker);
    let fits = world.yes.iter_mut().find(|yes| {
        yes.source == maker && yes.image == Some(image) && yes.target == target && yes.used == Use::Unused
    });
    match fits {
        Some(yes) => yes.used = Use::Used,
        None if said_yes => world.is_wrong(Wrong::YesMisused),
        None => world.is_wrong(Wrong::NotPermitted),
    }
}

/// A VM reads a reply.
fn answer(world: &mut World, domid: Domid, reply: &Reply) -> Outcome {
    let Some(vm) = world.vms.get_mut(&domid) else { return Outcome::Failed(AttachFailure::DomainGone) };
    let index = reply.reqid.as_ref().and_then(|reqid| reqid.as_str().parse::<usize>().ok());
    let Some(asked) = index.and_then(|index| vm.requests.get_mut(index)) else { return Outcome::Done };
    let word = (reply.code, reply.detail);
    let is_second = asked.answer.is_some_and(|given| given != word);
    if reply.code.is_final() {
        asked.answer = asked.answer.or(Some(word));
        for yes in world.yes.iter_mut().filter(|yes| yes.source == domid && yes.used == Use::Unused) {
            if let Some(index) = index {
                yes.requests.remove(&index);
            }
            if yes.requests.is_empty() {
                yes.used = Use::Void;
            }
        }
    } else {
        asked.is_pending = true;
    }
    if is_second {
        world.is_wrong(Wrong::TwoReplies);
    }
    Outcome::Done
}
