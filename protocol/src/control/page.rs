//! A bounded piece of a list.

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

/// At most `MAX` items, and whether there are more behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, const MAX: usize> {
    items: Vec<T>,
    more: bool,
}

impl<T, const MAX: usize> Page<T, MAX> {
    /// Takes the first `MAX` items.
    #[must_use]
    pub fn first_of(all: impl IntoIterator<Item = T>) -> Self {
        let mut all = all.into_iter();
        let items = all.by_ref().take(MAX).collect();
        Self { items, more: all.next().is_some() }
    }

    /// The items.
    #[must_use]
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// The items.
    #[must_use]
    pub fn into_items(self) -> Vec<T> {
        self.items
    }

    /// Whether there are more behind them.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.more
    }
}

impl<T: Encode, const MAX: usize> Encode for Page<T, MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.items.encode(encoder)?;
        self.more.encode(encoder)
    }
}

impl<Context, T: Decode<Context>, const MAX: usize> Decode<Context> for Page<T, MAX> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let items = Vec::<T>::decode(decoder)?;
        let more = bool::decode(decoder)?;
        // An empty page that says "go on" would be asked for again and again.
        if items.len() > MAX || (more && items.is_empty()) {
            return Err(DecodeError::Other("page out of bounds"));
        }
        Ok(Self { items, more })
    }
}

impl<'de, Context, T: Decode<Context>, const MAX: usize> BorrowDecode<'de, Context> for Page<T, MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{CodecError, decode, encode};

    #[test]
    fn l19_a_page_is_bounded_when_it_is_made_and_when_it_is_decoded() {
        for (count, kept, more) in [(0_u8, 0, false), (1, 1, false), (3, 3, false), (4, 3, true)] {
            let page = Page::<u8, 3>::first_of(0..count);
            assert_eq!((page.items().len(), page.has_more()), (kept, more), "{count}");
            assert_eq!(decode::<Page<u8, 3>>(&encode(&page).unwrap()), Ok(page));
        }
        let longer = encode(&Page::<u8, 4>::first_of(0..4)).unwrap();
        assert_eq!(decode::<Page<u8, 3>>(&longer), Err(CodecError::Malformed));
        assert_eq!(decode::<Page<u8, 3>>(&encode(&(0_u64, true)).unwrap()), Err(CodecError::Malformed));
    }
}
