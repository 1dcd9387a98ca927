use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use fat::{Kind, Source};

use super::*;

fn tree() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn arguments(paths: &[&Path]) -> Vec<OsString> {
    paths.iter().map(|path| path.as_os_str().to_owned()).collect()
}

fn names(found: &Found) -> Vec<String> {
    found.entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect()
}

/// Opens an entry by its name.
fn open(found: &mut Found, name: &str) -> io::Result<Vec<u8>> {
    let number = names(found).iter().position(|other| other == name).unwrap();
    let mut bytes = Vec::new();
    found.files.open(u32::try_from(number).unwrap())?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn directories_come_before_what_they_hold_and_names_are_sorted() {
    let tree = tree();
    for path in ["top/b/2", "top/b/1/deep", "top/a", "top/c"] {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, path.file_name().unwrap().as_bytes()).unwrap();
    }
    let mut found = collect(&arguments(&[&tree.path().join("top")])).unwrap();
    assert_eq!(names(&found), ["top", "a", "b", "1", "deep", "2", "c"]);
    let parents: Vec<Option<u32>> = found.entries.iter().map(|entry| entry.parent).collect();
    assert_eq!(parents, [None, Some(0), Some(0), Some(2), Some(3), Some(2), Some(0)]);
    assert_eq!(found.entries[4].kind, Kind::File { size: 4 });
    assert!(found.entries.iter().all(|entry| entry.modified_s > 1_600_000_000));
    assert!(found.skipped.is_empty());
    // In any order, each from its own directory.
    for name in ["c", "deep", "2", "a", "deep", "deep"] {
        assert_eq!(open(&mut found, name).unwrap(), name.as_bytes());
    }
    assert!(found.files.open(0).is_err(), "a directory is no file");
    assert!(found.files.open(7).is_err());
}

#[test]
fn what_is_no_file_and_no_directory_is_named_and_stays_behind() {
    let tree = tree();
    let top = tree.path().join("top");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("file"), b"content").unwrap();
    fs::write(tree.path().join("secret"), b"secret").unwrap();
    symlink(tree.path().join("secret"), top.join("link")).unwrap();
    symlink(tree.path(), top.join("link to a directory")).unwrap();
    symlink("nowhere", top.join("broken link")).unwrap();
    let _socket = UnixListener::bind(top.join("socket")).unwrap();
    let pipe = rustix::fs::mknodat(
        rustix::fs::CWD,
        top.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    );
    pipe.unwrap();
    let found = collect(&arguments(&[&top, Path::new("/dev/null")])).unwrap();
    assert_eq!(names(&found), ["top", "file"]);
    let skipped: Vec<String> = found.skipped.iter().map(ToString::to_string).collect();
    let line = |name: &str, what: &str| format!("{}: skipped: {what}", top.join(name).display());
    assert_eq!(
        skipped,
        [
            "/dev/null: skipped: a device".to_owned(),
            line("broken link", "a symbolic link"),
            line("link", "a symbolic link"),
            line("link to a directory", "a symbolic link"),
            line("pipe", "a named pipe"),
            line("socket", "a socket"),
        ]
    );
}

#[test]
fn an_argument_that_is_a_link_is_skipped_even_with_a_slash_behind_it() {
    let tree = tree();
    fs::create_dir(tree.path().join("directory")).unwrap();
    fs::write(tree.path().join("file"), b"content").unwrap();
    symlink("directory", tree.path().join("link")).unwrap();
    for link in ["link", "link/", "link/."] {
        let link = tree.path().join(link);
        let found = collect(&arguments(&[&link, &tree.path().join("file")])).unwrap();
        assert_eq!(names(&found), ["file"]);
        assert!(matches!(found.skipped[..], [Skipped { reason: SkipReason::SymbolicLink, .. }]), "{link:?}");
        let Err(CollectError::NothingLeft(skipped)) = collect(&arguments(&[&link])) else {
            panic!("nothing is left")
        };
        assert_eq!(skipped.len(), 1);
    }
    // A link on the way to an argument is the person's own word.
    fs::write(tree.path().join("directory/below"), b"").unwrap();
    assert_eq!(names(&collect(&arguments(&[&tree.path().join("link/below")])).unwrap()), ["below"]);
}

#[test]
fn what_cannot_be_read_is_named_and_stays_behind() {
    if rustix::process::geteuid().is_root() {
        return testkit::skip("root may read everything");
    }
    let tree = tree();
    let top = tree.path().join("top");
    fs::create_dir_all(top.join("closed")).unwrap();
    fs::write(top.join("closed/within"), b"").unwrap();
    fs::write(top.join("file"), b"").unwrap();
    fs::write(top.join("open"), b"").unwrap();
    fs::set_permissions(top.join("file"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(top.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let found = collect(&arguments(&[&top])).unwrap();
    assert_eq!(names(&found), ["top", "open"]);
    assert_eq!(found.skipped.len(), 2);
    assert!(found.skipped.iter().all(|skipped| matches!(skipped.reason, SkipReason::Unreadable(_))));
    fs::set_permissions(top.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn l24_two_arguments_of_one_name_are_refused() {
    let tree = tree();
    for directory in ["one", "two"] {
        fs::create_dir(tree.path().join(directory)).unwrap();
        fs::write(tree.path().join(directory).join("name"), b"").unwrap();
    }
    let (one, two) = (tree.path().join("one/name"), tree.path().join("two/name"));
    for pair in [[&*one, &*two], [&*one, &*one], [&*tree.path().join("one"), &*tree.path().join("./one/")]] {
        let error = collect(&arguments(&pair)).unwrap_err();
        assert!(matches!(error, CollectError::SameName { .. }));
        let text = format!("{} and {} have the same name", pair[0].display(), pair[1].display());
        assert!(error.to_string().starts_with(&text), "{error}");
    }
}

#[test]
fn l19_no_arguments_and_arguments_without_a_name_are_refused() {
    assert!(matches!(collect(&[]), Err(CollectError::NoArguments)));
    for path in ["", ".", "./", "..", "../", "/", "a/.."] {
        assert!(matches!(collect(&[path.into()]), Err(CollectError::NoName(_))), "{path}");
    }
    let missing = collect(&["/nowhere/\x1b[2J".into()]).unwrap_err();
    assert!(matches!(missing, CollectError::NotFound { .. }));
    assert!(!missing.to_string().contains('\x1b'));
}

#[test]
fn a_path_below_the_current_directory_needs_no_slash() {
    let found = collect(&["Cargo.toml".into(), "./src".into()]).unwrap();
    assert_eq!(names(&found)[..2], ["Cargo.toml", "src"]);
    assert_eq!(found.entries[0].parent, None);
}

#[test]
fn l12_what_was_replaced_since_it_was_found_is_not_sent() {
    let tree = tree();
    let top = tree.path().join("top");
    let again = || {
        fs::remove_dir_all(&top).unwrap_or_default();
        fs::create_dir_all(top.join("sub")).unwrap();
        fs::write(top.join("sub/file"), b"found").unwrap();
        collect(&arguments(&[&top])).unwrap()
    };
    fs::create_dir(tree.path().join("secrets")).unwrap();
    fs::write(tree.path().join("secrets/file"), b"other").unwrap();
    let (sub, file, secret) = (top.join("sub"), top.join("sub/file"), tree.path().join("secrets/file"));

    let mut found = again();
    assert_eq!(open(&mut found, "file").unwrap(), b"found");

    let mut found = again();
    fs::remove_file(&file).unwrap();
    symlink(&secret, &file).unwrap();
    assert!(open(&mut found, "file").is_err(), "a link in place of the file");

    let mut found = again();
    fs::rename(&file, top.join("kept")).unwrap();
    fs::write(&file, b"other").unwrap();
    let error = open(&mut found, "file").unwrap_err();
    assert!(error.to_string().contains("was replaced"), "another file of the same size: {error}");

    let mut found = again();
    fs::rename(&sub, tree.path().join("moved")).unwrap();
    symlink(tree.path().join("secrets"), &sub).unwrap();
    assert!(open(&mut found, "file").is_err(), "a link in place of the directory");
    fs::remove_dir_all(tree.path().join("moved")).unwrap();

    let mut found = again();
    fs::rename(&top, tree.path().join("moved")).unwrap();
    symlink(tree.path().join("moved"), &top).unwrap();
    assert!(open(&mut found, "file").is_err(), "a link in place of the argument");
    fs::remove_file(&top).unwrap();

    let mut found = again();
    fs::rename(&sub, tree.path().join("elsewhere")).unwrap();
    fs::create_dir(&sub).unwrap();
    fs::hard_link(tree.path().join("elsewhere/file"), &file).unwrap();
    assert!(open(&mut found, "file").is_err(), "another directory, even with the same file");

    let mut found = again();
    fs::remove_file(&file).unwrap();
    assert_eq!(open(&mut found, "file").unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn l23_a_file_whose_size_changed_since_it_was_found_is_not_sent() {
    let tree = tree();
    let path = tree.path().join("file");
    for content in [b"".as_slice(), b"1234", b"123456"] {
        fs::write(&path, b"12345").unwrap();
        let mut found = collect(&arguments(&[&path])).unwrap();
        fs::write(&path, content).unwrap();
        let error = open(&mut found, "file").unwrap_err().to_string();
        assert_eq!(error, format!("its size changed from 5 to {} bytes since it was found", content.len()));
    }
}

#[test]
fn l19_directories_that_are_nested_too_deep_are_named_and_not_walked() {
    let tree = tree();
    let mut path = tree.path().join("d");
    fs::create_dir(&path).unwrap();
    for depth in 2..=fat::DEPTH_MAX + 3 {
        path.push("d");
        fs::create_dir(&path).unwrap();
        let found = collect(&arguments(&[&tree.path().join("d")])).unwrap();
        assert_eq!(found.entries.len(), depth.min(fat::DEPTH_MAX + 1));
        assert_eq!(fat::Tree::check(found.entries).is_ok(), depth <= fat::DEPTH_MAX);
    }
}

#[test]
fn l19_files_and_directories_in_all_are_bounded_and_skipped_ones_count() {
    let tree = tree();
    let top = tree.path().join("top");
    fs::create_dir_all(top.join("sub")).unwrap();
    fs::write(top.join("sub/file"), b"").unwrap();
    fs::write(top.join("file"), b"").unwrap();
    symlink("file", top.join("link")).unwrap();
    let within = |max| walk::collect_within(max, &arguments(&[&top]));
    for max in 0..5 {
        assert!(matches!(within(max), Err(CollectError::TooManyEntries)), "{max}");
    }
    let found = within(5).unwrap();
    assert_eq!((found.entries.len(), found.skipped.len()), (4, 1));
    assert!(within(6).is_ok());
}

#[test]
fn a_tree_on_a_volume_is_the_tree_on_the_disk() {
    if !testkit::require_tools(&["fsck.vfat", "mcopy", "diff"]) {
        return;
    }
    let tree = tree();
    let top = tree.path().join("für 日本");
    for directory in 0..20 {
        let directory = top.join(format!("directory {directory}")).join("below");
        fs::create_dir_all(&directory).unwrap();
        for file in 0..20 {
            fs::write(directory.join(format!("file {file}")), "x".repeat(file * 511)).unwrap();
        }
    }
    let mut found = collect(&arguments(&[&top])).unwrap();
    assert_eq!(found.entries.len(), 1 + 20 * 22);
    let planned = fat::Tree::check(found.entries).unwrap();
    let size = fat::VolumeSize::from_mib(planned.size_needed_mib().unwrap()).unwrap();
    let plan = planned.layout(size, fat::VolumeLabel::from_name("work"), 1).unwrap();
    let image = tree.path().join("image");
    let volume = fs::File::create(&image).unwrap();
    volume.set_len(size.bytes()).unwrap();
    fat::write(&plan, &volume, &mut found.files, &mut |_| {}).unwrap();

    let copy = tree.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let run = |tool: &str, arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new(testkit::tool(tool).unwrap());
        let output = command.args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap();
        assert!(output.status.success(), "{tool}: {output:?}");
    };
    run("fsck.vfat", &["-n".as_ref(), image.as_ref()]);
    run(
        "mcopy",
        &["-s".as_ref(), "-n".as_ref(), "-i".as_ref(), image.as_ref(), "::*".as_ref(), copy.as_ref()],
    );
    run("diff", &["-r".as_ref(), top.as_ref(), copy.join("für 日本").as_ref()]);
}
