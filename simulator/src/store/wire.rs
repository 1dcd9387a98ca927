//! The messages of the xenstore protocol: a header of four 32-bit numbers in the machine's byte order, then a
//! payload. Source of the format: Xen's public header `io/xs_wire.h`.

use super::limits::PAYLOAD_BYTES_MAX;

/// Bytes of a message header.
pub const HEADER_BYTES: usize = 16;

/// The operations that this store knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Commands to the daemon itself; none is played.
    Control,
    /// Names of a node's children.
    Directory,
    /// Value of a node.
    Read,
    /// Owner and permissions of a node.
    GetPerms,
    /// Begin to watch.
    Watch,
    /// Stop to watch.
    Unwatch,
    /// Open a transaction.
    TransactionStart,
    /// Commit or abandon a transaction.
    TransactionEnd,
    /// Toolstack only; the simulator's own commands take its place.
    Introduce,
    /// Toolstack only, see [`Operation::Introduce`].
    Release,
    /// Home directory of a domain.
    GetDomainPath,
    /// Set a value, making the node where it is missing.
    Write,
    /// Make a node.
    Mkdir,
    /// Remove a node and everything below.
    Rm,
    /// Set owner and permissions of a node.
    SetPerms,
    /// Whether a domain is known.
    IsDomainIntroduced,
    /// Toolstack only, see [`Operation::Introduce`].
    Resume,
    /// Toolstack only, see [`Operation::Introduce`].
    SetTarget,
    /// Forget all watches and transactions of this connection.
    ResetWatches,
    /// Names of a node's children, from an offset on.
    DirectoryPart,
}

/// The number of a watch event.
pub const WATCH_EVENT: u32 = 15;
/// The number of an error reply.
pub const ERROR: u32 = 16;

impl Operation {
    /// The operation of that number, if a client may send it.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Control,
            1 => Self::Directory,
            2 => Self::Read,
            3 => Self::GetPerms,
            4 => Self::Watch,
            5 => Self::Unwatch,
            6 => Self::TransactionStart,
            7 => Self::TransactionEnd,
            8 => Self::Introduce,
            9 => Self::Release,
            10 => Self::GetDomainPath,
            11 => Self::Write,
            12 => Self::Mkdir,
            13 => Self::Rm,
            14 => Self::SetPerms,
            17 => Self::IsDomainIntroduced,
            18 => Self::Resume,
            19 => Self::SetTarget,
            21 => Self::ResetWatches,
            22 => Self::DirectoryPart,
            _ => return None,
        })
    }

    /// Whether only domain 0 may ask for it.
    #[must_use]
    pub fn is_privileged(self) -> bool {
        matches!(
            self,
            Self::Control
                | Self::Introduce
                | Self::Release
                | Self::IsDomainIntroduced
                | Self::Resume
                | Self::SetTarget
        )
    }
}

/// The errors of the protocol, which travel by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XsError {
    /// The request or its path is malformed.
    #[error("EINVAL")]
    Invalid,
    /// The permissions do not allow it.
    #[error("EACCES")]
    Access,
    /// Such a watch exists.
    #[error("EEXIST")]
    Exists,
    /// No such node, watch or transaction.
    #[error("ENOENT")]
    NotFound,
    /// A quota of the guest is used up.
    #[error("ENOSPC")]
    NoSpace,
    /// The operation is not played here.
    #[error("ENOSYS")]
    NotPlayed,
    /// A transaction inside a transaction.
    #[error("EBUSY")]
    Busy,
    /// The transaction met a change by somebody else: try it again.
    #[error("EAGAIN")]
    Again,
    /// The answer does not fit into a message, or too many watches.
    #[error("E2BIG")]
    TooBig,
    /// An owner may not give its node away.
    #[error("EPERM")]
    NotPermitted,
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the operation.
    pub kind: u32,
    /// Chosen by the client, repeated in the reply.
    pub request_id: u32,
    /// Transaction, 0 for none.
    pub transaction_id: u32,
    /// Bytes of payload that follow.
    pub payload_bytes: u32,
}

impl Header {
    /// Reads a header. Nothing in it is checked yet.
    #[must_use]
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 4];
            for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
                *to = *from;
            }
            u32::from_ne_bytes(word)
        };
        Self { kind: word(0), request_id: word(4), transaction_id: word(8), payload_bytes: word(12) }
    }

    /// The header as it travels.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let words = [self.kind, self.request_id, self.transaction_id, self.payload_bytes];
        for (to, from) in bytes.iter_mut().zip(words.iter().flat_map(|word| word.to_ne_bytes())) {
            *to = from;
        }
        bytes
    }
}

/// One message on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The header, its length field true.
    pub header: Header,
    /// At most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Vec<u8>,
}

impl Message {
    /// A reply to `request`; one that does not fit becomes an error.
    #[must_use]
    pub fn reply(request: &Header, payload: Vec<u8>) -> Self {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Self::error(request, XsError::TooBig);
        }
        Self::new(request.kind, request.request_id, request.transaction_id, payload)
    }

    /// The error reply to `request`.
    #[must_use]
    pub fn error(request: &Header, error: XsError) -> Self {
        let mut payload = error.to_string().into_bytes();
        payload.push(0);
        Self::new(ERROR, request.request_id, request.transaction_id, payload)
    }

    /// A watch event: path and token, each NUL-terminated. `None` if it does not fit into a message.
    #[must_use]
    pub fn event(path: &str, token: &[u8]) -> Option<Self> {
        let payload = [path.as_bytes(), &[0], token, &[0]].concat();
        (payload.len() <= PAYLOAD_BYTES_MAX).then(|| Self::new(WATCH_EVENT, 0, 0, payload))
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    fn new(kind: u32, request_id: u32, transaction_id: u32, payload: Vec<u8>) -> Self {
        let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        Self { header: Header { kind, request_id, transaction_id, payload_bytes }, payload }
    }
}

/// The strings of a payload, each NUL-terminated; a rest without NUL is given last.
#[must_use]
pub fn strings(payload: &[u8]) -> (Vec<&[u8]>, Option<&[u8]>) {
    let mut parts: Vec<&[u8]> = payload.split(|byte| *byte == 0).collect();
    let rest = parts.pop().filter(|rest| !rest.is_empty());
    (parts, rest)
}

/// The payload as exactly one NUL-terminated string.
#[must_use]
pub fn single_string(payload: &[u8]) -> Option<&[u8]> {
    let (string, rest) = payload.split_at_checked(payload.len().checked_sub(1)?)?;
    (rest == [0] && !string.contains(&0)).then_some(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header = Header { kind: 11, request_id: 7, transaction_id: u32::MAX, payload_bytes: 4096 };
        assert_eq!(Header::decode(&header.encode()), header);
    }

    #[test]
    fn strings_are_split_at_each_nul() {
        assert_eq!(strings(b"a\0b\0"), (vec![&b"a"[..], b"b"], None));
        assert_eq!(strings(b"a\0b"), (vec![&b"a"[..]], Some(&b"b"[..])));
        assert_eq!(strings(b""), (vec![], None));
        assert_eq!(single_string(b"a\0"), Some(&b"a"[..]));
        assert_eq!(single_string(b"\0"), Some(&b""[..]));
        for malformed in [&b""[..], b"a", b"a\0b\0", b"a\0b"] {
            assert_eq!(single_string(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn a_reply_of_one_byte_too_much_becomes_an_error() {
        let request = Header { kind: 2, request_id: 1, transaction_id: 0, payload_bytes: 0 };
        assert_eq!(Message::reply(&request, vec![0; PAYLOAD_BYTES_MAX]).header.kind, 2);
        let error = Message::reply(&request, vec![0; PAYLOAD_BYTES_MAX + 1]);
        assert_eq!((error.header.kind, error.payload.as_slice()), (ERROR, &b"E2BIG\0"[..]));
    }
}
