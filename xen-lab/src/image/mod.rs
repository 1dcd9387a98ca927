//! What the machine boots: Xen, Linux, and the initial file systems of dom0 and of the guests. Made from Debian's
//! packages and the scripts of this folder, without root; the product is not in it, so that it outlives its changes.

pub mod cpio;
pub mod debian;
mod kernel;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::LabError;
use cpio::{Entry, Root};
use kernel::Modules;

/// Changes with whatever is changed in how images are made.
const FORM: &str = "1";

/// How many images of other versions are kept: more than one work tree may be in use, and an image with its saved
/// machines takes more than a gigabyte.
const OTHERS_KEPT: usize = 2;

/// The scripts of this folder: name, text.
const DOM0_SCRIPTS: [(&str, &str); 5] = [
    ("lab/block", include_str!("../../dom0/block")),
    ("init", include_str!("../../dom0/init")),
    ("lab/new-guest", include_str!("../../dom0/new-guest")),
    ("usr/bin/vm", include_str!("../../dom0/vm")),
    ("lab/welcome", include_str!("../../dom0/welcome")),
];
const GUEST_SCRIPTS: [(&str, &str); 3] = [
    ("init", include_str!("../../guest/init")),
    ("lab/tools", include_str!("../../guest/tools")),
    ("lab/editor", include_str!("../../guest/editor")),
];

/// What the agent is made from.
const AGENT_SOURCES: [&str; 5] = [
    include_str!("../bin/lab-agent.rs"),
    include_str!("../clock.rs"),
    include_str!("../store.rs"),
    include_str!("../waits.rs"),
    include_str!("../wire.rs"),
];

/// Programs of Debian that both need; the rest is busybox.
const PROGRAMS: [&str; 24] = [
    "bin/bash",
    "bin/mount",
    "bin/umount",
    "bin/udevadm",
    "bin/dd",
    "bin/cp",
    "usr/bin/stat",
    "bin/touch",
    "bin/systemd-tmpfiles",
    "bin/systemd-sysusers",
    "sbin/blkid",
    "sbin/blockdev",
    "sbin/losetup",
    "sbin/mkfs.fat",
    "sbin/fsck.fat",
    "usr/bin/flock",
    "usr/bin/setpriv",
    "usr/bin/strace",
    "usr/bin/truncate",
    "usr/bin/xenstore-chmod",
    "usr/bin/xenstore-exists",
    "usr/bin/xenstore-ls",
    "usr/bin/xenstore-read",
    "usr/bin/xenstore-rm",
];
/// Those that run as root, whoever starts them.
const SETUID: [&str; 2] = ["bin/mount", "bin/umount"];
/// Links to them.
const LINKS: [(&str, &str); 3] = [
    ("sbin/mkfs.vfat", "mkfs.fat"),
    ("sbin/fsck.vfat", "fsck.fat"),
    ("lib/systemd/systemd-udevd", "/bin/udevadm"),
];
/// Further ones with names that programs above share.
const XENSTORE: [&str; 3] = ["usr/bin/xenstore-write", "usr/bin/xenstore-list", "usr/bin/xenstore-watch"];
/// What dom0 has of Xen's own programs.
const XEN: &str = "usr/lib/xen-4.17/bin";
const XEN_PROGRAMS: [&str; 8] = [
    "xl",
    "xenstored",
    "oxenstored",
    "xenconsoled",
    "xen-init-dom0",
    "libxl-save-helper",
    "xenstore-control",
    "xentop",
];
const DOM0_MODULES: [&str; 14] = [
    "loop",
    "xen-evtchn",
    "xen-privcmd",
    "xenfs",
    "xen-gntdev",
    "xen-gntalloc",
    "xen-blkback",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859-1",
    "nls_utf8",
    "virtio_pci",
    "virtio_console",
];
const GUEST_MODULES: [&str; 6] =
    ["xen-blkfront", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"];
/// Folders that are there from the start.
const FOLDERS: [&str; 13] = [
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "mnt",
    "root",
    "etc",
    "var/lib",
    "var/log",
    "home/user",
    "usr/sbin",
    "usr/bin",
];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n";
const GROUP: &str = "root:x:0:\ndisk:x:6:\nkmem:x:15:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost\n";

/// What the machine boots, in one folder of the cache.
#[derive(Debug, Clone)]
pub struct Image {
    folder: PathBuf,
}

impl Image {
    /// Finds the image, or makes it. `agent` is the built program `lab-agent`.
    pub fn prepare(agent: &Path) -> Result<Self, LabError> {
        let archive = debian::archive(&debian::LAB)?;
        let folder = debian::cache()?.join(key(&archive)?);
        let image = Self { folder };
        if !image.dom0().is_file() {
            println!("making the images of the lab");
            image.make(&archive, agent)?;
        }
        Ok(image)
    }

    /// Xen.
    pub fn xen(&self) -> PathBuf {
        self.folder.join("xen")
    }

    /// Linux.
    pub fn linux(&self) -> PathBuf {
        self.folder.join("linux")
    }

    /// The initial file system of dom0, which holds that of guests.
    pub fn dom0(&self) -> PathBuf {
        self.folder.join("dom0.cpio")
    }

    /// Where a saved machine of this image is kept.
    pub fn state(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("state-{kind}"))
    }

    fn make(&self, archive: &Path, agent: &Path) -> Result<(), LabError> {
        forget_old(&debian::cache()?)?;
        fs::create_dir_all(&self.folder).map_err(LabError::at(&self.folder))?;
        let unpacked = tempfile::tempdir_in(&self.folder).map_err(LabError::at(&self.folder))?;
        let debian = unpacked.path();
        debian::unpack(archive, debian)?;
        kernel::xen(debian, &self.xen())?;
        kernel::linux(debian, &self.linux())?;
        let modules = Modules::find(debian)?;
        let guest_cpio = self.folder.join("guest.cpio");
        write(&guest(debian, &modules, agent)?, &guest_cpio)?;
        let mut dom0 = dom0(debian, &modules, agent)?;
        dom0.copy("lab/vmlinux", &self.linux()).map_err(LabError::at(&self.linux()))?;
        dom0.copy("lab/guest.cpio", &guest_cpio).map_err(LabError::at(&guest_cpio))?;
        // The last one: its being there says that all is.
        let new = self.folder.join("new");
        write(&dom0, &new)?;
        fs::rename(&new, self.dom0()).map_err(LabError::at(&new))
    }
}

/// Removes the images of other versions, but for the newest.
fn forget_old(cache: &Path) -> Result<(), LabError> {
    let folders = fs::read_dir(cache).map_err(LabError::at(cache))?.flatten();
    let mut others: Vec<_> = folders
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| Some((entry.metadata().and_then(|meta| meta.modified()).ok()?, entry.path())))
        .collect();
    others.sort();
    others.truncate(others.len().saturating_sub(OTHERS_KEPT));
    for (_, folder) in others {
        fs::remove_dir_all(&folder).map_err(LabError::at(&folder))?;
    }
    Ok(())
}

fn write(root: &Root, path: &Path) -> Result<(), LabError> {
    let file = File::create(path).map_err(LabError::at(path))?;
    let mut out = BufWriter::new(file);
    root.write(&mut out).and_then(|()| std::io::Write::flush(&mut out)).map_err(LabError::at(path))
}

/// Names the image: another one is made when anything that goes into it changes.
fn key(archive: &Path) -> Result<String, LabError> {
    let mut digest = Sha256::new();
    digest.update(FORM);
    for (name, text) in DOM0_SCRIPTS.iter().chain(&GUEST_SCRIPTS) {
        digest.update(name);
        digest.update(text);
    }
    // Its source and not the program, which differs from build to build for no reason that matters here.
    for source in AGENT_SOURCES {
        digest.update(source);
    }
    let archive_meta = archive.metadata().map_err(LabError::at(archive))?;
    let made = archive_meta.modified().map_err(LabError::at(archive))?;
    digest.update(format!("{} {made:?}", archive_meta.len()));
    Ok(digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// What dom0 and guests have in common.
fn common(debian: &Path, agent: &Path) -> Result<Root, LabError> {
    let mut root = Root::default();
    for folder in FOLDERS {
        root.add(folder, Entry::Folder);
    }
    root.add("var/run", Entry::Link("../run".to_owned()));
    root.add("var/lock", Entry::Link("../run/lock".to_owned()));
    let busybox = debian.join("bin/busybox");
    root.copy("bin/busybox", &busybox).map_err(LabError::at(&busybox))?;
    let applets = crate::run(Command::new(&busybox).arg("--list"), "busybox --list")?;
    for applet in String::from_utf8_lossy(&applets).lines().filter(|applet| *applet != "busybox") {
        root.add(&format!("bin/{applet}"), Entry::Link("busybox".to_owned()));
    }
    for path in PROGRAMS.iter().chain(&XENSTORE) {
        root.copy(path, &debian.join(path)).map_err(LabError::at(&debian.join(path)))?;
    }
    // An ordinary user may mount what /etc/fstab says.
    for path in SETUID {
        let from = debian.join(path);
        root.add(path, Entry::File(0o4755, fs::read(&from).map_err(LabError::at(&from))?));
    }
    for (path, target) in LINKS {
        root.add(path, Entry::Link(target.to_owned()));
    }
    let rules = debian.join("lib/udev/rules.d");
    for entry in fs::read_dir(&rules).map_err(LabError::at(&rules))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        root.copy(&format!("usr/lib/udev/rules.d/{name}"), &entry.path()).map_err(LabError::at(&rules))?;
    }
    root.copy("usr/bin/lab-agent", agent).map_err(LabError::at(agent))?;
    for (path, text) in [("etc/passwd", PASSWD), ("etc/group", GROUP), ("etc/hosts", HOSTS)] {
        root.add(path, Entry::File(0o644, text.as_bytes().to_vec()));
    }
    Ok(root)
}

fn scripts(root: &mut Root, scripts: &[(&str, &str)]) {
    for (path, text) in scripts {
        root.add(path, Entry::File(0o755, text.as_bytes().to_vec()));
    }
}

fn guest(debian: &Path, modules: &Modules, agent: &Path) -> Result<Root, LabError> {
    let mut root = common(debian, agent)?;
    scripts(&mut root, &GUEST_SCRIPTS);
    modules.add(&mut root, &GUEST_MODULES)?;
    libraries(&mut root, debian, &[])?;
    Ok(root)
}

fn dom0(debian: &Path, modules: &Modules, agent: &Path) -> Result<Root, LabError> {
    let mut root = common(debian, agent)?;
    scripts(&mut root, &DOM0_SCRIPTS);
    let mut programs = Vec::new();
    for name in XEN_PROGRAMS {
        let path = format!("{XEN}/{name}");
        root.copy(&path, &debian.join(&path)).map_err(LabError::at(&debian.join(&path)))?;
        root.add(&format!("usr/sbin/{name}"), Entry::Link(format!("/{path}")));
        programs.push(path);
    }
    let scripts = debian.join("etc/xen/scripts");
    for entry in fs::read_dir(&scripts).map_err(LabError::at(&scripts))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() {
            root.copy(&format!("etc/xen/scripts/{name}"), &entry.path()).map_err(LabError::at(&scripts))?;
        }
    }
    for name in ["xl.conf", "oxenstored.conf"] {
        let from = debian.join("etc/xen").join(name);
        root.copy(&format!("etc/xen/{name}"), &from).map_err(LabError::at(&from))?;
    }
    root.add("var/log/xen", Entry::Folder);
    modules.add(&mut root, &DOM0_MODULES)?;
    libraries(&mut root, debian, &programs)?;
    Ok(root)
}

/// Adds the libraries of the programs. Debian's own loader says which.
fn libraries(root: &mut Root, debian: &Path, more: &[String]) -> Result<(), LabError> {
    let folders = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
    let search = folders.map(|folder| debian.join(folder).display().to_string()).join(":");
    let loader = debian.join("lib64/ld-linux-x86-64.so.2");
    root.copy("lib64/ld-linux-x86-64.so.2", &loader).map_err(LabError::at(&loader))?;
    for program in PROGRAMS.iter().chain(&XENSTORE).copied().chain(more.iter().map(String::as_str)) {
        let mut command = Command::new(&loader);
        command.args(["--library-path", &search, "--list"]).arg(debian.join(program));
        let listed = crate::run(&mut command, &format!("the libraries of {program}"))?;
        for line in String::from_utf8_lossy(&listed).lines() {
            let Some(path) = line.split(" => ").nth(1).and_then(|rest| rest.split(" (").next()) else {
                continue;
            };
            let Some(name) = Path::new(path).file_name().and_then(|name| name.to_str()) else { continue };
            let to = format!("lib/x86_64-linux-gnu/{name}");
            if name != "ld-linux-x86-64.so.2" && !root.has(&to) {
                root.copy(&to, Path::new(path)).map_err(LabError::at(Path::new(path)))?;
            }
        }
    }
    // Those of our programs, and one that libxl loads by itself.
    for name in ["libc.so.6", "libm.so.6", "libgcc_s.so.1"] {
        let to = format!("lib/x86_64-linux-gnu/{name}");
        let from = folders.iter().map(|folder| debian.join(folder).join(name)).find(|path| path.exists());
        let from = from.ok_or_else(|| LabError::Missing(name.to_owned()))?;
        root.copy(&to, &from).map_err(LabError::at(&from))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_images_are_kept_and_no_file_is_removed() {
        let cache = tempfile::tempdir().unwrap();
        for number in 0..OTHERS_KEPT + 2 {
            let folder = cache.path().join(format!("{number}"));
            fs::create_dir(&folder).unwrap();
            let made = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            File::open(&folder).unwrap().set_modified(made).unwrap();
        }
        fs::write(cache.path().join("bookworm.tar"), "packages").unwrap();
        forget_old(cache.path()).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(cache.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["2", "3", "bookworm.tar"]);
        forget_old(cache.path()).unwrap();
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), OTHERS_KEPT + 1);
    }
}
