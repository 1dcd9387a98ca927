//! Who may do what with a node.

use super::path::Domid;
use super::wire::XsError;

/// What one entry of a permission list grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Neither reading nor writing.
    None,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    Both,
}

/// What somebody wants to do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// See its value, children and permissions.
    Read,
    /// Change its value, make children, remove it.
    Write,
    /// Change its permissions.
    Own,
}

impl Access {
    fn letter(self) -> char {
        match self {
            Self::None => 'n',
            Self::Read => 'r',
            Self::Write => 'w',
            Self::Both => 'b',
        }
    }

    fn grants(self, wish: Wish) -> bool {
        match wish {
            Wish::Read => matches!(self, Self::Read | Self::Both),
            Wish::Write => matches!(self, Self::Write | Self::Both),
            Wish::Own => false,
        }
    }
}

/// The permission list of a node: its owner with what everybody else may do, then exceptions for single domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    owner: Domid,
    default: Access,
    others: Vec<(Domid, Access)>,
}

impl Permissions {
    /// A list of which the first entry is `owner`, `default`.
    #[must_use]
    pub fn new(owner: Domid, default: Access, others: &[(Domid, Access)]) -> Self {
        Self { owner, default, others: others.to_vec() }
    }

    /// Reads the strings of a SET_PERMS request, like `n0` or `r12`.
    ///
    /// # Errors
    /// [`XsError::Invalid`] for no string at all or one that is no permission.
    pub fn parse(entries: &[&[u8]]) -> Result<Self, XsError> {
        let parsed: Vec<(Domid, Access)> =
            entries.iter().map(|raw| parse_entry(raw)).collect::<Option<_>>().ok_or(XsError::Invalid)?;
        let ((owner, default), others) = parsed.split_first().ok_or(XsError::Invalid)?;
        Ok(Self::new(*owner, *default, others))
    }

    /// The strings of a GET_PERMS reply, each NUL-terminated.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries = std::iter::once((self.owner, self.default)).chain(self.others.iter().copied());
        entries.flat_map(|(domid, access)| format!("{}{domid}\0", access.letter()).into_bytes()).collect()
    }

    /// Whether `domid` may do what it wishes. Domain 0 and the owner may everything.
    #[must_use]
    pub fn allow(&self, domid: Domid, wish: Wish) -> bool {
        if domid == 0 || domid == self.owner {
            return true;
        }
        let own_entry = self.others.iter().find(|(whom, _)| *whom == domid);
        own_entry.map_or(self.default, |(_, access)| *access).grants(wish)
    }

    /// The domain whose node this is.
    #[must_use]
    pub fn owner(&self) -> Domid {
        self.owner
    }

    /// Entries in the list, the owner's included.
    #[must_use]
    pub fn entries(&self) -> usize {
        1 + self.others.len()
    }

    /// The list for a node that `maker` makes below one with this list: an unprivileged maker owns what it makes.
    #[must_use]
    pub fn inherited_by(&self, maker: Domid) -> Self {
        let owner = if maker == 0 { self.owner } else { maker };
        Self { owner, ..self.clone() }
    }

    /// The list without the exceptions for `domid`.
    #[must_use]
    pub fn without(&self, domid: Domid) -> Self {
        let others = self.others.iter().copied().filter(|(whom, _)| *whom != domid).collect();
        Self { others, ..self.clone() }
    }
}

fn parse_entry(raw: &[u8]) -> Option<(Domid, Access)> {
    let (letter, digits) = raw.split_first()?;
    let access = match letter {
        b'n' => Access::None,
        b'r' => Access::Read,
        b'w' => Access::Write,
        b'b' => Access::Both,
        _ => return None,
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let domid: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((Domid::from(domid), access))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole matrix: each kind of domain against each letter, as default and as an exception.
    #[test]
    fn every_letter_grants_what_it_says_and_no_more() {
        let cases = [
            (Access::None, false, false),
            (Access::Read, true, false),
            (Access::Write, false, true),
            (Access::Both, true, true),
        ];
        for (access, read, write) in cases {
            let by_default = Permissions::new(0, access, &[]);
            let by_exception = Permissions::new(0, Access::None, &[(5, access)]);
            for list in [&by_default, &by_exception] {
                assert_eq!(list.allow(5, Wish::Read), read, "{access:?}");
                assert_eq!(list.allow(5, Wish::Write), write, "{access:?}");
                assert!(!list.allow(5, Wish::Own), "{access:?}");
                assert!(list.allow(0, Wish::Read) && list.allow(0, Wish::Write) && list.allow(0, Wish::Own));
            }
            assert!(!by_exception.allow(6, Wish::Read) && !by_exception.allow(6, Wish::Write));
            let owned = Permissions::new(5, Access::None, &[]);
            assert!(owned.allow(5, Wish::Read) && owned.allow(5, Wish::Write) && owned.allow(5, Wish::Own));
        }
    }

    #[test]
    fn an_exception_may_take_away_what_the_default_grants() {
        let list = Permissions::new(0, Access::Both, &[(5, Access::None), (5, Access::Both)]);
        assert!(!list.allow(5, Wish::Read) && list.allow(6, Wish::Write));
    }

    #[test]
    fn a_list_survives_the_wire() {
        let list = Permissions::parse(&[b"n0", b"b7", b"r8", b"w9"]).unwrap();
        assert_eq!(list.encode(), b"n0\0b7\0r8\0w9\0");
        assert_eq!(list.entries(), 4);
    }

    #[test]
    fn malformed_lists_are_refused() {
        let malformed: [&[&[u8]]; 7] =
            [&[], &[b""], &[b"n"], &[b"x0"], &[b"n-1"], &[b"n0", b"r99999"], &[b"n0", b"r1 "]];
        for entries in malformed {
            assert_eq!(Permissions::parse(entries), Err(XsError::Invalid), "{entries:?}");
        }
    }

    #[test]
    fn a_guest_owns_what_it_makes_and_domain_0_keeps_the_owner() {
        let list = Permissions::new(0, Access::None, &[(7, Access::Both)]);
        assert_eq!(list.inherited_by(7).owner(), 7);
        assert_eq!(list.inherited_by(0), list);
        assert_eq!(list.without(7).entries(), 1);
    }
}
