//! The root directory of a VM: the host's, read-only, with the VM's own directories over it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};

use crate::error::{SimError, Trying};

/// Where the new root is put together. The host's directory of that name is replaced in a VM anyhow.
const NEW_ROOT: &str = "/tmp";
/// Directories of the host's root that a VM has of its own.
const REPLACED: [&str; 6] = ["dev", "home", "mnt", "proc", "run", "tmp"];
/// Those of them that are directories of the VM on the host, by their names there and in the VM.
const OWN: [(&str, &str); 5] =
    [("home", "home/user"), ("mnt", "mnt"), ("tmp", "tmp"), ("run", "run"), ("dev", "dev")];
/// Device nodes of the host that a VM has, too.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"];
/// Symbolic links in `/dev`.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Where the parts of a VM lie on the host.
#[derive(Debug)]
pub(super) struct Layout {
    /// The directory of the whole simulated host, hidden in the VM.
    pub(super) host: PathBuf,
    /// The directory of this VM.
    pub(super) vm: PathBuf,
    /// The VM tools.
    pub(super) tools: PathBuf,
}

/// Makes the VM's root directory the root of the calling process, which has namespaces of its own.
pub(super) fn make_root(layout: &Layout) -> Result<(), SimError> {
    let from = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", from).trying(|| "cannot part from the host's mounts".to_owned())?;
    // The new root hides the host's /tmp, and these may lie there.
    let own: Vec<(OwnedFd, &str)> = OWN
        .iter()
        .map(|(outside, inside)| Ok((open_directory(&layout.vm.join(outside))?, *inside)))
        .collect::<Result<_, SimError>>()?;
    let tools = open_directory(&layout.tools)?;
    mount_tmpfs(Path::new(NEW_ROOT))?;
    bind_host_directories()?;
    for (directory, inside) in &own {
        let target = Path::new(NEW_ROOT).join(inside);
        make_directory(&target)?;
        bind(&by_descriptor(directory), &target)?;
    }
    make_devices()?;
    let target = new_path(super::TOOLS);
    bind(&by_descriptor(&tools), &target)?;
    make_read_only(&target, MountFlags::empty())?;
    hide(&layout.host)?;
    make_host_read_only()?;
    let target = new_path("/proc");
    make_directory(&target)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", &target, "proc", flags, None).trying(|| "cannot mount /proc".to_owned())?;
    make_read_only(Path::new(NEW_ROOT), MountFlags::empty())?;
    switch_root()
}

fn bind_host_directories() -> Result<(), SimError> {
    let root = fs::read_dir("/").trying(|| "cannot list /".to_owned())?;
    let others = root.flatten().filter(|entry| !REPLACED.iter().any(|name| entry.file_name() == *name));
    for entry in others {
        show(&entry, &Path::new(NEW_ROOT).join(entry.file_name()))?;
    }
    let homes = Path::new(NEW_ROOT).join("home");
    make_directory(&homes)?;
    // Without the right to list /home there are no homes to show.
    for entry in fs::read_dir("/home").into_iter().flatten().flatten() {
        if entry.file_name() != "user" {
            show(&entry, &homes.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Shows a directory or symbolic link of the host; plain files beside them are of no use in a VM.
fn show(entry: &fs::DirEntry, target: &Path) -> Result<(), SimError> {
    let what = || format!("cannot show {} in the VM", entry.path().display());
    let kind = entry.file_type().trying(what)?;
    if kind.is_symlink() {
        let aim = fs::read_link(entry.path()).trying(what)?;
        symlink(aim, target).trying(what)?;
    } else if kind.is_dir() {
        make_directory(target)?;
        mount_bind_recursive(entry.path(), target).trying(what)?;
    }
    Ok(())
}

fn make_devices() -> Result<(), SimError> {
    for name in DEVICES {
        let (outside, target) = (Path::new("/dev").join(name), new_path("/dev").join(name));
        if outside.exists() {
            File::create(&target).trying(|| format!("cannot make {}", target.display()))?;
            bind(&outside, &target)?;
        }
    }
    for (name, aim) in DEVICE_LINKS {
        let link = new_path("/dev").join(name);
        symlink(aim, &link).trying(|| format!("cannot make {}", link.display()))?;
    }
    if Path::new("/dev/pts").exists() {
        let target = new_path("/dev/pts");
        mount_bind_recursive("/dev/pts", &target).trying(|| "cannot show /dev/pts in the VM".to_owned())?;
    }
    mount_tmpfs(&new_path("/dev/shm"))
}

/// Puts an empty directory over the simulated host's own, where a VM would see it.
fn hide(host: &Path) -> Result<(), SimError> {
    let inside = new_path(host);
    if !inside.is_dir() {
        return Ok(());
    }
    mount_tmpfs(&inside)
}

/// Makes every mount of the new root read-only but those of the VM itself.
fn make_host_read_only() -> Result<(), SimError> {
    let table = fs::read("/proc/self/mountinfo").trying(|| "cannot read the mounts".to_owned())?;
    for line in table.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ').skip(4);
        let (Some(point), Some(options)) = (fields.next(), fields.next()) else { continue };
        let point = unescape(point);
        let Ok(inside) = Path::new(OsStr::from_bytes(&point)).strip_prefix(NEW_ROOT) else { continue };
        let own = OWN.iter().any(|(_, own)| inside.starts_with(own));
        if own || inside.as_os_str().is_empty() {
            continue;
        }
        make_read_only(&Path::new(NEW_ROOT).join(inside), kept_flags(options))?;
    }
    Ok(())
}

/// The flags that a mount has and that must not be dropped when it is made read-only.
fn kept_flags(options: &[u8]) -> MountFlags {
    options.split(|byte| *byte == b',').fold(MountFlags::empty(), |flags, option| match option {
        b"nosuid" => flags | MountFlags::NOSUID,
        b"nodev" => flags | MountFlags::NODEV,
        b"noexec" => flags | MountFlags::NOEXEC,
        _ => flags,
    })
}

fn make_read_only(target: &Path, kept: MountFlags) -> Result<(), SimError> {
    match mount_remount(target, MountFlags::BIND | MountFlags::RDONLY | kept, "") {
        // A mount that another one hides, or that this user cannot reach, is out of the VM's reach as well.
        Ok(()) | Err(Errno::NOENT | Errno::ACCESS | Errno::INVAL | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error).trying(|| format!("cannot make {} read-only", target.display())),
    }
}

fn switch_root() -> Result<(), SimError> {
    let what = || "cannot change the root directory".to_owned();
    rustix::process::chdir(NEW_ROOT).trying(what)?;
    rustix::process::pivot_root(".", ".").trying(what)?;
    unmount(".", UnmountFlags::DETACH).trying(what)?;
    rustix::process::chdir("/").trying(what)
}

fn new_path(inside: impl AsRef<Path>) -> PathBuf {
    let inside = inside.as_ref();
    Path::new(NEW_ROOT).join(inside.strip_prefix("/").unwrap_or(inside))
}

fn open_directory(path: &Path) -> Result<OwnedFd, SimError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).trying(|| format!("cannot open {}", path.display()))
}

fn by_descriptor(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn make_directory(path: &Path) -> Result<(), SimError> {
    fs::create_dir_all(path).trying(|| format!("cannot make {}", path.display()))
}

fn bind(source: &Path, target: &Path) -> Result<(), SimError> {
    mount_bind(source, target).trying(|| format!("cannot mount {} in the VM", target.display()))
}

fn mount_tmpfs(target: &Path) -> Result<(), SimError> {
    mount("tmpfs", target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=755"))
        .trying(|| format!("cannot mount an empty {}", target.display()))
}

/// Undoes the kernel's way to write spaces and the like in its table of mounts.
fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = escaped;
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.first_chunk::<3>().filter(|_| *first == b'\\');
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { behind.get(3..).unwrap_or_default() } else { behind };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_escapes_are_undone() {
        assert_eq!(unescape(br"/a\040b\134c"), br"/a b\c");
        assert_eq!(unescape(br"/a\9\04"), br"/a\9\04");
    }

    #[test]
    fn a_path_of_the_vm_is_put_below_the_new_root() {
        assert_eq!(new_path("/dev/pts"), Path::new("/tmp/dev/pts"));
    }
}
