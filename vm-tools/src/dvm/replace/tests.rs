//! What is kept, and what is there after each thing that can go wrong.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, mknodat};

use super::*;

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(directory.path()).unwrap().join("file");
    fs::write(&path, b"old").unwrap();
    (directory, path)
}

fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let target = Target::open(path)?;
    let mut replacement = target.begin()?;
    replacement.file.write_all(content).unwrap();
    replacement.make_ready()?;
    replacement.put_in_place()
}

#[test]
fn owner_mode_attributes_and_time_of_access_are_kept() {
    let (directory, path) = directory();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let is_root = sys::spawn::can_switch_accounts();
    if is_root {
        chown(&path, Some(1234), Some(4321)).unwrap();
    }
    let accessed = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let times = fs::FileTimes::new().set_accessed(accessed).set_modified(accessed);
    let old = File::options().write(true).open(&path).unwrap();
    old.set_times(times).unwrap();
    let has_attributes = fsetxattr(&old, c"user.origin", b"mail", XattrFlags::empty()).is_ok();
    let before = SystemTime::now() - Duration::from_secs(5);
    replace(&path, b"new content").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new content");
    let metadata = File::open(&path).unwrap().metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    if is_root {
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 4321));
    }
    assert!(metadata.modified().unwrap() > before, "it was changed now");
    let mut value = [0; 16];
    let file = File::open(&path).unwrap();
    if has_attributes {
        let length = fgetxattr(&file, c"user.origin", &mut value).unwrap();
        assert_eq!(&value[..length], b"mail");
    } else {
        testkit::skip("this file system has no extended attributes");
    }
    assert_eq!(entries(directory.path()), ["file"]);
}

#[test]
fn the_time_of_access_is_kept_exactly() {
    let (_directory, path) = directory();
    let accessed = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_000_000);
    let old = File::options().write(true).open(&path).unwrap();
    old.set_times(fs::FileTimes::new().set_accessed(accessed)).unwrap();
    replace(&path, b"new").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().accessed().unwrap(), accessed);
}

#[test]
fn rights_that_belong_to_the_content_are_not_kept() {
    let (_directory, path) = directory();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    replace(&path, b"from another VM").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn l9_until_the_last_step_the_old_document_is_there_whole() {
    let (directory, path) = directory();
    {
        let target = Target::open(&path).unwrap();
        let mut replacement = target.begin().unwrap();
        replacement.file.write_all(b"half of the ne").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(directory.path()).len(), 2);
        replacement.make_ready().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(entries(directory.path()), ["file"], "nothing is left of the attempt");
}

#[test]
fn l9_a_replacement_that_fails_at_its_last_step_loses_neither() {
    let (directory, path) = directory();
    let target = Target::open(&path).unwrap();
    let mut replacement = target.begin().unwrap();
    replacement.file.write_all(b"new").unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let failure = replacement.put_in_place().unwrap_err().to_string();
    assert!(failure.contains("what came back is in ") && failure.contains(".qvm-open-in-dvm-"), "{failure}");
    let left = entries(directory.path());
    assert_eq!(left.len(), 2);
    assert_eq!(fs::read(directory.path().join(&left[0])).unwrap(), b"new");
}

#[test]
fn a_document_that_was_removed_is_made_again_for_this_user_alone() {
    let (_directory, path) = directory();
    fs::remove_file(&path).unwrap();
    replace(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn l12_what_became_a_link_since_is_not_replaced() {
    let (directory, path) = directory();
    let victim = directory.path().join("victim");
    fs::write(&victim, b"untouched").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();
    assert!(Target::open(&path).is_err());
    let inner = directory.path().join("inner");
    symlink(directory.path(), &inner).unwrap();
    assert!(Target::open(&inner.join("victim")).is_err());
    // Not even when it becomes one after it was looked at: the link itself goes.
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"old").unwrap();
    let target = Target::open(&path).unwrap();
    let replacement = target.begin().unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();
    replacement.make_ready().unwrap();
    replacement.put_in_place().unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
}

#[test]
fn what_is_no_file_or_has_no_directory_is_not_replaced() {
    let (directory, path) = directory();
    let pipe = directory.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for path in
        [directory.path().to_owned(), pipe, path.join("x"), directory.path().join("no/file"), "/".into()]
    {
        let failure = Target::open(&path).unwrap_err().to_string();
        assert!(failure.starts_with("cannot replace "), "{failure}");
    }
}

#[test]
fn put_beside_overwrites_nothing() {
    let (directory, path) = directory();
    for expected in [true, false] {
        let target = Target::open(&path).unwrap();
        let mut replacement = target.begin().unwrap();
        replacement.file.write_all(b"new").unwrap();
        let beside = replacement.put_beside(".from-dvm-7");
        assert_eq!(beside.is_ok(), expected);
        fs::write(directory.path().join("file.from-dvm-7"), b"mine").unwrap();
    }
    assert_eq!(fs::read(directory.path().join("file.from-dvm-7")).unwrap(), b"mine");
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

/// `USER:: rw-`, `USER:1234 r--`, `GROUP ---`, `MASK r--`, `OTHER ---`, as in linux/posix_acl_xattr.h.
const ACCESS_LIST: &[u8] = b"\x02\0\0\0\
    \x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xd2\x04\0\0\
    \x04\0\0\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

#[test]
fn an_access_list_is_kept_and_opens_the_document_to_nobody_else() {
    let (_directory, path) = directory();
    let old = File::open(&path).unwrap();
    if let Err(errno) = fsetxattr(&old, c"system.posix_acl_access", ACCESS_LIST, XattrFlags::empty()) {
        return testkit::skip(&format!("this file system has no access lists: {errno}"));
    }
    replace(&path, b"new").unwrap();
    let mut value = [0; 64];
    let length = fgetxattr(File::open(&path).unwrap(), c"system.posix_acl_access", &mut value).unwrap();
    assert_eq!(&value[..length], ACCESS_LIST);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
}

#[test]
fn capabilities_are_not_kept() {
    let (_directory, path) = directory();
    // CAP_NET_RAW, permitted and effective, as in `struct vfs_cap_data` of version 2.
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let old = File::open(&path).unwrap();
    if let Err(errno) = fsetxattr(&old, c"security.capability", capability, XattrFlags::empty()) {
        return testkit::skip(&format!("this user cannot give a file capabilities: {errno}"));
    }
    replace(&path, b"from another VM").unwrap();
    let kept = fgetxattr(File::open(&path).unwrap(), c"security.capability", &mut [0; 64]);
    assert_eq!(kept, Err(Errno::NODATA));
}
