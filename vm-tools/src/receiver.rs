//! Whose home directory receives what comes in, and becoming that user for good.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use rustix::process::{DumpableBehavior, Gid, Uid, getegid, geteuid, set_dumpable_behavior};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::failure::Failure;

/// The user of a VM who has not said otherwise.
pub const DEFAULT_UID: u32 = 1000;
/// Largest list of users that is read, in bytes.
const PASSWD_BYTES_MAX: u64 = 1024 * 1024;

/// The user who receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Home directory.
    pub home: PathBuf,
    /// What root must become; `None` when the caller is that user.
    account: Option<Account>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
    home: PathBuf,
}

/// What is known about the caller.
#[derive(Debug)]
pub struct Caller {
    /// Can become any other user: real root, not that of a user namespace with one user.
    pub is_real_root: bool,
    /// `HOME` of the environment.
    pub home: Option<OsString>,
    /// `--user`.
    pub user: Option<String>,
    /// `--home`.
    pub home_option: Option<PathBuf>,
}

impl Receiver {
    /// Finds out who receives.
    ///
    /// Real root becomes the user of `--user`, or the one with uid [`DEFAULT_UID`]; every other caller receives in its
    /// own home directory. `--home` overrides the directory, never the user.
    ///
    /// # Errors
    /// There is no such user, or no home directory.
    pub fn find(caller: Caller) -> Result<Self, Failure> {
        Self::find_in(caller, read_passwd)
    }

    fn find_in(
        caller: Caller,
        read_users: impl FnOnce() -> Result<Vec<u8>, Failure>,
    ) -> Result<Self, Failure> {
        if !caller.is_real_root {
            if caller.user.is_some() {
                return Err(Failure::usage("--user is for root only"));
            }
            let home = caller.home_option.or_else(|| caller.home.map(PathBuf::from));
            let home = home.filter(|home| home.is_absolute());
            let home = home.ok_or_else(|| Failure::failed("HOME is not set to an absolute path"))?;
            return Ok(Self { home, account: None });
        }
        let users = read_users()?;
        let account = match &caller.user {
            Some(name) => find_user(&users, |user| user.name == name.as_bytes()),
            None => find_user(&users, |user| user.uid == DEFAULT_UID),
        };
        let wanted = caller.user.unwrap_or_else(|| format!("with uid {DEFAULT_UID}"));
        let account = account
            .ok_or_else(|| Failure::failed(&format!("no user {wanted} in /etc/passwd: say --user NAME")))?;
        if account.uid == 0 || account.gid == 0 {
            return Err(Failure::failed("received files are never written as root: say --user NAME"));
        }
        let home = caller.home_option.unwrap_or_else(|| account.home.clone());
        if !home.is_absolute() {
            return Err(Failure::failed("the home directory is no absolute path"));
        }
        Ok(Self { home, account: Some(account) })
    }

    /// Becomes that user, with all ids and without any other group. There is no way back.
    ///
    /// # Errors
    /// The kernel refused; the process must end.
    pub fn become_user(&self) -> Result<(), Failure> {
        let Some(account) = &self.account else { return Ok(()) };
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        // This process has one thread, so changing the thread's ids changes all of it.
        set_thread_groups(&[])
            .and_then(|()| set_thread_res_gid(gid, gid, gid))
            .and_then(|()| set_thread_res_uid(uid, uid, uid))
            .map_err(|errno| Failure::failed(&format!("cannot become the receiving user: {errno}")))?;
        // Changing ids has made this process's files in /proc root's, and fat-reader's would be as well: then nobody
        // could write its id map.
        set_dumpable_behavior(DumpableBehavior::Dumpable)
            .map_err(|errno| Failure::failed(&format!("cannot become the receiving user: {errno}")))?;
        if geteuid() != uid || getegid() != gid {
            return Err(Failure::failed("cannot become the receiving user"));
        }
        Ok(())
    }
}

struct User<'a> {
    name: &'a [u8],
    uid: u32,
}

/// Looks through lines `name:password:uid:gid:comment:home:shell` (passwd(5)).
fn find_user(users: &[u8], is_wanted: impl Fn(&User<'_>) -> bool) -> Option<Account> {
    users.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let uid = number(fields.nth(1)?)?;
        let gid = number(fields.next()?)?;
        let home = std::str::from_utf8(fields.nth(1)?).ok()?;
        let found = is_wanted(&User { name, uid });
        found.then(|| Account { uid, gid, home: PathBuf::from(home) })
    })
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn read_passwd() -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::failed(&format!("cannot read /etc/passwd: {error}"));
    let mut users = Vec::new();
    let file = File::open("/etc/passwd").map_err(failed)?;
    file.take(PASSWD_BYTES_MAX).read_to_end(&mut users).map_err(failed)?;
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbad line\nshort:x:1\n\
        user:x:1000:1001:,,,:/home/user:/bin/bash\nother:x:1002:1002::/home/other:/bin/sh\n";

    fn caller(is_real_root: bool, user: Option<&str>, home_option: Option<&str>) -> Caller {
        Caller {
            is_real_root,
            home: Some("/home/me".into()),
            user: user.map(str::to_owned),
            home_option: home_option.map(PathBuf::from),
        }
    }

    fn find(caller: Caller) -> Result<Receiver, Failure> {
        Receiver::find_in(caller, || Ok(USERS.to_vec()))
    }

    #[test]
    fn root_becomes_the_user_of_the_vm() {
        let receiver = find(caller(true, None, None)).unwrap();
        assert_eq!(receiver.home, PathBuf::from("/home/user"));
        let account = receiver.account.unwrap();
        assert_eq!((account.uid, account.gid), (1000, 1001));
        let receiver = find(caller(true, Some("other"), Some("/rw/home"))).unwrap();
        assert_eq!((receiver.home.to_str(), receiver.account.unwrap().uid), (Some("/rw/home"), 1002));
    }

    #[test]
    fn nothing_is_ever_received_as_root() {
        for user in ["root", "nobody-of-that-name", ""] {
            assert!(find(caller(true, Some(user), None)).is_err(), "{user:?}");
        }
    }

    #[test]
    fn everybody_else_receives_at_home() {
        let receiver = find(caller(false, None, None)).unwrap();
        assert_eq!((receiver.home.to_str(), receiver.account), (Some("/home/me"), None));
        assert!(find(caller(false, Some("other"), None)).is_err());
        for home in [None, Some(OsString::new()), Some("relative".into())] {
            assert!(find(Caller { home, ..caller(false, None, None) }).is_err());
        }
    }
}
