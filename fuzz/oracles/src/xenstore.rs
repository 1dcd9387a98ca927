//! xenstore's wire: the project's client under a hostile server, and the simulator's server under a hostile guest.

use crate::bytes::Bytes;
use crate::{client, store};

/// The first byte says which of the two.
pub fn run(untrusted: &[u8]) {
    let mut bytes = Bytes::new(untrusted);
    if bytes.flag() { client::run(bytes) } else { store::run(bytes) }
}
