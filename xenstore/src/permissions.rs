//! Who may do what with a node.

use crate::error::Error;
use protocol::types::Domid;
use std::fmt;

/// Most entries behind the owner that this client reads or writes.
pub const GRANTS_MAX: usize = 16;

/// A domain that can own or use a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Domain 0.
    Dom0,
    /// A guest.
    Guest(Domid),
}

impl Who {
    fn number(self) -> u16 {
        match self {
            Self::Dom0 => 0,
            Self::Guest(domid) => domid.get(),
        }
    }
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing (`n`).
    None,
    /// Reading (`r`).
    Read,
    /// Writing (`w`).
    Write,
    /// Both (`b`).
    Both,
}

impl Access {
    const fn letter(self) -> char {
        match self {
            Self::None => 'n',
            Self::Read => 'r',
            Self::Write => 'w',
            Self::Both => 'b',
        }
    }

    const fn of_letter(letter: u8) -> Option<Self> {
        match letter {
            b'n' => Some(Self::None),
            b'r' => Some(Self::Read),
            b'w' => Some(Self::Write),
            b'b' => Some(Self::Both),
            _ => None,
        }
    }
}

/// Owner and access list of a node; shown as `n0,b5`.
///
/// The owner and domain 0 may do everything, and may change the list. The first letter is what domains that are
/// not listed may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    owner: Who,
    others: Access,
    grants: Vec<(Who, Access)>,
}

impl Permissions {
    /// `n0,rN`: domain 0 owns it, the guest may read it, nobody else anything.
    #[must_use]
    pub fn guest_reads(domid: Domid) -> Self {
        Self::of_dom0(Who::Guest(domid), Access::Read)
    }

    /// `n0,bN`: domain 0 owns it, the guest may read and write it, nobody else anything. The guest cannot change this.
    #[must_use]
    pub fn guest_reads_and_writes(domid: Domid) -> Self {
        Self::of_dom0(Who::Guest(domid), Access::Both)
    }

    /// `nN,r0`: the guest owns it and can change everything about it: never for a node that is read for a decision.
    #[must_use]
    pub fn guest_owns(domid: Domid) -> Self {
        Self { owner: Who::Guest(domid), others: Access::None, grants: vec![(Who::Dom0, Access::Read)] }
    }

    fn of_dom0(who: Who, access: Access) -> Self {
        Self { owner: Who::Dom0, others: Access::None, grants: vec![(who, access)] }
    }

    /// The owner.
    #[must_use]
    pub fn owner(&self) -> Who {
        self.owner
    }

    /// What this domain may do. The first entry that names it counts, as in xenstored.
    #[must_use]
    pub fn of(&self, who: Who) -> Access {
        if who == self.owner || who == Who::Dom0 {
            return Access::Both;
        }
        let listed = self.grants.iter().find(|(named, _)| *named == who);
        listed.map_or(self.others, |(_, access)| *access)
    }

    /// The list as it goes over the wire: each entry with its NUL.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.to_string().replace(',', "\0").into_bytes();
        bytes.push(0);
        bytes
    }

    /// Reads the payload of a `GET_PERMS` reply.
    ///
    /// # Errors
    /// [`Error::BadReply`] when it is no such list, or names a domain that is neither 0 nor a possible guest;
    /// [`Error::TooMany`] for more than [`GRANTS_MAX`] entries behind the owner.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let payload = payload.strip_suffix(b"\0").unwrap_or(payload);
        let mut entries = payload.split(|byte| *byte == 0).map(decode_entry);
        let (owner, others) = entries.next().unwrap_or(Err(Error::BadReply))?;
        let mut grants = Vec::new();
        for entry in entries {
            if grants.len() >= GRANTS_MAX {
                return Err(Error::TooMany);
            }
            grants.push(entry?);
        }
        Ok(Self { owner, others, grants })
    }
}

fn decode_entry(entry: &[u8]) -> Result<(Who, Access), Error> {
    let (letter, digits) = entry.split_first().ok_or(Error::BadReply)?;
    let access = Access::of_letter(*letter).ok_or(Error::BadReply)?;
    let who = match crate::number::decimal_u16(digits).ok_or(Error::BadReply)? {
        0 => Who::Dom0,
        number => Who::Guest(Domid::new(number).map_err(|_| Error::BadReply)?),
    };
    Ok((who, access))
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.others.letter(), self.owner.number())?;
        for (who, access) in &self.grants {
            write!(f, ",{}{}", access.letter(), who.number())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn five() -> Domid {
        Domid::new(5).unwrap()
    }

    #[test]
    fn permissions_are_shown_and_sent_as_xenstore_writes_them() {
        assert_eq!(Permissions::guest_reads(five()).to_string(), "n0,r5");
        assert_eq!(Permissions::guest_reads_and_writes(five()).to_string(), "n0,b5");
        assert_eq!(Permissions::guest_owns(five()).to_string(), "n5,r0");
        assert_eq!(Permissions::guest_reads_and_writes(five()).encode(), b"n0\0b5\0");
    }

    #[test]
    fn what_was_sent_is_read_back() {
        for permissions in [
            Permissions::guest_reads(five()),
            Permissions::guest_reads_and_writes(five()),
            Permissions::guest_owns(five()),
        ] {
            assert_eq!(Permissions::decode(&permissions.encode()), Ok(permissions));
        }
    }

    #[test]
    fn malformed_lists_are_refused() {
        for payload in
            [&b""[..], b"\0", b"x0\0", b"n\0", b"n0\0\0b5\0", b"n00\0", b"n65536\0", b"n32752\0", b"n-1"]
        {
            assert_eq!(Permissions::decode(payload), Err(Error::BadReply));
        }
    }

    #[test]
    fn l19_lists_of_0_1_16_and_17_grants_are_bounded() {
        let list = |grants: usize| [&b"n0\0"[..], &b"r5\0".repeat(grants)].concat();
        for grants in [0, 1, GRANTS_MAX] {
            assert!(Permissions::decode(&list(grants)).is_ok());
        }
        assert_eq!(Permissions::decode(&list(GRANTS_MAX + 1)), Err(Error::TooMany));
    }

    #[test]
    fn the_owner_may_do_everything_and_a_stranger_what_the_first_letter_says() {
        let permissions = Permissions::guest_reads(five());
        let six = Who::Guest(Domid::new(6).unwrap());
        assert_eq!(permissions.owner(), Who::Dom0);
        assert_eq!(permissions.of(Who::Dom0), Access::Both);
        assert_eq!(permissions.of(Who::Guest(five())), Access::Read);
        assert_eq!(permissions.of(six), Access::None);
    }
}
