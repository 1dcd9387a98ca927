//! Who may ask: root, the members of one group, or, where the daemon has no accounts, whoever runs it.
//!
//! The mode of the socket says the same. This is looked at besides, since a mode can be changed by mistake.

use protocol::settings::ControlSettings;
use sys::peer::Peer;
use sys::spawn::Account;

/// Root's user id.
const ROOT: u32 = 0;

/// The user id of a client that may ask, as it is outside of this process's namespace; `None` for anybody else.
#[must_use]
pub fn admitted(settings: ControlSettings, peer: &Peer) -> Option<u32> {
    match settings {
        ControlSettings::Accounts { uid: own_uid, gid: own_gid, group } => {
            let uid = Account::outside(own_uid, peer.uid);
            let in_group = group.is_some_and(|group| peer.is_in(Account::inside(own_gid, group)));
            (uid == ROOT || in_group).then_some(uid)
        }
        // Everybody but the owner is the overflow id here.
        ControlSettings::Owner { uid } => (peer.uid == 0).then_some(uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: u32 = 64_306;
    const GID: u32 = 64_406;
    const GROUP: u32 = 990;

    /// A peer with these ids outside, as control sees it.
    fn peer(uid: u32, gid: u32, groups: &[u32]) -> Peer {
        Peer {
            uid: Account::inside(UID, uid),
            gid: Account::inside(GID, gid),
            groups: groups.iter().map(|group| Account::inside(GID, *group)).collect(),
        }
    }

    #[test]
    fn root_and_members_of_the_group_may_ask_and_nobody_else() {
        let settings = ControlSettings::Accounts { uid: UID, gid: GID, group: Some(GROUP) };
        for (peer, expected) in [
            (peer(0, 0, &[]), Some(0)),
            (peer(0, 5, &[7]), Some(0)),
            (peer(1000, GROUP, &[]), Some(1000)),
            (peer(1000, 1000, &[4, GROUP, 27]), Some(1000)),
            (peer(70_000, 1000, &[GROUP]), Some(70_000)),
            (peer(1000, 1000, &[4, 27]), None),
            (peer(1000, GROUP + 1, &[GROUP - 1]), None),
            (peer(1, 1, &[0]), None),
            (peer(UID, GID, &[]), None),
            (peer(65_534, 65_534, &[]), None),
        ] {
            assert_eq!(admitted(settings, &peer), expected, "{peer:?}");
        }
        let nobody = ControlSettings::Accounts { uid: UID, gid: GID, group: None };
        assert_eq!(admitted(nobody, &peer(0, 0, &[])), Some(0));
        assert_eq!(admitted(nobody, &peer(1000, GROUP, &[GROUP])), None);
    }

    #[test]
    fn without_accounts_only_the_owner_may_ask() {
        let settings = ControlSettings::Owner { uid: 1000 };
        assert_eq!(admitted(settings, &Peer { uid: 0, gid: 0, groups: vec![] }), Some(1000));
        assert_eq!(admitted(settings, &Peer { uid: 65_534, gid: 65_534, groups: vec![0] }), None);
    }
}
