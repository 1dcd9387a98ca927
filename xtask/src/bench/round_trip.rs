//! One order and its answer over an edge, against 64 raw bytes to and fro over the same kind of socket.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use protocol::attach::{AttachReply, AttachRequest, Order, OrderId, Outcome as Done};
use protocol::channel::Channel;
use protocol::types::{Domid, ImageId};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::measure::{Times, print};
use super::write::text;
use crate::Outcome;

const RAW_BYTES: usize = 64;
/// Round trips of each run. Their median does not suffer from the few that something else has interrupted.
const TRIPS: u32 = 4_000;
const TRIPS_UNCOUNTED: u32 = 200;
const RUNS: u32 = 25;
/// Largest ratio to raw bytes that is aimed at.
const AIM: f64 = 1.5;
/// Both ends run here: placement would count more than anything else.
const PROCESSOR: usize = 0;

/// Measures; the other end is this program once more.
pub fn measure() -> Outcome<()> {
    let mut set = CpuSet::new();
    set.set(PROCESSOR);
    sched_setaffinity(None, &set).map_err(text)?;
    let measured = measure_here();
    // Everything else may use every processor.
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|number| all.set(number));
    sched_setaffinity(None, &all).map_err(text)?;
    measured
}

fn measure_here() -> Outcome<()> {
    let mut message = Times::new("order and answer on an edge (ours)");
    let mut blocking = Times::new("64 raw bytes");
    let mut polling = Times::new("64 raw bytes, poll before each");
    for _ in 0..RUNS {
        let (mut child, end) = start("message")?;
        let mut edge = Channel::new(end);
        trips(&mut message, || ask(&mut edge))?;
        drop(edge);
        child.wait().map_err(text)?;
        for (what, times) in [("raw", &mut blocking), ("raw-poll", &mut polling)] {
            let (mut child, end) = start(what)?;
            let polls = what != "raw";
            trips(times, || {
                send(&end, &[7; RAW_BYTES], SendFlags::NOSIGNAL).map_err(text)?;
                raw_receive(&end, polls).map(drop)
            })?;
            drop(end);
            child.wait().map_err(text)?;
        }
    }
    print(&message, &[(&blocking, Some(AIM)), (&polling, None)]);
    Ok(())
}

/// Takes the time of each of many round trips, after some that nobody counts.
fn trips(times: &mut Times, mut trip: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    for _ in 0..TRIPS_UNCOUNTED {
        trip()?;
    }
    for _ in 0..TRIPS {
        times.take(&mut trip)?;
    }
    Ok(())
}

fn start(what: &str) -> Outcome<(Child, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(text)?;
    let own = std::env::current_exe().map_err(text)?;
    let mut command = Command::new(own);
    command.args(["bench", "--echo", what]).stdin(Stdio::from(theirs));
    Ok((command.spawn().map_err(text)?, ours))
}

/// The other end: answers until nobody asks.
pub fn echo(what: &str) -> Outcome<()> {
    let end = std::io::stdin().as_fd().try_clone_to_owned().map_err(text)?;
    if what == "message" {
        return answer_all(end);
    }
    while raw_receive(&end, what == "raw-poll")? > 0 {
        send(&end, &[7; RAW_BYTES], SendFlags::NOSIGNAL).map_err(text)?;
    }
    Ok(())
}

fn raw_receive(end: &OwnedFd, polls: bool) -> Outcome<usize> {
    if polls {
        wait(end)?;
    }
    let mut buffer = [0; RAW_BYTES];
    recv(end, &mut buffer, RecvFlags::empty()).map(|(_, count)| count).map_err(text)
}

fn wait(end: impl AsFd) -> Outcome<()> {
    poll(&mut [PollFd::new(&end, PollFlags::IN)], None).map(drop).map_err(text)
}

fn ask(edge: &mut Channel<AttachRequest, AttachReply>) -> Outcome<()> {
    let order = Order::Detach {
        image: ImageId([7; 16]),
        domid: Domid::new(7).map_err(text)?,
        device: protocol::types::Device::Outgoing,
    };
    edge.send(&AttachRequest { id: OrderId(7), order }).map_err(text)?;
    wait(&*edge)?;
    match edge.receive().map_err(text)? {
        Some(AttachReply::Finished { id: OrderId(7), .. }) => Ok(()),
        Some(_) | None => Err("the other end answered something else".to_owned()),
    }
}

fn answer_all(end: OwnedFd) -> Outcome<()> {
    let mut edge: Channel<AttachReply, AttachRequest> = Channel::new(end);
    loop {
        wait(&edge)?;
        match edge.receive() {
            Ok(Some(AttachRequest { id, .. })) => {
                edge.send(&AttachReply::Finished { id, outcome: Done::Done }).map_err(text)?;
            }
            Ok(None) => {}
            Err(_) => return Ok(()),
        }
    }
}
