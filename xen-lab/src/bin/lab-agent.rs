//! The lab's hand in dom0 and in each guest: runs what the test outside asks for.
//!
//! ```text
//!   tests --- virtio-serial --- lab-agent dom0 --- console of a guest --- lab-agent guest
//! ```
//!
//! Everything is a line of text, so that what a kernel prints on a console in between does no harm:
//!
//! ```text
//!   @ID DOMID run HEX            a shell script, for the guest with this number, or 0 for dom0
//!   @ID 0 put HEX_PATH HEX       a file, in dom0 only
//!   =ID CODE HEX_OUT HEX_ERR     its exit code, and what it wrote
//! ```
//!
//! It is no part of the product, runs with every right, and trusts whoever speaks to it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use xen_lab::wire::{self, Reply, Request, Task};
use xen_lab::{clock, waits};

/// Where others in dom0 reach the agent.
const SOCKET: &str = "/run/lab-agent";
/// Exit code of what could not be tried.
const CODE_LOST: i32 = 255;
/// Exit code of a wrong command line.
const CODE_USAGE: u8 = 64;

type Sink = Arc<Mutex<dyn Write + Send>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["dom0", channel] => Relay::default().serve(channel),
        ["guest", console] => serve_guest(console),
        ["clock", end, script, nodes @ ..] => clock::run(end, script, nodes),
        ["waits", device, mark] => waits::run(device, mark),
        ["in", domid, script, rest @ ..] => return ask(domid, script, rest),
        _ => return ExitCode::from(CODE_USAGE),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_line(sink: &Sink, line: &str) {
    let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = sink.write_all(line.as_bytes()).and_then(|()| sink.flush()) {
        eprintln!("lab-agent: a reply is lost: {error}");
    }
}

/// A device for reading and writing.
fn open(path: &str) -> std::io::Result<(BufReader<File>, Sink)> {
    let device = OpenOptions::new().read(true).write(true).open(path)?;
    let writer = device.try_clone()?;
    Ok((BufReader::new(device), Arc::new(Mutex::new(writer))))
}

/// Calls `hear` with each line. `patient` waits at the end: a virtio port has one while nobody holds its other side.
fn lines(mut reader: impl BufRead, patient: bool, mut hear: impl FnMut(&str)) -> std::io::Result<()> {
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line)? {
            0 if patient => std::thread::sleep(Duration::from_millis(50)),
            0 => return Ok(()),
            _ => hear(&String::from_utf8_lossy(&line)),
        }
    }
}

fn serve_guest(console: &str) -> std::io::Result<()> {
    let (reader, sink) = open(console)?;
    lines(reader, true, |line| {
        if let Some(request) = Request::parse(line) {
            perform(request, &sink);
        }
    })
}

/// Does what is asked, without keeping the others waiting.
fn perform(request: Request, sink: &Sink) {
    let sink = Arc::clone(sink);
    std::thread::spawn(move || {
        let (code, out, err) = match &request.task {
            Task::Run(script) => run(script),
            Task::Put(path, bytes) => match std::fs::write(path, bytes) {
                Ok(()) => (0, Vec::new(), Vec::new()),
                Err(error) => (CODE_LOST, Vec::new(), error.to_string().into_bytes()),
            },
        };
        write_line(&sink, &Reply { id: request.id, code, out, err }.line());
    });
}

/// Runs a shell script. Its output goes to files: what it leaves running may keep them open.
fn run(script: &str) -> (i32, Vec<u8>, Vec<u8>) {
    let attempt = || -> std::io::Result<(i32, Vec<u8>, Vec<u8>)> {
        let (mut out, mut err) = (wire::unnamed()?, wire::unnamed()?);
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", script]).stdin(Stdio::null());
        command.stdout(out.try_clone()?).stderr(err.try_clone()?);
        let status = command.status()?;
        Ok((status.code().unwrap_or(CODE_LOST), wire::whole(&mut out)?, wire::whole(&mut err)?))
    };
    attempt().unwrap_or_else(|error| (CODE_LOST, Vec::new(), error.to_string().into_bytes()))
}

/// Asks the agent of dom0, from within dom0, and ends as the script did.
fn ask(domid: &str, script: &str, rest: &[&str]) -> ExitCode {
    // `$0` of the script is what follows it.
    let quoted: Vec<String> = rest.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    let script = format!("sh -c '{}' {}", script.replace('\'', r"'\''"), quoted.join(" "));
    let request = Request {
        id: format!("c{}", std::process::id()),
        domid: domid.parse().unwrap_or_default(),
        task: Task::Run(script),
    };
    let reply = || -> std::io::Result<Reply> {
        let mut stream = UnixStream::connect(SOCKET)?;
        stream.write_all(request.line().as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Reply::parse(&line).ok_or_else(|| std::io::Error::other("no reply"))
    };
    match reply() {
        Ok(reply) => {
            let _ = std::io::stdout().write_all(&reply.out);
            let _ = std::io::stderr().write_all(&reply.err);
            ExitCode::from(u8::try_from(reply.code).unwrap_or(u8::MAX))
        }
        Err(error) => {
            eprintln!("lab-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The agent of dom0: does its own part, and hands on what is for guests.
#[derive(Clone, Default)]
struct Relay {
    /// The consoles of guests, by their numbers.
    consoles: Arc<Mutex<HashMap<u32, Sink>>>,
    /// Who waits for a guest's reply: the guest, and where the reply goes.
    waiting: Arc<Mutex<HashMap<String, (u32, Sink)>>>,
}

impl Relay {
    fn serve(self, channel: &str) -> std::io::Result<()> {
        let (reader, sink) = open(channel)?;
        let _ = std::fs::remove_file(SOCKET);
        let listener = UnixListener::bind(SOCKET)?;
        let others = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let relay = others.clone();
                std::thread::spawn(move || {
                    let Ok(writer) = stream.try_clone() else { return };
                    let sink: Sink = Arc::new(Mutex::new(writer));
                    let _ = lines(BufReader::new(stream), false, |line| relay.hear(line, &sink));
                });
            }
        });
        write_line(&sink, "#ready\n");
        lines(reader, true, |line| self.hear(line, &sink))
    }

    fn hear(&self, line: &str, sink: &Sink) {
        let Some(request) = Request::parse(line) else { return };
        if request.domid == 0 {
            return perform(request, sink);
        }
        let (id, domid) = (request.id.clone(), request.domid);
        locked(&self.waiting).insert(id, (domid, Arc::clone(sink)));
        match self.console(domid) {
            Ok(console) => write_line(&console, &request.line()),
            Err(error) => self.lost(domid, &error.to_string()),
        }
    }

    /// The console of a guest; opened when it is needed first.
    fn console(&self, domid: u32) -> std::io::Result<Sink> {
        let mut consoles = locked(&self.consoles);
        if let Some(console) = consoles.get(&domid) {
            return Ok(Arc::clone(console));
        }
        let key = format!("/local/domain/{domid}/console/tty");
        let output = Command::new("xenstore-read").arg(key).output()?;
        let tty = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Command::new("stty").args(["-F", &tty, "raw", "-echo"]).status()?;
        let (reader, sink) = open(&tty)?;
        consoles.insert(domid, Arc::clone(&sink));
        let relay = self.clone();
        std::thread::spawn(move || {
            let _ = lines(reader, false, |line| relay.answer(line));
            locked(&relay.consoles).remove(&domid);
            relay.lost(domid, "the guest is gone");
        });
        Ok(sink)
    }

    fn answer(&self, line: &str) {
        // A kernel may have printed something before it.
        let Some(reply) = line.rfind('=').and_then(|at| Reply::parse(line.get(at..)?)) else {
            return;
        };
        let waiting = locked(&self.waiting).remove(&reply.id);
        if let Some((_, sink)) = waiting {
            write_line(&sink, &reply.line());
        }
    }

    fn lost(&self, domid: u32, why: &str) {
        let lost: Vec<(String, (u32, Sink))> =
            locked(&self.waiting).extract_if(|_, (of, _)| *of == domid).collect();
        for (id, (_, sink)) in lost {
            let reply = Reply { id, code: CODE_LOST, out: Vec::new(), err: why.as_bytes().to_vec() };
            write_line(&sink, &reply.line());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
