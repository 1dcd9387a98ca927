//! Ctrl-C and SIGTERM: noticed between two steps, so that the last line says in which state things are left.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::Failure;
use crate::shown::Line;

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on the first of these signals asks the tool to stop, and a second one ends it at once.
///
/// # Errors
/// The kernel refused the handlers.
pub fn watch() -> Result<(), Failure> {
    let requested = REQUESTED.get_or_init(|| Arc::new(AtomicBool::new(false)));
    for signal in SIGNALS {
        // In this order: the second signal meets the flag that the first one has set.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(requested))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(requested)))
            .map_err(|error| Failure::failed(&format!("cannot watch for signals: {error}")))?;
    }
    Ok(())
}

/// Whether the person wants the tool to stop.
#[must_use]
pub fn requested() -> bool {
    REQUESTED.get().is_some_and(|requested| requested.load(Ordering::Relaxed))
}

/// To be called between two steps.
///
/// # Errors
/// [`Failure::Interrupted`] that says `state_left`.
pub fn check(state_left: &str) -> Result<(), Failure> {
    if requested() {
        return Err(Failure::Interrupted(Line::new(&format!("interrupted: {state_left}"))));
    }
    Ok(())
}

/// A socket that becomes readable when one of these signals comes, for a tool that waits for days and does not look
/// again and again. The signals before it was made are only in [`requested`].
///
/// # Errors
/// The kernel's.
pub fn descriptor() -> Result<UnixStream, Failure> {
    let made = UnixStream::pair().and_then(|(readable, written)| {
        for signal in SIGNALS {
            signal_hook::low_level::pipe::register(signal, written.try_clone()?)?;
        }
        Ok(readable)
    });
    made.map_err(|error| Failure::failed(&format!("cannot watch for signals: {error}")))
}
