//! Ctrl-C and SIGTERM: noticed between two steps, so that the last line says in which state things are left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::Failure;
use crate::shown::Line;

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on the first of these signals asks the tool to stop, and a second one ends it at once.
///
/// # Errors
/// The kernel refused the handlers.
pub fn watch() -> Result<(), Failure> {
    let requested = REQUESTED.get_or_init(|| Arc::new(AtomicBool::new(false)));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
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
