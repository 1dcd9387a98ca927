//! How a confined process begins and how it ends.
//!
//! A worker ends in one of these ways, and whoever waits for it can tell them apart:
//!
//! | end | meaning |
//! |---|---|
//! | exit code of its body | it has finished |
//! | exit code [`EXIT_SANDBOX`] | it could not enter its sandbox |
//! | SIGILL | it panicked, a mistake in the program, or no memory was left |
//! | SIGSEGV, SIGBUS | a memory fault or a stack overflow |
//! | SIGSYS | it tried a system call outside of its profile: also where libc finds its heap broken, and says so first |
//!
//! The first process of a pid namespace cannot die of SIGABRT: the kernel drops signals that such a process sends to
//! itself, unless they come from a fault. So a panic ends with an invalid instruction, which is one.

use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use crate::heap;
use crate::inherit::Inherited;
use crate::profile::Profile;
use crate::sandbox::{self, Sandboxed};

/// The exit code of a process that could not enter its sandbox.
pub const EXIT_SANDBOX: u8 = 77;

/// The longest text that a [`Reporter`] gets, in bytes.
pub const REPORT_BYTES_MAX: usize = 200;

/// Tells somebody why this process ends: called at most once, with a text of at most [`REPORT_BYTES_MAX`] bytes that
/// holds nothing that a VM chose.
///
/// The descriptor is a duplicate of the first one that the profile lists (the edge to the broker). The function must
/// need no system call outside of the profile.
pub type Reporter = fn(BorrowedFd<'_>, &str);

struct Report {
    to: OwnedFd,
    how: Reporter,
}

static REPORT: OnceLock<Report> = OnceLock::new();

/// Runs a confined process: installs the panic hook, takes the descriptors, enters the profile, runs `body` and exits
/// with what it returns. To be called first in `main`.
///
/// With a `reporter`, a panic's place (`file:line`, never its text, which may quote a VM), that no memory is left, and the
/// reason of a failed entry are passed to it; it costs one more descriptor, a duplicate of the first.
pub fn run<F>(profile: &'static Profile, reporter: Option<Reporter>, body: F) -> !
where
    F: FnOnce(Inherited, Sandboxed) -> u8,
{
    heap::confine();
    std::panic::set_hook(Box::new(end_by_panic));
    set_name(profile.process);
    let entered = Inherited::take_over(profile).map_err(|error| error.to_string()).and_then(|inherited| {
        prepare_report(profile, reporter, &inherited);
        let sandboxed = sandbox::enter(profile, &inherited).map_err(|error| error.to_string())?;
        Ok((inherited, sandboxed))
    });
    match entered {
        Ok((inherited, sandboxed)) => exit(body(inherited, sandboxed)),
        Err(reason) => {
            report(&Text::from_args(format_args!("{} cannot enter its sandbox: {reason}", profile.process)));
            exit(EXIT_SANDBOX)
        }
    }
}

/// Ends the process at once, with one system call and without running anything that was registered for the exit.
pub fn exit(code: u8) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(i32::from(code)) }
}

/// The name in `ps` and in the kernel's audit records; after exec by descriptor it would be the descriptor's number.
fn set_name(process: &str) {
    if let Ok(name) = std::ffi::CString::new(process) {
        // A name that cannot be set is no reason to end: it is for the reader of `ps` only.
        let _ = rustix::thread::set_name(&name);
    }
}

fn prepare_report(profile: &Profile, reporter: Option<Reporter>, inherited: &Inherited) {
    let (Some(how), Some(name)) = (reporter, profile.descriptors.first()) else { return };
    let Some(first) = inherited.lend(name).and_then(|all| all.first().copied()) else { return };
    if let Ok(to) = rustix::io::fcntl_dupfd_cloexec(first, 0) {
        // The hook is installed once in a process, so nothing can be there already.
        let _ = REPORT.set(Report { to, how });
    }
}

fn report(text: &Text) {
    if let Some(Report { to, how }) = REPORT.get() {
        how(to.as_fd(), text.as_str());
    }
}

/// The panic hook: says where, and ends the process. Never returns, so that nothing unwinds in a confined process.
fn end_by_panic(info: &PanicHookInfo<'_>) {
    match info.location() {
        Some(place) => end_saying(format_args!("panic at {}:{}", place.file(), place.line())),
        None => end_saying(format_args!("panic at an unknown place")),
    }
}

/// Ends the process because it cannot have so many bytes.
pub(crate) fn end_without_memory(bytes: usize) -> ! {
    end_saying(format_args!("no memory left for {bytes} bytes"))
}

fn end_saying(why: std::fmt::Arguments<'_>) -> ! {
    static ENDING: OnceLock<()> = OnceLock::new();
    // A reporter that panics itself, or finds no memory either, must not be called again.
    if ENDING.set(()).is_ok() {
        report(&Text::from_args(why));
    }
    end_by_signal()
}

/// Ends this process by a signal that says "a mistake in the program", without any system call.
fn end_by_signal() -> ! {
    // SAFETY: the instruction is defined to fault, so nothing after it runs.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!("ud2", options(noreturn, nomem, nostack))
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!("udf #0", options(noreturn, nomem, nostack))
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    std::process::abort()
}

/// A text of bounded length that needs no memory of the heap, which may be what has run out.
struct Text {
    bytes: [u8; REPORT_BYTES_MAX],
    length: usize,
}

impl Text {
    fn from_args(args: std::fmt::Arguments<'_>) -> Self {
        let mut text = Self { bytes: [0; REPORT_BYTES_MAX], length: 0 };
        // The only error is that the text was cut off.
        let _ = text.write_fmt(args);
        text
    }

    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            // Cut off within a character.
            Err(error) => bytes
                .get(..error.valid_up_to())
                .and_then(|head| std::str::from_utf8(head).ok())
                .unwrap_or_default(),
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let free = self.bytes.get_mut(self.length..).unwrap_or_default();
        let count = free.len().min(part.len());
        for (to, from) in free.iter_mut().zip(part.bytes()) {
            *to = from;
        }
        self.length = self.length.saturating_add(count);
        if count == part.len() { Ok(()) } else { Err(std::fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_cut_at_its_limit_and_never_within_a_character() {
        for length in [0, 1, REPORT_BYTES_MAX, REPORT_BYTES_MAX + 1] {
            let long = "x".repeat(length);
            assert_eq!(Text::from_args(format_args!("{long}")).as_str().len(), length.min(REPORT_BYTES_MAX));
        }
        let umlauts = format!("x{}", "ä".repeat(REPORT_BYTES_MAX));
        let text = Text::from_args(format_args!("{umlauts}"));
        assert_eq!(text.as_str().len(), REPORT_BYTES_MAX - 1);
        assert!(umlauts.starts_with(text.as_str()));
    }
}
