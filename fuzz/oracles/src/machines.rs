//! The other small state machines by sequences of events: xs-monitor, dvm-launcher, control's desk, and the notifier's
//! conversation with the bus.

use crate::bytes::Bytes;
use crate::{bus, desk, launcher, monitor};

/// The first byte says which.
pub fn run(untrusted: &[u8]) {
    let mut bytes = Bytes::new(untrusted);
    [monitor::run, launcher::run, desk::run, bus::run][bytes.below(4)](bytes);
}
