//! The host's directory: what lies where, and sockets at paths of any length.

use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::{SimError, Trying, refused};

/// Longest path that a socket address takes, in bytes; the kernel's limit is 107.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest name of a socket of ours in a short directory, with its slash, in bytes.
const SOCKET_NAME_BYTES_MAX: usize = 16;
/// Longest name of a VM, in bytes.
const VM_NAME_BYTES_MAX: usize = 100;
/// The name that means the host itself.
pub(crate) const DOM0: &str = "dom0";

/// The directory that a host was started with.
#[derive(Debug, Clone)]
pub(crate) struct HostFiles {
    path: PathBuf,
}

impl HostFiles {
    /// The directory, made if it is missing, with everything in it that a host needs.
    pub(crate) fn create(dir: &Path) -> Result<Self, SimError> {
        fs::create_dir_all(dir).trying(|| format!("cannot make {}", dir.display()))?;
        let files = Self::open(dir)?;
        for name in ["images", "journal", "policy.d", "vms"] {
            let below = files.path.join(name);
            fs::create_dir_all(&below).trying(|| format!("cannot make {}", below.display()))?;
        }
        let tags = files.path.join("tags");
        File::options()
            .create(true)
            .append(true)
            .open(&tags)
            .trying(|| format!("cannot make {}", tags.display()))?;
        Ok(files)
    }

    /// The directory of a host that exists already.
    pub(crate) fn open(dir: &Path) -> Result<Self, SimError> {
        let path = fs::canonicalize(dir).trying(|| format!("cannot open {}", dir.display()))?;
        Ok(Self { path })
    }

    /// Holds the directory for one host alone, until the file is closed.
    pub(crate) fn lock(&self) -> Result<File, SimError> {
        let path = self.path.join("lock");
        let what = || format!("cannot lock {}", path.display());
        let file = File::create(&path).trying(what)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                refused(format!("a host runs in {} already", self.path.display()))
            }
            Err(error) => Err(error).trying(what),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything of one VM.
    pub(crate) fn vm(&self, name: &str) -> PathBuf {
        self.path.join("vms").join(name)
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path.join("control")
    }

    /// The socket of domain 0: `DIR/xenstored`, or, where that is too long for a socket address, the same name in
    /// a directory below `/tmp` that depends on DIR alone.
    pub(crate) fn dom0_socket(&self) -> Result<PathBuf, SimError> {
        Ok(self.short()?.join("xenstored"))
    }

    /// The socket at which the daemon says that it is ready. Its place is chosen as that of [`Self::dom0_socket`].
    pub(crate) fn notify_socket(&self) -> Result<PathBuf, SimError> {
        Ok(self.short()?.join("notify"))
    }

    /// Removes what was made outside the directory.
    pub(crate) fn remove_short(&self) {
        if let Ok(short) = self.short()
            && short != self.path
        {
            // Nothing depends on it any more; a rest of an empty directory below /tmp harms nobody.
            let _ = fs::remove_dir_all(short);
        }
    }

    fn short(&self) -> Result<PathBuf, SimError> {
        if self.path.as_os_str().len() + SOCKET_NAME_BYTES_MAX <= SOCKET_PATH_BYTES_MAX {
            return Ok(self.path.clone());
        }
        let owner = self.path.metadata().trying(|| format!("cannot open {}", self.path.display()))?.uid();
        let short = PathBuf::from(format!(
            "/tmp/xen-sim-{owner}-{:016x}",
            fnv(self.path.as_os_str().as_encoded_bytes())
        ));
        let what = || format!("cannot make {}", short.display());
        match DirBuilder::new().mode(0o700).create(&short) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).trying(what);
            }
            Ok(()) | Err(_) => {}
        }
        let found = fs::symlink_metadata(&short).trying(what)?;
        if !found.is_dir() || found.uid() != owner || found.mode() & 0o077 != 0 {
            return refused(format!("{} belongs to somebody else", short.display()));
        }
        Ok(short)
    }
}

/// FNV-1a, for a name that is the same each time.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a VM may be called so: it becomes the name of a directory and a word of the control socket.
pub(crate) fn is_vm_name(name: &str) -> bool {
    let plain = |letter: char| !letter.is_whitespace() && !letter.is_control() && letter != '/';
    (1..=VM_NAME_BYTES_MAX).contains(&name.len())
        && name.chars().all(plain)
        && !matches!(name, "." | ".." | DOM0 | "Domain-0")
}

/// The socket's directory, opened, and its path through that descriptor, which is short enough for an address.
fn through_descriptor(path: &Path) -> Result<(OwnedFd, PathBuf), SimError> {
    let what = || format!("cannot open the directory of {}", path.display());
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return refused(format!("{} is no path of a socket", path.display()));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty()).trying(what)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    Ok((dir, short))
}

/// A listening socket that does not block, in place of whatever is at that path.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, SimError> {
    let what = || format!("cannot listen at {}", path.display());
    let (_dir, short) = through_descriptor(path)?;
    remove_if_there(path)?;
    let listener = UnixListener::bind(short).trying(what)?;
    listener.set_nonblocking(true).trying(what)?;
    Ok(listener)
}

/// A datagram socket that does not block, in place of whatever is at that path.
pub(crate) fn receive_at(path: &Path) -> Result<UnixDatagram, SimError> {
    let what = || format!("cannot listen at {}", path.display());
    let (_dir, short) = through_descriptor(path)?;
    remove_if_there(path)?;
    let socket = UnixDatagram::bind(short).trying(what)?;
    socket.set_nonblocking(true).trying(what)?;
    Ok(socket)
}

/// A connection to a socket at a path of any length.
pub(crate) fn connect(path: &Path) -> Result<UnixStream, SimError> {
    let (_dir, short) = through_descriptor(path)?;
    UnixStream::connect(short).trying(|| format!("no host answers at {}", path.display()))
}

/// Removes a file that may be missing.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), SimError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).trying(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A directory with nothing in it.
pub(crate) fn make_empty(path: &Path) -> Result<(), SimError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).trying(|| format!("cannot empty {}", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(path).trying(|| format!("cannot make {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_at_a_long_path_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a".repeat(100)).join("b".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        let _listener = listen(&deep.join("socket")).unwrap();
        connect(&deep.join("socket")).unwrap();
        let files = HostFiles::create(&deep).unwrap();
        let short = files.dom0_socket().unwrap();
        assert!(short.as_os_str().len() <= SOCKET_PATH_BYTES_MAX, "{}", short.display());
        assert_eq!(short, HostFiles::open(&deep).unwrap().dom0_socket().unwrap());
        files.remove_short();
        assert!(!short.parent().unwrap().exists());
    }

    #[test]
    fn one_directory_holds_one_host() {
        let dir = tempfile::tempdir().unwrap();
        let files = HostFiles::create(dir.path()).unwrap();
        let lock = files.lock().unwrap();
        assert!(files.lock().is_err());
        drop(lock);
        files.lock().unwrap();
    }

    #[test]
    fn names_that_are_no_directory_are_refused() {
        for good in ["work", "a b".trim_end_matches(" b"), "-x", "\u{e4}"] {
            assert!(is_vm_name(good), "{good}");
        }
        for bad in
            ["", ".", "..", "a/b", "a b", "dom0", "Domain-0", "a\nb", &"a".repeat(VM_NAME_BYTES_MAX + 1)]
        {
            assert!(!is_vm_name(bad), "{bad}");
        }
    }
}
