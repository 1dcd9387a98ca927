//! The attacher's state machine: events in, actions out, no effects and no clock of its own.
//!
//! An order that waits for a guest holds up nothing but its own place (L2). Each order is answered exactly once, and
//! only after what it asks for has been confirmed (L6).
//!
//! A *place* is one device of one domain. Its life, with what ends each state:
//!
//! | state | entered by | next |
//! |---|---|---|
//! | (free) | | `Attach`: connecting |
//! | connecting | the nodes are written | back end at 4: attached, `Done`; closed, gone or too late: removed, `Failed` |
//! | attached | | `Detach`: closing |
//! | half | found at start, not connected | `Detach`: closing |
//! | closing | back end told to close | back end at 6, gone or too late: removed |
//! | releasing | nodes removed | loop device unbound: free, answered; too late: stuck, `Failed` |
//! | stuck | could not be taken away | `Detach`: removed again |
//!
//! `ForgetDomain` takes every place of its domain to *releasing* at once.
//!
//! An *image* exists from a successful `Create` until the last piece of its space is released; while a place holds it
//! it is never released.

mod orders;
mod places;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use protocol::attach::{AttachFailure, AttachRequest, Attachment, IMAGES_MAX, OrderId, Outcome};
use protocol::log::Level;
use protocol::reply::Reply;
use protocol::types::{Device, Domid, ImageId, SizeMib, VmName};

/// How long the release of a loop device may take after its back end is gone.
pub const RELEASE_MS_MAX: u64 = 5_000;
/// How long to wait before asking again whether a loop device is released.
pub const RELEASE_RETRY_MS: u64 = 2;
/// How long to wait before trying again to make a spare image.
pub const SPARE_RETRY_MS: u64 = 10_000;
/// How long to wait before making another spare image than the one that was just used: until that one is attached, the
/// processor is needed for it.
pub const SPARE_PAUSE_MS: u64 = 1_000;

/// Milliseconds of a clock that never goes back.
pub type Millis = u64;

/// One device of one domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The domain.
    pub domid: Domid,
    /// The device.
    pub device: Device,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of domain {}", self.device.name(), self.domid)
    }
}

/// Limits and times, from the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most images, the spare not counted.
    pub images_max: usize,
    /// Most MiB of all images together, by their nominal sizes.
    pub total_mib_max: u64,
    /// How long a guest may take to connect a device.
    pub connect_ms_max: Millis,
    /// How long one that was just made may take for it.
    pub boot_ms_max: Millis,
    /// How long a guest may take to let a device go.
    pub close_ms_max: Millis,
}

/// What the back end's `state` says. It is written by the kernel of domain 0, never by a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackState {
    /// On its way up (1, 2, 3), or a number that means nothing here.
    Opening,
    /// 4.
    Connected,
    /// 5.
    Closing,
    /// 6.
    Closed,
    /// There is no back end.
    Gone,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The broker wants something.
    Order(AttachRequest),
    /// [`Action::Create`] was tried.
    Created {
        /// Its order.
        id: OrderId,
        /// The image.
        image: ImageId,
        /// Its size.
        size: SizeMib,
        /// Whether the image exists now.
        result: Result<(), AttachFailure>,
        /// Whether there is a spare now.
        spare: bool,
    },
    /// [`Action::MakeSpare`] was tried.
    SpareMade(bool),
    /// [`Action::ReleasePiece`] was tried.
    PieceReleased {
        /// The image.
        image: ImageId,
        /// Whether more is to be released, or why not.
        more: Result<bool, AttachFailure>,
    },
    /// [`Action::Connect`] was tried; on failure nothing of it is left behind.
    Connecting {
        /// The place.
        place: Place,
        /// Whether the nodes exist now.
        result: Result<(), AttachFailure>,
    },
    /// [`Action::Close`] was tried.
    Closing {
        /// The place.
        place: Place,
        /// Whether it is worth waiting for the back end. If not it is closed already, or cannot be told.
        told: bool,
    },
    /// The state of a back end, read after its watch fired.
    BackEnd {
        /// The place.
        place: Place,
        /// The state.
        state: BackState,
    },
    /// [`Action::Remove`] was tried.
    Removed {
        /// The place.
        place: Place,
        /// Whether its nodes are gone.
        result: Result<(), AttachFailure>,
    },
    /// [`Action::Release`] was tried.
    Released {
        /// The place.
        place: Place,
        /// Whether the loop device is unbound, or why that cannot be said.
        unbound: Result<bool, AttachFailure>,
    },
    /// [`Action::Measure`] was tried.
    Measured {
        /// Its order.
        id: OrderId,
        /// MiB that the image occupies, rounded up.
        used_mib: Result<u32, AttachFailure>,
    },
    /// [`Action::MakeQpen`], [`Action::Answer`] or [`Action::Forget`] was tried.
    Written {
        /// Its order.
        id: OrderId,
        /// Whether it is done.
        result: Result<(), AttachFailure>,
    },
    /// Time has passed.
    Tick,
    /// Nothing else is to be done now.
    Idle,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell the broker.
    Answered(OrderId, Outcome),
    /// Write a line to the log.
    Log(Level, String),
    /// Make an image, unless too little space would stay free. Gives [`Event::Created`].
    Create {
        /// The order.
        id: OrderId,
        /// The image.
        image: ImageId,
        /// Its size.
        size: SizeMib,
        /// What its label is made of.
        label: VmName,
    },
    /// Make a spare image. Gives [`Event::SpareMade`].
    MakeSpare,
    /// Release a bounded piece of the space of an image, and remove the image with the last one. Gives
    /// [`Event::PieceReleased`].
    ReleasePiece(ImageId),
    /// Bind a loop device, watch the back end, write both ends. Gives [`Event::Connecting`].
    Connect {
        /// The place.
        place: Place,
        /// The name that its domain must have.
        name: VmName,
        /// The image.
        image: ImageId,
        /// How.
        attachment: Attachment,
    },
    /// Find out how much space an image occupies. Gives [`Event::Measured`].
    Measure(OrderId, ImageId),
    /// Stop watching the back end.
    Unwatch(Place),
    /// Watch the back end and tell it to close, and have the kernel unbind the loop device as soon as it has. Gives
    /// [`Event::Closing`].
    Close {
        /// The place.
        place: Place,
        /// What it holds.
        image: ImageId,
    },
    /// Remove both ends and, for an incoming device, the two keys; stop watching. Gives [`Event::Removed`].
    Remove(Place),
    /// Unbind the loop device of this place, if it has one. Gives [`Event::Released`].
    Release {
        /// The place.
        place: Place,
        /// What it held.
        image: ImageId,
    },
    /// Make the keys of a domain. Gives [`Event::Written`].
    MakeQpen(OrderId, Domid),
    /// Write a reply. Gives [`Event::Written`].
    Answer(OrderId, Domid, Reply),
    /// Remove whatever else of a gone domain is ours. Gives [`Event::Written`].
    Forget(OrderId, Domid),
}

/// A place that was found at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundPlace {
    /// The place.
    pub place: Place,
    /// The image that its back end names.
    pub image: ImageId,
    /// Whether a guest uses it.
    pub connected: bool,
}

/// What the world holds when the attacher starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The images and their sizes in MiB, rounded up.
    pub images: Vec<(ImageId, u64)>,
    /// The places that are ours.
    pub places: Vec<FoundPlace>,
}

/// An image that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Image {
    size_mib: u64,
    releasing: Option<OrderId>,
}

/// Why a place is being taken away, and so who is told at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The order asked for it.
    Detach(OrderId),
    /// The attaching order failed.
    Undo(OrderId, AttachFailure),
    /// Nobody waits: its domain is gone, or its image was gone at start.
    Leftover,
}

/// The state of a place; the table is above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting { id: OrderId, deadline: Millis },
    Attached,
    Half,
    Closing { why: Why, deadline: Millis },
    Releasing { why: Why, retry: Millis, deadline: Millis },
    Stuck,
}

/// What a place holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holding {
    image: ImageId,
    /// How it was attached; unknown for what was found at start.
    attachment: Option<Attachment>,
    state: State,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    images: BTreeMap<ImageId, Image>,
    places: BTreeMap<Place, Holding>,
    /// Orders to forget a domain that wait for its places.
    forgetting: BTreeMap<Domid, OrderId>,
    has_spare: bool,
    spare_retry: Millis,
}

impl Machine {
    /// Starts from what the world holds. The actions remove what cannot be kept.
    #[must_use]
    pub fn new(limits: Limits, found: Found) -> (Self, Vec<Action>) {
        let images_max = limits.images_max.min(IMAGES_MAX);
        let mut machine = Self {
            limits: Limits { images_max, ..limits },
            images: BTreeMap::new(),
            places: BTreeMap::new(),
            forgetting: BTreeMap::new(),
            has_spare: false,
            spare_retry: 0,
        };
        for (image, size_mib) in found.images {
            machine.images.insert(image, Image { size_mib, releasing: None });
        }
        let mut actions = Vec::new();
        for place in found.places {
            machine.find_place(place, &mut actions);
        }
        (machine, actions)
    }

    /// Takes in one event.
    pub fn step(&mut self, event: Event, now: Millis) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Order(request) => self.order(request, now, &mut actions),
            Event::Created { id, image, size, result, spare } => {
                self.spare_left(spare, now);
                self.created(id, image, size, result, &mut actions);
            }
            Event::SpareMade(made) => self.spare_made(made, now),
            Event::PieceReleased { image, more } => self.piece_released(image, more, &mut actions),
            Event::Connecting { place, result } => self.connecting(place, result, &mut actions),
            Event::Closing { place, told } => self.closing(place, told, &mut actions),
            Event::BackEnd { place, state } => self.back_end(place, state, &mut actions),
            Event::Removed { place, result } => self.removed(place, result, &mut actions),
            Event::Released { place, unbound } => self.released(place, unbound, now, &mut actions),
            Event::Measured { id, used_mib } => {
                let measured = used_mib.map(|used_mib| Outcome::Measured { used_mib });
                actions.push(Action::Answered(id, measured.unwrap_or_else(Outcome::Failed)));
            }
            Event::Written { id, result } => actions.push(answer(id, result)),
            Event::Tick => self.tick(now, &mut actions),
            Event::Idle => self.idle(now, &mut actions),
        }
        actions
    }

    /// When [`Event::Tick`] is wanted next, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        let places = self.places.values().filter_map(|holding| match holding.state {
            State::Connecting { deadline, .. } | State::Closing { deadline, .. } => Some(deadline),
            State::Releasing { retry, .. } => Some(retry),
            State::Attached | State::Half | State::Stuck => None,
        });
        let spare = (!self.has_spare).then_some(self.spare_retry);
        places.chain(spare).min()
    }

    /// Whether [`Event::Idle`] would lead to work.
    #[must_use]
    pub fn has_idle_work(&self, now: Millis) -> bool {
        self.wants_spare(now) || self.images.values().any(|image| image.releasing.is_some())
    }

    fn wants_spare(&self, now: Millis) -> bool {
        !self.has_spare && now >= self.spare_retry
    }

    /// Takes in whether an order to create has left a spare.
    fn spare_left(&mut self, spare: bool, now: Millis) {
        if self.has_spare && !spare {
            self.spare_retry = now.saturating_add(SPARE_PAUSE_MS);
        }
        self.has_spare = spare;
    }

    fn spare_made(&mut self, made: bool, now: Millis) {
        self.has_spare = made;
        if !made {
            self.spare_retry = now.saturating_add(SPARE_RETRY_MS);
        }
    }

    /// One piece of background work, so that what is urgent never waits for more than one.
    fn idle(&mut self, now: Millis, actions: &mut Vec<Action>) {
        let releasing = self.images.iter().find(|(_, image)| image.releasing.is_some());
        if let Some((image, _)) = releasing {
            actions.push(Action::ReleasePiece(*image));
        } else if self.wants_spare(now) {
            actions.push(Action::MakeSpare);
        }
    }

    /// The place that holds an image, completely or in part.
    fn holder(&self, image: ImageId) -> Option<Place> {
        self.places.iter().find(|(_, holding)| holding.image == image).map(|(place, _)| *place)
    }
}

fn answer(id: OrderId, result: Result<(), AttachFailure>) -> Action {
    Action::Answered(id, result.map_or_else(Outcome::Failed, |()| Outcome::Done))
}
