//! Lists of children, in one reply or in parts.

use crate::connection::Connection;
use crate::error::{Error, Refusal};
use crate::wire::Kind;

/// Most bytes of one list, the NUL of each name counted.
pub const DIRECTORY_BYTES_MAX: usize = 1 << 20;
/// Most times that a list in parts is begun anew because the node changed meanwhile.
pub const DIRECTORY_TRIES_MAX: usize = 16;

/// Lists the children of a node; in parts when they do not fit into one reply (`E2BIG`).
pub(crate) fn list(
    connection: &mut Connection,
    transaction_id: u32,
    path: &str,
) -> Result<Vec<Vec<u8>>, Error> {
    match connection.call(Kind::Directory, transaction_id, &[path.as_bytes(), b"\0"]) {
        Ok(names) => split_names(&names),
        Err(Error::Refused(Refusal::TooBig)) => list_in_parts(connection, transaction_id, path),
        Err(error) => Err(error),
    }
}

fn list_in_parts(
    connection: &mut Connection,
    transaction_id: u32,
    path: &str,
) -> Result<Vec<Vec<u8>>, Error> {
    for _ in 0..DIRECTORY_TRIES_MAX {
        if let Some(names) = try_list_in_parts(connection, transaction_id, path)? {
            return split_names(&names);
        }
    }
    Err(Error::Disturbed)
}

/// All names, or `None` when the node changed between two parts.
fn try_list_in_parts(
    connection: &mut Connection,
    transaction_id: u32,
    path: &str,
) -> Result<Option<Vec<u8>>, Error> {
    let mut names = Vec::new();
    let mut first_generation = None;
    loop {
        let offset = names.len().to_string();
        let parts = [path.as_bytes(), b"\0", offset.as_bytes(), b"\0"];
        let reply = connection.call(Kind::DirectoryPart, transaction_id, &parts)?;
        let (generation, part) = split_generation(&reply)?;
        if *first_generation.get_or_insert(generation) != generation {
            return Ok(None);
        }
        // The last part ends in an empty name.
        let (part, last) = match part {
            [names @ .., 0] if matches!(names.last(), None | Some(0)) => (names, true),
            [.., 0] => (part, false),
            _ => return Err(Error::BadReply),
        };
        if names.len() + part.len() > DIRECTORY_BYTES_MAX {
            return Err(Error::TooMany);
        }
        names.extend_from_slice(part);
        if last {
            return Ok(Some(names));
        }
    }
}

/// Splits a part into the generation count of the node and the names.
fn split_generation(reply: &[u8]) -> Result<(u64, &[u8]), Error> {
    let end = reply.iter().position(|byte| *byte == 0).ok_or(Error::BadReply)?;
    let (digits, rest) = reply.split_at(end);
    let text = str::from_utf8(digits).map_err(|_| Error::BadReply)?;
    let generation = text.parse().map_err(|_| Error::BadReply)?;
    Ok((generation, rest.split_first().map_or(&[][..], |(_nul, part)| part)))
}

/// Splits a list in which each name is followed by a NUL.
fn split_names(names: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names = names.strip_suffix(b"\0").ok_or(Error::BadReply)?;
    let names = names.split(|byte| *byte == 0);
    names.map(|name| if name.is_empty() { Err(Error::BadReply) } else { Ok(name.to_vec()) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_split_and_malformed_ones_refused() {
        assert_eq!(split_names(b""), Ok(Vec::new()));
        assert_eq!(split_names(b"0\0" as &[u8]), Ok(vec![b"0".to_vec()]));
        assert_eq!(split_names(b"0\x0010\0"), Ok(vec![b"0".to_vec(), b"10".to_vec()]));
        for names in [&b"0"[..], b"\0", b"0\0\0", b"\x000\0"] {
            assert_eq!(split_names(names), Err(Error::BadReply));
        }
    }

    #[test]
    fn a_part_begins_with_a_generation_count() {
        assert_eq!(split_generation(b"17\0a\0"), Ok((17, &b"a\0"[..])));
        assert_eq!(split_generation(b"17\0"), Ok((17, &b""[..])));
        for reply in [&b""[..], b"17", b"\0a\0", b"x\0a\0", b"18446744073709551616\0a\0"] {
            assert_eq!(split_generation(reply), Err(Error::BadReply));
        }
    }
}
