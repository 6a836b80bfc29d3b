//! When the sessions of a pod leave while it drains: one by one, evenly over the window.
//!
//! Several proxies, and several workers of each, close the sessions of one pod and cannot speak to each other. Each
//! deals its own sessions *turns*: the multiples of the golden ratio, modulo 1, from a start drawn at random. However
//! many of them are dealt, they lie as evenly as points can (three-distance theorem), and several such sets laid over
//! each other are even too. Random moments would not be: of 300, half would come in bursts.

use clew_filter_config::rule::Draining;

use crate::session::Now;

/// The end of a window is left to those who were asked to leave and have not gone: its twentieth, at most this.
const LONGEST_TAIL_MS: u64 = 5_000;
/// And at least this, for time comes in ticks and an answer takes its time; but never more than half a window.
const SHORTEST_TAIL_MS: u64 = 1_000;
/// Who hears of a window when it is over, or nearly, is still asked to leave, within this; but never longer than a window.
const LATE_MS: u64 = 5_000;

/// A place in the window: a fraction of it, in units of 2⁻⁶⁴.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn(u64);

/// Deals the turns of one pod's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns(u64);

impl Turns {
    /// Starts anywhere: at 64 random bits.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        Self(random)
    }

    /// The next turn.
    pub const fn deal(&mut self) -> Turn {
        /// 2⁶⁴ divided by the golden ratio.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = self.0.wrapping_add(STEP);
        Turn(self.0)
    }
}

/// The window in which sessions leave, by the clock of the worker: [`Now::ms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it began.
    pub since_ms: u64,
    /// How long it lasts.
    pub timeout_ms: u64,
}

impl Window {
    /// Of what was heard just now. From here on a step of the wall clock moves nothing.
    #[must_use]
    pub fn new(draining: Draining, now: Now) -> Self {
        Self {
            since_ms: now.when(draining.since_ms),
            timeout_ms: draining.timeout_ms,
        }
    }
}

/// When one session leaves, by the clock of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    /// From now on it is asked to, at the next boundary.
    pub close_at: u64,
    /// From now on it is made to.
    pub deadline: u64,
}

impl Leave {
    /// The turn's place in what is left of the window at `now`, when this proxy heard of it. One that hears late has
    /// less time, but no burst, and at the very end enough for a Close.
    #[must_use]
    pub fn new(window: Window, turn: Turn, now: u64) -> Self {
        let end = window.since_ms.saturating_add(window.timeout_ms);
        let deadline = end.max(now.saturating_add(LATE_MS.min(window.timeout_ms)));
        let tail = (window.timeout_ms / 20).clamp(SHORTEST_TAIL_MS, LONGEST_TAIL_MS);
        let last = deadline.saturating_sub(tail.min(window.timeout_ms / 2));
        let first = window.since_ms.max(now);
        let span = u128::from(last.saturating_sub(first));
        let into = span.saturating_mul(u128::from(turn.0)) >> 64;
        Self {
            close_at: first.saturating_add(u64::try_from(into).unwrap_or(u64::MAX)),
            deadline,
        }
    }
}

/// The window of a session: its pod's, or the whole proxy's, which follows the session's own rule; of both the one
/// that ends first.
#[must_use]
pub fn window(pod: Option<Window>, proxy: Option<Window>, rule_timeout_ms: u64) -> Option<Window> {
    let proxy = proxy.map(|proxy| Window {
        since_ms: proxy.since_ms,
        timeout_ms: proxy.timeout_ms.min(rule_timeout_ms),
    });
    let end = |window: &Window| window.since_ms.saturating_add(window.timeout_ms);
    pod.into_iter().chain(proxy).min_by_key(end)
}

#[cfg(test)]
mod tests {
    use clew_filter_config::rule::Draining;

    use super::{Leave, Turns, Window, window};
    use crate::session::Now;

    const WINDOW: Window = Window {
        since_ms: 1_000_000,
        timeout_ms: 60_000,
    };

    #[test]
    fn closes_are_even_and_leave_the_tail_free() {
        for (workers, each) in [(1, 300), (2, 150), (3, 100), (1, 7)] {
            let mut moments = Vec::new();
            for worker in 0..workers {
                let mut turns = Turns::new(0x1234_5678_9abc_def0_u64.wrapping_mul(worker + 1));
                moments.extend((0..each).map(|_| Leave::new(WINDOW, turns.deal(), 1_000_000).close_at));
            }
            moments.sort_unstable();
            let n = moments.len() as u64;
            assert!(moments.iter().all(|at| (1_000_000..=1_057_000).contains(at)));
            // The greatest distance between the distribution and an even one: chance alone gives about 1/√n.
            let worst = moments
                .iter()
                .zip(0..)
                .map(|(at, i)| ((at - 1_000_000) * n).abs_diff(i * 57_000))
                .max();
            assert!(
                worst.unwrap() <= 57_000 * (workers * 5),
                "{workers} × {each}: {worst:?}"
            );
        }
    }

    #[test]
    fn who_hears_late_spreads_over_what_is_left() {
        let mut turns = Turns::new(0);
        for _ in 0..100 {
            let leave = Leave::new(WINDOW, turns.deal(), 1_050_000);
            assert!((1_050_000..=1_057_000).contains(&leave.close_at));
            assert_eq!(leave.deadline, 1_060_000);
        }
    }

    #[test]
    fn who_hears_when_it_is_over_is_asked_to_leave_all_the_same() {
        let mut turns = Turns::new(0);
        for now in [1_059_000, 1_060_000, 2_000_000] {
            for _ in 0..100 {
                let leave = Leave::new(WINDOW, turns.deal(), now);
                assert!((now..=now + 2_000).contains(&leave.close_at), "{leave:?}");
                assert_eq!(leave.deadline, now + 5_000);
            }
        }
        let short = |timeout_ms| Leave::new(Window { timeout_ms, ..WINDOW }, turns.deal(), 2_000_000);
        let [one, none] = [1_000, 0].map(short);
        assert_eq!((one.deadline, none.deadline), (2_001_000, 2_000_000));
    }

    #[test]
    fn a_short_window_has_an_end_too() {
        for (timeout_ms, last) in [(10_000, 9_000), (3_000, 2_000), (1_000, 500), (0, 0)] {
            let window = Window { timeout_ms, ..WINDOW };
            let mut turns = Turns::new(0);
            let moments =
                (0..1_000).map(|_| Leave::new(window, turns.deal(), 1_000_000).close_at - 1_000_000);
            let latest = moments.max().unwrap();
            assert!(
                latest <= last && latest >= last * 9 / 10,
                "{timeout_ms}: {latest}"
            );
        }
    }

    #[test]
    fn a_window_is_as_far_off_as_the_wall_clock_says_when_it_is_heard_of() {
        let heard = |since_ms, unix_ms| {
            let draining = Draining {
                since_ms,
                timeout_ms: 60_000,
            };
            let now = Now {
                ms: 50_000_000,
                unix_ms,
                ..Now::default()
            };
            Window::new(draining, now).since_ms
        };
        assert_eq!(heard(1_000_000, 1_000_000), 50_000_000);
        assert_eq!(heard(1_000_000, 1_010_000), 49_990_000, "it began before");
        assert_eq!(heard(1_010_000, 1_000_000), 50_010_000, "it is still to begin");
    }

    #[test]
    fn the_window_that_ends_first_counts() {
        let proxy = Window {
            since_ms: 1_010_000,
            timeout_ms: 300_000,
        };
        let own = |timeout_ms| Window {
            since_ms: 1_010_000,
            timeout_ms,
        };
        assert_eq!(window(None, None, 60_000), None);
        assert_eq!(window(Some(WINDOW), None, 10_000), Some(WINDOW));
        assert_eq!(window(None, Some(proxy), 60_000), Some(own(60_000)));
        assert_eq!(window(None, Some(proxy), 600_000), Some(proxy));
        assert_eq!(window(Some(WINDOW), Some(proxy), 60_000), Some(WINDOW));
        assert_eq!(window(Some(WINDOW), Some(proxy), 20_000), Some(own(20_000)));
    }
}
