//! The bytes of the contract, and who may have a number.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn home() -> (TempDir, Store) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    (home, store)
}

fn seq(number: u32) -> Seq {
    Seq::new(number).unwrap()
}

fn give(store: &Store) -> u32 {
    store.give(&[Path::new("/home/user/a.txt")]).unwrap().get()
}

#[test]
fn the_files_are_those_of_the_contract() {
    let (home, store) = home();
    assert_eq!(give(&store), 1);
    assert_eq!(fs::read(home.path().join(".dvm/seq")).unwrap(), [1, 0, 0, 0]);
    assert_eq!(fs::read(home.path().join(".dvm/1")).unwrap(), b"/home/user/a.txt\0");
    fs::write(home.path().join(".dvm/seq"), 0x0102_0304_u32.to_le_bytes()).unwrap();
    assert_eq!(give(&store), 0x0102_0305);
    assert_eq!(fs::read(home.path().join(".dvm/seq")).unwrap(), [5, 3, 2, 1]);
    assert_eq!(fs::read(home.path().join(".dvm/16909061")).unwrap(), b"/home/user/a.txt\0");
    for (path, mode) in [(".dvm", 0o700), (".dvm/seq", 0o600), (".dvm/1", 0o600)] {
        assert_eq!(
            fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777,
            mode,
            "{path}"
        );
    }
}

#[test]
fn l19_numbers_wrap_within_1_and_2147483647() {
    let (home, store) = home();
    for (last, next) in [
        (0, 1),
        (1, 2),
        (SEQ_MAX - 1, SEQ_MAX),
        (SEQ_MAX, 1),
        (SEQ_MAX + 1, 1),
        (u32::MAX - 1, 1),
        (u32::MAX, 1),
    ] {
        fs::write(home.path().join(".dvm/seq"), last.to_le_bytes()).unwrap();
        assert_eq!(store.give(&[]).unwrap().get(), next, "after {last}");
    }
}

#[test]
fn l19_a_counter_of_0_and_4_bytes_is_one_and_any_other_is_damaged() {
    let (home, store) = home();
    for (length, fits) in [(0, true), (1, false), (3, false), (4, true), (5, false), (1000, false)] {
        fs::write(home.path().join(".dvm/seq"), vec![0; length]).unwrap();
        assert_eq!(store.give(&[]).is_ok(), fits, "{length}");
    }
}

#[test]
fn a_number_that_is_still_waited_for_is_not_given_again() {
    let (home, store) = home();
    assert_eq!((give(&store), give(&store)), (1, 2));
    fs::write(home.path().join(".dvm/seq"), SEQ_MAX.to_le_bytes()).unwrap();
    assert_eq!(give(&store), 3);
}

#[test]
fn numbers_given_at_once_are_all_different() {
    let (home, _store) = home();
    let home = home.path();
    let given: BTreeSet<u32> = std::thread::scope(|scope| {
        let many = |_| scope.spawn(|| (0..20).map(|_| give(&Store::open(home).unwrap())).collect::<Vec<_>>());
        let threads: Vec<_> = (0..8).map(many).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(given, (1..=160).collect());
}

#[test]
fn an_entry_is_accepted_once() {
    let (home, store) = home();
    give(&store);
    let entry = store.accept(seq(1)).unwrap();
    assert_eq!(entry.documents, [Path::new("/home/user/a.txt")]);
    assert!(home.path().join(".dvm/1").exists());
    entry.consume().unwrap();
    assert!(!home.path().join(".dvm/1").exists());
    assert_eq!(store.accept(seq(1)).unwrap_err(), NotAccepted::Unknown(seq(1)));
}

#[test]
fn of_two_answers_at_once_one_wins() {
    let (home, store) = home();
    give(&store);
    let first = store.accept(seq(1)).unwrap();
    let other = Store::open(home.path()).unwrap();
    assert_eq!(other.accept(seq(1)).unwrap_err(), NotAccepted::Taken(seq(1)));
    // One that has failed for want of space leaves the entry to a second try.
    drop(first);
    let second = other.accept(seq(1)).unwrap();
    second.consume().unwrap();
    assert_eq!(store.accept(seq(1)).unwrap_err(), NotAccepted::Unknown(seq(1)));
}

#[test]
fn an_entry_that_went_or_was_made_anew_meanwhile_is_not_used() {
    let (home, store) = home();
    give(&store);
    let entry = store.accept(seq(1)).unwrap();
    store.withdraw(seq(1)).unwrap();
    assert_eq!(entry.consume().unwrap_err(), NotAccepted::Unknown(seq(1)));
    give(&store);
    let entry = store.accept(seq(2)).unwrap();
    let path = home.path().join(".dvm/2");
    fs::rename(&path, home.path().join("aside")).unwrap();
    fs::write(&path, b"/other\0").unwrap();
    assert_eq!(entry.consume().unwrap_err(), NotAccepted::Unknown(seq(2)));
    assert!(path.exists());
    assert_eq!(store.withdraw(seq(77)), Ok(()));
}

#[test]
fn a_number_that_was_never_given_is_not_accepted() {
    let (_home, store) = home();
    assert!(!store.knows(seq(5)));
    assert_eq!(store.accept(seq(5)).unwrap_err(), NotAccepted::Unknown(seq(5)));
    // For one to be looked at only there is no entry.
    assert_eq!(store.give(&[]).unwrap(), seq(1));
    assert_eq!(store.accept(seq(1)).unwrap_err(), NotAccepted::Unknown(seq(1)));
}

#[test]
fn l19_an_entry_lives_30_days_and_no_longer() {
    assert!(!is_expired(1_000_000, 1_000_000 + ENTRY_AGE_S_MAX));
    assert!(is_expired(1_000_000, 1_000_000 + ENTRY_AGE_S_MAX + 1));
    assert!(!is_expired(2_000_000, 1_000_000));
    assert!(is_expired(-5, 1_000_000_000));
    let (home, store) = home();
    give(&store);
    let old = SystemTime::now() - Duration::from_secs(ENTRY_AGE_S_MAX + 100);
    let path = home.path().join(".dvm/1");
    File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    assert_eq!(store.accept(seq(1)).unwrap_err(), NotAccepted::Unknown(seq(1)));
    assert!(!path.exists());
}

#[test]
fn l19_1000_entries_are_kept_and_no_more() {
    let (home, store) = home();
    for number in 1..ENTRIES_MAX {
        fs::write(home.path().join(".dvm").join(number.to_string()), b"/x\0").unwrap();
    }
    fs::write(home.path().join(".dvm/notes"), b"not an entry").unwrap();
    assert_eq!(give(&store), 1000);
    assert!(store.give(&[Path::new("/x")]).unwrap_err().to_string().contains("1000 documents"));
}

#[test]
fn l19_entries_of_0_1_256_and_257_documents_and_paths_up_to_4095_bytes() {
    let (home, store) = home();
    let path = |bytes: usize| PathBuf::from(format!("/{}", "p".repeat(bytes - 1)));
    for (bytes, fits) in [(1, false), (2, true), (PATH_BYTES_MAX, true), (PATH_BYTES_MAX + 1, false)] {
        assert_eq!(store.give(&[&path(bytes)]).is_ok(), fits, "{bytes}");
    }
    for (count, fits) in [(1, true), (DOCUMENTS_MAX, true), (DOCUMENTS_MAX + 1, false)] {
        let longest = path(PATH_BYTES_MAX);
        let given = store.give(&vec![longest.as_path(); count]);
        assert_eq!(given.is_ok(), fits, "{count}");
        if let Ok(seq) = given {
            assert_eq!(store.accept(seq).unwrap().documents.len(), count);
        }
    }
    for bytes in [
        &b""[..],
        b"\0",
        b"/a",
        b"a\0",
        b"/\0",
        b"/a\0b\0",
        b"/a\0\0",
        b"/a/..\0",
        &vec![0; ENTRY_BYTES_MAX + 1],
    ] {
        fs::write(home.path().join(".dvm/7"), bytes).unwrap();
        let refused = store.accept(seq(7)).unwrap_err();
        assert!(refused.to_string().contains("names no document"), "{bytes:?}: {refused}");
    }
}

#[test]
fn l12_links_are_not_followed() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), home.path().join(".dvm")).unwrap();
    assert!(Store::open(home.path()).is_err());
    assert!(Store::existing(home.path()).is_err());
    fs::remove_file(home.path().join(".dvm")).unwrap();
    assert!(Store::existing(home.path()).unwrap().is_none());
    let store = Store::open(home.path()).unwrap();
    let victim = elsewhere.path().join("victim");
    symlink(&victim, home.path().join(".dvm/seq")).unwrap();
    assert!(store.give(&[]).is_err());
    assert!(!victim.exists());
    fs::remove_file(home.path().join(".dvm/seq")).unwrap();
    fs::write(&victim, b"/etc/passwd\0").unwrap();
    symlink(&victim, home.path().join(".dvm/9")).unwrap();
    assert!(matches!(store.accept(seq(9)), Err(NotAccepted::Store(_))));
    assert!(Store::existing(home.path()).unwrap().is_some());
}

#[test]
fn what_is_no_file_is_refused_and_a_pipe_does_not_block() {
    let (home, store) = home();
    fs::create_dir(home.path().join(".dvm/5")).unwrap();
    let pipe = home.path().join(".dvm/6");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for number in [5, 6] {
        assert!(matches!(store.accept(seq(number)), Err(NotAccepted::Store(_))), "{number}");
    }
    fs::set_permissions(home.path().join(".dvm"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Store::open(home.path()).is_err());
    fs::set_permissions(home.path().join(".dvm"), fs::Permissions::from_mode(0o755)).unwrap();
    Store::open(home.path()).unwrap();
    assert_eq!(fs::metadata(home.path().join(".dvm")).unwrap().permissions().mode() & 0o777, 0o700);
}
