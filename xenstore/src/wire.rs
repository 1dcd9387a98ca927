//! The framing of the xenstore protocol: a header of 16 bytes, then at most 4096 bytes.
//!
//! Source of the format: `xen/include/public/io/xs_wire.h` and `docs/misc/xenstore.txt` of Xen.
//! All numbers are in the byte order of the machine. Nothing here does input or output.

use thiserror::Error;

/// Bytes of a header: type, request id, transaction id, payload length, 32 bits each.
pub const HEADER_BYTES: usize = 16;
/// Most bytes behind a header (`XENSTORE_PAYLOAD_MAX`).
pub const PAYLOAD_BYTES_MAX: usize = 4096;
/// Most bytes of a whole message.
pub const FRAME_BYTES_MAX: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX;
/// Most bytes of an absolute path without its NUL (`XENSTORE_ABS_PATH_MAX`).
pub const PATH_BYTES_MAX: usize = 3072;

/// What a message asks for or answers; only the types that this project knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Names of the children of a node.
    Directory,
    /// Value of a node.
    Read,
    /// Owner and access list of a node.
    GetPerms,
    /// Register a watch.
    Watch,
    /// Remove a watch.
    Unwatch,
    /// Begin a transaction.
    TransactionStart,
    /// Commit or abort a transaction.
    TransactionEnd,
    /// Set the value of a node.
    Write,
    /// Make a node if it is missing.
    Mkdir,
    /// Remove a node and everything below it.
    Rm,
    /// Set owner and access list of a node.
    SetPerms,
    /// A watch has fired (from the server only).
    WatchEvent,
    /// A request was refused (from the server only).
    Error,
    /// Remove all watches of this connection.
    ResetWatches,
    /// A part of the names of the children of a node.
    DirectoryPart,
}

impl Kind {
    /// Every type, for tables and tests.
    pub const ALL: [Self; 15] = [
        Self::Directory,
        Self::Read,
        Self::GetPerms,
        Self::Watch,
        Self::Unwatch,
        Self::TransactionStart,
        Self::TransactionEnd,
        Self::Write,
        Self::Mkdir,
        Self::Rm,
        Self::SetPerms,
        Self::WatchEvent,
        Self::Error,
        Self::ResetWatches,
        Self::DirectoryPart,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Directory => 1,
            Self::Read => 2,
            Self::GetPerms => 3,
            Self::Watch => 4,
            Self::Unwatch => 5,
            Self::TransactionStart => 6,
            Self::TransactionEnd => 7,
            Self::Write => 11,
            Self::Mkdir => 12,
            Self::Rm => 13,
            Self::SetPerms => 14,
            Self::WatchEvent => 15,
            Self::Error => 16,
            Self::ResetWatches => 21,
            Self::DirectoryPart => 22,
        }
    }

    /// The type of a number, if this project knows it.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// The 16 bytes before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the type, see [`Kind`].
    pub kind: u32,
    /// Chosen by the sender of a request, echoed in its reply, zero in a watch event.
    pub request_id: u32,
    /// Zero outside a transaction.
    pub transaction_id: u32,
    /// Length of the payload in bytes.
    pub payload_bytes: u32,
}

impl Header {
    /// The header as it goes over the wire.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let numbers = [self.kind, self.request_id, self.transaction_id, self.payload_bytes];
        for (place, number) in bytes.chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// Reads a header; every 16 bytes are one, its length is checked by [`FrameReader`].
    #[must_use]
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let mut numbers = [0; 4];
        for (number, place) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *number = u32::from_ne_bytes(*place);
        }
        let [kind, request_id, transaction_id, payload_bytes] = numbers;
        Self { kind, request_id, transaction_id, payload_bytes }
    }
}

/// One whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header; `payload_bytes` is the length of `payload`.
    pub header: Header,
    /// At most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A message of these parts.
    ///
    /// # Errors
    /// [`FrameError`] when the payload is longer than [`PAYLOAD_BYTES_MAX`].
    pub fn new(
        kind: u32,
        request_id: u32,
        transaction_id: u32,
        payload: Vec<u8>,
    ) -> Result<Self, FrameError> {
        match u32::try_from(payload.len()) {
            Ok(payload_bytes) if payload.len() <= PAYLOAD_BYTES_MAX => {
                Ok(Self { header: Header { kind, request_id, transaction_id, payload_bytes }, payload })
            }
            Ok(_) | Err(_) => Err(FrameError::TooLong),
        }
    }

    /// The message as it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.extend_from_slice(&self.header.encode());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// A stream of bytes that cannot be cut into messages any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A header announced, or a caller gave, more than [`PAYLOAD_BYTES_MAX`] bytes.
    #[error("a xenstore message is longer than 4096 bytes")]
    TooLong,
}

/// Cuts a stream of bytes into messages, however the bytes were split on their way.
///
/// Holds at most one incomplete message besides what the last [`FrameReader::push`] brought. After an error the
/// stream is useless: every later call gives the same error.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    used: usize,
}

impl FrameReader {
    /// Appends bytes that were just received.
    pub fn push(&mut self, received: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(received);
    }

    /// The next whole message, `None` when more bytes are needed for one.
    ///
    /// # Errors
    /// [`FrameError`] as soon as a header with too great a length is there.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = self.bytes.get(self.used..).unwrap_or_default();
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::decode(header);
        let payload_bytes = match usize::try_from(header.payload_bytes) {
            Ok(bytes) if bytes <= PAYLOAD_BYTES_MAX => bytes,
            Ok(_) | Err(_) => return Err(FrameError::TooLong),
        };
        let Some(payload) = rest.get(..payload_bytes) else { return Ok(None) };
        let frame = Frame { header, payload: payload.to_vec() };
        self.used += HEADER_BYTES + payload_bytes;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u32, payload: &[u8]) -> Frame {
        Frame::new(kind, 7, 0, payload.to_vec()).unwrap()
    }

    #[test]
    fn every_type_has_its_own_number() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_number(kind.number()), Some(kind));
        }
        assert_eq!(Kind::of_number(0), None);
        assert_eq!(Kind::of_number(8), None);
        assert_eq!(Kind::of_number(23), None);
    }

    #[test]
    fn l19_payloads_of_0_1_and_4096_bytes_pass_and_4097_do_not() {
        for length in [0, 1, PAYLOAD_BYTES_MAX] {
            let sent = frame(2, &vec![b'x'; length]);
            let mut reader = FrameReader::default();
            reader.push(&sent.encode());
            assert_eq!(reader.next_frame(), Ok(Some(sent)));
            assert_eq!(reader.next_frame(), Ok(None));
        }
        let too_long = vec![0; PAYLOAD_BYTES_MAX + 1];
        assert_eq!(Frame::new(2, 7, 0, too_long), Err(FrameError::TooLong));
        let header = Header { kind: 2, request_id: 1, transaction_id: 0, payload_bytes: 4097 };
        let mut reader = FrameReader::default();
        reader.push(&header.encode());
        assert_eq!(reader.next_frame(), Err(FrameError::TooLong));
        assert_eq!(reader.next_frame(), Err(FrameError::TooLong));
    }

    #[test]
    fn a_length_of_4_gib_is_refused_before_a_byte_of_it_is_kept() {
        let header = Header { kind: 2, request_id: 1, transaction_id: 0, payload_bytes: u32::MAX };
        let mut reader = FrameReader::default();
        reader.push(&header.encode());
        assert_eq!(reader.next_frame(), Err(FrameError::TooLong));
    }

    proptest! {
        #[test]
        fn messages_survive_any_split_of_the_stream(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(1_usize..30, 1..60),
        ) {
            let sent: Vec<Frame> = payloads.iter().map(|payload| frame(11, payload)).collect();
            let stream: Vec<u8> = sent.iter().flat_map(Frame::encode).collect();
            let mut reader = FrameReader::default();
            let mut got = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                reader.push(now);
                while let Some(frame) = reader.next_frame().unwrap() { got.push(frame) }
                rest = later;
            }
            prop_assert_eq!(got, sent);
        }
    }
}
