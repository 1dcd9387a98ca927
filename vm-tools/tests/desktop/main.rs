//! The desktop's programs with stand-ins for kdialog, zenity, notify-send and the tools, which write down how they were
//! called and answer as a test wants.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod display;
mod files;
mod managers;
mod rig;
mod send;
mod window;
