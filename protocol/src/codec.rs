//! Bytes to message and back: bincode behind bounds of our own.
//!
//! bincode accepts trailing bytes, non-canonical integers and unbounded output. So every message type
//! here is neither recursive nor zero-sized in a vector, a datagram must be used up to its last byte, and
//! a message that would be longer than [`MESSAGE_BYTES_MAX`] is an error at the sender.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bincode::{Decode, Encode};

/// Longest message on any edge, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Fixed-width integers: each value has one encoding only.
type Wire = Configuration<LittleEndian, Fixint, Limit<MESSAGE_BYTES_MAX>>;

const WIRE: Wire = bincode::config::standard().with_fixed_int_encoding().with_limit::<MESSAGE_BYTES_MAX>();

/// Why bytes are not a message, or a message does not become bytes. Carries no byte of the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not a message of the expected type.
    #[error("the datagram does not decode")]
    Malformed,
    /// The message ended before the datagram did.
    #[error("the datagram has bytes after its message")]
    Trailing,
    /// The message would exceed [`MESSAGE_BYTES_MAX`].
    #[error("the message is longer than a datagram may be")]
    TooLong,
}

/// Turns a message into the bytes of one datagram.
///
/// # Errors
/// [`CodecError::TooLong`] if it would exceed [`MESSAGE_BYTES_MAX`].
pub fn encode<M: Encode>(message: &M) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Bounded(Vec::with_capacity(TYPICAL_BYTES));
    bincode::encode_into_writer(message, &mut bytes, WIRE).map_err(|_| CodecError::TooLong)?;
    Ok(bytes.0)
}

/// Room that nearly every message fits into, in bytes.
const TYPICAL_BYTES: usize = 256;

/// Bytes of a message that grow up to [`MESSAGE_BYTES_MAX`], since bincode's own limit is for decoding only.
struct Bounded(Vec<u8>);

impl Writer for Bounded {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if self.0.len().saturating_add(bytes.len()) > MESSAGE_BYTES_MAX {
            return Err(EncodeError::UnexpectedEnd);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Turns the bytes of one whole datagram into a message.
///
/// # Errors
/// [`CodecError::Malformed`] for what is no such message, [`CodecError::Trailing`] when bytes are left over.
pub fn decode<M: Decode<()>>(untrusted_datagram: &[u8]) -> Result<M, CodecError> {
    let (message, used) =
        bincode::decode_from_slice(untrusted_datagram, WIRE).map_err(|_| CodecError::Malformed)?;
    if used == untrusted_datagram.len() { Ok(message) } else { Err(CodecError::Trailing) }
}

/// Longest settings that a worker is handed at its start, in bytes.
pub const SETTINGS_BYTES_MAX: usize = 1024 * 1024;

const SETTINGS: Configuration<LittleEndian, Fixint, Limit<SETTINGS_BYTES_MAX>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit::<SETTINGS_BYTES_MAX>();

/// Turns the settings of a worker into the bytes of its memory file.
///
/// # Errors
/// [`CodecError::TooLong`] if they would exceed [`SETTINGS_BYTES_MAX`].
pub fn encode_settings<M: Encode>(settings: &M) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::encode_to_vec(settings, SETTINGS).map_err(|_| CodecError::TooLong)?;
    if bytes.len() <= SETTINGS_BYTES_MAX { Ok(bytes) } else { Err(CodecError::TooLong) }
}

/// Turns the bytes of a memory file into the settings of a worker.
///
/// # Errors
/// As [`decode`].
pub fn decode_settings<M: Decode<()>>(bytes: &[u8]) -> Result<M, CodecError> {
    let (settings, used) = bincode::decode_from_slice(bytes, SETTINGS).map_err(|_| CodecError::Malformed)?;
    if used == bytes.len() { Ok(settings) } else { Err(CodecError::Trailing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_decodes_only_from_its_whole_datagram() {
        let mut bytes = encode(&(7_u32, String::from("seven"))).unwrap();
        assert_eq!(decode::<(u32, String)>(&bytes), Ok((7, String::from("seven"))));
        bytes.push(0);
        assert_eq!(decode::<(u32, String)>(&bytes), Err(CodecError::Trailing));
        bytes.truncate(bytes.len() - 2);
        assert_eq!(decode::<(u32, String)>(&bytes), Err(CodecError::Malformed));
        assert_eq!(decode::<u32>(&[]), Err(CodecError::Malformed));
    }

    #[test]
    fn l19_the_longest_message_is_exactly_the_limit() {
        // A vector is its length in 8 bytes, then its items.
        let longest = vec![1_u8; MESSAGE_BYTES_MAX - 8];
        let bytes = encode(&longest).unwrap();
        assert_eq!(bytes.len(), MESSAGE_BYTES_MAX);
        assert_eq!(decode::<Vec<u8>>(&bytes), Ok(longest));
        assert_eq!(encode(&vec![1_u8; MESSAGE_BYTES_MAX - 7]), Err(CodecError::TooLong));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_memory_is_taken() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.extend([0; 32]);
        assert_eq!(decode::<Vec<u8>>(&bytes), Err(CodecError::Malformed));
    }
}
