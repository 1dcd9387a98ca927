//! Plays supervisor and broker for one attacher on a real Xen host, for developers who look at what Xen does.
//!
//! `drive ATTACHER IMAGES UID` as root in dom0, with orders on standard input, one in a line; each is answered by one
//! line with the time it took. Images are named by one letter.
//!
//! ```text
//! create a 1024 work            attach a 3 out             attach a 4 in work r
//! detach a 3 out                destroy a                  forget 3
//! qpen 3                        answer 3                   inventory
//! later ORDER                   (does not wait)            wait    (for all of these)
//! kill                          (SIGKILL, and a new one)
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::attach::{AttachReply, AttachRequest, Attachment, Order, OrderId};
use protocol::channel::Channel;
use protocol::reply::{Code, Detail, Reply};
use protocol::settings::{AttacherSettings, Backing};
use protocol::types::{Device, Domid, ImageId, SizeMib, VmName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, MemfdFlags, Mode};
use sys::spawn::{Account, Child, Spawn};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LOOPS: &str = "/dev/qfilexchg-drive";
const LOOP_FIRST: u32 = 64;
const LOOP_COUNT: u32 = 8;
const LOOP_MAJOR: u32 = 7;
/// How long an order may take before this tool gives up.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [attacher, images, uid] = arguments.as_slice() else {
        return Err("usage: drive ATTACHER IMAGES UID".into());
    };
    let account = Account { uid: uid.parse()?, gid: uid.parse()? };
    fs::create_dir_all(images)?;
    chown(images, Some(account.uid), Some(account.gid))?;
    make_loops(account)?;
    let mut driver = Driver::start(attacher, images, account)?;
    for line in std::io::stdin().lock().lines() {
        if let Err(error) = driver.obey(line?.trim()) {
            say(&format!("error: {error}"))?;
        }
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn make_loops(account: Account) -> Result<()> {
    fs::create_dir_all(LOOPS)?;
    let control = File::open("/dev/loop-control")?;
    for number in LOOP_FIRST..LOOP_FIRST.saturating_add(LOOP_COUNT) {
        sys::loopdev::add(control.as_fd(), number)?;
        let path = Path::new(LOOPS).join(format!("loop{number}"));
        let device = rustix::fs::makedev(LOOP_MAJOR, number);
        let mode = Mode::RUSR | Mode::WUSR;
        if !path.exists() {
            rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::BlockDevice, mode, device)?;
        }
        chown(&path, Some(account.uid), Some(account.gid))?;
    }
    Ok(chown(LOOPS, Some(account.uid), Some(account.gid))?)
}

struct Driver {
    attacher: String,
    images: String,
    account: Account,
    child: Child,
    edge: Channel<AttachRequest, AttachReply>,
    next: u64,
    /// Orders that are not answered, what they are, and since when.
    open: Vec<(u64, String, Instant)>,
}

impl Driver {
    fn start(attacher: &str, images: &str, account: Account) -> Result<Self> {
        let (child, edge) = start(attacher, images, account)?;
        let (attacher, images) = (attacher.to_owned(), images.to_owned());
        Ok(Self { attacher, images, account, child, edge, next: 0, open: Vec::new() })
    }

    fn obey(&mut self, line: &str) -> Result<()> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("later", order) => self.give(order),
            ("wait", "") => self.wait(),
            ("kill", "") => {
                self.child.kill()?;
                say(&format!("killed: {}", self.child.wait()?))?;
                self.open.clear();
                (self.child, self.edge) = start(&self.attacher, &self.images, self.account)?;
                Ok(())
            }
            _ => {
                self.give(line)?;
                self.wait()
            }
        }
    }

    fn give(&mut self, line: &str) -> Result<()> {
        let order = parse(line)?;
        self.next = self.next.saturating_add(1);
        self.open.push((self.next, line.to_owned(), Instant::now()));
        Ok(self.edge.send(&AttachRequest { id: OrderId(self.next), order })?)
    }

    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now().checked_add(ANSWER_TIME_MAX).ok_or("no such time")?;
        while !self.open.is_empty() {
            if Instant::now() > deadline {
                return Err("not answered".into());
            }
            match self.edge.receive() {
                Ok(Some(AttachReply::Log(line))) => {
                    say(&format!("log: {}: {}", line.level, line.text.as_str()))?
                }
                Ok(Some(AttachReply::Finished { id, outcome })) => {
                    let place = self.open.iter().position(|(open, _, _)| *open == id.0);
                    let (_, order, since) = self.open.remove(place.ok_or("an answer to no order")?);
                    let took = since.elapsed().as_micros();
                    say(&format!("{order}: {outcome:?} in {}.{:03} ms", took / 1000, took % 1000))?;
                }
                Ok(None) => {
                    let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
                    poll(&mut [PollFd::new(&self.edge, PollFlags::IN)], Some(&timeout))?;
                }
                Err(error) => {
                    return Err(format!("{error}: the attacher ended by {}", self.child.wait()?).into());
                }
            }
        }
        Ok(())
    }
}

fn start(
    attacher: &str,
    images: &str,
    account: Account,
) -> Result<(Child, Channel<AttachRequest, AttachReply>)> {
    let profile = &sandbox_profiles::ATTACHER;
    let program = File::open(attacher)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let settings = AttacherSettings {
        backing: Backing::Loop { devices: LOOP_COUNT },
        spare_size: SizeMib::new(256)?,
        images_max: 8,
        total_mib_max: 16_384,
        free_mib_min: 0,
        connect_ms_max: 15_000,
        boot_ms_max: 15_000,
        close_ms_max: 10_000,
    };
    let bytes = protocol::codec::encode_settings(&settings)?;
    let memory = rustix::fs::memfd_create("settings", MemfdFlags::CLOEXEC)?;
    rustix::io::pwrite(&memory, &bytes, 0)?;
    let (theirs, ours) = protocol::channel::pair()?;
    let descriptors: [OwnedFd; 5] = [
        theirs,
        memory,
        xenstore::connect::connect()?,
        File::open(images)?.into(),
        File::open(LOOPS)?.into(),
    ];
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let spawn = Spawn {
        program: program.as_fd(),
        argv0: profile.process,
        args: &[],
        stdio: [null.as_fd(), null.as_fd(), null.as_fd()],
        descriptors: &borrowed,
        account: Some(account),
        namespaces: profile.namespaces,
    };
    Ok((spawn.start()?, Channel::new(ours)))
}

fn parse(line: &str) -> Result<Order> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let image = |word: &str| -> Result<ImageId> {
        let [letter] = word.as_bytes() else { return Err("an image is one letter".into()) };
        Ok(ImageId([*letter; 16]))
    };
    let domid = |word: &str| -> Result<Domid> { Ok(Domid::new(word.parse()?)?) };
    let name = |word: &str| VmName::new(word.as_bytes());
    Ok(match words.as_slice() {
        ["create", id, mib, label] => {
            Order::Create { image: image(id)?, size: SizeMib::new(mib.parse()?)?, label: name(label)? }
        }
        ["attach", id, to, vm, "out"] => {
            let place = Attachment::Outgoing;
            Order::Attach { image: image(id)?, domid: domid(to)?, name: name(vm)?, boots: false, place }
        }
        ["attach", id, to, vm, "in", source, mode] => {
            let place = Attachment::Incoming { source: name(source)?, seq: None, writable: *mode == "w" };
            Order::Attach { image: image(id)?, domid: domid(to)?, name: name(vm)?, boots: false, place }
        }
        ["detach", id, from, way] => {
            let device = if *way == "out" { Device::Outgoing } else { Device::Incoming };
            Order::Detach { image: image(id)?, domid: domid(from)?, device }
        }
        ["destroy", id] => Order::Destroy { image: image(id)? },
        ["forget", id] => Order::ForgetDomain { domid: domid(id)? },
        ["qpen", id] => Order::MakeQpen { domid: domid(id)? },
        ["answer", id] => {
            let reply = Reply { reqid: None, code: Code::Ok, detail: Detail::DeviceXvdg };
            Order::Answer { domid: domid(id)?, reply }
        }
        ["inventory"] => Order::Inventory,
        _ => return Err("no such order".into()),
    })
}
