//! What a compromised process would try. Each act is one system call, made without the help of libc's wrappers.

use std::ptr::null;

/// The acts that a filter stops, each with the number of its call.
///
/// A call that a profile allows on conditions is stopped as well: the arguments here meet none.
pub const STOPPED: &[(&str, i64)] = &[
    ("open", libc::SYS_open),
    ("openat", libc::SYS_openat),
    ("socket", libc::SYS_socket),
    ("connect", libc::SYS_connect),
    ("fork", libc::SYS_fork),
    ("clone", libc::SYS_clone),
    ("clone3", libc::SYS_clone3),
    ("execve", libc::SYS_execve),
    ("ptrace", libc::SYS_ptrace),
    ("mmap-exec", libc::SYS_mmap),
    ("mprotect-exec", libc::SYS_mprotect),
    ("kill-parent", libc::SYS_kill),
    ("kill-all", libc::SYS_kill),
    ("tgkill-term", libc::SYS_tgkill),
    ("unshare", libc::SYS_unshare),
    ("setns", libc::SYS_setns),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("bpf", libc::SYS_bpf),
    ("keyctl", libc::SYS_keyctl),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("raise-limit", libc::SYS_prlimit64),
    ("mount", libc::SYS_mount),
    ("prctl", libc::SYS_prctl),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("x32-getpid", 0x4000_0000 + libc::SYS_getpid),
    ("no-such-call", 9999),
];

/// Those of them that not even the process that starts the others may do.
pub const STOPPED_EVERYWHERE: &[&str] = &[
    "fork",
    "ptrace",
    "setns",
    "io_uring_setup",
    "bpf",
    "keyctl",
    "userfaultfd",
    "perf_event_open",
    "process_vm_readv",
    "tgkill-term",
    "x32-getpid",
    "no-such-call",
];

/// Tries it: whether it happened. `None`: not a known act.
pub fn perform(act: &str, argument: &str) -> Option<bool> {
    let number = STOPPED.iter().find(|known| known.0 == act).map(|known| known.1);
    let path = c"/etc/passwd".as_ptr() as usize;
    let cwd = libc::AT_FDCWD as usize;
    let rwx = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as usize;
    let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let arguments = match act {
        "panic" => panic!("this text quotes a VM"),
        "abort" => std::process::abort(),
        "overflow" => return Some(recurse(1) == 0),
        "allocate" => return Some(allocate(argument.parse().ok()?)),
        "out-of-memory" => return Some(vec![1_u8; 1 << 40].len() > 1),
        "write-null" => return Some(write_null()),
        "execve" => [path, null::<u8>() as usize, 0, 0],
        "open" | "mount" => [path, 0, 0, 0],
        "openat" => [cwd, path, 0, 0],
        "socket" => [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, 0],
        "mmap-exec" => [0, 4096, rwx, private],
        "mprotect-exec" => [(path / 4096) * 4096, 4096, rwx, 0],
        "kill-all" => [usize::MAX, libc::SIGKILL as usize, 0, 0],
        "tgkill-term" => [1, 1, libc::SIGTERM as usize, 0],
        "unshare" => [libc::CLONE_NEWUSER as usize, 0, 0, 0],
        "prctl" => [libc::PR_SET_DUMPABLE as usize, 1, 0, 0],
        _ => [0; 4],
    };
    let [a, b, c, d] = arguments;
    // SAFETY: the acts are meant to be stopped before the kernel looks at the arguments. Should one happen, the
    // process ends next and says so.
    Some(unsafe { libc::syscall(number?, a, b, c, d, usize::MAX, 0) } >= 0)
}

/// Uses up the stack.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let mut frame = [depth; 128];
    std::hint::black_box(&mut frame);
    if frame[0] == 0 {
        return 0;
    }
    recurse(depth + 1) + std::hint::black_box(frame[1])
}

/// Whether this many MiB of memory can be had, used and given back.
fn allocate(mebibytes: usize) -> bool {
    let mut memory = Vec::new();
    for _ in 0..mebibytes {
        if memory.try_reserve(1 << 20).is_err() {
            return false;
        }
        memory.extend_from_slice(&[1_u8; 1 << 20]);
    }
    std::hint::black_box(&memory);
    true
}

fn write_null() -> bool {
    let nowhere: *mut u8 = std::hint::black_box(std::ptr::null_mut());
    // SAFETY: it faults, which is what is tested.
    unsafe { nowhere.write_volatile(1) };
    true
}
