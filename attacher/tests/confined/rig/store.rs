//! xenstored in a thread of the test.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

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
