//! The edge between the broker and the attacher: orders with a number, each answered once.
//!
//! Orders are idempotent. After a restart of either side the broker asks for the inventory and gives again
//! what is not done yet; an order whose work is already done is answered [`Outcome::Done`].

use bincode::{Decode, Encode};

use crate::log::LogLine;
use crate::reply::Reply;
use crate::types::{Device, Domid, ImageId, Seq, SizeMib, VmName};

/// Most images that can exist at once, whatever the configuration says: an inventory fits one datagram.
pub const IMAGES_MAX: usize = 256;
/// Most orders that are not answered yet.
pub const ORDERS_OPEN_MAX: usize = 1024;

/// The number of one order, never used twice in one life of the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct OrderId(pub u64);

/// An order of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct AttachRequest {
    /// Its number.
    pub id: OrderId,
    /// What is to be done.
    pub order: Order,
}

/// What the attacher can be told to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Order {
    /// Say which images exist and where they are attached.
    Inventory,
    /// Make this domain's `device/qpen` and `qpen/reply` (empty, with their permissions).
    MakeQpen {
        /// The domain.
        domid: Domid,
    },
    /// Write a reply for this domain.
    Answer {
        /// The domain.
        domid: Domid,
        /// The reply.
        reply: Reply,
    },
    /// Make an empty pendrive, formatted, attached nowhere.
    Create {
        /// Its identity. An image of this identity must not exist.
        image: ImageId,
        /// Its size.
        size: SizeMib,
        /// The VM whose name becomes the volume label.
        label: VmName,
    },
    /// Connect an image to a domain, if that still has this name.
    Attach {
        /// The image.
        image: ImageId,
        /// The domain.
        domid: Domid,
        /// Its name, which the attacher compares with the toolstack's own word: which number belongs to which name
        /// is otherwise known from a process that reads what VMs write.
        name: VmName,
        /// Whether it was just made, and gets the time to boot before it must connect.
        boots: bool,
        /// The place.
        place: Attachment,
    },
    /// Disconnect it: done when the back end is gone and the image is held by nobody.
    Detach {
        /// The image.
        image: ImageId,
        /// The domain.
        domid: Domid,
        /// The device.
        device: Device,
    },
    /// Say how much space an image occupies.
    Measure {
        /// The image.
        image: ImageId,
    },
    /// Release the space of an image and remove it. It must be attached nowhere.
    Destroy {
        /// The image.
        image: ImageId,
    },
    /// The domain is gone: remove every node of it that is ours.
    ForgetDomain {
        /// The domain.
        domid: Domid,
    },
}

/// Where and how an image is attached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Attachment {
    /// As `xvdg`, writable.
    Outgoing,
    /// As `xvdh`.
    Incoming {
        /// For `qubes_blocksrc`.
        source: VmName,
        /// For `qubes_transaction_seq`; `None` is a plain copy and written as 0.
        seq: Option<Seq>,
        /// Whether the receiver may write to it.
        writable: bool,
    },
}

impl Attachment {
    /// The device that this attachment is.
    #[must_use]
    pub fn device(&self) -> Device {
        match self {
            Self::Outgoing => Device::Outgoing,
            Self::Incoming { .. } => Device::Incoming,
        }
    }
}

/// What the attacher says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum AttachReply {
    /// The answer to one order.
    Finished {
        /// Which order.
        id: OrderId,
        /// How it ended.
        outcome: Outcome,
    },
    /// A line for the log.
    Log(LogLine),
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Outcome {
    /// What was ordered holds now.
    Done,
    /// The answer to [`Order::Inventory`].
    Inventory(Vec<InventoryItem>),
    /// The answer to [`Order::Measure`]: MiB that the image occupies, rounded up.
    Measured {
        /// How many.
        used_mib: u32,
    },
    /// It does not hold, and nothing of it is left behind.
    Failed(AttachFailure),
}

/// One image that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct InventoryItem {
    /// Its identity.
    pub image: ImageId,
    /// Where it is attached, completely or in part.
    pub holder: Option<(Domid, Device)>,
}

/// Why an order could not be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
pub enum AttachFailure {
    /// No image of that identity.
    #[error("no such image")]
    NoSuchImage,
    /// The image, or the device of that domain, is in use already.
    #[error("the image or the device is in use")]
    InUse,
    /// The limit of images or bytes, or the space to be kept free.
    #[error("no space, or a limit is reached")]
    NoSpace,
    /// No free loop device.
    #[error("no free loop device")]
    NoLoopDevice,
    /// The guest did not connect in time.
    #[error("the guest did not connect in time")]
    GuestSilent,
    /// The domain does not exist.
    #[error("the domain is gone")]
    DomainGone,
    /// The domain has another name than the order says.
    #[error("the domain has another name")]
    OtherName,
    /// xenstored refused or did not answer.
    #[error("xenstore error")]
    Xenstore,
    /// The kernel refused an operation on an image or a loop device.
    #[error("input/output error")]
    Io,
    /// The order contradicts an open one.
    #[error("another order for the same image is open")]
    Conflict,
}

/// Whether this outcome can answer this order.
#[must_use]
pub fn answers(order: &Order, outcome: &Outcome) -> bool {
    match (order, outcome) {
        (Order::Inventory, Outcome::Inventory(items)) => items.len() <= IMAGES_MAX,
        (Order::Measure { .. }, Outcome::Measured { .. }) => true,
        (_, Outcome::Inventory(_) | Outcome::Measured { .. })
        | (Order::Inventory | Order::Measure { .. }, Outcome::Done) => false,
        (_, Outcome::Done | Outcome::Failed(_)) => true,
    }
}
