//! The edge between the broker and the notifier: down go the notices that the dialog is told as well
//! ([`Notice`]), up comes nothing but lines for the log ([`LogLine`]), in any state.

pub use crate::dialog::Notice;
pub use crate::log::LogLine;

/// The exit code of a notifier whose bus is gone, or is of no use (`EX_UNAVAILABLE` of sysexits.h), as that of a dialog
/// without a display: it is no mistake of the program's, and it is started again when there is a bus.
pub const EXIT_NO_BUS: u8 = crate::dialog::EXIT_NO_DISPLAY;
