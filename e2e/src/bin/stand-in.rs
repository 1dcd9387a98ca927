//! Stands in for one of the daemon's workers, and is not as its profile wants it, or ends as no worker should.
//!
//! It is started under the worker's name, in place of its program. What it does is the word in the file `stand-in` beside
//! it: `unconfined`, `extra`, `panic`, `no-memory`, `overflow`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "part of tests; it may end as it likes"
)]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use sys::inherit::Inherited;
use sys::profile::Profile;
use sys::{sandbox, worker};

fn main() {
    let name = std::env::args().next().expect("a name");
    let profile = profile(&name);
    let own = std::env::current_exe().unwrap();
    let word = std::fs::read_to_string(own.parent().map(|folder| folder.join("stand-in")).unwrap()).unwrap();
    match word.trim() {
        "unconfined" => {
            let mut inherited = Inherited::take_over(profile).unwrap();
            wait(&edge(&mut inherited, profile));
        }
        "extra" => {
            let mut inherited = Inherited::take_over(profile).unwrap();
            let extra = File::open(Path::new("/etc/passwd")).unwrap();
            let _sandboxed = sandbox::enter(profile, &inherited).unwrap();
            wait(&edge(&mut inherited, profile));
            drop(extra);
        }
        "panic" => worker::run(profile, None, |_, _| panic!("as it was told")),
        "no-memory" => worker::run(profile, None, |_, _| u8::from(vec![1_u8; 1 << 40].len() > 1)),
        "overflow" => worker::run(profile, None, |_, _| u8::from(deeper(1) == 0)),
        other => panic!("{other} is not known"),
    }
}

/// The profile of a process; of the dialog, that on the terminal.
fn profile(name: &str) -> &'static Profile {
    let mut all = sandbox_profiles::ALL.iter().copied();
    all.find(|profile| profile.process == name).expect("the name of a process")
}

fn edge(inherited: &mut Inherited, profile: &Profile) -> OwnedFd {
    inherited.take(profile.descriptors.first().unwrap()).unwrap()
}

/// Until the other end is closed. The daemon ends this process before that.
fn wait(edge: &OwnedFd) {
    loop {
        let mut waiting = [PollFd::new(edge, PollFlags::empty())];
        poll(&mut waiting, None).unwrap();
        if waiting.iter().any(|one| one.revents().contains(PollFlags::HUP)) {
            return;
        }
    }
}

/// Uses up the stack.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 128]);
    let first = frame.first().copied().unwrap_or_default();
    if first == 0 { 0 } else { deeper(first.wrapping_add(1)).wrapping_add(std::hint::black_box(first)) }
}
