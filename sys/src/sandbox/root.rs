//! An empty, read-only root in a mount namespace of its own.
//!
//! The new file system is put over `/` and then becomes the root; no directory has to exist for it, and nothing is
//! left of the old tree, but descriptors into it that the process was given still work.

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};
use rustix::thread::UnshareFlags;

use super::{SandboxError, call};

const NAMESPACE_ADVICE: &str = "unprivileged user namespaces must be permitted on this machine";
const KERNEL_ADVICE: &str = "Linux 5.2 with tmpfs is needed";

/// Leaves the old tree for good: afterwards `/` is empty and can hold nothing.
pub(super) fn make_empty() -> Result<(), SandboxError> {
    // SAFETY: of the flags of unshare, only CLONE_FILES can break what the compiler knows about open descriptors.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .map_err(call("making a mount namespace", NAMESPACE_ADVICE))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(call("making the mounts private", NAMESPACE_ADVICE))?;
    let empty = make_empty_file_system()?;
    rustix::mount::move_mount(&empty, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(call("mounting the empty root", KERNEL_ADVICE))?;
    rustix::process::fchdir(&empty).map_err(call("entering the empty root", KERNEL_ADVICE))?;
    leave_old_root()?;
    rustix::process::chdir("/").map_err(call("chdir to the empty root", KERNEL_ADVICE))
}

/// Makes the directory that the process is in, which is the empty root, its root.
///
/// The kernel's first root, an initramfs, cannot be detached. It stays beneath the empty one then, out of reach: there is
/// no path to it, and no capability to uncover it.
fn leave_old_root() -> Result<(), SandboxError> {
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => rustix::mount::unmount(".", UnmountFlags::DETACH)
            .map_err(call("detaching the old root", KERNEL_ADVICE)),
        Err(Errno::INVAL) => rustix::process::chroot(".").map_err(call("chroot", NAMESPACE_ADVICE)),
        Err(errno) => Err(call("pivot_root", NAMESPACE_ADVICE)(errno)),
    }
}

fn make_empty_file_system() -> Result<std::os::fd::OwnedFd, SandboxError> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(call("opening tmpfs", KERNEL_ADVICE))?;
    // One inode is the root directory itself.
    for (key, value) in [("size", "4096"), ("nr_inodes", "1"), ("mode", "0555")] {
        rustix::mount::fsconfig_set_string(&context, key, value)
            .map_err(call("configuring tmpfs", KERNEL_ADVICE))?;
    }
    rustix::mount::fsconfig_set_flag(&context, "ro").map_err(call("configuring tmpfs", KERNEL_ADVICE))?;
    rustix::mount::fsconfig_create(&context).map_err(call("making an empty tmpfs", KERNEL_ADVICE))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(call("mounting an empty tmpfs", KERNEL_ADVICE))
}
