//! How often a domain is served (L18).

/// Requests to xenstore on behalf of one domain that may come in a row.
pub const BURST_READS_MAX: u32 = 10;
/// Time after which one more is permitted.
pub const REFILL_MS: u64 = 100;

/// A token bucket: full at the start, one token each [`REFILL_MS`], at most [`BURST_READS_MAX`].
#[derive(Clone, Debug)]
pub struct Bucket {
    tokens: u32,
    refilled_ms: u64,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub const fn full(now_ms: u64) -> Self {
        Self { tokens: BURST_READS_MAX, refilled_ms: now_ms }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now_ms: u64) -> bool {
        self.refill(now_ms);
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }

    /// When there will be a token; a time that has passed when there is one now.
    #[must_use]
    pub fn ready_ms(&self) -> u64 {
        if self.tokens > 0 { 0 } else { self.refilled_ms.saturating_add(REFILL_MS) }
    }

    fn refill(&mut self, now_ms: u64) {
        let due = now_ms.saturating_sub(self.refilled_ms) / REFILL_MS;
        let tokens = u64::from(self.tokens).saturating_add(due);
        self.tokens = u32::try_from(tokens).unwrap_or(u32::MAX).min(BURST_READS_MAX);
        self.refilled_ms = self.refilled_ms.saturating_add(due.saturating_mul(REFILL_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l19_a_full_bucket_gives_ten_reads_and_not_eleven() {
        let mut bucket = Bucket::full(1000);
        assert!((0..BURST_READS_MAX).all(|_| bucket.take(1000)));
        assert!(!bucket.take(1000));
        assert!(!bucket.take(1099));
        assert_eq!(bucket.ready_ms(), 1100);
        assert!(bucket.take(1100));
        assert!(!bucket.take(1100));
    }

    #[test]
    fn a_long_rest_fills_it_and_no_more() {
        let mut bucket = Bucket::full(0);
        while bucket.take(0) {}
        assert!((0..BURST_READS_MAX).all(|_| bucket.take(u64::MAX)));
        assert!(!bucket.take(u64::MAX));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::full(5000);
        while bucket.take(5000) {}
        assert!(!bucket.take(0));
        assert!(bucket.take(5100));
    }
}
