//! What one process may do, as plain data that can be written as constants.
//!
//! The crate `sandbox-profiles` generates one constant of type [`Profile`] per process from a readable file;
//! [`crate::spawn`] and [`crate::sandbox`] carry it out.

/// Everything that is granted to one process. What is not named here is refused.
#[derive(Debug)]
pub struct Profile {
    /// The process's name: its binary, its `argv[0]`, its name in logs.
    pub process: &'static str,
    /// The account that the process runs as when the daemon was started by root.
    pub user: &'static str,
    /// What descriptors 0, 1 and 2 are.
    pub stdio: Stdio,
    /// The names of descriptors 3, 4, …, in this order.
    pub descriptors: &'static [&'static str],
    /// Whether any number of further descriptors of one kind follows those with a name.
    pub rest: Option<Rest>,
    /// Which descriptors it opens or is sent once it runs.
    pub later: &'static [Later],
    /// The namespaces that the process has for itself, made by whoever starts it.
    pub namespaces: Namespaces,
    /// What the process sees as `/`.
    pub root: Root,
    /// The numbers of the capabilities that stay, where the process has them at all. Empty for every worker.
    pub capabilities: &'static [u8],
    /// Resource limits, soft and hard at once.
    pub rlimits: &'static [Limit],
    /// Which file system objects may be reached through which descriptor.
    pub landlock: Landlock,
    /// The system call filter. Everything that it does not allow kills the process. Never empty.
    pub filter: &'static [SockFilter],
    /// The same filter in words, for reviews.
    pub syscalls: &'static [Syscall],
}

/// What descriptors 0, 1 and 2 are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// All three are `/dev/null`.
    Null,
    /// 0 and 1 are `/dev/null`, 2 is the log.
    Log,
    /// 0 and 1 are a terminal, 2 is `/dev/null`.
    Terminal,
    /// All three as they are in whoever starts the process.
    Inherited,
}

/// Descriptors of one kind whose number is known only when the process starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// Their common name.
    pub name: &'static str,
    /// More than this many is an error.
    pub count_max: usize,
}

/// Descriptors that a process opens or is sent once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// What they refer to.
    pub kind: Kind,
    /// Most of them at once.
    pub count_max: usize,
    /// What for.
    pub reason: &'static str,
}

/// What a descriptor can refer to, as far as `/proc` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A socket.
    Socket,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A file that exists in memory only.
    Memory,
    /// A process.
    Process,
    /// Signals that wait.
    Signals,
    /// `/dev/null`.
    Null,
}

/// The namespaces that a process does not share with whoever starts it. The mount namespace follows from [`Root`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces {
    /// User and group ids; the process is id 0 in it and has no other.
    pub user: bool,
    /// Process ids; the process is number 1 in it and the only one.
    pub pid: bool,
    /// Network; without any interface that is up.
    pub net: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
    /// Host name.
    pub uts: bool,
    /// View of the control groups, where the kernel has them.
    pub cgroup: bool,
    /// Whether the user namespace knows every id, where whoever starts the process can give it an account. Then it can
    /// tell who its peers are.
    pub all_ids: bool,
}

impl Namespaces {
    /// All of them, as for every worker.
    pub const ALL: Self =
        Self { user: true, pid: true, net: true, ipc: true, uts: true, cgroup: true, all_ids: false };
    /// None of them.
    pub const NONE: Self =
        Self { user: false, pid: false, net: false, ipc: false, uts: false, cgroup: false, all_ids: false };
}

/// What a process sees as `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// An empty, read-only file system in a mount namespace of its own.
    Empty,
    /// What whoever started it sees: only for a process that starts others.
    Inherited,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Which.
    pub resource: Resource,
    /// Soft and hard limit, in the kernel's unit for this resource. A lower hard limit that is already there stays.
    pub value: u64,
}

/// The resources that a profile may limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Address space, in bytes.
    As,
    /// Core dump, in bytes.
    Core,
    /// Processor time, in seconds.
    Cpu,
    /// Data segment, in bytes.
    Data,
    /// Size of a file that is written, in bytes.
    Fsize,
    /// Locked memory, in bytes.
    Memlock,
    /// POSIX message queues, in bytes.
    Msgqueue,
    /// One more than the highest descriptor number.
    Nofile,
    /// Processes of this user in this user namespace.
    Nproc,
    /// Stack, in bytes.
    Stack,
}

/// The Landlock part of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landlock {
    /// Every access that the kernel's Landlock knows is refused, but for these rules.
    Rules(&'static [LandlockRule]),
    /// No Landlock: it is inherited, and would forbid the mounts with which a started worker empties its root.
    NotForStarters,
}

/// What may be reached beneath one descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LandlockRule {
    /// A name of [`Profile::descriptors`], or that of [`Profile::rest`] for all of these.
    pub descriptor: &'static str,
    /// What is allowed there.
    pub access: &'static [FsAccess],
}

/// Landlock's file system rights that a profile may grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsAccess {
    /// Open a file for reading.
    ReadFile,
    /// List a directory.
    ReadDir,
    /// Open a file for writing.
    WriteFile,
    /// Change a file's size (enforced from ABI 3 on).
    Truncate,
    /// Make a regular file.
    MakeReg,
    /// Make a directory.
    MakeDir,
    /// Remove or rename a file.
    RemoveFile,
    /// Remove or rename a directory.
    RemoveDir,
    /// Link or rename a file into another directory.
    Refer,
    /// Use ioctl on a device that is opened (enforced from ABI 5 on).
    IoctlDev,
}

/// One instruction of the kernel's packet filter machine; the layout is that of `struct sock_filter` in
/// `linux/filter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// One permitted system call, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syscall {
    /// Name as in the kernel's table.
    pub name: &'static str,
    /// Number on this architecture.
    pub number: i64,
    /// Conditions on its arguments that must all hold; empty when there are none.
    pub conditions: &'static [&'static str],
    /// Why the process needs it.
    pub reason: &'static str,
}
