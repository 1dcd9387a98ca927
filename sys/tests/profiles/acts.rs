//! What a compromised process would try. Each act is one system call, made without the help of libc's wrappers.

use std::ptr::null;

/// The acts that a filter stops, each with the number of its call.
///
/// A call that a profile allows on conditions is stopped as well: the arguments here meet none. What x86_64 alone has, others
/// do by other calls of this list, such as `openat` and `clone`.
pub const STOPPED: &[(&str, i64)] = &[
    // Opening any path, the memory map of its own and the data of a sibling among them.
    #[cfg(target_arch = "x86_64")]
    ("open", libc::SYS_open),
    #[cfg(target_arch = "x86_64")]
    ("open-own-memory", libc::SYS_open),
    #[cfg(target_arch = "x86_64")]
    ("open-sibling", libc::SYS_open),
    ("openat", libc::SYS_openat),
    #[cfg(target_arch = "x86_64")]
    ("creat", libc::SYS_creat),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    // Sockets, that of xenstored by its path among them.
    ("socket", libc::SYS_socket),
    ("socketpair", libc::SYS_socketpair),
    ("connect", libc::SYS_connect),
    ("connect-xenstored", libc::SYS_connect),
    ("bind", libc::SYS_bind),
    ("listen", libc::SYS_listen),
    // Other processes: new ones, and those that are there.
    #[cfg(target_arch = "x86_64")]
    ("fork", libc::SYS_fork),
    #[cfg(target_arch = "x86_64")]
    ("vfork", libc::SYS_vfork),
    ("clone", libc::SYS_clone),
    ("clone-namespaces", libc::SYS_clone),
    ("clone3", libc::SYS_clone3),
    ("unshare", libc::SYS_unshare),
    ("setns", libc::SYS_setns),
    ("execve", libc::SYS_execve),
    ("execveat", libc::SYS_execveat),
    ("ptrace", libc::SYS_ptrace),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("kill-parent", libc::SYS_kill),
    ("kill-all", libc::SYS_kill),
    ("tkill", libc::SYS_tkill),
    ("tgkill-term", libc::SYS_tgkill),
    ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo),
    // Code that was not there.
    ("mmap-exec", libc::SYS_mmap),
    ("mprotect-exec", libc::SYS_mprotect),
    ("pkey_mprotect", libc::SYS_pkey_mprotect),
    ("personality", libc::SYS_personality),
    ("memfd_create", libc::SYS_memfd_create),
    // Large parts of the kernel.
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("bpf", libc::SYS_bpf),
    ("keyctl", libc::SYS_keyctl),
    ("add_key", libc::SYS_add_key),
    ("request_key", libc::SYS_request_key),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("init_module", libc::SYS_init_module),
    // Out of its sandbox.
    ("raise-limit", libc::SYS_prlimit64),
    ("raise-limit-setrlimit", libc::SYS_setrlimit),
    ("mount", libc::SYS_mount),
    ("chroot", libc::SYS_chroot),
    ("prctl", libc::SYS_prctl),
    ("setuid", libc::SYS_setuid),
    ("capset", libc::SYS_capset),
    ("seccomp", libc::SYS_seccomp),
    ("x32-getpid", 0x4000_0000 + libc::SYS_getpid),
    ("no-such-call", 9999),
];

/// Acts that the filters of some processes cannot stop, since they cannot look behind a pointer: opening and making files
/// through a granted call, by each path of [`PATHS`] and beneath each descriptor. The empty root and Landlock refuse these.
pub const REFUSED: &[&str] =
    &["openat-anything", "openat2-anything", "mkdirat-anything", "unlinkat-anything"];

/// What is tried: absolute ones, and such as lead out of a granted directory.
const PATHS: &[&std::ffi::CStr] = &[
    c"/etc/passwd",
    c"/proc/self/mem",
    c"/proc/self/maps",
    c"/proc/1/status",
    c"/proc/2/mem",
    c"/run/xenstored/socket",
    c"/dev/loop-control",
    c"/dev/null",
    c"/new",
    c"/",
    c"../etc/passwd",
    c"../../../../proc/1/mem",
    c"../new",
    c"..",
];

/// Those of them that not even the process that starts the others may do.
pub const STOPPED_EVERYWHERE: &[&str] = &[
    #[cfg(target_arch = "x86_64")]
    "fork",
    "ptrace",
    "setns",
    #[cfg(target_arch = "x86_64")]
    "vfork",
    "clone",
    "clone-namespaces",
    "execve",
    "process_vm_writev",
    "pidfd_getfd",
    #[cfg(target_arch = "x86_64")]
    "open",
    #[cfg(target_arch = "x86_64")]
    "open-own-memory",
    "pkey_mprotect",
    "init_module",
    "io_uring_setup",
    "io_uring_enter",
    "bpf",
    "add_key",
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
    let own_memory = c"/proc/self/mem".as_ptr() as usize;
    let read_write = libc::O_RDWR as usize;
    let namespaces = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::SIGCHLD) as usize;
    let limit = [u64::MAX; 2];
    let no_limit = limit.as_ptr() as usize;
    let cwd = libc::AT_FDCWD as usize;
    let rwx = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as usize;
    let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let arguments = match act {
        "panic" => panic!("this text quotes a VM"),
        "abort" => std::process::abort(),
        "overflow" => return Some(recurse(1) == 0),
        "allocate" => return Some(allocate(argument.parse().ok()?)),
        "out-of-memory" => return Some(vec![1_u8; 1 << 40].len() > 1),
        "grow" => return Some(allocate(1 << 20)),
        "break-heap" => return Some(break_heap()),
        "write-null" => return Some(write_null()),
        "openat-anything" => return Some(with_each_path(openat)),
        "openat2-anything" => return Some(with_each_path(openat2)),
        "mkdirat-anything" => return Some(with_each_path(mkdirat)),
        "unlinkat-anything" => return Some(with_each_path(unlinkat)),
        "call" => return call(argument),
        "i386-getpid" => return Some(i386_getpid()),
        "execve" => [path, null::<u8>() as usize, 0, 0],
        "open" | "mount" | "chroot" | "creat" => [path, 0, 0, 0],
        "open-own-memory" => [own_memory, read_write, 0, 0],
        "open-sibling" => [c"/proc/2/status".as_ptr() as usize, 0, 0, 0],
        "connect-xenstored" => [3, XENSTORED.as_ptr() as usize, XENSTORED.len(), 0],
        "execveat" => [cwd, path, 0, 0],
        "clone-namespaces" => [namespaces, 0, 0, 0],
        "raise-limit" => [0, libc::RLIMIT_NOFILE as usize, no_limit, 0],
        "raise-limit-setrlimit" => [libc::RLIMIT_NOFILE as usize, no_limit, 0, 0],
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

/// `struct sockaddr_un` with the path of xenstored's socket.
const XENSTORED: &[u8] = b"\x01\0/run/xenstored/socket\0";

/// Whether it succeeds with any path, beneath any descriptor that a process may have.
fn with_each_path(try_it: fn(usize, &std::ffi::CStr) -> libc::c_long) -> bool {
    (3..8).any(|directory| PATHS.iter().any(|path| try_it(directory, path) >= 0))
}

fn openat(directory: usize, path: &std::ffi::CStr) -> libc::c_long {
    // SAFETY: the path ends in NUL. A descriptor that is made closes with the process.
    unsafe { libc::syscall(libc::SYS_openat, directory, path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC, 0) }
}

fn openat2(directory: usize, path: &std::ffi::CStr) -> libc::c_long {
    // `struct open_how` of `linux/openat2.h`: flags, mode, resolve.
    let how = [0_u64; 3];
    // SAFETY: the path ends in NUL, `how` is valid for its length, and a descriptor that is made closes with the process.
    unsafe { libc::syscall(libc::SYS_openat2, directory, path.as_ptr(), how.as_ptr(), size_of_val(&how)) }
}

fn mkdirat(directory: usize, path: &std::ffi::CStr) -> libc::c_long {
    // SAFETY: the path ends in NUL.
    unsafe { libc::syscall(libc::SYS_mkdirat, directory, path.as_ptr(), 0o700) }
}

fn unlinkat(directory: usize, path: &std::ffi::CStr) -> libc::c_long {
    // SAFETY: the path ends in NUL.
    unsafe { libc::syscall(libc::SYS_unlinkat, directory, path.as_ptr(), 0) }
}

/// `NUMBER,ARGUMENT,…` with six arguments: whether the call succeeded.
fn call(words: &str) -> Option<bool> {
    let mut numbers = words.split(',').map(str::parse::<u64>);
    let number = libc::c_long::try_from(numbers.next()?.ok()?).ok()?;
    let arguments: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
    let [a, b, c, d, e, f] = arguments.as_slice() else { return None };
    // SAFETY: the arguments name nothing that exists, so what the filter lets pass fails or changes this process only,
    // which ends next.
    Some(unsafe { libc::syscall(number, *a, *b, *c, *d, *e, *f) } >= 0)
}

/// Asks for the process's number by the entry of i386, where that is 20. SIGSEGV: the kernel has no such entry.
#[cfg(target_arch = "x86_64")]
fn i386_getpid() -> bool {
    let mut number = 20_i64;
    // SAFETY: the kernel changes no register but the one with the result, and those that are named here.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") number, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    }
    number > 0
}

#[cfg(not(target_arch = "x86_64"))]
fn i386_getpid() -> bool {
    false
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

/// Whether this many MiB of memory can be had in pieces, used and given back.
fn allocate(mebibytes: usize) -> bool {
    let mut memory = Vec::new();
    for _ in 0..mebibytes {
        memory.push(vec![1_u8; 1 << 20]);
    }
    std::hint::black_box(&memory);
    true
}

/// Gives back what was never had, which libc notices.
fn break_heap() -> bool {
    let mut memory = Box::new([1_usize; 8]);
    let inside: *mut usize = std::hint::black_box(&mut memory[2]);
    // SAFETY: there is none; the process is meant to end here, and does not use the memory afterwards.
    unsafe { libc::free(inside.cast()) };
    true
}

fn write_null() -> bool {
    let nowhere: *mut u8 = std::hint::black_box(std::ptr::null_mut());
    // SAFETY: it faults, which is what is tested.
    unsafe { nowhere.write_volatile(1) };
    true
}
