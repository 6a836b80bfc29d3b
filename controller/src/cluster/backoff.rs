//! How long to wait before something is tried again: twice as long each time, and never in step with others.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(500);

/// The pauses of one thing that is tried.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            pause: FIRST,
            longest,
        }
    }

    /// It went well.
    pub(crate) fn reset(&mut self) {
        self.pause = FIRST;
    }

    /// It did not: wait this long, between half of the pause and all of it.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.longest);
        let random = getrandom::u32().unwrap_or(u32::MAX);
        pause / 2 + pause.mul_f64(0.5 * f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, FIRST};
    use std::time::Duration;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew() {
        let longest = Duration::from_secs(2);
        let mut backoff = Backoff::new(longest);
        for bound in [FIRST, FIRST * 2, longest, longest] {
            let pause = backoff.next();
            assert!(pause >= bound / 2 && pause <= bound, "{pause:?} of {bound:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
