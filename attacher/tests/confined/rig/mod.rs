//! A xenstore in a thread, a kernel and guests that are played here, and the real attacher in its real sandbox.

pub mod kernel;
pub mod store;

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::attach::{
    AttachFailure, AttachReply, AttachRequest, Attachment, InventoryItem, Order, OrderId, Outcome,
};
use protocol::channel::Channel;
use protocol::settings::{AttacherSettings, Backing};
use protocol::types::{Device, Domid, ImageId, Seq, SizeMib, VmName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use sys::spawn::{Child, Spawn};

use self::kernel::Kernel;
use self::store::{Asked, StoreThread};

pub const CONNECT_MS_MAX: u32 = 1_500;
pub const CLOSE_MS_MAX: u32 = 1_500;
pub const SPARE_MIB: u32 = 64;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// The host: everything but the attacher.
pub struct Rig {
    pub store: StoreThread,
    pub kernel: Kernel,
    pub images: tempfile::TempDir,
    /// The nodes of the loop devices, where there are any.
    loops: Option<tempfile::TempDir>,
    /// The loop devices are those of the machine: one rig at a time uses them.
    _alone: Option<MutexGuard<'static, ()>>,
    settings: AttacherSettings,
    attacher: Option<Attacher>,
    next: u64,
    answers: Vec<(u64, Outcome)>,
    pub logged: Vec<String>,
}

pub struct Attacher {
    child: Child,
    pub edge: Channel<AttachRequest, AttachReply>,
}

/// Starts the attacher as the supervisor does.
pub fn spawn(
    settings: &AttacherSettings,
    xenstored: OwnedFd,
    images: &Path,
    loops: Option<&Path>,
) -> Attacher {
    let profile = &sandbox_profiles::ATTACHER;
    let program = File::open(env!("CARGO_BIN_EXE_attacher")).unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let (theirs, ours) = protocol::channel::pair().unwrap();
    let settings = sealed(&protocol::codec::encode_settings(settings).unwrap());
    let mut descriptors = vec![theirs, settings, xenstored, File::open(images).unwrap().into()];
    descriptors.extend(loops.map(|nodes| OwnedFd::from(File::open(nodes).unwrap())));
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let spawn = Spawn {
        program: program.as_fd(),
        argv0: profile.process,
        args: &[],
        stdio: [null.as_fd(), null.as_fd(), null.as_fd()],
        descriptors: &borrowed,
        account: None,
        namespaces: profile.namespaces,
    };
    Attacher { child: spawn.start().unwrap(), edge: Channel::new(ours) }
}

/// The name of every guest.
pub fn guest() -> VmName {
    VmName::new(store::GUEST).unwrap()
}

/// The settings of every test.
pub fn settings(backing: Backing) -> AttacherSettings {
    AttacherSettings {
        backing,
        spare_size: mib(SPARE_MIB),
        images_max: 4,
        total_mib_max: 512,
        free_mib_min: 1,
        connect_ms_max: CONNECT_MS_MAX,
        boot_ms_max: 2 * CONNECT_MS_MAX,
        close_ms_max: CLOSE_MS_MAX,
    }
}

impl Rig {
    /// With images as files, as on the simulated host.
    pub fn simulated() -> Self {
        let images = tempfile::tempdir().unwrap();
        let directory = images.path().to_str().unwrap().to_owned();
        Self::new(images, None, Backing::File { directory })
    }

    /// With two loop devices of this machine, or `None` where there are none to use.
    pub fn with_loops() -> Option<Self> {
        static DEVICES: Mutex<()> = Mutex::new(());
        let alone = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = loop_nodes()?;
        let images = tempfile::tempdir().unwrap();
        Some(Self::new(images, Some((nodes, alone)), Backing::Loop { devices: 2 }))
    }

    fn new(
        images: tempfile::TempDir,
        loops: Option<(tempfile::TempDir, MutexGuard<'static, ()>)>,
        backing: Backing,
    ) -> Self {
        let (loops, alone) = loops.unzip();
        let settings = settings(backing);
        let store = StoreThread::start();
        let kernel = Kernel::new(store.connection());
        let mut rig = Self {
            store,
            kernel,
            images,
            loops,
            _alone: alone,
            settings,
            attacher: None,
            next: 0,
            answers: Vec::new(),
            logged: Vec::new(),
        };
        rig.start();
        rig
    }

    /// Starts the attacher.
    pub fn start(&mut self) {
        let connection = self.store.connection();
        self.start_with(connection);
    }

    fn start_with(&mut self, xenstored: OwnedFd) {
        let loops = self.loops.as_ref().map(|nodes| nodes.path());
        self.attacher = Some(spawn(&self.settings, xenstored, self.images.path(), loops));
    }

    /// Starts another one, of whose requests to xenstored a list is kept.
    pub fn restart_recorded(&mut self) -> Asked {
        self.kill();
        let (connection, asked) = self.store.recorded_connection();
        self.start_with(connection);
        asked
    }

    /// Starts one that ends by itself, and waits until it has; what it says.
    pub fn start_in_vain(&mut self) -> Vec<String> {
        self.start();
        let mut attacher = self.attacher.take().unwrap();
        let mut said = Vec::new();
        loop {
            poll(&mut [PollFd::new(&attacher.edge, PollFlags::IN)], None).unwrap();
            match attacher.edge.receive() {
                Ok(Some(AttachReply::Log(line))) => said.push(line.text.as_str().to_owned()),
                Ok(Some(AttachReply::Finished { .. })) => panic!("an answer to no order"),
                Ok(None) => {}
                Err(_) => break,
            }
        }
        assert!(!matches!(attacher.child.wait().unwrap(), sys::spawn::Ended::Code(0)));
        said
    }

    /// Kills it, at whatever it is.
    pub fn kill(&mut self) {
        let mut attacher = self.attacher.take().unwrap();
        attacher.child.kill().unwrap();
        attacher.child.wait().unwrap();
        self.answers.clear();
    }

    pub fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> sys::spawn::Ended {
        let mut attacher = self.attacher.take().unwrap();
        drop(attacher.edge);
        attacher.child.wait().unwrap()
    }

    /// Gives an order without waiting.
    pub fn give(&mut self, order: Order) -> u64 {
        self.next += 1;
        let request = AttachRequest { id: OrderId(self.next), order };
        self.attacher.as_mut().unwrap().edge.send(&request).unwrap();
        self.next
    }

    /// Gives an order, and waits for its answer while kernel and guests do their part.
    pub fn order(&mut self, order: Order) -> Outcome {
        let id = self.give(order);
        self.answer(id)
    }

    pub fn answer(&mut self, id: u64) -> Outcome {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            if let Some(place) = self.answers.iter().position(|(told, _)| *told == id) {
                return self.answers.remove(place).1;
            }
            assert!(Instant::now() < deadline, "order {id} is not answered: {:?}", self.logged);
            self.play();
        }
    }

    /// Whether the order is answered within this time.
    pub fn is_answered_within(&mut self, id: u64, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            self.play();
            if self.answers.iter().any(|(told, _)| *told == id) {
                return true;
            }
        }
        false
    }

    /// Lets kernel and guests do what is due, and takes in what the attacher says, for a moment.
    pub fn play(&mut self) {
        self.kernel.play();
        let attacher = self.attacher.as_mut().unwrap();
        let edge = &mut attacher.edge;
        let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        poll(&mut [PollFd::new(edge, PollFlags::IN)], Some(&pause)).unwrap();
        loop {
            match edge.receive() {
                Ok(Some(AttachReply::Finished { id, outcome })) => self.answers.push((id.0, outcome)),
                Ok(Some(AttachReply::Log(line))) => self.logged.push(line.text.as_str().to_owned()),
                Ok(None) => return,
                Err(error) => {
                    panic!("{error}; it ended by {:?}; {:?}", attacher.child.wait(), self.logged)
                }
            }
        }
    }

    pub fn create(&mut self, image: ImageId, size: u32) -> Outcome {
        self.order(Order::Create { image, size: mib(size), label: VmName::new(b"work").unwrap() })
    }

    pub fn attach(&mut self, image: ImageId, to: u16, place: Attachment) -> Outcome {
        self.order(Order::Attach { image, domid: domid(to), name: guest(), boots: false, place })
    }

    pub fn detach(&mut self, image: ImageId, from: u16, device: Device) -> Outcome {
        self.order(Order::Detach { image, domid: domid(from), device })
    }

    pub fn destroy(&mut self, image: ImageId) -> Outcome {
        self.order(Order::Destroy { image })
    }

    pub fn inventory(&mut self) -> Vec<InventoryItem> {
        match self.order(Order::Inventory) {
            Outcome::Inventory(items) => items,
            outcome @ (Outcome::Done | Outcome::Measured { .. } | Outcome::Failed(_)) => {
                panic!("{outcome:?}")
            }
        }
    }

    pub fn image_path(&self, image: ImageId) -> PathBuf {
        self.images.path().join(format!("{image}.img"))
    }

    /// Every file in the image directory but a spare.
    pub fn image_files(&self) -> usize {
        let names = fs::read_dir(self.images.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| !name.to_str().unwrap().starts_with("spare-")).count()
    }

    /// What each loop device of this rig holds.
    pub fn bound_loops(&self) -> Vec<String> {
        let Some(nodes) = &self.loops else { return Vec::new() };
        let nodes = fs::read_dir(nodes.path()).unwrap().map(|entry| entry.unwrap().path());
        nodes
            .filter_map(|node| sys::loopdev::status(File::open(node).unwrap()).unwrap())
            .map(|status| status.name)
            .collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A loop device of a test that failed must not stay bound.
        drop(self.attacher.take());
        self.kernel.let_go();
        let Some(nodes) = &self.loops else { return };
        for entry in fs::read_dir(nodes.path()).unwrap() {
            let _ = File::open(entry.unwrap().path()).map(|device| sys::loopdev::clear(device.into()));
        }
    }
}

/// Nodes of two free loop devices, taken for this process alone.
fn loop_nodes() -> Option<tempfile::TempDir> {
    const LOOP_MAJOR: u32 = 7;
    if !rustix::process::geteuid().is_root() {
        testkit::skip("loop devices need root");
        return None;
    }
    let Ok(nodes) = tempfile::Builder::new().prefix("qfilexchg-test").tempdir_in("/dev") else {
        testkit::skip("no device can be made in /dev");
        return None;
    };
    let is_free = |number: &u32| {
        let device = File::open(Path::new("/dev").join(format!("loop{number}")));
        device.is_ok_and(|device| matches!(sys::loopdev::status(device), Ok(None)))
    };
    let free: Vec<u32> = (0..8).filter(is_free).take(2).collect();
    if free.len() < 2 {
        testkit::skip("no two free loop devices");
        return None;
    }
    for number in free {
        let path = nodes.path().join(format!("loop{number}"));
        let (kind, mode) = (rustix::fs::FileType::BlockDevice, Mode::RUSR | Mode::WUSR);
        let device = rustix::fs::makedev(LOOP_MAJOR, number);
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device).unwrap();
    }
    Some(nodes)
}

fn sealed(bytes: &[u8]) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("settings", flags).unwrap();
    assert_eq!(rustix::io::pwrite(&file, bytes, 0), Ok(bytes.len()));
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

pub fn domid(number: u16) -> Domid {
    Domid::new(number).unwrap()
}

pub fn mib(size: u32) -> SizeMib {
    SizeMib::new(size).unwrap()
}

pub fn incoming(writable: bool) -> Attachment {
    let source = VmName::new(b"work").unwrap();
    Attachment::Incoming { source, seq: Seq::new(77).ok(), writable }
}

pub fn failed(failure: AttachFailure) -> Outcome {
    Outcome::Failed(failure)
}
