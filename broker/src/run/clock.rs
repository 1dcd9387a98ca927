//! Time for the broker.

use std::time::Instant;

/// A clock that only goes forward, in milliseconds since the broker began. The standard library asks the
/// vdso, which needs no system call; rustix would first look for the vdso with one.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the beginning.
    pub fn ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
