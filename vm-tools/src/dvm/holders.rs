//! Who still has to do with a document: a look through /proc.
//!
//! The program that was started may hand the document to one that runs already, and end; or go into the background. So
//! what counts is not whose child a process is, but whether it refers to the document's private directory, where nobody
//! but the document's editors has anything to do. A process of this user does so if it has
//!
//! - the directory or something in it open (a mere name, `O_PATH`, does not count), or as its working directory;
//! - a path in it among its arguments;
//! - an inotify watch on the directory or the document: editors that close a file after reading it want to know whether
//!   somebody else changes it.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::{geteuid, getpid};

/// Processes that watch every directory of the user's, as the kernel names them (cut at 15 bytes).
const INDEXERS: [&str; 5] =
    ["baloo_file", "baloo_file_extr", "tracker-miner-f", "localsearch-3", "localsearch-ext"];
/// Most bytes of a process's arguments that are looked at.
const ARGUMENTS_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of what the kernel says about one descriptor.
const FDINFO_BYTES_MAX: u64 = 1 << 16;

/// Whether any other process of this user refers to that directory, which is named by its real path.
#[must_use]
pub fn is_held(directory: &Path) -> bool {
    let inodes = inodes_in(directory);
    let own = getpid().as_raw_pid();
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|entry| {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        number.is_some_and(|number| number != own) && refers(&entry.path(), directory, &inodes)
    })
}

/// The directory's own number, those of what is in it, and of what is in directories there: documents lie no deeper.
fn inodes_in(directory: &Path) -> Vec<u64> {
    let inside = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let number = |path: &Path| fs::symlink_metadata(path).ok().map(|it| it.ino());
    let mut paths = vec![directory.to_owned()];
    for entry in inside(directory) {
        paths.extend(inside(&entry.path()).map(|inner| inner.path()));
        paths.push(entry.path());
    }
    paths.iter().filter_map(|path| number(path)).collect()
}

fn refers(process: &Path, directory: &Path, inodes: &[u64]) -> bool {
    let is_own = fs::metadata(process).is_ok_and(|it| it.uid() == geteuid().as_raw());
    if !is_own || is_indexer(process) {
        return false;
    }
    let is_inside = |link: &Path| fs::read_link(link).is_ok_and(|target| target.starts_with(directory));
    is_inside(&process.join("cwd"))
        || has_argument(process, directory)
        || has_descriptor(process, &is_inside, inodes)
}

fn is_indexer(process: &Path) -> bool {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    INDEXERS.contains(&name.trim_end())
}

fn has_argument(process: &Path, directory: &Path) -> bool {
    let mut arguments = Vec::new();
    let Ok(file) = fs::File::open(process.join("cmdline")) else { return false };
    // One that has just ended has none.
    let _ = file.take(ARGUMENTS_BYTES_MAX).read_to_end(&mut arguments);
    let wanted = directory.as_os_str().as_bytes();
    arguments.split(|&byte| byte == 0).any(|argument| {
        // The path may stand behind something, as in file:///… or --file=….
        argument.windows(wanted.len()).any(|window| window == wanted)
    })
}

fn has_descriptor(process: &Path, is_inside: &dyn Fn(&Path) -> bool, inodes: &[u64]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    let is_inotify = |link: &Path| {
        fs::read_link(link).is_ok_and(|target| target.as_os_str() == OsStr::new("anon_inode:inotify"))
    };
    descriptors.flatten().any(|entry| {
        let (link, fdinfo) = (entry.path(), process.join("fdinfo").join(entry.file_name()));
        (is_inside(&link) && !is_name_only(&fdinfo)) || (is_inotify(&link) && watches(&fdinfo, inodes))
    })
}

/// Whether a descriptor cannot read (`O_PATH`): the document portal of a desktop keeps such ones for ever.
fn is_name_only(fdinfo: &Path) -> bool {
    let text = read(fdinfo);
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| OFlags::from_bits_retain(flags).contains(OFlags::PATH))
}

/// Lines `inotify wd:1 ino:9e7e sdev:800013 …`, as Documentation/filesystems/proc.rst has them. Numbers of other file
/// systems may be the same: then the document is waited for a little longer.
fn watches(fdinfo: &Path, inodes: &[u64]) -> bool {
    read(fdinfo).lines().filter(|line| line.starts_with("inotify ")).any(|line| {
        let word = line.split(' ').find_map(|word| word.strip_prefix("ino:"));
        word.and_then(|word| u64::from_str_radix(word, 16).ok())
            .is_some_and(|number| inodes.contains(&number))
    })
}

/// What the kernel says about a descriptor; nothing if it was closed.
fn read(fdinfo: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = fs::File::open(fdinfo) {
        let _ = file.take(FDINFO_BYTES_MAX).read_to_string(&mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::inotify;
    use std::process::{Command, Stdio};

    fn directory() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(directory.path()).unwrap();
        fs::write(path.join("file"), "x").unwrap();
        (directory, path)
    }

    /// Whether it is held by a shell that does this and then waits.
    fn is_held_by(path: &Path, script: &str, argument: &str) -> bool {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("{script}\necho ready\nread line"), "sh", argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let held = is_held(path);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!is_held(path), "it has ended");
        held
    }

    #[test]
    fn a_document_is_held_by_whoever_has_it_open_or_named_or_works_beside_it() {
        let (_directory, path) = directory();
        let file = path.join("file").to_str().unwrap().to_owned();
        // What the shell has among its arguments would say it as well, so the path comes through a link elsewhere.
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let link = link.to_str().unwrap();
        assert!(is_held_by(&path, "exec 9<\"$1\"/file", link));
        assert!(is_held_by(&path, "exec 9>\"$1\"/.file.swp; rm \"$1\"/.file.swp", link));
        assert!(is_held_by(&path, "cd -P \"$1\"", link));
        assert!(is_held_by(&path, "", &file));
        assert!(is_held_by(&path, "", &format!("file://{file}")));
        assert!(!is_held_by(&path, "cat \"$1\"/file > /dev/null", link));
        assert!(!is_held_by(&path, "", "/etc/passwd"));
    }

    #[test]
    fn a_watch_counts_like_an_open_file() {
        let (_directory, path) = directory();
        for watched in [path.clone(), path.join("file")] {
            let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
            inotify::add_watch(&watch, &watched, inotify::WatchFlags::MODIFY).unwrap();
            let fdinfo = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&watch));
            assert!(watches(Path::new(&fdinfo), &inodes_in(&path)), "{watched:?}");
            let (_other, other) = directory();
            assert!(!watches(Path::new(&fdinfo), &inodes_in(&other)));
        }
    }

    #[test]
    fn a_name_that_is_kept_is_no_open_file() {
        let (_directory, path) = directory();
        let open = |flags| rustix::fs::open(path.join("file"), flags, rustix::fs::Mode::empty()).unwrap();
        for (flags, expected) in [(OFlags::PATH, true), (OFlags::RDONLY, false), (OFlags::RDWR, false)] {
            let file = open(flags | OFlags::CLOEXEC);
            let fdinfo = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            assert_eq!(is_name_only(Path::new(&fdinfo)), expected, "{flags:?}");
        }
        assert!(!is_name_only(Path::new("/proc/self/fdinfo/9999")));
    }
}
