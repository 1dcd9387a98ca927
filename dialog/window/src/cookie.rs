//! The cookie that a display asks for, out of the file that `XAUTHORITY` names.
//!
//! Format: Xau(3), as libXau's AuRead.c has it: for each entry a family, then four strings (address, display number,
//! name, data), all numbers 16 bits in network order.

/// Longest file, in bytes; what comes after is not looked at.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

/// The only way to authenticate that is used on local sockets.
const COOKIE_NAME: &[u8] = b"MIT-MAGIC-COOKIE-1";
/// `FamilyLocal` of Xauth.h: the address is a host's name.
const FAMILY_LOCAL: u16 = 256;
/// `FamilyWild` of Xauth.h: any host.
const FAMILY_WILD: u16 = 65_535;

/// Name and data for the display's greeting; both empty where there is no cookie, for a display that asks for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cookie {
    /// How to authenticate.
    pub name: Vec<u8>,
    /// With what.
    pub data: Vec<u8>,
}

/// The first cookie for this local display. Hosts' names are not compared: the file belongs to this host, whose name may
/// have changed since.
#[must_use]
pub fn find(file: &[u8], display: u32) -> Cookie {
    let number = display.to_string().into_bytes();
    let mut rest = file;
    while let Some(entry) = entry(&mut rest) {
        let is_local = matches!(entry.family, FAMILY_LOCAL | FAMILY_WILD);
        let is_display = entry.number.is_empty() || entry.number == number;
        if is_local && is_display && entry.name == COOKIE_NAME {
            return Cookie { name: entry.name.to_vec(), data: entry.data.to_vec() };
        }
    }
    Cookie::default()
}

struct Entry<'a> {
    family: u16,
    number: &'a [u8],
    name: &'a [u8],
    data: &'a [u8],
}

/// The next entry, if it is whole.
fn entry<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    let family = number(rest)?;
    let _address = string(rest)?;
    Some(Entry { family, number: string(rest)?, name: string(rest)?, data: string(rest)? })
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    let (bytes, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(u16::from_be_bytes(*bytes))
}

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(number(rest)?);
    let (string, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(family: u16, number: &[u8], name: &[u8], data: &[u8]) -> Vec<u8> {
        let mut bytes = family.to_be_bytes().to_vec();
        for string in [b"dom0".as_slice(), number, name, data] {
            bytes.extend(u16::try_from(string.len()).unwrap().to_be_bytes());
            bytes.extend(string);
        }
        bytes
    }

    fn cookie(data: &[u8]) -> Cookie {
        Cookie { name: COOKIE_NAME.to_vec(), data: data.to_vec() }
    }

    #[test]
    fn the_first_cookie_of_this_display_is_taken() {
        let file = [
            written(0, b"7", COOKIE_NAME, b"of an address"),
            written(FAMILY_LOCAL, b"8", COOKIE_NAME, b"of another display"),
            written(FAMILY_LOCAL, b"7", b"XDM-AUTHORIZATION-1", b"of another kind"),
            written(FAMILY_LOCAL, b"7", COOKIE_NAME, b"this one"),
            written(FAMILY_WILD, b"", COOKIE_NAME, b"of any display"),
        ]
        .concat();
        assert_eq!(find(&file, 7), cookie(b"this one"));
        assert_eq!(find(&file, 77), cookie(b"of any display"));
    }

    #[test]
    fn l19_a_file_that_is_cut_anywhere_gives_no_half_cookie() {
        let file = written(FAMILY_LOCAL, b"0", COOKIE_NAME, &[7; 16]);
        for length in 0..file.len() {
            assert_eq!(find(&file[..length], 0), Cookie::default(), "{length}");
        }
        assert_eq!(find(&file, 0), cookie(&[7; 16]));
        assert_eq!(find(&[0xFF; 9000], 0), Cookie::default());
    }
}
