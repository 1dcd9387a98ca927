//! The two block devices of a VM. On the simulated host they are regular files of the same names.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use protocol::types::Device;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, fstat, openat, statat};

use crate::failure::Failure;

/// Where this VM's devices are.
#[derive(Debug, Clone)]
pub struct Devices {
    directory: PathBuf,
}

impl Default for Devices {
    fn default() -> Self {
        Self::at(Path::new("/dev"))
    }
}

impl Devices {
    /// Another place, for tests.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Whether the device is there now.
    #[must_use]
    pub fn is_present(&self, device: Device) -> bool {
        statat(CWD, self.path(device), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| is_volume(stat.st_mode))
    }

    /// Whether this user may read and write it. udev gives a device to its user a moment after the kernel has made it.
    #[must_use]
    pub fn is_permitted(&self, device: Device) -> bool {
        accessat(CWD, self.path(device), Access::READ_OK | Access::WRITE_OK, AtFlags::empty()).is_ok()
    }

    /// The number of a block device; `None` for what is none, or is not there.
    #[must_use]
    pub fn number(&self, device: Device) -> Option<u64> {
        let stat = statat(CWD, self.path(device), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice).then_some(stat.st_rdev)
    }

    /// The directory with the devices.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its path, for messages.
    #[must_use]
    pub fn shown(&self, device: Device) -> String {
        self.path(device).display().to_string()
    }

    /// Opens it for writing.
    ///
    /// # Errors
    /// It is not there, no block device, or not this user's to write.
    pub fn open_for_writing(&self, device: Device) -> Result<File, Failure> {
        self.open(device, OFlags::WRONLY)
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// It is not there, no block device, or not this user's to read.
    pub fn open_for_reading(&self, device: Device) -> Result<File, Failure> {
        self.open(device, OFlags::RDONLY)
    }

    fn open(&self, device: Device, access: OFlags) -> Result<File, Failure> {
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let failed = |reason: &str| Failure::failed(&format!("cannot open {}: {reason}", self.shown(device)));
        let fd: OwnedFd = openat(CWD, self.path(device), flags, Mode::empty())
            .map_err(|errno| failed(&errno.to_string()))?;
        let stat = fstat(&fd).map_err(|errno| failed(&errno.to_string()))?;
        if is_volume(stat.st_mode) { Ok(File::from(fd)) } else { Err(failed("it is no block device")) }
    }

    fn path(&self, device: Device) -> PathBuf {
        self.directory.join(device.name())
    }
}

/// The size of an open device in bytes.
///
/// # Errors
/// It cannot be found out.
pub fn size_bytes(file: &mut File) -> Result<u64, Failure> {
    let end = file.seek(SeekFrom::End(0)).and_then(|end| file.rewind().map(|()| end));
    end.map_err(|error| Failure::failed(&format!("cannot find out the size of the pendrive: {error}")))
}

fn is_volume(mode: u32) -> bool {
    matches!(FileType::from_raw_mode(mode), FileType::BlockDevice | FileType::RegularFile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_holds_a_volume_is_a_device() {
        let directory = tempfile::tempdir().unwrap();
        let devices = Devices::at(directory.path());
        assert!(!devices.is_present(Device::Outgoing));
        assert!(devices.open_for_writing(Device::Outgoing).is_err());
        std::os::unix::fs::symlink("/dev/null", directory.path().join("xvdg")).unwrap();
        assert!(!devices.is_present(Device::Outgoing));
        assert!(devices.open_for_writing(Device::Outgoing).is_err());
        std::fs::create_dir(directory.path().join("xvdh")).unwrap();
        assert!(!devices.is_present(Device::Incoming));
        assert!(devices.open_for_reading(Device::Incoming).is_err());
        std::fs::remove_file(directory.path().join("xvdg")).unwrap();
        std::fs::write(directory.path().join("xvdg"), [0; 1000]).unwrap();
        assert!(devices.is_present(Device::Outgoing));
        assert_eq!(size_bytes(&mut devices.open_for_writing(Device::Outgoing).unwrap()), Ok(1000));
    }

    #[test]
    fn a_device_that_udev_has_not_given_to_the_user_yet_is_not_permitted() {
        use std::os::unix::fs::{PermissionsExt, chown};
        const USER: u32 = 64_398;
        if !rustix::process::geteuid().is_root() {
            return testkit::skip("giving a file to another user needs root");
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("xvdg");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let devices = Devices::at(directory.path());
        let permitted_to_user = || {
            let devices = devices.clone();
            // Ids belong to a thread: this one alone becomes the user.
            std::thread::spawn(move || {
                let user = rustix::process::Uid::from_raw(USER);
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                (devices.is_present(Device::Outgoing), devices.is_permitted(Device::Outgoing))
            })
            .join()
            .unwrap()
        };
        assert_eq!(permitted_to_user(), (true, false));
        chown(&path, Some(USER), None).unwrap();
        assert_eq!(permitted_to_user(), (true, true));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(permitted_to_user(), (false, false));
    }
}
