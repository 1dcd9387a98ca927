//! The loop of the attacher, and the hands that carry out what the machine decides.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;
use std::time::Instant;

use protocol::attach::{AttachFailure, AttachReply, AttachRequest, Attachment};
use protocol::channel::{Channel, ChannelError};
use protocol::log::{Level, LogLine};
use protocol::settings::AttacherSettings;
use protocol::types::{ImageId, VmName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sys::sandbox::Sandboxed;
use xenstore::Client;

use crate::backing::{Backing, LoopsError};
use crate::images::{Images, ImagesError, Listing};
use crate::machine::{Action, Event, Limits, Machine, Millis, Place, RELEASE_MS_MAX};
use crate::trouble::{Trouble, answerable};
use crate::{inventory, keys, vbd};

/// Most orders that are taken in before anything else is looked at.
const ORDERS_PER_TURN_MAX: usize = 64;
/// How long to wait before asking again whether a loop device of an earlier life is free.
const LEFTOVER_RETRY_MS: u64 = 10;

/// What the attacher is started with.
#[derive(Debug)]
pub struct Resources {
    /// The end of the edge to the broker.
    pub edge: OwnedFd,
    /// A connection to xenstored.
    pub xenstored: OwnedFd,
    /// The image directory.
    pub images: OwnedFd,
    /// The directory of the loop devices, on a real host.
    pub loops: Option<OwnedFd>,
    /// The settings.
    pub settings: AttacherSettings,
}

/// Why the attacher ends.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The edge to the broker.
    #[error("the edge to the broker: {0}")]
    Edge(#[from] ChannelError),
    /// The connection to xenstored.
    #[error("xenstore: {0}")]
    Xenstore(#[from] xenstore::Error),
    /// The image directory.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// The loop devices.
    #[error(transparent)]
    Loops(#[from] LoopsError),
    /// What was there at start could not be found out, or not be cleared up.
    #[error("taking stock at start: {0}")]
    Stock(AttachFailure),
    /// The kernel refused to wait.
    #[error("poll: {0}")]
    Poll(Errno),
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed(failure) => Self::Stock(failure),
            Trouble::Lost(error) => Self::Xenstore(error),
        }
    }
}

/// Runs until the broker is gone, or nothing more can be done. `Ok` is the broker's end.
///
/// # Errors
/// [`Ended`]; it has been told to the broker.
pub fn run(resources: Resources, _confined: &Sandboxed) -> Result<(), Ended> {
    let Resources { edge, xenstored, images, loops, settings } = resources;
    let mut edge = Channel::new(edge);
    match work(&mut edge, xenstored, images, loops, settings) {
        Ok(()) | Err(Ended::Edge(ChannelError::Closed)) => Ok(()),
        Err(ended) => {
            // The edge may be what is broken.
            let line = LogLine::new(Level::Error, &format!("the attacher ends: {ended}"));
            let _ = edge.send(&AttachReply::Log(line));
            Err(ended)
        }
    }
}

type Edge = Channel<AttachReply, AttachRequest>;

fn work(
    edge: &mut Edge,
    xenstored: OwnedFd,
    images: OwnedFd,
    loops: Option<OwnedFd>,
    settings: AttacherSettings,
) -> Result<(), Ended> {
    let limits = Limits {
        images_max: usize::try_from(settings.images_max).unwrap_or(usize::MAX),
        total_mib_max: u64::from(settings.total_mib_max),
        connect_ms_max: u64::from(settings.connect_ms_max),
        boot_ms_max: u64::from(settings.boot_ms_max),
        close_ms_max: u64::from(settings.close_ms_max),
    };
    let client = Client::new(xenstored)?;
    let (images, listing) = Images::open(images, settings.spare_size, settings.free_mib_min)?;
    let backing = Backing::new(settings.backing, loops)?;
    let mut hands = Hands { edge, client, images, backing };
    let (mut machine, actions) = hands.take_stock(limits, listing)?;
    hands.carry_out(&mut machine, actions)?;
    loop {
        hands.turn(&mut machine)?;
    }
}

/// Everything that has an effect.
#[derive(Debug)]
struct Hands<'e> {
    edge: &'e mut Edge,
    client: Client,
    images: Images,
    backing: Backing,
}

impl Hands<'_> {
    /// Finds out what earlier lives have left.
    fn take_stock(&mut self, limits: Limits, listing: Listing) -> Result<(Machine, Vec<Action>), Ended> {
        if listing.foreign > 0 {
            let text = format!("{} entries of the image directory are not ours", listing.foreign);
            self.log(Level::Warning, &text)?;
        }
        let found = inventory::take(&mut self.client, &self.backing, listing)?;
        let deadline = now().saturating_add(RELEASE_MS_MAX);
        for image in inventory::unheld(&self.backing, &found) {
            while !self.backing.release(image).map_err(Trouble::from)? {
                if now() >= deadline {
                    return Err(Ended::Stock(AttachFailure::Io));
                }
                wait(&mut [], Some(LEFTOVER_RETRY_MS))?;
            }
        }
        Ok(Machine::new(limits, found))
    }

    /// One turn of the loop: orders, back ends, time, one piece of background work, and then waiting.
    fn turn(&mut self, machine: &mut Machine) -> Result<(), Ended> {
        for _ in 0..ORDERS_PER_TURN_MAX {
            let Some(request) = self.edge.receive()? else { break };
            self.take_in(machine, Event::Order(request))?;
        }
        self.client.pump()?;
        while let Some(event) = self.client.next_event() {
            let Some(place) = vbd::place_of(event) else { continue };
            if let Ok(state) = answerable(vbd::state(&mut self.client, place))? {
                self.take_in(machine, Event::BackEnd { place, state })?;
            }
        }
        if machine.deadline().is_some_and(|deadline| now() >= deadline) {
            self.take_in(machine, Event::Tick)?;
        }
        if machine.has_idle_work(now()) {
            self.take_in(machine, Event::Idle)?;
        }
        self.edge.flush()?;
        let time = now();
        let timeout = if machine.has_idle_work(time) {
            Some(0)
        } else {
            machine.deadline().map(|deadline| deadline.saturating_sub(time))
        };
        let wanted = if self.edge.wants_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let xenstored = self.client.fd();
        wait(&mut [PollFd::new(&*self.edge, wanted), PollFd::new(&xenstored, PollFlags::IN)], timeout)
    }

    fn take_in(&mut self, machine: &mut Machine, event: Event) -> Result<(), Ended> {
        let actions = machine.step(event, now());
        self.carry_out(machine, actions)
    }

    /// Carries out actions, and those that their results lead to.
    fn carry_out(&mut self, machine: &mut Machine, actions: Vec<Action>) -> Result<(), Ended> {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            if let Some(event) = self.act(action)? {
                queue.extend(machine.step(event, now()));
            }
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<Option<Event>, Ended> {
        Ok(Some(match action {
            Action::Answered(id, outcome) => return self.answer(AttachReply::Finished { id, outcome }),
            Action::Log(level, text) => {
                self.log(level, &text)?;
                return Ok(None);
            }
            Action::Unwatch(place) => {
                // Without its watch removed a place has events that the machine ignores.
                let _ = answerable(vbd::unwatch(&mut self.client, place))?;
                return Ok(None);
            }
            Action::Create { id, image, size, label } => {
                let result = self.images.create(image, size, label.as_str());
                Event::Created { id, image, size, result, spare: self.images.has_spare() }
            }
            Action::MakeSpare => Event::SpareMade(self.images.make_spare().is_ok()),
            Action::ReleasePiece(image) => {
                Event::PieceReleased { image, more: self.images.release_piece(image) }
            }
            Action::Connect { place, name, image, attachment } => {
                let result = self.connect(place, &name, image, &attachment);
                Event::Connecting { place, result: answerable(result)? }
            }
            Action::Measure(id, image) => Event::Measured { id, used_mib: self.images.used_mib(image) },
            Action::Close { place, image } => {
                let told = answerable(vbd::close(&mut self.client, place))?.unwrap_or(false);
                if told {
                    self.backing.let_go(image);
                }
                Event::Closing { place, told }
            }
            Action::Remove(place) => {
                let result = answerable(vbd::remove(&mut self.client, place))?;
                Event::Removed { place, result }
            }
            Action::Release { place, image } => {
                Event::Released { place, unbound: answerable(self.release(place, image))? }
            }
            Action::MakeQpen(id, domid) => {
                Event::Written { id, result: answerable(keys::make_qpen(&mut self.client, domid))? }
            }
            Action::Answer(id, domid, reply) => {
                Event::Written { id, result: answerable(keys::answer(&mut self.client, domid, &reply))? }
            }
            Action::Forget(id, domid) => {
                Event::Written { id, result: answerable(keys::forget(&mut self.client, domid))? }
            }
        }))
    }

    /// The kernel may write to a back end that is just being removed, and then keeps it: both must be gone.
    fn release(&mut self, place: Place, image: ImageId) -> Result<bool, Trouble> {
        let swept = vbd::sweep(&mut self.client, place)?;
        Ok(self.backing.release(image)? && !swept)
    }

    fn connect(
        &mut self,
        place: Place,
        name: &VmName,
        image: ImageId,
        attachment: &Attachment,
    ) -> Result<(), Trouble> {
        let Self { client, images, backing, .. } = self;
        let mut is_swept = false;
        loop {
            let mut is_presented = false;
            let connected = vbd::connect(client, place, name, attachment, || {
                let presented = backing.present(images, image, vbd::is_writable(attachment))?;
                is_presented = true;
                Ok(presented)
            });
            if connected.is_err() && is_presented {
                // No back end has seen it, so it is free at once.
                let _ = backing.release(image);
            }
            // By the remains of an earlier device perhaps, which the kernel was slow to connect.
            let is_in_use = matches!(connected, Err(Trouble::Failed(AttachFailure::InUse)));
            if is_swept || !is_in_use || !vbd::sweep(client, place)? {
                return connected;
            }
            is_swept = true;
        }
    }

    fn answer(&mut self, reply: AttachReply) -> Result<Option<Event>, Ended> {
        self.edge.send(&reply)?;
        Ok(None)
    }

    fn log(&mut self, level: Level, text: &str) -> Result<(), Ended> {
        Ok(self.edge.send(&AttachReply::Log(LogLine::new(level, text)))?)
    }
}

/// Milliseconds since the first call.
fn now() -> Millis {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGUN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Waits for one of these descriptors, or for a time in milliseconds.
fn wait(fds: &mut [PollFd<'_>], timeout_ms: Option<u64>) -> Result<(), Ended> {
    let timeout = timeout_ms.map(|millis| Timespec {
        tv_sec: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(millis % 1000).unwrap_or(0).saturating_mul(1_000_000),
    });
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(Ended::Poll(errno)),
    }
}
