//! xenstored in a thread of the test.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};

use protocol::types::Domid;
use rustix::event::{PollFd, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use simulator::server::Server;
use simulator::store::Store;
use xenstore::path::DomainPath;
use xenstore::{Client, Permissions};

/// The name of every guest.
pub const GUEST: &[u8] = b"guest";

type Task = Box<dyn FnOnce(&mut Store, &mut Server) + Send>;

/// The number of each request, as xenstored's protocol has it, and its first string.
pub type Asked = Arc<Mutex<Vec<(u32, String)>>>;

/// The thread; it ends with this value.
pub struct StoreThread {
    tasks: Sender<Task>,
}

impl StoreThread {
    pub fn start() -> Self {
        let (tasks, taken) = channel();
        std::thread::spawn(move || serve(&taken));
        Self { tasks }
    }

    /// A new connection of domain 0.
    pub fn connection(&self) -> OwnedFd {
        self.connection_of(0)
    }

    /// A new connection of a domain.
    pub fn connection_of(&self, number: u16) -> OwnedFd {
        let (near, far) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let far = UnixStream::from(far);
        far.set_nonblocking(true).unwrap();
        self.run(move |store, server| server.adopt(store, number.into(), far));
        near
    }

    /// A new connection of domain 0, and what is asked on it.
    pub fn recorded_connection(&self) -> (OwnedFd, Asked) {
        let (near, far) = UnixStream::pair().unwrap();
        let server = UnixStream::from(self.connection());
        let asked = Asked::default();
        let (mut replies, mut to_client) = (server.try_clone().unwrap(), far.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut replies, &mut to_client));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || while pass_on(&far, &server, &noted).is_ok() {});
        (near.into(), asked)
    }

    /// A domain as the toolstack makes it.
    pub fn add_domain(&self, domid: Domid) {
        let mut client = Client::new(self.connection()).unwrap();
        client.mkdir(&DomainPath::home(domid)).unwrap();
        client.set_permissions(&DomainPath::home(domid), &Permissions::guest_reads(domid)).unwrap();
        client.write(&DomainPath::name(domid), GUEST).unwrap();
        self.run(move |store, _| store.introduce(domid.get().into()));
    }

    /// What is left of a domain that is destroyed: the back ends of its devices, as on Xen.
    pub fn remove_domain(&self, domid: Domid) {
        let mut client = Client::new(self.connection()).unwrap();
        client.rm(&DomainPath::home(domid)).unwrap();
        self.run(move |store, _| store.release(domid.get().into()));
    }

    fn run(&self, task: impl FnOnce(&mut Store, &mut Server) + Send + 'static) {
        self.tasks.send(Box::new(task)).unwrap();
    }
}

/// One request: a header of four numbers, the last of which is the length of what follows (xs_wire.h of Xen).
fn pass_on(mut from: &UnixStream, mut to: &UnixStream, asked: &Asked) -> std::io::Result<()> {
    let mut header = [0; 16];
    from.read_exact(&mut header)?;
    let (numbers, _) = header.as_chunks::<4>();
    let [kind, _, _, length] = <[_; 4]>::try_from(numbers).unwrap().map(u32::from_le_bytes);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    from.read_exact(&mut payload)?;
    let first = payload.split(|byte| *byte == 0).next().unwrap_or_default();
    asked.lock().unwrap().push((kind, String::from_utf8_lossy(first).into_owned()));
    to.write_all(&[&header[..], &payload].concat())
}

fn serve(tasks: &Receiver<Task>) {
    let (mut store, mut server) = (Store::new(), Server::new());
    let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    loop {
        loop {
            match tasks.try_recv() {
                Ok(task) => task(&mut store, &mut server),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        let (sources, mut fds): (Vec<_>, Vec<_>) = server
            .interests(&store)
            .map(|(source, fd, flags)| (source, PollFd::from_borrowed_fd(fd, flags)))
            .unzip();
        poll(&mut fds, Some(&pause)).unwrap();
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (source, ready) in sources.into_iter().zip(ready) {
            if ready {
                server.serve(&mut store, source);
            }
        }
        server.flush(&mut store);
    }
}
