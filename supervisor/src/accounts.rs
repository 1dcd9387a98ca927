//! Which ids the workers have.

use std::collections::BTreeMap;
use std::path::Path;

use protocol::supervise::Role;
use sys::spawn;

use crate::config::{Account, Accounts, ConfigError};
use crate::files::read_text;

/// The data base of accounts. Those of the daemon are local ones, so nothing else is asked.
const PASSWD_FILE: &str = "/etc/passwd";
/// The data base of groups.
const GROUP_FILE: &str = "/etc/group";
/// Longest data base in bytes.
const PASSWD_BYTES_MAX: usize = 1024 * 1024;

/// The ids of every worker. Empty when this process cannot give them any: then all run as whoever it is.
///
/// # Errors
/// An account that is configured does not exist, is root's, or is another worker's.
pub fn resolve(accounts: &Accounts) -> Result<BTreeMap<Role, spawn::Account>, ConfigError> {
    if !spawn::can_switch_accounts() {
        return Ok(BTreeMap::new());
    }
    of_root(accounts)
}

/// The ids of every worker where root starts the daemon.
///
/// # Errors
/// As [`resolve`].
pub fn of_root(accounts: &Accounts) -> Result<BTreeMap<Role, spawn::Account>, ConfigError> {
    let file = Path::new(PASSWD_FILE);
    resolve_in(accounts, &read_text(file, PASSWD_BYTES_MAX)?).map_err(|text| ConfigError::whole(file, text))
}

/// The number of the group that may use `qfilexchgctl`.
///
/// # Errors
/// It does not exist.
pub fn group(group: Option<&Account>) -> Result<Option<u32>, ConfigError> {
    let file = Path::new(GROUP_FILE);
    match group {
        None => Ok(None),
        Some(Account::Number(number)) => Ok(Some(*number)),
        Some(Account::Name(name)) => {
            let found = look_up_group(&read_text(file, PASSWD_BYTES_MAX)?, name);
            let missing = || {
                let text = format!("has no group {name}: make it, or name another, or \"\", in [control]");
                ConfigError::whole(file, text)
            };
            found.map(Some).ok_or_else(missing)
        }
    }
}

/// The number of a group, by a line `NAME:x:GID:…` (group(5)).
fn look_up_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

fn resolve_in(accounts: &Accounts, passwd: &str) -> Result<BTreeMap<Role, spawn::Account>, String> {
    let mut found: BTreeMap<Role, spawn::Account> = BTreeMap::new();
    for role in Role::ALL {
        let account = match accounts.of(role) {
            Account::Number(number) => spawn::Account { uid: *number, gid: *number },
            Account::Name(name) => look_up(passwd, name).ok_or_else(|| {
                format!("has no account {name} for {role}: make it, or name another in [accounts]")
            })?,
        };
        if account.uid == 0 || account.gid == 0 {
            return Err(format!("the account of {role} is root's or in root's group"));
        }
        if let Some((other, _)) = found.iter().find(|(_, taken)| taken.uid == account.uid) {
            return Err(format!("{role} and {other} would have the same uid {}", account.uid));
        }
        found.insert(role, account);
    }
    Ok(found)
}

/// The ids of a name, by a line `NAME:x:UID:GID:…` (passwd(5)).
fn look_up(passwd: &str, name: &str) -> Option<spawn::Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(spawn::Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const PASSWD: &str = "root:x:0:0::/:/bin/sh\nqfx-broker:x:701:801::/:\nqfx-monitor:x:702:802::/:\n\
                          qfx-gate:x:703:803::/:\nqfx-attacher:x:704:804::/:\nqfx-dialog:x:705:805::/:\n\
                          qfx-launcher:x:706:806::/:\nqfx-control:x:707:807::/:\n\
                          qfx-notifier:x:708:808::/:\nzero:x:0:7::/:\n";

    fn accounts(text: &str) -> Accounts {
        Config::parse(Path::new("f"), text).unwrap().accounts
    }

    #[test]
    fn names_are_looked_up_and_numbers_taken_as_they_are() {
        let found = resolve_in(&accounts("[accounts]\ndialog = \"9000\"\n"), PASSWD).unwrap();
        assert_eq!(found[&Role::Gate], spawn::Account { uid: 703, gid: 803 });
        assert_eq!(found[&Role::Dialog], spawn::Account { uid: 9000, gid: 9000 });
    }

    #[test]
    fn a_group_is_looked_up_by_its_whole_name() {
        let groups = "root:x:0:\nqfilexchgs:x:7:\nqfilexchg:x:990:alice,bob\nbroken:x\n";
        assert_eq!(look_up_group(groups, "qfilexchg"), Some(990));
        assert_eq!(look_up_group(groups, "broken"), None);
        assert_eq!(look_up_group(groups, "qfilexch"), None);
        assert_eq!(group(None), Ok(None));
        assert_eq!(group(Some(&Account::Number(7))), Ok(Some(7)));
        assert!(group(Some(&Account::Name("no-such-group-here".to_owned()))).is_err());
    }

    #[test]
    fn an_account_that_is_missing_or_shared_or_roots_is_refused() {
        assert!(resolve_in(&accounts("[accounts]\nbroker = \"nobody-here\"\n"), PASSWD).is_err());
        assert!(resolve_in(&accounts("[accounts]\nbroker = \"703\"\n"), PASSWD).unwrap_err().contains("703"));
        assert!(
            resolve_in(&accounts("[accounts]\nbroker = \"zero\"\n"), PASSWD).unwrap_err().contains("root")
        );
        assert!(resolve_in(&accounts(""), "qfx-broker:x:1\n").is_err());
    }
}
