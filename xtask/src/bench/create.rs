//! `new`, from the request that a VM writes to the reply that it reads, against truncate and mkfs.vfat.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use xenstore::path::OwnPath;
use xenstore::{Client, Error, Refusal, Token};

use super::measure::{Times, print};
use super::write::{quietly, text};
use crate::Outcome;
use crate::workspace::SIMULATOR;

/// One request in each VM.
const VMS: u32 = 12;
/// Time for the daemon to have a spare pendrive ready, as between two requests of people.
const PAUSE_MS: u64 = 300;
const READY_S_MAX: u64 = 60;
const REPLY_S_MAX: u64 = 30;
const TOKEN: Token = Token::plain(1);

/// Measures.
pub fn measure(scratch: &Path) -> Outcome<()> {
    let mut ours = Times::new("new, spare ready (ours)");
    let folder = scratch.join("host");
    fs::create_dir(&folder).map_err(text)?;
    let mut host = start(&folder)?;
    let measured = ask_all(&folder, &mut ours);
    if let Some(pid) = i32::try_from(host.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself; then its exit code says so.
        let _ = kill_process(pid, Signal::TERM);
    }
    host.wait().map_err(text)?;
    measured?;
    let mut mkfs = Times::new("truncate + mkfs.vfat");
    for number in 0..VMS {
        let image = scratch.join(format!("mkfs-{number}"));
        mkfs.take(|| {
            quietly(Command::new("truncate").args(["-s", "1024M"]).arg(&image), "truncate")?;
            quietly(Command::new("mkfs.vfat").args(["-F", "32"]).arg(&image), "mkfs.vfat")
        })?;
        fs::remove_file(&image).map_err(text)?;
    }
    print(&ours, &[(&mkfs, None)]);
    fs::remove_dir_all(&folder).map_err(text)
}

fn start(folder: &Path) -> Outcome<Child> {
    let own = std::env::current_exe().map_err(text)?;
    let simulator = own.with_file_name(SIMULATOR);
    let mut command = Command::new(&simulator);
    command.arg("up").arg("--dir").arg(folder).args(["--dialog", "none"]);
    for number in 0..VMS {
        command.arg("--vm").arg(vm(number));
    }
    let log = fs::File::create(folder.join("log")).map_err(text)?;
    let errors = log.try_clone().map_err(text)?;
    let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
    let mut child = child.map_err(|error| format!("{}: {error}", simulator.display()))?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(READY_S_MAX) {
        let said = fs::read_to_string(folder.join("log")).map_err(text)?;
        if said.lines().any(|line| line == "ready") {
            return Ok(child);
        }
        if child.try_wait().map_err(text)?.is_some() {
            return Err(format!("the host has ended:\n{said}"));
        }
        sleep(Duration::from_millis(PAUSE_MS));
    }
    let _ = child.kill();
    let _ = child.wait();
    Err("the host was not ready in time".to_owned())
}

fn vm(number: u32) -> String {
    format!("vm{number}")
}

fn ask_all(folder: &Path, times: &mut Times) -> Outcome<()> {
    for number in 0..VMS {
        let socket = folder.join("vms").join(vm(number)).join("run/xenstored/socket");
        let connected = xenstore::connect::connect_socket(socket.as_os_str().as_bytes()).map_err(text)?;
        let mut client = Client::new(connected).map_err(text)?;
        client.watch(&OwnPath::reply(), TOKEN).map_err(text)?;
        sleep(Duration::from_millis(PAUSE_MS));
        times.take(|| ask(&mut client))?;
    }
    Ok(())
}

fn ask(client: &mut Client) -> Outcome<()> {
    client.write(&OwnPath::qpen(), b"new #bench").map_err(text)?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(REPLY_S_MAX) {
        match client.read(&OwnPath::reply()) {
            Ok(reply) if reply.starts_with(b"bench ok") => return Ok(()),
            Ok(reply) if reply.starts_with(b"bench ") && !reply.starts_with(b"bench pending") => {
                return Err(format!("the reply to new: {}", reply.escape_ascii()));
            }
            Ok(_) | Err(Error::Refused(Refusal::NoEntry)) => {}
            Err(error) => return Err(text(error)),
        }
        let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
        poll(&mut [PollFd::new(&client.fd(), PollFlags::IN)], Some(&timeout)).map_err(text)?;
        client.pump().map_err(text)?;
        while client.next_event().is_some() {}
    }
    Err("no reply to new".to_owned())
}
