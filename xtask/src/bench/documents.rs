//! `qvm-open-in-dvm`, from its start to the start of the program that opens the document, split by step.
//!
//! The steps are told by the daemon's log, line by line as it is written, and the last one by the program itself: it
//! is touch, so the document's time of change is the moment at which it ran. The toolstack's part is measured alone as
//! well: it is the limit below which nothing of ours can get.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use super::measure::{Times, print};
use super::write::{quietly, text};
use crate::Outcome;
use crate::workspace::SIMULATOR;

const DOCUMENTS: usize = 12;
const DOCUMENT_BYTES: usize = 1 << 20;
/// A name that the daemon does not use here.
const NOBODYS: &str = "disp999";
const WAIT: Duration = Duration::from_secs(60);
const SETTINGS: &str = "open_with = [\"/usr/bin/touch\"]\nhand_over_s = 0\n";
const POLICY: &str = "dvm mail @dispvm allow\n";

/// The end of each step as the log tells it, and what the step is.
const STEPS: [(&str, &str); 5] = [
    ("mail asks: new", "start of the tool"),
    ("mail: ok (xvdg)", "new: a pendrive at xvdg"),
    ("mail asks: send", "header and body written"),
    ("disp1 is domain", "toolstack, domain seen"),
    ("mail: ok (done)", "detached, attached"),
];
const LAST_STEP: &str = "udev, parsed, program started";

type Line = (SystemTime, String);

/// Measures.
pub fn measure(scratch: &Path) -> Outcome<()> {
    let folder = scratch.join("host");
    fs::create_dir_all(folder.join("policy.d")).map_err(text)?;
    fs::write(folder.join("policy.d/50-bench.policy"), POLICY).map_err(text)?;
    fs::write(folder.join("vm.toml"), SETTINGS).map_err(text)?;
    let simulator = std::env::current_exe().map_err(text)?.with_file_name(SIMULATOR);
    let (mut host, lines) = start(&simulator, &folder)?;
    let measured = wait_for(&lines, "ready").and_then(|_| open_all(&simulator, &folder, &lines));
    if let Some(pid) = i32::try_from(host.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself; then its exit code says so.
        let _ = kill_process(pid, Signal::TERM);
    }
    host.wait().map_err(text)?;
    measured?;
    fs::remove_dir_all(&folder).map_err(text)
}

fn start(simulator: &Path, folder: &Path) -> Outcome<(Child, Receiver<Line>)> {
    let mut command = Command::new(simulator);
    command.arg("up").arg("--dir").arg(folder).args(["--vm", "mail", "--dialog", "none", "--disposables"]);
    command.arg("--vm-config").arg(folder.join("vm.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", simulator.display()))?;
    let (sender, lines) = channel();
    if let Some(stdout) = child.stdout.take() {
        listen(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        listen(stderr, sender);
    }
    Ok((child, lines))
}

/// Notes when each line came.
fn listen(from: impl Read + Send + 'static, lines: Sender<Line>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if lines.send((SystemTime::now(), line)).is_err() {
                return;
            }
        }
    });
}

fn wait_for(lines: &Receiver<Line>, wanted: &str) -> Outcome<SystemTime> {
    loop {
        let (when, line) = lines.recv_timeout(WAIT).map_err(|_| format!("the host never said: {wanted}"))?;
        if line.contains(wanted) {
            return Ok(when);
        }
    }
}

fn open_all(simulator: &Path, folder: &Path, lines: &Receiver<Line>) -> Outcome<()> {
    let mut whole = Times::new("qvm-open-in-dvm to program (ours)");
    let mut steps: Vec<Times> = STEPS.iter().map(|(_, name)| Times::new(name)).collect();
    let mut last = Times::new(LAST_STEP);
    let mut toolstack = Times::new("the toolstack alone");
    for number in 0..DOCUMENTS {
        let name = format!("document-{number}");
        fs::write(folder.join("vms/mail/home").join(&name), vec![b'x'; DOCUMENT_BYTES]).map_err(text)?;
        let began = SystemTime::now();
        let mut command = Command::new(simulator);
        command.arg("exec").arg("--dir").arg(folder).args(["mail", "--", "qvm-open-in-dvm", &name]);
        quietly(&mut command, "qvm-open-in-dvm")?;
        let mut before = began;
        for ((wanted, _), times) in STEPS.iter().zip(&mut steps) {
            let when = wait_for(lines, wanted)?;
            times.add(since(before, when));
            before = when;
        }
        wait_for(lines, "disp1 is gone")?;
        let opened = opened(folder, &name)?;
        last.add(since(before, opened));
        whole.add(since(began, opened));
    }
    for _ in 0..DOCUMENTS {
        toolstack.take(|| control(simulator, folder, "start-disposable"))?;
        control(simulator, folder, "destroy")?;
    }
    let parts: Vec<_> = steps.iter().chain([&last, &toolstack]).map(|times| (times, None)).collect();
    print(&whole, &parts);
    Ok(())
}

/// When the program ran: it touched the document, which stays after its VM's end.
fn opened(folder: &Path, name: &str) -> Outcome<SystemTime> {
    let documents = folder.join("vms/disp1/home/QubesDocument");
    let folders = fs::read_dir(&documents).map_err(|error| format!("{}: {error}", documents.display()))?;
    let candidates: Vec<PathBuf> = folders.flatten().map(|entry| entry.path().join(name)).collect();
    let times = candidates.iter().filter_map(|path| fs::metadata(path).ok()?.modified().ok());
    times.max().ok_or_else(|| format!("{name} was not opened"))
}

fn control(simulator: &Path, folder: &Path, what: &str) -> Outcome<()> {
    quietly(Command::new(simulator).arg(what).arg("--dir").arg(folder).arg(NOBODYS), what)
}

/// The time between two; log lines of two processes may be read in the other order.
fn since(before: SystemTime, after: SystemTime) -> Duration {
    after.duration_since(before).unwrap_or_default()
}
