//! The small values that every edge uses: domain ids, names, numbers. None of them can hold a value that
//! the contract does not permit, wherever it came from.

use std::fmt;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

/// Longest VM name in bytes (docs/contract.md, "Requests").
pub const VM_NAME_BYTES_MAX: usize = 63;
/// Longest request id in bytes, without its `#`.
pub const REQID_BYTES_MAX: usize = 32;
/// Largest sequence number of a DisposableVM transaction.
pub const SEQ_MAX: u32 = 2_147_483_647;
/// Largest pendrive that a request can name, in MiB: the largest FAT32 volume of 512-byte sectors, 2 TiB.
/// The configured maximum is far below.
pub const SIZE_MIB_MAX: u32 = 2_097_151;
/// First domid that Xen reserves (`DOMID_FIRST_RESERVED` in xen/include/public/xen.h).
pub const DOMID_FIRST_RESERVED: u16 = 0x7FF0;

/// Why a value does not fit its type. Carries no byte of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A domain id that no guest can have.
    #[error("a guest's domid is 1 to 32751")]
    Domid,
    /// A VM name outside the contract.
    #[error("a VM name is 1 to 63 characters of A-Z a-z 0-9 . _ - and does not begin with . or -")]
    VmName,
    /// A request id outside the contract.
    #[error("a request id is 1 to 32 characters of A-Z a-z 0-9 _ -")]
    ReqId,
    /// A sequence number outside the contract.
    #[error("a SEQ is a decimal number from 1 to 2147483647")]
    Seq,
    /// A pendrive size outside the contract.
    #[error("a size in MiB is a decimal number from 1 to 2097151")]
    SizeMib,
    /// The number of a DisposableVM out of its bounds.
    #[error("the number of a DisposableVM is 1 to 9999")]
    DisposableNumber,
    /// More output of a command than is kept.
    #[error("at most 320 bytes of a command's output are kept")]
    Output,
}

/// The number of a running guest, 1 to 32751. Domain 0 is not a guest and has no such value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domid(u16);

impl Domid {
    /// Accepts what a guest can have.
    ///
    /// # Errors
    /// [`ValueError::Domid`] for domain 0 and for Xen's reserved numbers.
    pub fn new(number: u16) -> Result<Self, ValueError> {
        if number == 0 || number >= DOMID_FIRST_RESERVED { Err(ValueError::Domid) } else { Ok(Self(number)) }
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Domid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A VM's name as the contract permits it: ASCII, so it can be shown and logged as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmName(String);

impl VmName {
    /// Accepts a name of 1 to [`VM_NAME_BYTES_MAX`] permitted characters.
    ///
    /// # Errors
    /// [`ValueError::VmName`].
    pub fn new(untrusted_name: &[u8]) -> Result<Self, ValueError> {
        let first_fits = !matches!(untrusted_name.first(), None | Some(b'.' | b'-'));
        let all_fit = untrusted_name
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !first_fits || !all_fit || untrusted_name.len() > VM_NAME_BYTES_MAX {
            return Err(ValueError::VmName);
        }
        ascii(untrusted_name).map(Self).ok_or(ValueError::VmName)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The identification that a VM gave its request, without the `#`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReqId(String);

impl ReqId {
    /// Accepts an id of 1 to [`REQID_BYTES_MAX`] permitted characters.
    ///
    /// # Errors
    /// [`ValueError::ReqId`].
    pub fn new(untrusted_reqid: &[u8]) -> Result<Self, ValueError> {
        let all_fit =
            untrusted_reqid.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if untrusted_reqid.is_empty() || untrusted_reqid.len() > REQID_BYTES_MAX || !all_fit {
            return Err(ValueError::ReqId);
        }
        ascii(untrusted_reqid).map(Self).ok_or(ValueError::ReqId)
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReqId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The number of a DisposableVM transaction, 1 to [`SEQ_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u32);

impl Seq {
    /// Accepts 1 to [`SEQ_MAX`].
    ///
    /// # Errors
    /// [`ValueError::Seq`].
    pub fn new(number: u32) -> Result<Self, ValueError> {
        if (1..=SEQ_MAX).contains(&number) { Ok(Self(number)) } else { Err(ValueError::Seq) }
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The size of a pendrive in MiB, 1 to [`SIZE_MIB_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeMib(u32);

impl SizeMib {
    /// Accepts 1 to [`SIZE_MIB_MAX`].
    ///
    /// # Errors
    /// [`ValueError::SizeMib`].
    pub fn new(mib: u32) -> Result<Self, ValueError> {
        if (1..=SIZE_MIB_MAX).contains(&mib) { Ok(Self(mib)) } else { Err(ValueError::SizeMib) }
    }

    /// The size in MiB.
    #[must_use]
    pub fn mib(self) -> u32 {
        self.0
    }

    /// The size in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.0) << 20
    }
}

impl fmt::Display for SizeMib {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} MiB", self.0)
    }
}

/// The identity of one pendrive image for its whole life: random, never used twice, and the only thing its
/// file name is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ImageId(pub [u8; 16]);

impl ImageId {
    /// Reads what [`fmt::Display`] wrote: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// One of the two places where a pendrive appears in a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Device {
    /// `xvdg`, what the VM fills and sends.
    Outgoing,
    /// `xvdh`, what the VM received.
    Incoming,
}

impl Device {
    /// Both, in the order of their names.
    pub const ALL: [Self; 2] = [Self::Outgoing, Self::Incoming];

    /// The name of the block device in the guest's kernel.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Outgoing => "xvdg",
            Self::Incoming => "xvdh",
        }
    }

    /// The virtual device number: `202 << 8 | index << 4` (xen/include/public/io/blkif.h, "xvd" scheme).
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Outgoing => 202 << 8 | 6 << 4,
            Self::Incoming => 202 << 8 | 7 << 4,
        }
    }
}

fn ascii(bytes: &[u8]) -> Option<String> {
    if bytes.is_ascii() { String::from_utf8(bytes.to_vec()).ok() } else { None }
}

/// Encodes a checked value as its inner one, and decodes it through its own constructor.
macro_rules! checked_message_field {
    ($outer:ty, $inner:ty, $get:expr, $make:expr, $name:literal) => {
        impl Encode for $outer {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                let get: fn(&$outer) -> &$inner = $get;
                get(self).encode(encoder)
            }
        }
        impl<Context> Decode<Context> for $outer {
            fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
                let untrusted_value = <$inner>::decode(decoder)?;
                let make: fn($inner) -> Result<$outer, ValueError> = $make;
                make(untrusted_value).map_err(|_| DecodeError::Other(concat!($name, " out of bounds")))
            }
        }
        impl<'de, Context> BorrowDecode<'de, Context> for $outer {
            fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
                decoder: &mut D,
            ) -> Result<Self, DecodeError> {
                Self::decode(decoder)
            }
        }
    };
}

pub(crate) use checked_message_field;

checked_message_field!(Domid, u16, |outer| &outer.0, Domid::new, "domid");
checked_message_field!(Seq, u32, |outer| &outer.0, Seq::new, "seq");
checked_message_field!(SizeMib, u32, |outer| &outer.0, SizeMib::new, "size");
checked_message_field!(VmName, String, |outer| &outer.0, |text| VmName::new(text.as_bytes()), "VM name");
checked_message_field!(ReqId, String, |outer| &outer.0, |text| ReqId::new(text.as_bytes()), "request id");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l19_names_are_bounded_at_both_ends() {
        assert!(VmName::new(b"").is_err());
        assert!(VmName::new(b"a").is_ok());
        assert!(VmName::new(&[b'a'; 63]).is_ok());
        assert!(VmName::new(&[b'a'; 64]).is_err());
        assert!(ReqId::new(b"").is_err());
        assert!(ReqId::new(b"-").is_ok());
        assert!(ReqId::new(&[b'9'; 32]).is_ok());
        assert!(ReqId::new(&[b'9'; 33]).is_err());
    }

    #[test]
    fn names_hold_only_the_contracts_characters() {
        for byte in 0..=255_u8 {
            let inside = byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            assert_eq!(VmName::new(&[b'a', byte]).is_ok(), inside, "byte {byte}");
            let first = inside && byte != b'.' && byte != b'-';
            assert_eq!(VmName::new(&[byte]).is_ok(), first, "first byte {byte}");
            let in_reqid = byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            assert_eq!(ReqId::new(&[byte]).is_ok(), in_reqid, "byte {byte} in a request id");
        }
    }

    #[test]
    fn l19_numbers_are_bounded_at_both_ends() {
        assert!(Seq::new(0).is_err());
        assert!(Seq::new(1).is_ok());
        assert!(Seq::new(SEQ_MAX).is_ok());
        assert!(Seq::new(SEQ_MAX + 1).is_err());
        assert!(SizeMib::new(0).is_err());
        assert!(SizeMib::new(1).is_ok());
        assert!(SizeMib::new(SIZE_MIB_MAX).is_ok());
        assert!(SizeMib::new(SIZE_MIB_MAX + 1).is_err());
        assert!(Domid::new(0).is_err());
        assert!(Domid::new(1).is_ok());
        assert!(Domid::new(0x7FEF).is_ok());
        assert!(Domid::new(0x7FF0).is_err());
    }

    #[test]
    fn device_numbers_are_those_of_the_block_interface() {
        assert_eq!(Device::Outgoing.number(), 51808);
        assert_eq!(Device::Incoming.number(), 51824);
    }

    #[test]
    fn an_image_id_reads_back_only_as_it_was_written() {
        let image = ImageId([0xAB; 16]);
        let text = image.to_string();
        assert_eq!(ImageId::from_hex(&text), Some(image));
        assert_eq!(ImageId::from_hex(&text.to_uppercase()), None);
        assert_eq!(ImageId::from_hex(&text[1..]), None);
        assert_eq!(ImageId::from_hex("+bababababababababababababababab"), None);
    }
}
