//! The host: domains come and go as the toolstack and the hypervisor would have it.

mod birth;
mod blocks;
mod copies;
mod domain;
mod kernel_nodes;
mod requests;
mod udev;
mod vbd;

pub(crate) use domain::random_uuid;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use birth::{Birth, Step};
use blocks::Blocks;
use requests::Requests;
use rustix::event::PollFlags;

use crate::control::Command;
use crate::error::{SimError, Trying, refused};
use crate::files::{DOM0, HostFiles, is_vm_name, listen, make_empty, remove_if_there};
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
    /// What a DisposableVM has as the settings of its tools.
    vm_config: Option<Vec<u8>>,
    store: Store,
    server: Server,
    dom0: ConnectionId,
    vms: BTreeMap<String, Vm>,
    blocks: Blocks,
    requests: Requests,
    /// Programs that were started because a device arrived.
    rules: Vec<Child>,
    last_domid: Domid,
}

/// A running domain.
#[derive(Debug)]
struct Vm {
    domid: Domid,
    machine: Machine,
    birth: Birth,
    paused: bool,
}

/// The answer to a command of the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// This, at once.
    Now(String),
    /// The domain's number, once it is introduced: [`Host::start_outcome`].
    OnceIntroduced(Domid),
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
    pub(crate) fn new(
        files: HostFiles,
        tools: PathBuf,
        vm_config: Option<Vec<u8>>,
    ) -> Result<Self, SimError> {
        let mut store = Store::new();
        let dom0 = store.connect(0);
        let mut server = Server::new();
        server.listen(0, listen(&files.dom0_socket()?)?);
        let blocks = Blocks::new(&mut store)?;
        let (vms, rules, requests) = (BTreeMap::new(), Vec::new(), Requests::default());
        let mut host = Self {
            files,
            tools,
            vm_config,
            store,
            server,
            dom0,
            vms,
            blocks,
            requests,
            rules,
            last_domid: 0,
        };
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
            Source::Store(source) => {
                self.server.serve(&mut self.store, *source);
                // Before anybody hears of a request that was just written.
                for domid in self.requests.take(&mut self.store) {
                    self.blocks.flush(domid);
                }
            }
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

    /// Does what is due for domains that are being created. To be called after each wait.
    pub(crate) fn grow(&mut self) {
        let now = Instant::now();
        for (name, vm) in &mut self.vms {
            while let Some(step) = vm.birth.take_due(now) {
                match step {
                    Step::Name => {
                        if let Err(error) = domain::write_name(&mut self.store, self.dom0, vm.domid, name) {
                            eprintln!("xen-sim: {error}");
                        }
                    }
                    Step::Introduction => {
                        self.blocks.add_guest(&mut self.store, vm.domid, self.files.vm(name));
                        self.requests.add(&mut self.store, vm.domid);
                        self.store.introduce(vm.domid);
                    }
                }
            }
        }
    }

    /// How long to wait at most for what [`Host::grow`] does.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let due = self.vms.values().filter_map(|vm| vm.birth.due()).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Whether every domain is introduced.
    pub(crate) fn is_complete(&self) -> bool {
        self.vms.values().all(|vm| vm.birth.is_over())
    }

    /// What became of a domain that was started; nothing as long as it is being created.
    pub(crate) fn start_outcome(&self, domid: Domid) -> Option<Result<String, SimError>> {
        match self.vms.values().find(|vm| vm.domid == domid) {
            None => Some(refused("the VM has ended before it was complete")),
            Some(vm) => vm.birth.is_over().then(|| Ok(domid.to_string())),
        }
    }

    /// Carries out a command of the control socket.
    pub(crate) fn obey(&mut self, command: &Command) -> Result<Reply, SimError> {
        let answer = match command {
            Command::Start(name) => return self.start(name).map(Reply::OnceIntroduced),
            Command::StartDisposable(name) => return self.start_disposable(name).map(Reply::OnceIntroduced),
            Command::Domid(name) => self.running(name)?.domid.to_string(),
            Command::Destroy(name) => {
                self.running(name)?;
                self.end(name);
                String::new()
            }
            Command::Pause(name) => {
                let vm = self.complete(name)?;
                vm.machine.stop()?;
                vm.paused = true;
                let domid = vm.domid;
                self.blocks.set_paused(domid, true);
                String::new()
            }
            Command::Unpause(name) => {
                let vm = self.complete(name)?;
                vm.paused = false;
                vm.machine.resume()?;
                let domid = vm.domid;
                self.blocks.set_paused(domid, false);
                String::new()
            }
            Command::Enter(name) if name == DOM0 => self.files.dom0_socket()?.display().to_string(),
            Command::Enter(name) => {
                let vm = self.complete(name)?;
                if vm.paused {
                    return refused(format!("the VM {name} is paused"));
                }
                vm.machine.first().as_raw_pid().to_string()
            }
            Command::List => self.list(),
        };
        Ok(Reply::Now(answer))
    }

    /// Begins to create a domain of that name; [`Host::grow`] goes on with it.
    pub(crate) fn start(&mut self, name: &str) -> Result<Domid, SimError> {
        self.check_new(name)?;
        vm::make_directories(&self.files.vm(name))?;
        self.begin(name)
    }

    /// The same for a DisposableVM: an earlier one of that name has left nothing, and its tools have their settings.
    fn start_disposable(&mut self, name: &str) -> Result<Domid, SimError> {
        self.check_new(name)?;
        let directory = self.files.vm(name);
        make_empty(&directory)?;
        vm::make_directories(&directory)?;
        if let Some(settings) = &self.vm_config {
            let path = vm::settings_outside(&directory);
            fs::write(&path, settings).trying(|| format!("cannot write {}", path.display()))?;
        }
        self.begin(name)
    }

    fn check_new(&self, name: &str) -> Result<(), SimError> {
        if !is_vm_name(name) {
            return refused("that is no name for a VM");
        }
        if self.vms.contains_key(name) {
            return refused(format!("the VM {name} runs already"));
        }
        Ok(())
    }

    fn begin(&mut self, name: &str) -> Result<Domid, SimError> {
        let domid = self.last_domid + 1;
        let directory = self.files.vm(name);
        let listener = listen(&vm::socket_outside(&directory))?;
        let machine = Machine::start(name, self.files.path(), &directory, &self.tools)?;
        self.last_domid = domid;
        self.server.listen(domid, listener);
        let birth = Birth::begin(Instant::now());
        self.vms.insert(name.to_owned(), Vm { domid, machine, birth, paused: false });
        domain::write_guest(&mut self.store, self.dom0, domid, name)?;
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

    /// A VM that is introduced.
    fn complete(&mut self, name: &str) -> Result<&mut Vm, SimError> {
        let vm = self.running(name)?;
        if vm.birth.is_over() { Ok(vm) } else { refused(format!("the VM {name} is still being created")) }
    }

    fn end(&mut self, name: &str) {
        let Some(vm) = self.vms.remove(name) else { return };
        vm.machine.end();
        self.blocks.remove_guest(&mut self.store, vm.domid);
        self.requests.remove(&mut self.store, vm.domid);
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
