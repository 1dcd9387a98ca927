//! The host: domains come and go as the toolstack and the hypervisor would have it.

mod blocks;
mod copies;
mod domain;
mod kernel_nodes;
mod udev;
mod vbd;

pub(crate) use domain::random_uuid;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::Child;

use blocks::Blocks;
use rustix::event::PollFlags;

use crate::control::Command;
use crate::error::{SimError, Trying, refused};
use crate::files::{DOM0, HostFiles, is_vm_name, listen, remove_if_there};
use crate::server::{self, Server};
use crate::store::path::Domid;
use crate::store::{ConnectionId, RELEASE_DOMAIN, Store};
use crate::vm::{self, Machine};

/// Directories of a VM that hold nothing worth keeping when it ends.
const FRESH: [&str; 3] = ["dev", "run", "blk"];

/// The whole simulated host but the daemon.
#[derive(Debug)]
pub(crate) struct Host {
    files: HostFiles,
    tools: PathBuf,
    store: Store,
    server: Server,
    dom0: ConnectionId,
    vms: BTreeMap<String, Vm>,
    blocks: Blocks,
    /// Programs that were started because a device arrived.
    rules: Vec<Child>,
    last_domid: Domid,
}

/// A running domain.
#[derive(Debug)]
struct Vm {
    domid: Domid,
    machine: Machine,
    paused: bool,
}

/// What a descriptor belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A socket of the store.
    Store(server::Source),
    /// The VM of that name has ended.
    Ended(String),
    /// A copy of an image is made, or copied back.
    Copied,
}

impl Host {
    /// A host with domain 0 alone, whose socket is served.
    pub(crate) fn new(files: HostFiles, tools: PathBuf) -> Result<Self, SimError> {
        let mut store = Store::new();
        let dom0 = store.connect(0);
        let mut server = Server::new();
        server.listen(0, listen(&files.dom0_socket()?)?);
        let blocks = Blocks::new(&mut store)?;
        let (vms, rules) = (BTreeMap::new(), Vec::new());
        let mut host = Self { files, tools, store, server, dom0, vms, blocks, rules, last_domid: 0 };
        domain::write_domain_0(&mut host.store, dom0)?;
        Ok(host)
    }

    /// What to wait for.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>, PollFlags)> {
        let store =
            self.server.interests(&self.store).map(|(source, fd, flags)| (Source::Store(source), fd, flags));
        let ends = self
            .vms
            .iter()
            .map(|(name, vm)| (Source::Ended(name.clone()), vm.machine.ended().as_fd(), PollFlags::IN));
        let copied = (Source::Copied, self.blocks.woken().as_fd(), PollFlags::IN);
        store.chain(ends).chain([copied])
    }

    /// Serves what poll named.
    pub(crate) fn serve(&mut self, source: &Source) {
        match source {
            Source::Store(source) => self.server.serve(&mut self.store, *source),
            Source::Ended(name) => {
                eprintln!("xen-sim: the VM {name} has ended by itself");
                self.end(name);
            }
            // The block devices look for it whenever the host settles.
            Source::Copied => {}
        }
    }

    /// Lets the block devices work and sends what waits for clients. To be called before each wait.
    pub(crate) fn settle(&mut self) {
        for arrival in self.blocks.work(&mut self.store) {
            let vm = self.vms.iter().find(|(_, vm)| vm.domid == arrival.domid);
            if let Some((name, vm)) = vm {
                let rule = udev::play(&arrival.device, vm.machine.first(), &self.files.vm(name), &self.tools);
                self.rules.extend(rule);
            }
        }
        self.rules.retain_mut(|rule| matches!(rule.try_wait(), Ok(None)));
        self.server.flush(&mut self.store);
    }

    /// Carries out a command of the control socket.
    pub(crate) fn obey(&mut self, command: &Command) -> Result<String, SimError> {
        match command {
            Command::Start(name) => self.start(name).map(|domid| domid.to_string()),
            Command::Destroy(name) => {
                self.running(name)?;
                self.end(name);
                Ok(String::new())
            }
            Command::Pause(name) => {
                let vm = self.running(name)?;
                vm.machine.stop()?;
                vm.paused = true;
                let domid = vm.domid;
                self.blocks.set_paused(domid, true);
                Ok(String::new())
            }
            Command::Unpause(name) => {
                let vm = self.running(name)?;
                vm.paused = false;
                vm.machine.resume()?;
                let domid = vm.domid;
                self.blocks.set_paused(domid, false);
                Ok(String::new())
            }
            Command::Enter(name) if name == DOM0 => Ok(self.files.dom0_socket()?.display().to_string()),
            Command::Enter(name) => {
                let vm = self.running(name)?;
                if vm.paused {
                    return refused(format!("the VM {name} is paused"));
                }
                Ok(vm.machine.first().as_raw_pid().to_string())
            }
            Command::List => Ok(self.list()),
        }
    }

    /// Creates a domain of that name.
    pub(crate) fn start(&mut self, name: &str) -> Result<Domid, SimError> {
        if !is_vm_name(name) {
            return refused("that is no name for a VM");
        }
        if self.vms.contains_key(name) {
            return refused(format!("the VM {name} runs already"));
        }
        let domid = self.last_domid + 1;
        let directory = self.files.vm(name);
        vm::make_directories(&directory)?;
        let listener = listen(&vm::socket_outside(&directory))?;
        let machine = Machine::start(name, self.files.path(), &directory, &self.tools)?;
        self.last_domid = domid;
        self.server.listen(domid, listener);
        self.vms.insert(name.to_owned(), Vm { domid, machine, paused: false });
        domain::write_guest(&mut self.store, self.dom0, domid, name)?;
        self.blocks.add_guest(&mut self.store, domid, directory);
        self.store.introduce(domid);
        Ok(domid)
    }

    /// Ends all VMs and removes the sockets and devices.
    pub(crate) fn shut_down(mut self) {
        let names: Vec<String> = self.vms.keys().cloned().collect();
        for name in names {
            self.end(&name);
        }
        let sockets = [self.files.dom0_socket(), self.files.notify_socket(), Ok(self.files.control_socket())];
        for socket in sockets.into_iter().flatten() {
            // What cannot be removed is replaced at the next start.
            let _ = remove_if_there(&socket);
        }
        self.files.remove_short();
    }

    fn running(&mut self, name: &str) -> Result<&mut Vm, SimError> {
        match self.vms.get_mut(name) {
            Some(vm) => Ok(vm),
            None => refused(format!("no VM {name} runs")),
        }
    }

    fn end(&mut self, name: &str) {
        let Some(vm) = self.vms.remove(name) else { return };
        vm.machine.end();
        self.blocks.remove_guest(&mut self.store, vm.domid);
        self.server.drop_domain(&mut self.store, vm.domid);
        domain::remove_guest(&mut self.store, self.dom0, vm.domid);
        self.store.release(vm.domid);
        // On Xen it is fired a second time now and then.
        self.store.fire_special(RELEASE_DOMAIN);
        for fresh in FRESH {
            let path = self.files.vm(name).join(fresh);
            if let Err(error) =
                fs::remove_dir_all(&path).trying(|| format!("cannot remove {}", path.display()))
            {
                eprintln!("xen-sim: {error}");
            }
        }
    }

    fn list(&self) -> String {
        let line = |(name, vm): (&String, &Vm)| {
            let devices = self.blocks.devices(vm.domid);
            let devices = if devices.is_empty() { "-".to_owned() } else { devices.join(",") };
            format!("{name} {} {} {devices}\n", vm.domid, if vm.paused { "paused" } else { "running" })
        };
        self.vms.iter().map(line).collect()
    }
}
