//! The simulated xenstore in a thread; also used by the tests of xs-monitor.

use rustix::event::{PollFd, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use simulator::server::Server;
use simulator::store::Store;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use xenstore::Client;

/// Something to do in the thread of the store.
type Task = Box<dyn FnOnce(&mut Store, &mut Server) + Send>;

/// A store that is served until this is dropped.
pub struct Simulated {
    tasks: Sender<Task>,
}

impl Simulated {
    pub fn start() -> Self {
        let (tasks, taken) = channel();
        std::thread::spawn(move || serve(&taken));
        Self { tasks }
    }

    /// A new connection of domain 0.
    pub fn connection(&self) -> OwnedFd {
        let (near, far) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let far = UnixStream::from(far);
        far.set_nonblocking(true).unwrap();
        self.run(move |store, server| server.adopt(store, 0, far));
        near
    }

    /// A new client that is domain 0.
    pub fn client(&self) -> Client {
        Client::new(self.connection()).unwrap()
    }

    /// Does something with the store itself.
    pub fn run(&self, task: impl FnOnce(&mut Store, &mut Server) + Send + 'static) {
        self.tasks.send(Box::new(task)).unwrap();
    }
}

fn serve(tasks: &Receiver<Task>) {
    let (mut store, mut server) = (Store::new(), Server::new());
    let pause = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
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
