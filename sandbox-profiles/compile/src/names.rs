//! The names that a profile may use: system calls, constants of their arguments, capabilities.

use seccompiler::TargetArch;

/// Makes a table of names and numbers out of libc's constants, which all architectures share.
macro_rules! numbers {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name as i64)),*] };
}

/// An architecture that profiles are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// All of them: each profile is compiled for every one, whatever machine builds.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// As in the names of the profiles' files, and as cargo calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The same for the compiler of filters.
    #[must_use]
    pub fn of_filter(self) -> TargetArch {
        match self {
            Self::X86_64 => TargetArch::x86_64,
            Self::Aarch64 => TargetArch::aarch64,
        }
    }

    /// Its system calls: numbers and names.
    pub fn syscalls(self) -> impl Iterator<Item = (i64, &'static str)> {
        let table = match self {
            Self::X86_64 => include_str!("syscalls.x86_64.txt"),
            Self::Aarch64 => include_str!("syscalls.aarch64.txt"),
        };
        table.lines().filter_map(|line| {
            let (number, name) = line.split_once(' ')?;
            Some((number.parse().ok()?, name))
        })
    }

    /// The number of a system call.
    #[must_use]
    pub fn syscall_number(self, name: &str) -> Option<i64> {
        self.syscalls().find(|known| known.1 == name).map(|known| known.0)
    }

    /// The value of a named constant.
    #[must_use]
    pub fn constant(self, name: &str) -> Option<u64> {
        let differing = DIFFERING_CONSTANTS.iter().find(|entry| entry.0 == name).map(|entry| match self {
            Self::X86_64 => entry.1,
            Self::Aarch64 => entry.2,
        });
        differing.or_else(|| constant(name))
    }
}

/// The value of a constant that all architectures share.
fn constant(name: &str) -> Option<u64> {
    let all = LIBC_CONSTANTS.iter().chain(OTHER_CONSTANTS);
    all.copied().find(|entry| entry.0 == name).map(|entry| entry.1.cast_unsigned())
}

/// The number of a capability.
#[must_use]
pub fn capability(name: &str) -> Option<usize> {
    let short = name.strip_prefix("CAP_")?;
    CAPABILITIES.iter().position(|known| *known == short)
}

/// Those of `fcntl.h` that differ, for x86_64 and aarch64 (`arch/arm64/include/uapi/asm/fcntl.h`).
const DIFFERING_CONSTANTS: &[(&str, u64, u64)] = &[
    ("O_DIRECT", 0o40000, 0o200000),
    ("O_DIRECTORY", 0o200000, 0o40000),
    ("O_NOFOLLOW", 0o400000, 0o100000),
    ("O_TMPFILE", 0o20200000, 0o20040000),
];

#[expect(clippy::cast_possible_wrap, reason = "no constant of these uses the highest bit of 64")]
const LIBC_CONSTANTS: &[(&str, i64)] = numbers! {
    PROT_READ PROT_WRITE PROT_EXEC MAP_ANONYMOUS MAP_PRIVATE MAP_SHARED MAP_FIXED MADV_DONTNEED MADV_FREE
    MREMAP_MAYMOVE F_DUPFD F_DUPFD_CLOEXEC F_GETFD F_SETFD F_GETFL F_SETFL F_OFD_SETLK SIGABRT SIGSEGV
    SIGBUS SIGKILL SIGTERM SIGINT SIGCHLD SIGPIPE O_RDONLY O_WRONLY O_RDWR O_ACCMODE O_CREAT O_EXCL O_TRUNC
    O_APPEND O_CLOEXEC O_PATH AT_FDCWD AT_REMOVEDIR AT_EMPTY_PATH
    AT_SYMLINK_NOFOLLOW RENAME_NOREPLACE RENAME_EXCHANGE FALLOC_FL_KEEP_SIZE FALLOC_FL_PUNCH_HOLE
    CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_BOOTTIME SOL_SOCKET SO_PEERCRED SO_PEERGROUPS SO_ERROR SO_SNDBUF SO_RCVBUF
    SO_TYPE AF_UNIX SOCK_SEQPACKET SOCK_STREAM SOCK_CLOEXEC SOCK_NONBLOCK MSG_NOSIGNAL MSG_DONTWAIT
    MSG_CMSG_CLOEXEC MSG_TRUNC TCGETS TCSETS TCSETSW TCSETSF TCFLSH TCIFLUSH TCOFLUSH TCIOFLUSH TIOCGWINSZ
    FIONREAD FIONBIO AT_STATX_SYNC_AS_STAT AT_NO_AUTOMOUNT SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE
    POSIX_FADV_DONTNEED MSG_PEEK MSG_WAITALL O_NONBLOCK O_SYNC O_DSYNC SIGHUP SIGQUIT SIGUSR1
    SIGUSR2 SIGWINCH SIGILL PR_SET_NAME PR_SET_PDEATHSIG PR_SET_DUMPABLE S_IFMT S_IFREG
};

/// Those that libc does not name, from `linux/loop.h`, `linux/nsfs.h` and `linux/fs.h`.
const OTHER_CONSTANTS: &[(&str, i64)] = &[
    ("LOOP_CONFIGURE", 0x4C0A),
    ("LOOP_CLR_FD", 0x4C01),
    ("LOOP_GET_STATUS64", 0x4C05),
    ("NS_GET_USERNS", 0xb701),
    ("BLKGETSIZE64", 0x8008_1272),
];

/// In the order of their numbers, after `linux/capability.h`, without those that no process may ever keep.
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
];
