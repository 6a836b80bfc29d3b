//! How fast a client may send messages.

use clew_filter_config::terms::Terms;

/// A token bucket that holds what was taken, so that a new one is full under any rate. A message takes as many units as
/// the interval has milliseconds, and each millisecond gives back as many as the interval has messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    taken: u64,
    /// When it was last looked at.
    at: u64,
}

impl Bucket {
    /// Whether one more message is within the rate. One that is not takes nothing.
    pub(super) fn take(&mut self, terms: &Terms, now: u64) -> bool {
        let size = terms.rate_interval_ms.saturating_mul(terms.rate_burst);
        let back = now.saturating_sub(self.at).saturating_mul(terms.rate_messages);
        self.at = self.at.max(now);
        // Under another rate it may have been larger.
        self.taken = self.taken.min(size).saturating_sub(back);
        let taken = self.taken.saturating_add(terms.rate_interval_ms);
        if taken > size {
            return false;
        }
        self.taken = taken;
        true
    }
}

#[cfg(test)]
mod tests {
    use clew_filter_config::terms::Terms;

    use super::Bucket;

    const RATE: Terms = Terms {
        idle_ms: 0,
        max_duration_ms: 0,
        max_message_bytes: 0,
        rate_messages: 50,
        rate_interval_ms: 1_000,
        rate_burst: 100,
    };

    fn passed(bucket: &mut Bucket, rate: Terms, now: u64, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(bucket.take(&rate, now))).sum()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = Bucket::default();
        assert_eq!(passed(&mut bucket, RATE, 1_000_000, 1_000), 100);
        assert_eq!(passed(&mut bucket, RATE, 1_000_019, 10), 0);
        assert_eq!(passed(&mut bucket, RATE, 1_000_020, 10), 1);
        assert_eq!(passed(&mut bucket, RATE, 1_001_020, 1_000), 50);
        assert_eq!(passed(&mut bucket, RATE, 9_000_000, 1_000), 100);
    }

    #[test]
    fn whoever_keeps_to_the_rate_is_never_cut() {
        let rate = Terms {
            rate_burst: 1,
            ..RATE
        };
        let mut bucket = Bucket::default();
        assert!((0..10_000).all(|message| bucket.take(&rate, 1_000_000 + message * 20)));
        assert!(!bucket.take(&rate, 1_000_000 + 9_999 * 20 + 19));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::default();
        assert_eq!(passed(&mut bucket, RATE, 1_000_000, 1_000), 100);
        assert_eq!(passed(&mut bucket, RATE, 500_000, 10), 0);
        assert_eq!(passed(&mut bucket, RATE, 1_000_020, 10), 1);
    }

    #[test]
    fn another_rate_holds_at_once_and_leaves_no_debt() {
        let mut bucket = Bucket::default();
        assert_eq!(passed(&mut bucket, RATE, 1_000_000, 1_000), 100);
        let slow = Terms {
            rate_messages: 1,
            rate_burst: 1,
            ..RATE
        };
        assert_eq!(passed(&mut bucket, slow, 1_000_999, 10), 0);
        assert_eq!(passed(&mut bucket, slow, 1_001_000, 10), 1);
    }
}
