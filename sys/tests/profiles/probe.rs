//! The confined process.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use sys::profile::Profile;

use crate::{acts, half, under_profiles};

/// The act has happened although it is forbidden.
pub const EXIT_HAPPENED: u8 = 50;
/// The act was allowed by the filter, and refused by something else.
pub const EXIT_REFUSED: u8 = 51;
/// The act is unknown.
const EXIT_UNKNOWN: u8 = 52;

/// Acts before which the probe puts itself under a filter that refuses one call.
pub const ON_AN_INITRAMFS: &str = "on-an-initramfs";
pub const WITH_STEP_REFUSED: &str = "with-step-refused";

/// What the probe sends when it is in its sandbox.
pub const READY: &[u8] = b"ready";

/// `profile-probe PROFILE ACT [ARGUMENT]`.
pub fn run(args: &[String]) -> ! {
    let [_, name, act, rest @ ..] = args else { sys::worker::exit(EXIT_UNKNOWN) };
    if let (ON_AN_INITRAMFS, [act, rest @ ..]) = (act.as_str(), rest) {
        // What the kernel says of its first root.
        half::refuse(u32::try_from(libc::SYS_pivot_root).unwrap(), libc::EINVAL);
        run(&[&[args[0].clone(), name.clone(), act.clone()], rest].concat());
    }
    let Some(profile) = profile(name) else { sys::worker::exit(EXIT_UNKNOWN) };
    let argument = rest.first().map_or("", String::as_str);
    if act == "with-a-thread" {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    }
    if act == WITH_STEP_REFUSED {
        half::refuse(argument.parse().unwrap(), libc::EPERM);
    }
    let reporter: Option<sys::worker::Reporter> = if has_edge(profile) { Some(report) } else { None };
    sys::worker::run(profile, reporter, |inherited, _sandboxed| {
        // Not every profile grants closing a descriptor.
        let mut inherited = ManuallyDrop::new(inherited);
        if act == "start-workers" {
            return under_profiles::start_workers();
        }
        if act == "start-and-hold" {
            return under_profiles::start_and_hold();
        }
        if profile.descriptors.is_empty() {
            if act == WITH_STEP_REFUSED {
                return 7;
            }
            return tried(act, argument);
        }
        let edge = ManuallyDrop::new(inherited.take(profile.descriptors.first().unwrap()).unwrap());
        if has_edge(profile) && act != "call" {
            send(edge.as_fd(), READY);
        }
        match act.as_str() {
            "report-and-wait" if has_edge(profile) => wait(edge.as_fd()),
            // It has no call to wait with.
            "report-and-wait" => loop {
                std::hint::spin_loop();
            },
            "finish" | WITH_STEP_REFUSED => 7,
            "look-beside" => look_beside(&inherited.take("output").unwrap()),
            "use-images" => use_images(&inherited.take("images").unwrap()),
            _ => tried(act, argument),
        }
    })
}

fn tried(act: &str, argument: &str) -> u8 {
    match acts::perform(act, argument) {
        None => EXIT_UNKNOWN,
        Some(true) => EXIT_HAPPENED,
        Some(false) => EXIT_REFUSED,
    }
}

/// How many filters a probe with these words has before it enters its profile.
pub fn filters_before_the_profile(words: &[&str]) -> usize {
    usize::from(words.first().is_some_and(|act| [ON_AN_INITRAMFS, WITH_STEP_REFUSED].contains(act)))
}

/// The name of a profile for the probe: its place among all, since two may be those of one process.
pub fn place(profile: &Profile) -> String {
    let place = sandbox_profiles::ALL.iter().position(|other| std::ptr::eq(*other, profile));
    place.unwrap().to_string()
}

/// The profile at that place.
fn profile(place: &str) -> Option<&'static Profile> {
    sandbox_profiles::ALL.get(place.parse::<usize>().ok()?).copied()
}

/// Whether it can say anything on its first descriptor.
pub fn has_edge(profile: &Profile) -> bool {
    grants(profile, libc::SYS_sendmsg)
}

/// Whether it can get memory.
pub fn has_heap(profile: &Profile) -> bool {
    grants(profile, libc::SYS_brk)
}

fn grants(profile: &Profile, number: i64) -> bool {
    profile.syscalls.iter().any(|call| call.number == number)
}

fn report(edge: BorrowedFd<'_>, text: &str) {
    send(edge, text.as_bytes());
}

fn send(edge: BorrowedFd<'_>, bytes: &[u8]) {
    use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
    let slices = [std::io::IoSlice::new(bytes)];
    let _ = sendmsg(edge, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL);
}

/// Until the parent closes its end.
fn wait(edge: BorrowedFd<'_>) -> u8 {
    let mut poll = libc::pollfd { fd: edge.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is valid for one entry, and the other pointers may be null.
    let result = unsafe { libc::ppoll(&raw mut poll, 1, std::ptr::null(), std::ptr::null()) };
    u8::from(result != 1)
}

/// Makes and removes a file in the attacher's directory, and tries one beside it.
fn use_images(directory: &OwnedFd) -> u8 {
    use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
    let fresh = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let made = openat(directory, "fresh", fresh, Mode::RUSR | Mode::WUSR);
    let removed = unlinkat(directory, "fresh", AtFlags::empty());
    let read = OFlags::RDONLY | OFlags::CLOEXEC;
    let beside = openat(directory, "../beside", read, Mode::empty());
    let absolute = openat(directory, "/etc/passwd", read, Mode::empty());
    let own = openat(directory, "kept", read, Mode::empty());
    let allowed = made.is_ok() && removed.is_ok() && own.is_ok();
    let refused = beside.err() == Some(rustix::io::Errno::ACCESS) && absolute.is_err();
    if allowed && refused { 7 } else { u8::from(allowed) * 2 + u8::from(refused) }
}

/// Looks at what is beside fat-reader's directory: told apart is what is there and what is not, and nothing more.
fn look_beside(directory: &OwnedFd) -> u8 {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::Errno;
    let open = |from: BorrowedFd<'_>, path: &str, flags| {
        openat2(from, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::empty())
    };
    let (below, none) = (directory.as_fd(), Some(Errno::ACCESS));
    let Ok(there) = open(below, "../beside/secret", OFlags::PATH) else { return 1 };
    let Ok(folder) = open(below, "../beside", OFlags::PATH) else { return 2 };
    if open(below, "../beside/nothing", OFlags::PATH).err() != Some(Errno::NOENT) {
        return 3;
    }
    let refused = [
        open(below, "../beside/secret", OFlags::RDONLY),
        open(below, "../beside/secret", OFlags::RDWR),
        open(below, "../beside", OFlags::RDONLY | OFlags::DIRECTORY),
        open(folder.as_fd(), "secret", OFlags::RDONLY),
        open(folder.as_fd(), ".", OFlags::RDONLY | OFlags::DIRECTORY),
        open(folder.as_fd(), "new", OFlags::WRONLY | OFlags::CREATE),
    ];
    let all = refused.into_iter().all(|result| result.err() == none);
    // A descriptor that only names a file cannot be opened anew without /proc, of which there is none.
    let anew = open(below, &format!("/proc/self/fd/{}", there.as_raw_fd()), OFlags::RDONLY);
    if all && anew.err() == Some(Errno::NOENT) { 7 } else { 4 }
}
