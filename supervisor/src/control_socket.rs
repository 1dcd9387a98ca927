//! The socket at which control hears `qfilexchgctl`: made once, before there is a worker, so that it outlives each
//! restart of control.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Most clients that have connected and are not accepted yet.
const WAITING_MAX: i32 = 64;
/// The directory of the socket, if it has to be made: everybody may look for the socket, whose own mode decides.
const MODE_DIRECTORY: u32 = 0o755;
/// Write permission of group and others.
const MODE_FOREIGN_WRITE: u32 = 0o022;
/// Only the owner of a file may remove it.
const MODE_STICKY: u32 = 0o1000;

/// Why there is no such socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The path ends in no name.
    #[error("is not the path of a file")]
    NoName,
    /// Somebody else could put another socket there.
    #[error("its directory can be written to by others than root and who runs the daemon")]
    Directory,
    /// Something else is there.
    #[error("something else than a socket of this daemon is there: move it away")]
    Occupied,
    /// Another daemon listens there.
    #[error("another daemon listens there: end it first, or name another socket in [control]")]
    InUse,
}

impl From<Errno> for SocketError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Listens at this path: connecting is for the owner, and for the members of `group` if there is one. A socket that an
/// earlier run of the daemon left there is replaced.
///
/// # Errors
/// [`SocketError`].
pub fn listen(path: &Path, group: Option<u32>) -> Result<OwnedFd, SocketError> {
    let (directory, short) = reach(path)?;
    let name = path.file_name().ok_or(SocketError::NoName)?;
    let me = rustix::process::geteuid().as_raw();
    let found = directory.metadata()?;
    let is_shared = found.mode() & MODE_FOREIGN_WRITE != 0 && found.mode() & MODE_STICKY == 0;
    if is_shared || (found.uid() != me && found.uid() != 0) {
        return Err(SocketError::Directory);
    }
    match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
        Ok(there) if FileType::from_raw_mode(there.st_mode) != FileType::Socket || there.st_uid != me => {
            return Err(SocketError::Occupied);
        }
        Ok(_) => match connect_to(&short) {
            Err(Errno::CONNREFUSED) => rustix::fs::unlinkat(&directory, name, AtFlags::empty())?,
            // Another kind of socket that somebody listens at, too.
            Ok(_) | Err(_) => return Err(SocketError::InUse),
        },
    }
    let socket = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&short)?)?;
    // Nobody can connect before it listens, so there is no moment with a wider mode.
    let group_mode = if group.is_some() { Mode::RGRP | Mode::WGRP } else { Mode::empty() };
    if let Some(group) = group {
        let group = Some(Gid::from_raw(group));
        rustix::fs::chownat(&directory, name, None, group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::chmodat(&directory, name, Mode::RUSR | Mode::WUSR | group_mode, AtFlags::empty())?;
    rustix::net::listen(&socket, WAITING_MAX)?;
    Ok(socket)
}

/// Connects to the daemon that listens at this path, however long the path is.
///
/// # Errors
/// The kernel's: no such socket, nobody who listens there, or no permission.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let (Some(above), Some(name)) = (parent(path), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = open_directory(above)?;
    Ok(connect_to(&short_path(&directory).join(name))?)
}

/// The directory of a socket, made if it is missing, and a path of the socket that fits an address.
fn reach(path: &Path) -> Result<(File, PathBuf), SocketError> {
    let (Some(above), Some(name)) = (parent(path), path.file_name()) else {
        return Err(SocketError::NoName);
    };
    match DirBuilder::new().mode(MODE_DIRECTORY).create(above) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let directory = open_directory(above)?;
    let short = short_path(&directory).join(name);
    Ok((directory, short))
}

fn parent(path: &Path) -> Option<&Path> {
    path.parent().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above })
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn short_path(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn socket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

fn connect_to(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = socket(SocketFlags::CLOEXEC)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_is_made_for_its_owner_alone_and_replaced_by_the_next_daemon() {
        let above = tempfile::tempdir().unwrap();
        // Longer than an address can be, and in a directory that is not there.
        let path = above.path().join("d".repeat(120)).join("control");
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let first = listen(&path, None).unwrap();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!(meta.mode() & 0o7777, 0o600);
        assert!(connect(&path).is_ok());
        assert!(matches!(listen(&path, None), Err(SocketError::InUse)));
        drop(first);
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let second = listen(&path, None).unwrap();
        assert!(connect(&path).is_ok());
        drop(second);
    }

    #[test]
    fn a_group_may_connect_if_there_is_one() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("control");
        let group = rustix::process::getegid().as_raw();
        let _socket = listen(&path, Some(group)).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o660, group));
    }

    #[test]
    fn nothing_but_an_abandoned_socket_is_removed() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("control");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(listen(&path, None), Err(SocketError::Occupied)));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        std::fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(listen(&path, None), Err(SocketError::Occupied)));
        std::fs::remove_file(&path).unwrap();
        // A stream socket that is listened at is another daemon's.
        let _other = UnixListener::bind(&path).unwrap();
        assert!(matches!(listen(&path, None), Err(SocketError::InUse)));
        assert!(path.exists());
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("control");
        for (mode, fits) in [(0o777, false), (0o770, false), (0o1777, true), (0o755, true)] {
            std::fs::set_permissions(above.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let listening = listen(&path, None);
            assert_eq!(listening.is_ok(), fits, "{mode:o}");
            assert!(fits || matches!(listening, Err(SocketError::Directory)));
        }
        assert!(matches!(listen(Path::new("/"), None), Err(SocketError::NoName)));
    }
}
