//! The new process between clone and exec.
//!
//! It is a copy of one thread of its parent, whose other threads may have held any lock at that instant. So it calls
//! only the kernel: no allocation, no lock, no formatting, no panic.

use std::os::fd::RawFd;

use rustix::io::Errno;

use super::{Account, Started, errno};

/// The size of a report to the parent: the stage and the error number, in the machine's byte order.
pub(super) const REPORT_BYTES: usize = 8;

/// The exit code of a process that could not become the program. The parent knows the reason by the report.
const EXIT_NOT_STARTED: i32 = 127;

/// Highest signal number of Linux.
const SIGNAL_NUMBER_MAX: i32 = 64;

/// `close_range` marks instead of closing: the program and the report pipe are needed until exec.
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Goes with [`Stage::Ready`], and is not looked at.
const NO_ERROR: Errno = Errno::AGAIN;

/// The kernel's error numbers.
const ERRNO_RANGE: std::ops::RangeInclusive<i32> = 1..=4095;

/// How far a new process came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// It waits for its ids to be mapped.
    Ready = 1,
    /// Tying its life to the parent's.
    ParentDeath = 2,
    /// Waiting for the parent's word.
    Go = 3,
    /// Dropping supplementary groups.
    Groups = 4,
    /// Taking the group id.
    GroupId = 5,
    /// Taking the user id.
    UserId = 6,
    /// Moving descriptors to where the program expects them.
    Descriptors = 7,
    /// Resetting signals.
    Signals = 8,
    /// Leaving the parent's session.
    Session = 9,
    /// Executing the program.
    Exec = 10,
}

impl Stage {
    const ALL: [Self; 10] = [
        Self::Ready,
        Self::ParentDeath,
        Self::Go,
        Self::Groups,
        Self::GroupId,
        Self::UserId,
        Self::Descriptors,
        Self::Signals,
        Self::Session,
        Self::Exec,
    ];
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ready => "getting ready",
            Self::ParentDeath => "asking for death with the parent",
            Self::Go => "waiting for the parent",
            Self::Groups => "dropping the supplementary groups",
            Self::GroupId => "taking the group id",
            Self::UserId => "taking the user id",
            Self::Descriptors => "arranging the descriptors",
            Self::Signals => "resetting the signals",
            Self::Session => "leaving the parent's session",
            Self::Exec => "executing the program",
        })
    }
}

/// Whether the supplementary groups must be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClearGroups {
    /// The process changes accounts: another account's groups must not stay.
    Must,
    /// An ordinary user may not drop groups, and keeps its own.
    Try,
}

/// The ids of the new process, as seen in its user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// The parent's.
    Keep,
    /// These.
    Take { account: Account, clear_groups: ClearGroups },
}

/// Everything that the new process needs, made before it exists.
pub(super) struct Plan<'a> {
    pub(super) program: RawFd,
    /// Its absolute path, or an empty string: then it is what `program` is. Valid while the plan is.
    pub(super) path: *const libc::c_char,
    /// NULL-terminated, and valid while the plan is.
    pub(super) argv: *const *const libc::c_char,
    /// The same.
    pub(super) environment: *const *const libc::c_char,
    /// What becomes descriptors 0, 1, 2, 3, …
    pub(super) sources: &'a mut [RawFd],
    pub(super) go_read: RawFd,
    pub(super) go_write: RawFd,
    pub(super) report: RawFd,
    pub(super) ids: Ids,
}

/// `struct clone_args` of `linux/sched.h`, first version.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Makes the new process, which goes on in [`run`]. Returns in the parent only.
pub(super) fn clone_and_run(flags: u64, plan: &mut Plan<'_>) -> Result<Started, Errno> {
    let mut pidfd: RawFd = -1;
    let args = CloneArgs {
        flags: flags | u64::from(libc::CLONE_PIDFD.unsigned_abs()),
        pidfd: std::ptr::from_mut(&mut pidfd).addr() as u64,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        ..CloneArgs::default()
    };
    // A handler of the parent must not run in the new process.
    let mask = block_all_signals();
    // SAFETY: `args` is valid for its size, and so is what it points to. Without CLONE_VM and with no new stack, the
    // new process goes on with a copy of this memory, like after fork; it goes on in `run`, which calls only the
    // kernel, and does not return.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_ref(&args), std::mem::size_of::<CloneArgs>())
    };
    if pid == 0 {
        run(plan);
    }
    let result = if pid < 0 {
        Err(errno())
    } else {
        // SAFETY: the kernel has written a descriptor that it has just made.
        unsafe { Started::new(pidfd, pid) }
    };
    restore_signals(&mask);
    result
}

fn block_all_signals() -> libc::sigset_t {
    // SAFETY: sigset_t is an array of integers, for which zero is a value.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: the pointers are valid. The only error is an unknown first argument.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
    before
}

fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: the pointer is valid, and the third argument may be null.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// Becomes the program, or reports why not and ends.
fn run(plan: &mut Plan<'_>) -> ! {
    let (stage, errno) = match become_program(plan) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    send_report(plan.report, stage, errno);
    // SAFETY: _exit has no preconditions and runs nothing of the parent's.
    unsafe { libc::_exit(EXIT_NOT_STARTED) }
}

type Failure = (Stage, Errno);

fn become_program(plan: &mut Plan<'_>) -> Result<std::convert::Infallible, Failure> {
    die_with_parent()?;
    make_dumpable();
    // The pipe's write end must be the parent's alone, so that its death is seen.
    // SAFETY: this process owns a copy of every descriptor, and uses this one for nothing.
    unsafe { libc::close(plan.go_write) };
    send_report(plan.report, Stage::Ready, NO_ERROR);
    wait_for_go(plan.go_read)?;
    if let Ids::Take { account, clear_groups } = plan.ids {
        take_ids(account, clear_groups)?;
    }
    // A change of ids has undone the first request.
    die_with_parent()?;
    check_parent_lives(plan.go_read)?;
    arrange_descriptors(plan)?;
    reset_signals()?;
    leave_session()?;
    execute(plan)
}

fn die_with_parent() -> Result<(), Failure> {
    // SAFETY: this request has no memory arguments.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    check(i64::from(result), Stage::ParentDeath)
}

/// The parent may be not dumpable; this process must be, or its id maps in /proc would belong to root.
fn make_dumpable() {
    // SAFETY: this request has no memory arguments. If it fails, the parent cannot write the maps and says so.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
}

fn wait_for_go(go: RawFd) -> Result<(), Failure> {
    let mut byte = 0_u8;
    loop {
        // SAFETY: the pointer is valid for one byte.
        let count = unsafe { libc::read(go, (&raw mut byte).cast(), 1) };
        match count {
            1 => return Ok(()),
            0 => return Err((Stage::Go, Errno::PIPE)),
            _ if errno() == Errno::INTR => {}
            _ => return Err((Stage::Go, errno())),
        }
    }
}

/// Between the two requests for death with the parent, it may have died unnoticed; then its end of the pipe is closed.
fn check_parent_lives(go: RawFd) -> Result<(), Failure> {
    let mut poll = libc::pollfd { fd: go, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is valid for one entry.
    let result = unsafe { libc::poll(&raw mut poll, 1, 0) };
    check(i64::from(result), Stage::ParentDeath)?;
    if poll.revents & libc::POLLHUP != 0 { Err((Stage::ParentDeath, Errno::PIPE)) } else { Ok(()) }
}

/// Raw system calls: the ones of libc would tell the other threads, which do not exist here.
fn take_ids(account: Account, clear_groups: ClearGroups) -> Result<(), Failure> {
    // SAFETY: an empty list is not read.
    let cleared = unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) };
    if clear_groups == ClearGroups::Must {
        check(cleared, Stage::Groups)?;
    }
    let Account { uid, gid } = account;
    // SAFETY: no memory arguments.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }, Stage::GroupId)?;
    // SAFETY: no memory arguments.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }, Stage::UserId)
}

/// First copies everything out of the way, then down to its place, so that no copy overwrites a source.
fn arrange_descriptors(plan: &mut Plan<'_>) -> Result<(), Failure> {
    let count = RawFd::try_from(plan.sources.len()).map_err(|_| (Stage::Descriptors, Errno::MFILE))?;
    for source in plan.sources.iter_mut() {
        *source = copy_above(*source, count)?;
    }
    plan.program = copy_above(plan.program, count)?;
    plan.report = copy_above(plan.report, count)?;
    for (target, source) in (0..count).zip(plan.sources.iter()) {
        // SAFETY: no memory arguments. What is closed by it belongs to a copy of the parent that ends here.
        check(i64::from(unsafe { libc::dup2(*source, target) }), Stage::Descriptors)?;
    }
    // SAFETY: no memory arguments; as above.
    let marked =
        unsafe { libc::syscall(libc::SYS_close_range, count, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    check(marked, Stage::Descriptors)
}

fn copy_above(source: RawFd, lowest: RawFd) -> Result<RawFd, Failure> {
    // SAFETY: no memory arguments.
    let copy = unsafe { libc::fcntl(source, libc::F_DUPFD_CLOEXEC, lowest) };
    check(i64::from(copy), Stage::Descriptors).map(|()| copy)
}

/// Ignored signals stay ignored over exec, and so does the mask.
fn reset_signals() -> Result<(), Failure> {
    for number in 1..=SIGNAL_NUMBER_MAX {
        // SAFETY: the default action installs no code. Errors are those of the numbers that have no other action, or
        // that libc keeps for itself.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // SAFETY: sigset_t is an array of integers, for which zero is a value.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid.
    unsafe { libc::sigemptyset(&raw mut none) };
    // SAFETY: the pointer is valid, and the third argument may be null.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err((Stage::Signals, Errno::from_raw_os_error(result))) }
}

/// A process without the parent's terminal gets no signal from its keys, is not stopped for reading from it in the
/// background, and cannot put input into it.
fn leave_session() -> Result<(), Failure> {
    // SAFETY: setsid has no arguments.
    check(i64::from(unsafe { libc::setsid() }), Stage::Session)
}

fn execute(plan: &Plan<'_>) -> Result<std::convert::Infallible, Failure> {
    // SAFETY: the path is a C string, and both arrays end with a null pointer; all are valid while the plan is. An
    // absolute path makes the kernel ignore the descriptor. Returns only when it fails.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            plan.program,
            plan.path,
            plan.argv,
            plan.environment,
            libc::AT_EMPTY_PATH,
        )
    };
    Err((Stage::Exec, errno()))
}

fn check(result: i64, stage: Stage) -> Result<(), Failure> {
    if result < 0 { Err((stage, errno())) } else { Ok(()) }
}

fn send_report(to: RawFd, stage: Stage, errno: Errno) {
    let mut message = [0_u8; REPORT_BYTES];
    let bytes = (stage as u32).to_ne_bytes().into_iter().chain(errno.raw_os_error().to_ne_bytes());
    for (place, byte) in message.iter_mut().zip(bytes) {
        *place = byte;
    }
    // SAFETY: the pointer is valid for this many bytes. If nobody listens, the parent is gone.
    unsafe { libc::write(to, message.as_ptr().cast(), message.len()) };
}

/// What [`send_report`] has sent; no stage if it is none of these.
pub(super) fn decode_report(message: [u8; REPORT_BYTES]) -> (Option<Stage>, Errno) {
    let [s0, s1, s2, s3, e0, e1, e2, e3] = message;
    let number = u32::from_ne_bytes([s0, s1, s2, s3]);
    let stage = Stage::ALL.into_iter().find(|stage| *stage as u32 == number);
    let code = i32::from_ne_bytes([e0, e1, e2, e3]);
    (stage, if ERRNO_RANGE.contains(&code) { Errno::from_raw_os_error(code) } else { Errno::IO })
}
