//! The lab as scenarios use it: commands in dom0 and in guests, the daemon, questions and answers.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::LabError;
use crate::image::Image;
use crate::machine::{Machine, Options};
use crate::product::Product;
use crate::wire::{Reply, Request, Task};

/// How long anything in the lab may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(240);
/// The daemon's log in dom0.
const LOG: &str = "/var/log/qfilexchgd.log";
type Waiting = Arc<Mutex<HashMap<String, Sender<Reply>>>>;

/// What a command did.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// A command that runs.
pub struct Running {
    script: String,
    reply: Receiver<Reply>,
    ended: Option<Reply>,
}

impl Running {
    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.reply.try_recv().ok();
        }
        self.ended.is_some()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn finish(self) -> Ran {
        let reply = self.ended.map_or_else(|| self.reply.recv_timeout(PATIENCE), Ok);
        let Ok(reply) = reply else { panic!("no end of: {}", self.script) };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: reply.code, stdout: text(&reply.out), stderr: text(&reply.err) }
    }
}

/// Memory of a guest, in MiB, when nothing else is said.
pub const GUEST_MIB: u32 = 192;
/// The shipped configuration, as dom0/installed changes it.
const CONFIGURATION: &str = "/etc/qfilexchgd/qfilexchgd.toml";

/// A running lab.
pub struct Lab {
    machine: Machine,
    writer: UnixStream,
    waiting: Waiting,
    next: u64,
    guests: BTreeMap<String, u32>,
    options: Options,
    /// Counts scenarios: the daemon remembers which ids it has served.
    scenario: u64,
    configuration: String,
}

impl Lab {
    /// Brings the machine up and the product into it.
    ///
    /// # Errors
    /// [`LabError`]: what is missing here, or how far it came.
    pub fn start(product: &Product, options: &Options) -> Result<Self, LabError> {
        let image = Image::prepare(&product.agent)?;
        let mut machine = Machine::start(&image, options)?;
        let waiting = Waiting::default();
        let writer = machine.writer.try_clone().map_err(|error| LabError::Boot(error.to_string()))?;
        // Whoever reads from here on is the thread.
        let stream = machine.writer.try_clone().map_err(|error| LabError::Boot(error.to_string()))?;
        let reader = std::mem::replace(&mut machine.reader, BufReader::new(stream));
        listen(reader, &waiting);
        let options = options.clone();
        let (guests, configuration) = (BTreeMap::new(), String::new());
        let mut lab = Self { machine, writer, waiting, next: 0, guests, options, scenario: 0, configuration };
        lab.install(product)?;
        Ok(lab)
    }

    /// Puts the two packages where they belong.
    fn install(&mut self, product: &Product) -> Result<(), LabError> {
        self.put("/tmp/dom0.tar.gz", product.dom0_archive()?);
        // In place: the loop device of the guests' disk holds this file.
        self.put("/tmp/vm.tar.gz", product.vm_archive()?);
        self.dom0(
            "file=/tmp/vm.tar.gz; { echo \"tools $(stat -c %s $file) \"; head -c 4096 /dev/zero; } | \
             head -c 4096 | dd of=/lab/tools.disk conv=notrunc status=none && \
             dd if=$file of=/lab/tools.disk bs=4096 seek=1 conv=notrunc status=none && rm $file",
        );
        self.dom0("tar -x -z -f /tmp/dom0.tar.gz -C / && rm /tmp/dom0.tar.gz && /lab/installed");
        self.configuration = self.dom0(&format!("cat {CONFIGURATION}"));
        for name in self.options.guests {
            let domid = self.dom0(&format!("xl domid {name}")).trim().parse().expect("a domain number");
            self.guests.insert((*name).to_owned(), domid);
            self.guest(name, "/lab/tools");
        }
        Ok(())
    }

    /// What Xen and dom0 have printed.
    #[must_use]
    pub fn console(&self) -> String {
        self.machine.console()
    }

    /// Waits until the machine ends by itself.
    pub fn wait(&mut self) {
        self.machine.wait();
    }

    /// Begins a shell script in a domain: 0 for dom0.
    fn begin(&mut self, domid: u32, task: Task) -> Running {
        self.next += 1;
        let id = format!("h{}", self.next);
        let (sender, reply) = channel();
        self.waiting.lock().unwrap().insert(id.clone(), sender);
        let script = match &task {
            Task::Run(script) => script.clone(),
            Task::Put(path, _) => format!("writing {path}"),
        };
        let request = Request { id, domid, task };
        self.writer.write_all(request.line().as_bytes()).expect("the lab listens");
        Running { script, reply, ended: None }
    }

    /// Writes a file in dom0.
    ///
    /// # Panics
    /// When that fails.
    pub fn put(&mut self, path: &str, bytes: Vec<u8>) {
        let ran = self.begin(0, Task::Put(path.to_owned(), bytes)).finish();
        assert_eq!(ran.code, 0, "{path}: {}", ran.stderr);
    }

    /// Runs a shell script in dom0, as root.
    #[must_use]
    pub fn try_dom0(&mut self, script: &str) -> Ran {
        self.begin(0, Task::Run(script.to_owned())).finish()
    }

    /// Runs a shell script in dom0 that must succeed, and gives what it wrote.
    ///
    /// # Panics
    /// When it fails.
    pub fn dom0(&mut self, script: &str) -> String {
        let ran = self.try_dom0(script);
        assert_eq!(ran.code, 0, "in dom0: {script}\n{}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// The number of a guest.
    ///
    /// # Panics
    /// When there is no such guest.
    #[must_use]
    pub fn domid(&self, guest: &str) -> u32 {
        *self.guests.get(guest).unwrap_or_else(|| panic!("no guest {guest}"))
    }

    /// Begins a shell script in a guest, as root.
    #[must_use]
    pub fn start_in(&mut self, guest: &str, script: &str) -> Running {
        self.begin(self.domid(guest), Task::Run(script.to_owned()))
    }

    /// Begins a shell script in a guest, as its user, in the user's home.
    #[must_use]
    pub fn start_as_user(&mut self, guest: &str, script: &str) -> Running {
        let quoted = script.replace('\'', r"'\''");
        self.start_in(guest, &format!("cd /home/user && exec su user -c '{quoted}'"))
    }

    /// Runs a shell script in a guest, as root.
    #[must_use]
    pub fn try_guest(&mut self, guest: &str, script: &str) -> Ran {
        self.start_in(guest, script).finish()
    }

    /// Runs a shell script in a guest that must succeed, as root, and gives what it wrote.
    ///
    /// # Panics
    /// When it fails.
    pub fn guest(&mut self, guest: &str, script: &str) -> String {
        let ran = self.try_guest(guest, script);
        assert_eq!(ran.code, 0, "in {guest}: {script}\n{}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// The same as the guest's user.
    ///
    /// # Panics
    /// When it fails.
    pub fn user(&mut self, guest: &str, script: &str) -> String {
        let ran = self.start_as_user(guest, script).finish();
        assert_eq!(ran.code, 0, "in {guest}: {script}\n{}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Makes a guest that is not there.
    pub fn create(&mut self, guest: &str) {
        self.create_with(guest, GUEST_MIB);
    }

    /// Makes a guest that is not there with this much memory, in MiB.
    pub fn create_with(&mut self, guest: &str, memory_mib: u32) {
        let made = self.dom0(&format!("/lab/new-guest {guest} {memory_mib}"));
        self.guests.insert(guest.to_owned(), made.trim().parse().expect("a domain number"));
    }

    /// Destroys a guest.
    pub fn destroy(&mut self, guest: &str) {
        self.dom0(&format!("xl destroy {guest}"));
        self.guests.remove(guest);
    }

    /// The guests that are there.
    #[must_use]
    pub fn guests(&self) -> Vec<String> {
        self.guests.keys().cloned().collect()
    }

    /// Sets keys of the daemon's configuration, by names that it has once only, until the next scenario.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn configure(&mut self, keys: &[(&str, &str)]) {
        let mut lines: Vec<String> = self.configuration.lines().map(str::to_owned).collect();
        for (key, value) in keys {
            let beginning = format!("{key} = ");
            let line = lines.iter_mut().find(|line| line.starts_with(&beginning));
            *line.unwrap_or_else(|| panic!("no key {key}")) = format!("{beginning}{value}");
        }
        self.put(CONFIGURATION, lines.join("\n").into_bytes());
    }

    /// Makes what an earlier scenario left into what every scenario begins with: the guests, and no daemon.
    pub fn reset(&mut self) {
        self.scenario += 1;
        self.end_daemon();
        self.configure(&[]);
        for guest in self.guests() {
            if !self.options.guests.contains(&guest.as_str()) {
                self.destroy(&guest);
            }
        }
        for guest in self.options.guests {
            if !self.guests.contains_key(*guest) {
                self.create(guest);
            }
        }
        for guest in self.options.guests {
            self.guest(guest, "rm -rf /home/user; mkdir /home/user; chown user:user /home/user");
        }
    }

    /// After a scenario that failed: everything is made anew, from the saved machine if there is one.
    ///
    /// # Panics
    /// When the lab is beyond repair.
    pub fn repair(&mut self, product: &Product) {
        let image = Image::prepare(&product.agent).unwrap();
        if Machine::saved(&image, &self.options).is_file() {
            let options = Options { resume: true, ..self.options.clone() };
            *self = Self::start(product, &options).unwrap();
            return;
        }
        self.end_daemon();
        for guest in self.guests() {
            let _ = self.try_dom0(&format!("xl unpause {guest}; xl destroy {guest}"));
        }
        self.guests.clear();
        // What the daemon should have cleared away.
        let _ = self.try_dom0(
            "xenstore-rm /local/domain/0/backend/vbd; for n in $(seq 64 127); do losetup -d /dev/loop$n; done; \
             rm -rf /var/lib/qfilexchgd",
        );
    }

    /// Starts the daemon with a policy, and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_daemon(&mut self, policy: &str) {
        self.put("/etc/qfilexchgd/policy.d/50-test.policy", policy.as_bytes().to_vec());
        self.dom0(&format!(": > {LOG}"));
        self.restart_daemon();
    }

    /// Starts the daemon as it was.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn restart_daemon(&mut self) {
        let before = self.log().matches("requests are served").count();
        self.dom0(&format!("qfilexchgd >> {LOG} 2>&1 < /dev/null & echo $! > /run/qfilexchgd.pid"));
        self.wait_for("the daemon to serve", |lab| lab.log().matches("requests are served").count() > before);
    }

    /// Ends the daemon as the service manager would, if it runs.
    pub fn end_daemon(&mut self) {
        self.signal_daemon("TERM");
    }

    /// Kills the daemon's first process, and with it all.
    pub fn kill_daemon(&mut self) {
        self.signal_daemon("KILL");
    }

    fn signal_daemon(&mut self, signal: &str) {
        self.dom0(&format!(
            "[ -e /run/qfilexchgd.pid ] || exit 0; pid=$(cat /run/qfilexchgd.pid); rm /run/qfilexchgd.pid; \
             kill -{signal} $pid 2>/dev/null; while [ -d /proc/$pid ]; do sleep 0.05; done"
        ));
    }

    /// The daemon's log.
    #[must_use]
    pub fn log(&mut self) -> String {
        self.dom0(&format!("cat {LOG}"))
    }

    /// Waits for a question, and gives its number.
    #[must_use]
    pub fn question(&mut self) -> u64 {
        let mut number = None;
        self.wait_for("a question", |lab| {
            let questions = lab.dom0("qfilexchgctl questions --json");
            number = self::number(&questions);
            number.is_some()
        });
        number.unwrap()
    }

    /// Waits for the question that a running copy leads to, and gives its number.
    ///
    /// # Panics
    /// When the copy ends before.
    #[must_use]
    pub fn question_of(&mut self, mut copy: Running) -> (u64, Running) {
        self.wait_for("a question", |lab| {
            copy.has_ended() || lab.dom0("qfilexchgctl questions --json").contains("\"id\"")
        });
        if copy.has_ended() {
            panic!("it ended without a question: {:?}", copy.finish());
        }
        (self.question(), copy)
    }

    /// Answers a question.
    pub fn answer(&mut self, question: u64, yes: bool) {
        self.dom0(&format!("qfilexchgctl answer {question} {}", if yes { "yes" } else { "no" }));
    }

    /// The request with its `#ID` made one that no earlier scenario has used.
    #[must_use]
    pub fn unique(&self, request: &str) -> String {
        match request.split_once('#') {
            Some((verb, id)) => format!("{verb}#{id}-{}", self.scenario),
            None => request.to_owned(),
        }
    }

    /// Writes a request with Debian's xenstore-write, as any guest can.
    pub fn write_request(&mut self, guest: &str, request: &str) {
        let request = self.unique(request);
        self.guest(guest, &format!("xenstore-write device/qpen '{request}'"));
    }

    /// Writes a request that ends in `#REQID`, and waits for its final reply: `CODE DETAIL`.
    #[must_use]
    pub fn request(&mut self, guest: &str, request: &str) -> String {
        self.write_request(guest, request);
        let id = request.rsplit('#').next().unwrap().to_owned();
        self.final_reply(guest, &id)
    }

    /// Waits for the final reply to a request: `CODE DETAIL`.
    #[must_use]
    pub fn final_reply(&mut self, guest: &str, id: &str) -> String {
        let mut reply = String::new();
        let domid = self.domid(guest);
        let id = format!("{id}-{}", self.scenario);
        self.wait_for(&format!("the reply to {id} of {guest}"), |lab| {
            reply = lab.try_dom0(&format!("xenstore-read /local/domain/{domid}/qpen/reply")).stdout;
            let mut words = reply.trim().split(' ');
            words.next() == Some(id.as_str()) && words.next() != Some("pending")
        });
        reply.trim().split_once(' ').unwrap().1.to_owned()
    }

    /// Everything of ours that there is in dom0, one line each: images, loop devices, back ends, and what guests have
    /// of it.
    #[must_use]
    pub fn left(&mut self) -> String {
        self.dom0(
            "ls /var/lib/qfilexchgd/images 2>/dev/null | grep -v '^spare' | sed 's/^/image /'; \
             losetup -a | grep -v /lab/tools.disk; \
             for vbd in $(xenstore-list /local/domain/0/backend/vbd 2>/dev/null); do \
                 for device in $(xenstore-list /local/domain/0/backend/vbd/$vbd); do \
                     case $device in 51808|51824) echo \"back end $vbd $device\" ;; esac; done; done; \
             for id in $(xenstore-list /local/domain); do for key in device/vbd/51808 device/vbd/51824 \
                 qubes_blocksrc qubes_transaction_seq; do \
                 xenstore-exists /local/domain/$id/$key && echo \"guest $id $key\"; done; done; true",
        )
    }

    /// Waits until nothing is left.
    pub fn wait_until_clean(&mut self) {
        let mut left = String::new();
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            left = self.left();
            if left.is_empty() {
                return;
            }
        }
        panic!("still there: {left}\nthe daemon's log:\n{}", self.log());
    }

    /// Waits until something holds.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_for(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(
                begin.elapsed() < PATIENCE,
                "waited in vain for {what}; the daemon's log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The number of the first question in a list of them.
pub fn number(questions: &str) -> Option<u64> {
    let rest = questions.split("\"id\":").nth(1)?.trim_start();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn listen(mut reader: BufReader<UnixStream>, waiting: &Waiting) {
    let waiting = Arc::clone(waiting);
    std::thread::spawn(move || {
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            if let Some(reply) = Reply::parse(&String::from_utf8_lossy(&line)) {
                let sender = waiting.lock().unwrap().remove(&reply.id);
                if let Some(sender) = sender {
                    // Nobody waits any longer after a failure.
                    let _ = sender.send(reply);
                }
            }
            line.clear();
        }
        // Whoever waits is told by the end of the channel.
        waiting.lock().unwrap().clear();
    });
}
